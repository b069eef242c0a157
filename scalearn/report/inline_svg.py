"""A picture inside a page: an SVG element that brings no ids, no styles and no fixed colours of its own into it.

Ids get the picture's name before them, so that pictures do not point into each other; ink, lines and paper become the page's
(`--ink`, `--rule`, `--paper`), so that they follow it into the dark; numbers keep two decimals, a hundredth of a point.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from scalearn.report.drawing import GRID, INK, PAPER, Picture

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
COLOURS = {INK: "var(--ink)", GRID: "var(--rule)", PAPER: "var(--paper)"}
LONG = re.compile(r"-?\d+\.\d{3,}")


def inline(picture: Picture) -> str:
    """The picture as an <svg> with its text alternative as its label."""
    root = ET.fromstring(picture.svg())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style", f"{SVG}title"):
                parent.remove(child)
    prefix = re.sub(r"[^A-Za-z0-9_-]", "_", f"{picture.name}-")
    used = {target for element in root.iter() for value in element.attrib.values() for target in _targets(value)}
    for element in root.iter():
        if element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None
        _clean(element, prefix, used)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", picture.alt)
    ET.register_namespace("", SVG[1:-1])
    return ET.tostring(root, encoding="unicode")


def _targets(value: str) -> list[str]:
    """The ids that an attribute points to: "#id", or url(#id) in a style."""
    return re.findall(r"(?:^|url\()#([^)]+)\)?", value)


def _clean(element: ET.Element, prefix: str, used: set[str]) -> None:
    for name, value in list(element.attrib.items()):
        if name == "id":
            if value in used:
                element.set(name, prefix + value)
            else:
                del element.attrib[name]
            continue
        value = LONG.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
        if name.endswith("href"):
            value = f"#{prefix}{value[1:]}"
        value = value.replace("url(#", f"url(#{prefix}")
        for colour, variable in COLOURS.items():
            value = value.replace(colour, variable)
        if name.startswith(XLINK):
            del element.attrib[name]
            name = name.removeprefix(XLINK)
        element.set(name, value)
