"""How a figure looks and how it is kept: one width, colours for the colour-blind, and the same bytes for the same data.

A figure of a report is 4.8 inches wide, whatever it shows: on a phone one of its points is one pixel, so that 8-point letters can be read.
An SVG keeps its letters as text; numbers are rounded to a hundredth of a point, its ids are numbered by their order, and what
`named` marks tells its name under the pointer.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksel.errors import UserError
from tasksel.storage.atomic import partial_folder

# Okabe and Ito's eight; their black is our ink
INK, GRID, PAPER, GREY = "#333333", "#e5e5e5", "#ffffff", "#a3a3a3"
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, YELLOW = (
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#e69f00",
    "#d55e00",
    "#cc79a7",
    "#f0e442",
)
WIDTH = 4.8  # inches
SMALL, NORMAL = 7.5, 8.0  # points
FONT = "DejaVu Sans"  # comes with matplotlib
DOTS = (0, (1, 1.4))
ENDINGS = (".svg", ".png")
SETTINGS: dict[str, Any] = {
    "font.family": FONT,
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": NORMAL,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.hinting": "none",  # hinted letters are measured narrower than a browser draws them
    "text.parse_math": False,  # a task may be named a$b$c
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 5.0,
    "svg.fonttype": "none",  # letters, which can be searched and read aloud
}

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
NAMED = "named:"  # before the name in the id of a group that tells it under the pointer
LONG = re.compile(r"-?\d+\.\d{3,}")


@dataclass(frozen=True)
class Style:
    """How a line and its markers look."""

    colour: str
    marker: str
    line: Any = "-"
    filled: bool = True

    @property
    def face(self) -> str:
        """What its marker is filled with."""
        return self.colour if self.filled else PAPER


@contextmanager
def look(name: str, **settings: Any) -> Iterator[None]:
    """Sets matplotlib to the project's look, with ids in an SVG that do not depend on the run.

    Args:
        settings: matplotlib's, with `_` for `.`, that differ from ours.

    Raises:
        UserError: no matplotlib.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise UserError('pictures need matplotlib: pip install "scalearn[plot]"') from error
    changed: Any = {key.replace("_", "."): value for key, value in settings.items()}
    with rc_context(SETTINGS | {"svg.hashsalt": f"scalearn-{name}"} | changed):
        yield


def named(artist: Any, name: str) -> None:
    """Gives an artist a name that a browser shows under the pointer, in the SVG."""
    artist.set_gid(NAMED + name)


def save_figure(figure: Any, path: Path, title: str = "", alt: str = "") -> None:
    """Writes one file, SVG or PNG by its ending, whole or not at all; call it within `look`."""
    with partial_folder(path.parent) as partial:
        whole = partial / path.name
        if path.suffix == ".svg":
            whole.write_text(svg_document(figure, title, alt), encoding="utf-8")
        else:
            figure.savefig(whole, dpi=150)
        whole.replace(path)


def check_ending(path: Path) -> None:
    """Raises a UserError: neither SVG nor PNG."""
    if path.suffix not in ENDINGS:
        raise UserError(f"cannot draw '{path.name}': the ending must be {' or '.join(ENDINGS)}")


def svg_document(figure: Any, title: str, alt: str) -> str:
    """The figure as a compact SVG with its title and its text alternative."""
    whole = io.StringIO()
    figure.savefig(whole, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(whole.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}title"):
                parent.remove(child)
    pointed = (target for element in root.iter() for value in element.attrib.values() for target in targets_of(value))
    targets = {target: f"i{number}" for number, target in enumerate(dict.fromkeys(pointed))}
    for element in list(root.iter()):
        _compact(element, targets)
    for place, (tag, text) in enumerate(pair for pair in (("title", title), ("desc", alt)) if pair[1]):
        element = ET.Element(f"{SVG}{tag}")
        element.text = text
        root.insert(place, element)
    ET.register_namespace("", SVG[1:-1])
    return ET.tostring(root, encoding="unicode") + "\n"


def targets_of(value: str) -> list[str]:
    """The ids that an attribute points to: "#id", or url(#id) in a style."""
    return re.findall(r"(?:^|url\()#([^)]+)\)?", value)


def _compact(element: ET.Element, targets: dict[str, str]) -> None:
    """Rounds numbers, gives ids new names by their order, drops those that nothing points to and space between elements, and turns a `named` id into a title."""
    if element.text is not None and not element.text.strip():
        element.text = None
    element.tail = None
    ident = element.attrib.get("id", "")
    if ident.startswith(NAMED):
        title = ET.Element(f"{SVG}title")
        title.text = ident.removeprefix(NAMED)
        element.insert(0, title)
        element.set("class", "named")
    if ident in targets:
        element.set("id", targets[ident])
    else:
        element.attrib.pop("id", None)
    for name, value in list(element.attrib.items()):
        if name.startswith(XLINK):  # SVG 2 and every browser of today know href without it
            del element.attrib[name]
            name = name.removeprefix(XLINK)
        for target in targets_of(value):
            value = value.replace(f"#{target}", f"#{targets[target]}")
        element.set(name, LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value.strip()))


def file_name(*parts: str) -> str:
    """Parts joined to a name that any file system takes.

    >>> file_name("omega", "a/b <x>", "full")
    'omega-a-b-x-full'
    """
    return "-".join(filter(None, (re.sub(r"[^\w+.]+", "-", part).strip("-.") for part in parts))) or "picture"


def short(number: float) -> str:
    """A count in few letters, for the ticks of an axis.

    >>> [short(n) for n in (0, 8, 96, 4608, 73728, 894528, 21252096, 3e9)]
    ['0', '8', '96', '4.6k', '74k', '895k', '21M', '3G']
    """
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            value = number / limit
            return f"{value:.1f}".removesuffix(".0") + unit if value < 10 else f"{value:.0f}{unit}"
    return f"{number:.0f}" if number == round(number) else f"{number:.2g}"
