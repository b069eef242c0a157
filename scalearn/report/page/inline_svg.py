"""A picture inside a page: an SVG element that brings no ids, no styles and no fixed colours of its own into it.

Ids get the picture's name before them, so that pictures do not point into each other; ink, lines and paper become the page's
(`--ink`, `--rule`, `--paper`), so that they follow it into the dark.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from tasksel.display.figures import GREY, GRID, INK, PAPER, SVG, targets_of
from tasksel.display.picture import Picture

COLOURS = {INK: "var(--ink)", GRID: "var(--rule)", PAPER: "var(--paper)", GREY: "var(--grey)"}


def inline(picture: Picture) -> str:
    """The picture as an <svg> with its text alternative as its label."""
    root = ET.fromstring(picture.svg)
    for child in list(root):
        if child.tag in (f"{SVG}title", f"{SVG}desc"):
            root.remove(child)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{SVG}style":
                parent.remove(child)
    prefix = re.sub(r"[^A-Za-z0-9_-]", "_", f"{picture.name}-")
    for element in root.iter():
        _adopt(element, prefix)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", picture.alt)
    ET.register_namespace("", SVG[1:-1])
    return ET.tostring(root, encoding="unicode")


def _adopt(element: ET.Element, prefix: str) -> None:
    """Gives ids and what points to them the prefix, and the page's colours."""
    for name, value in list(element.attrib.items()):
        if name == "id":
            value = prefix + value
        elif targets_of(value):
            value = value.replace("url(#", f"url(#{prefix}")
            value = f"#{prefix}{value[1:]}" if name == "href" else value
        for colour, variable in COLOURS.items():
            value = value.replace(colour, variable)
        element.set(name, value)
