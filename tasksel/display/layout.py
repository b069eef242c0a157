"""Where things stand in a figure: panels, legends, and labels that are never cut off and never lie on each other.

Widths are measured on the letters of the font that comes with matplotlib, and taken a little wider (SLACK): a browser that shows an SVG
has letters of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tasksel.display.figures import FONT, NORMAL, SMALL, WIDTH, Style, named

SLACK = 1.06
EDGE = 2.0  # points that stay free along the edges
HANDLE = 36.0  # points before a legend's label: its handle and the space around it


# --- letters


@cache
def text_width(text: str, size: float = SMALL, weight: str = "normal") -> float:
    """Points that a line of text takes, with the slack."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONT, size=size, weight=weight)
    return SLACK * max(text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n"))


def shortened(text: str, points: float, size: float = SMALL, weight: str = "normal") -> str:
    """A text that fits into so many points, cut in its middle where it is too long.

    >>> shortened("sentiment_restaurants", 200)
    'sentiment_restaurants'
    >>> shortened("sentiment_restaurants", 50)
    'senti…rants'
    """
    if text_width(text, size, weight) <= points:
        return text
    for kept in range(len(text) - 1, 1, -1):
        cut = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if text_width(cut, size, weight) <= points:
            return cut
    return "…"


def shorten(artist: Any, points: float) -> None:
    """Cuts the text of a label that is wider; the whole text stays under the pointer."""
    whole = artist.get_text()
    cut = shortened(whole, points, artist.get_fontsize(), artist.get_fontweight())
    if cut != whole:
        artist.set_text(cut)
        named(artist, whole)


# --- the figure


def texts(figure: Any) -> list[Any]:
    """Every visible text of a figure that is not empty."""
    from matplotlib.text import Text

    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = {id(text) for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for text in _undrawn(axis, ax.axison)}
    return [text for text in shown if id(text) not in hidden and math.isfinite(text.get_window_extent().width)]


def _undrawn(axis: Any, on: bool) -> list[Any]:
    """Texts of an axis that are not drawn: all where it is off, else the labels of ticks outside its range."""
    from matplotlib.text import Text

    if not on:
        return list(axis.findobj(Text))
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1 for tick in ticks if not low - room <= tick.get_loc() <= high + room]


def overhang(figure: Any) -> tuple[float, float, float, float]:
    """Pixels by which texts stand over the left, lower, right and upper edge; below 0 where there is room.

    Each is taken as wide as `text_width` says, from where it is held.
    """
    unit = figure.dpi / 72
    boxes = []
    for text in texts(figure):
        box, more = text.get_window_extent(), 0.0
        if text.get_rotation() == 0:
            more = max(
                0.0, text_width(text.get_text(), text.get_fontsize(), str(text.get_fontweight())) * unit - box.width
            )
        right = {"left": 1.0, "center": 0.5, "right": 0.0}[text.get_horizontalalignment()]
        boxes.append((box.x0 - (1 - right) * more, box.y0, box.x1 + right * more, box.y1))
    lefts, lows, rights, highs = zip(*boxes, strict=True) if boxes else ((0,), (0,), (0,), (0,))
    edge = EDGE * unit
    wide, high = figure.bbox.width, figure.bbox.height
    return edge - min(lefts), edge - min(lows), max(rights) + edge - wide, max(highs) + edge - high


def settle(figure: Any) -> None:
    """Lays a figure out, once: titles fit their panels, no label stands over an edge or on its neighbour.

    What is drawn into it later moves nothing.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = figure.get_layout_engine()
    if not isinstance(engine, ConstrainedLayoutEngine):
        return
    left = low = right = high = 0.0  # shares of the figure that stay free
    for _ in range(4):
        figure.draw_without_rendering()
        _fit_titles(figure)
        over = overhang(figure)
        if max(over) <= 0:
            break
        wide, tall = figure.bbox.width, figure.bbox.height
        left, right = left + max(over[0], 0) / wide, right + max(over[2], 0) / wide
        low, high = low + max(over[1], 0) / tall, high + max(over[3], 0) / tall
        if left + right > 0.8 or low + high > 0.8:
            break
        engine.set(rect=(left, low, 1 - left - right, 1 - low - high))
    figure.set_layout_engine("none")
    for ax in figure.axes:  # the solver's last digits differ between runs
        ax.set_position([round(float(part), 5) for part in ax.get_position(original=True).bounds], which="original")
    for ax in figure.axes:
        if ax.axison:
            _thin(ax.get_xticklabels(), 0)
            _thin(ax.get_yticklabels(), 1)


def _fit_titles(figure: Any) -> None:
    """Cuts a title that is wider than its panel, and an axis label that is longer than the figure."""
    unit = figure.dpi / 72
    for ax in figure.axes:
        if ax.axison and ax.get_title(loc="left"):
            shorten(ax._left_title, ax.get_window_extent().width / unit)
        if ax.get_xlabel():
            shorten(ax.xaxis.label, figure.bbox.width / unit - 2 * EDGE)


def _thin(labels: Sequence[Any], side: int) -> None:
    """Blanks tick labels that would lie on the last one that is shown."""
    shown: list[Any] = []
    for label in sorted(labels, key=lambda label: label.get_window_extent().min[side]):
        if not label.get_text():
            continue
        box = label.get_window_extent()
        if label.get_rotation() == 0 and shown and box.overlaps(shown[-1].expanded(1.02, 1.0)):
            label.set_visible(False)
        else:
            shown.append(box)


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

    def legend(self, labels: Sequence[str], styles: Sequence[Style], *, lines: bool = True) -> None:
        """One marker (and one line) per label."""
        from matplotlib.lines import Line2D

        handles = [
            Line2D(
                [], [], color=style.colour, marker=style.marker, markerfacecolor=style.face,
                linestyle=style.line if lines else "",
            )
            for style in styles
        ]  # fmt: skip
        widest = 72 * WIDTH / (2 if self.spare is not None else 1) - HANDLE - 8
        shown = [shortened(label, widest) for label in labels]
        more: dict[str, Any] = {"handlelength": 2.8, "columnspacing": 1.2, "labelspacing": 0.35}
        if self.spare is not None:
            self.spare.legend(handles, shown, loc="center left", borderaxespad=0.0, **more)
        else:
            more |= {"ncols": legend_columns(shown), "borderaxespad": 0.5}
            self.figure.legend(handles, shown, loc="outside lower left", **more)


def panels(count: int, *, height: float, labels: Sequence[str] = ()) -> Panels:
    """A figure of `count` axes, two in a row, with room for a legend of these labels.

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
    """Width of a legend's column in points."""
    return HANDLE + max(map(text_width, labels))


def legend_columns(labels: Sequence[str]) -> int:
    """How many columns of a legend fit side by side."""
    return max(1, min(len(labels), 4, int(72 * WIDTH / _entry(labels))))


def label_points(
    axes: Any, places: Sequence[tuple[float, float]], labels: Sequence[str], *, size: float = SMALL
) -> None:
    """A label beside each point, on the side where it covers least of points and other labels, always inside the figure.

    The figure must be settled: a label stands by where its point is. One that takes more than half of the axes is cut in its middle.
    """
    unit, inside = axes.figure.dpi / 72, axes.get_window_extent()
    pixels = [tuple(axes.transData.transform(place)) for place in places]
    taken = [(x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit) for x, y in pixels]
    for (x, y), place, label in zip(pixels, places, labels, strict=True):
        shown = shortened(label, inside.width / unit / 2, size)
        wide, high = text_width(shown, size) * unit, 1.15 * size * unit
        options: list[Any] = []
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            left = x + right * 5 * unit - wide * (1 - right) / 2
            low = y + up * 5 * unit - high * (1 - up) / 2
            left = min(max(left, inside.x0 + unit), inside.x1 - wide - unit)  # never over an edge of the axes
            low = min(max(low, inside.y0 + unit), inside.y1 - high - unit)
            box = (left, low, left + wide, low + high)
            options.append((sum(_overlap(box, other) for other in taken), len(options), box))
        _, _, box = min(options)
        taken.append(box)
        note = axes.annotate(
            shown, place, xytext=((box[0] - x) / unit, (box[1] - y) / unit), textcoords="offset points", fontsize=size,
            annotation_clip=False, ha="left", va="bottom", in_layout=False,
        )  # fmt: skip
        if shown != label:
            named(note, label)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes (left, low, right, high) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
