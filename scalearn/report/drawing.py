"""How a picture looks, and how it is kept: one width, one look for each method, the same bytes for the same data.

A picture is 4.8 inches wide, whatever it shows: on a phone a point of it is a pixel, so that 8-point letters can be read.
A method has its own colour (Okabe and Ito's, told apart by the colour-blind), its own marker, and a line that is solid, dashed or dotted:
no two methods have the same marker, so that colour is never the only sign.
"""

from __future__ import annotations

import io
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksel.errors import UserError
from tasksel.storage.atomic import PARTIAL

# Okabe and Ito's eight; their black is our ink
INK, GRID, PAPER = "#333333", "#e5e5e5", "#ffffff"
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
SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
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


@dataclass(frozen=True)
class Style:
    """How a method looks."""

    colour: str
    marker: str
    line: Any = "-"
    filled: bool = True

    @property
    def face(self) -> str:
        """What its marker is filled with."""
        return self.colour if self.filled else PAPER


DOTS = (0, (1, 1.4))
STYLES = {
    "head-only": Style(INK, "v", DOTS, False),
    "full": Style(INK, "*"),
    "single-adapter": Style(VERMILION, "X"),
    "compacter++": Style(VERMILION, "P", "--"),
    "sequential": Style(VERMILION, "<", "-."),
    "joint": Style(VERMILION, "h", DOTS, False),
    "scalearn": Style(BLUE, "o"),
    "scalearn-uniform": Style(BLUE, "s", "--"),
    "scalearn++": Style(SKY, "o", "-", False),
    "scalearn-uniform++": Style(SKY, "s", "--", False),
    "scalearn-mean": Style(BLUE, "^", "-."),
    "scalearn-softmax": Style(BLUE, "^", DOTS, False),
    "average": Style(GREEN, "D", "--"),
    "fixed-grid": Style(GREEN, "D", DOTS, False),
    "search": Style(GREEN, "p", "-"),
    "soup": Style(PURPLE, ">", "--"),
    "soup-similarity": Style(PURPLE, ">", DOTS, False),
    "fusion": Style(ORANGE, "d", "-."),
}
SPARE = tuple(Style(colour, marker, "-", filled) for colour, marker, filled in (
    (PURPLE, "8", True), (GREEN, "H", True), (ORANGE, "<", False), (SKY, "p", False),
    (PURPLE, "P", False), (INK, "X", False), (GREEN, "8", False), (ORANGE, "H", False),
))  # fmt: skip


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A look for each method; one that is not in the table gets a spare one, by its place among such ones."""
    names = list(dict.fromkeys(methods))
    strange = [name for name in names if name not in STYLES]
    return {name: STYLES[name] if name in STYLES else SPARE[strange.index(name) % len(SPARE)] for name in names}


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its words.

    Attributes:
        name: of its files, without the ending. title: a few words.
        alt: what it shows, for who does not see it. caption: how to read it.
        group: what it belongs to, where there are many of its sort.
    """

    name: str
    title: str
    alt: str
    caption: str
    figure: Any
    group: str = ""

    def __post_init__(self) -> None:
        settle(self.figure)

    def svg(self) -> str:
        """The figure as an SVG document, the same for the same figure."""
        whole = io.StringIO()
        with look(self.name):
            self.figure.savefig(whole, format="svg", transparent=True, metadata=self._metadata | {"Date": None})
        return whole.getvalue()

    def save(self, folder: Path) -> list[Path]:
        """Writes NAME.svg and NAME.png, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.svg", folder / f"{self.name}.png"]
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as partial:
            drawn = [Path(partial) / path.name for path in paths]
            drawn[0].write_text(self.svg(), encoding="utf-8")
            with look(self.name):
                self.figure.savefig(drawn[1], dpi=200, metadata=self._metadata)
            for whole, path in zip(drawn, paths, strict=True):
                whole.replace(path)
        return paths

    @property
    def _metadata(self) -> dict[str, Any]:
        return {"Title": self.title, "Description": self.alt}


@contextmanager
def look(name: str) -> Iterator[None]:
    """Our settings, and ids in an SVG that depend on nothing but its name and what is drawn.

    Raises:
        UserError: no matplotlib.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise UserError('pictures need matplotlib: pip install "scalearn[plot]"') from error
    settings: Any = SETTINGS | {"svg.hashsalt": f"scalearn-{name}"}
    with rc_context(settings):
        yield


def file_name(*parts: str) -> str:
    """Parts joined to a name that any file system takes.

    >>> file_name("omega", "a/b <x>", "full")
    'omega-a-b-x-full'
    """
    return "-".join(filter(None, (re.sub(r"[^\w+.]+", "-", part).strip("-.") for part in parts))) or "picture"


@dataclass(frozen=True, eq=False)
class Panels:
    """Axes side by side and below each other, with a legend in the place that is left over, or else below them all."""

    figure: Any
    axes: list[Any]
    spare: Any = None

    def name_axes(self, x: str, y: str) -> None:
        """x under the last axes of each column, y once on the left."""
        for ax in self.axes[-2:] if len(self.axes) > 1 else self.axes:
            ax.set_xlabel(x)
        self.figure.supylabel(y, fontsize=NORMAL)

    def legend(self, labels: Sequence[str], looks: Sequence[Style], *, lines: bool = True) -> None:
        """A marker (and a line) a label."""
        from matplotlib.lines import Line2D

        handles = [
            Line2D(
                [],
                [],
                color=one.colour,
                marker=one.marker,
                markerfacecolor=one.face,
                linestyle=one.line if lines else "",
            )
            for one in looks
        ]
        more: dict[str, Any] = {"handlelength": 2.8, "columnspacing": 1.2, "labelspacing": 0.35}
        if self.spare is not None:
            self.spare.legend(handles, list(labels), loc="center left", **more)
        else:
            columns = legend_columns(labels)
            self.figure.legend(
                handles, list(labels), loc="outside lower left", ncols=columns, borderaxespad=0.2, **more
            )


def panels(count: int, *, height: float, labels: Sequence[str] = ()) -> Panels:
    """So many axes, two in a row, and room for a legend of these labels.

    Args:
        height: of a row of axes with all its words, in inches.
    """
    from matplotlib.figure import Figure

    columns = min(2, count)
    rows = math.ceil(count / columns)
    fits = bool(labels) and 0.17 * len(labels) < height and _entry(labels) < 72 * WIDTH / 2 - 20
    inside = rows * columns > count and fits
    below = 0 if inside or not labels else math.ceil(len(labels) / legend_columns(labels))
    figure = Figure(figsize=(WIDTH, rows * height + 0.16 * below + 0.1), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.axis("off")
    return Panels(figure, axes[:count], axes[count] if inside else None)


def _entry(labels: Sequence[str]) -> float:
    """Width of a legend's column in points; a letter is about 0.62 of its size wide."""
    return 34 + 0.62 * SMALL * max(map(len, labels))


def legend_columns(labels: Sequence[str]) -> int:
    """How many columns of a legend fit side by side."""
    return max(1, min(len(labels), 4, int(72 * WIDTH / _entry(labels))))


def short(number: float) -> str:
    """A count in few letters.

    >>> [short(n) for n in (0, 8, 96, 4608, 73728, 894528, 21252096, 3e9)]
    ['0', '8', '96', '4.6k', '74k', '895k', '21M', '3G']
    """
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            value = number / limit
            return f"{value:.1f}".removesuffix(".0") + unit if value < 10 else f"{value:.0f}{unit}"
    return f"{number:.0f}" if number == round(number) else f"{number:.2g}"


def settle(figure: Any) -> None:
    """Lays a figure out, once: what is drawn into it later moves nothing."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def label_points(
    axes: Any, places: Sequence[tuple[float, float]], labels: Sequence[str], *, size: float = SMALL
) -> None:
    """A label beside each point, on the side where it covers least of points, other labels and edges.

    The figure must be settled: a label stands by where its point is.
    """
    figure = axes.figure
    pixels = [tuple(axes.transData.transform(place)) for place in places]
    unit = figure.dpi / 72
    edges = axes.get_window_extent()
    taken = [(x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit) for x, y in pixels]
    for (x, y), place, label in zip(pixels, places, labels, strict=True):
        wide, high = 0.62 * size * len(label) * unit, 1.1 * size * unit
        options: list[Any] = []
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            left = x + right * 5 * unit - wide * (1 - right) / 2
            low = y + up * 5 * unit - high * (1 - up) / 2
            box = (left, low, left + wide, low + high)
            outside = max(0, edges.x0 - box[0]) + max(0, box[2] - edges.x1)
            cost = sum(_overlap(box, other) for other in taken) + high * outside
            options.append((cost, len(options), box, (right, up)))
        _, _, box, (right, up) = min(options)
        taken.append(box)
        axes.annotate(
            label, place, xytext=(5 * right, 5 * up), textcoords="offset points", fontsize=size, annotation_clip=False,
            ha={1: "left", 0: "center", -1: "right"}[right], va={1: "bottom", 0: "center", -1: "top"}[up], in_layout=False,
        )  # fmt: skip


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes (left, low, right, high) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
