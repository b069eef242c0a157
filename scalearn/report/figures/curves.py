"""Curves over training rows: the score of each method, and what it gains over a new adapter.

x   training rows, log            y   score in %, or gain in points over single-adapter; mean over seeds with its 95 % interval

Intervals are bars, and curves stand a little beside each other, so that bars do not cover bars. More than SIX curves cannot be read: then
the references and the BEST others, by their mean over all sizes of the first panel, stand in colour; the rest are thin grey lines without
intervals that tell their names under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalearn.comparison.condition import FULL
from scalearn.report.figures.shown import REFERENCE, SCORE, Point, ascending, percent, shown_conditions, shown_words
from scalearn.report.figures.style import OTHER, STYLES, styles
from scalearn.report.statistics import AVERAGE, Comparison, Condition, rows_words
from tasksel.display.figures import INK, Style, named
from tasksel.display.layout import panels
from tasksel.display.picture import Picture

REFERENCES = (REFERENCE, "full", "fusion")
SIX, BEST = 6, 3
Curves = dict[str, dict[Condition, list[Point | None]]]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Curves that are drawn.

    Attributes:
        first: name of the first panel. highest: its highest method at each size, in words. words: what the caption says of the lines.
    """

    figure: Any
    first: str
    highest: str
    words: str


def few_shot_picture(comparison: Comparison, name: str) -> Picture | None:
    """Score over training rows, one panel per target and one for the average; None for a single size."""
    conditions = shown_conditions(comparison)
    drawn = _over_rows(
        comparison, conditions, lambda target, size, condition: percent(comparison.cell(target, size, condition)), SCORE
    )
    if drawn is None:
        return None
    alt = f"Few-shot curves of {len(conditions)} methods. Highest {drawn.first}: {drawn.highest}."
    caption = f"Score over training rows, mean over seeds; bars are 95 % intervals over seeds.{drawn.words}"
    return Picture(name, "Score over training rows", alt, caption + shown_words(conditions, comparison), drawn.figure)


def gain_picture(comparison: Comparison, name: str) -> Picture | None:
    """Gain over the reference, over training rows, one panel per target and one for the average; None for a single size or without it."""
    conditions = [condition for condition in shown_conditions(comparison) if condition.method != REFERENCE]

    def gain(target: str, size: int | str, condition: Condition) -> Point | None:
        paired = comparison.paired(size, condition, REFERENCE, target)
        return None if paired is None else (100 * paired.difference, 100 * paired.low, 100 * paired.high)

    drawn = _over_rows(comparison, conditions, gain, f"gain over {REFERENCE}, points")
    if drawn is None:
        return None
    for ax in drawn.figure.axes:
        if ax.axison:
            ax.axhline(0, color=STYLES[REFERENCE].colour, linewidth=1.0, zorder=2)
    alt = f"Gain of {len(conditions)} methods over {REFERENCE}, in points. Largest {drawn.first}: {drawn.highest}."
    caption = (
        f"What each method gains over {REFERENCE} (the line at 0), seed by seed; bars are 95 % intervals of the paired difference. "
        f"Where a bar holds 0, the difference is no more than the noise between seeds.{drawn.words}"
    )
    caption += shown_words(conditions, comparison)
    return Picture(name, f"Gain over {REFERENCE}", alt, caption, drawn.figure)


def _over_rows(
    comparison: Comparison,
    conditions: Sequence[Condition],
    point: Callable[[str, int | str, Condition], Point | None],
    words: str,
) -> Drawn | None:
    """Curves over the sizes; None where there are not two sizes, or nothing to draw."""
    sizes = ascending(comparison.sizes)
    targets = [AVERAGE, *comparison.targets] if len(comparison.targets) > 1 else list(comparison.targets)
    curves = {
        target: {condition: [point(target, size, condition) for size in sizes] for condition in conditions}
        for target in targets
    }
    targets = [target for target in targets if any(any(line) for line in curves[target].values())]
    if len(sizes) < 2 or not targets:
        return None
    coloured = in_colour(curves[targets[0]])
    grey = [condition.method for condition in conditions if condition not in coloured]
    looks, labels = styles(comparison.methods), [condition.method for condition in coloured]
    labels += [f"{len(grey)} other{'s' if len(grey) > 1 else ''}"] if grey else []
    drawn = panels(len(targets), height=1.75, labels=labels)
    places = _size_places(sizes)
    for ax, target in zip(drawn.axes, targets, strict=True):
        for condition in conditions:
            if condition not in coloured:
                _grey_line(ax, places, curves[target][condition], condition.method)
        for condition, beside in zip(coloured, _beside(len(coloured), places), strict=True):
            _barred_line(ax, [place + beside for place in places], curves[target][condition], looks[condition.method])
        _size_axis(ax, sizes, places)
        ax.set_title(target)
    drawn.name_axes("training rows (log)", words)
    drawn.legend(labels, [*(looks[condition.method] for condition in coloured), OTHER][: len(labels)])
    rule = (
        f" In colour: the references and the {BEST} others that are highest there; grey: {', '.join(grey)}."
        if grey
        else ""
    )
    first = "on average" if targets[0] == AVERAGE else f"on {targets[0]}"
    return Drawn(drawn.figure, first, _highest(sizes, curves[targets[0]]), rule.replace("there", first))


def in_colour(curves: dict[Condition, list[Point | None]]) -> list[Condition]:
    """The conditions that stand in colour, in the order of the curves."""
    if len(curves) <= SIX:
        return list(curves)
    means = {
        condition: np.mean([point[0] for point in line if point]) for condition, line in curves.items() if any(line)
    }
    others = [condition for condition in means if condition.method not in REFERENCES]
    best = sorted(others, key=lambda condition: -means[condition])[:BEST]
    return [condition for condition in curves if condition.method in REFERENCES or condition in best]


def _highest(sizes: Sequence[int | str], curves: dict[Condition, list[Point | None]]) -> str:
    parts = []
    for place, size in enumerate(sizes):
        points = [
            (point[0], condition.method) for condition, line in curves.items() if (point := line[place]) is not None
        ]
        if points:
            mean, method = max(points)
            parts.append(f"{method} with {mean:.1f} at {rows_words(size)}")
    return "; ".join(parts)


def _size_places(sizes: Sequence[int | str]) -> list[float]:
    """Where each size stands: log2 of the rows; all rows one step to the right of the rest."""
    places = [math.log2(size) for size in sizes if isinstance(size, int)]
    if len(places) < len(sizes):
        step = (places[-1] - places[0]) / (len(places) - 1) if len(places) > 1 else 1.0
        places.append((places[-1] if places else 0.0) + max(step, 1.0))
    return places


def _size_axis(ax: Any, sizes: Sequence[int | str], places: Sequence[float]) -> None:
    ax.set_xticks(places, ["all" if size == FULL else str(size) for size in sizes])
    if sizes[-1] == FULL and len(places) > 1:
        ax.axvline((places[-1] + places[-2]) / 2, color=INK, linestyle=(0, (2, 2)), linewidth=0.7)


def _known(places: Sequence[float], points: Sequence[Point | None]) -> list[tuple[float, float, float, float]]:
    return [(x, *point) for x, point in zip(places, points, strict=True) if point is not None]


def curve(ax: Any, places: Sequence[float], points: Sequence[Point | None], look: Style) -> None:
    """A line with its band through the points that are there; where a seed is alone there is no band."""
    known = _known(places, points)
    if not known:
        return
    x, mean, low, high = np.array(known).T
    ax.fill_between(x, low, high, color=look.colour, alpha=0.13, linewidth=0, zorder=1)
    ax.plot(
        x, mean, color=look.colour, marker=look.marker, markerfacecolor=look.face, markersize=4,
        linestyle=look.line, linewidth=1.2, zorder=3,
    )  # fmt: skip


def _beside(count: int, places: Sequence[float]) -> list[float]:
    """By how much each curve stands beside its places."""
    step = 0.018 * (places[-1] - places[0])
    return [step * (number - (count - 1) / 2) for number in range(count)]


def _barred_line(ax: Any, places: Sequence[float], points: Sequence[Point | None], look: Style) -> None:
    """A line through the points that are there, each with its interval; a single seed has none."""
    known = _known(places, points)
    for x, _, low, high in known:
        if not math.isnan(low):
            ax.plot([x, x], [low, high], color=look.colour, linewidth=1.0, alpha=0.55, zorder=2.5)
    if known:
        x, mean, *_ = np.array(known).T
        ax.plot(
            x, mean, color=look.colour, marker=look.marker, markerfacecolor=look.face, markersize=4,
            linestyle=look.line, linewidth=1.1, zorder=3,
        )  # fmt: skip


def _grey_line(ax: Any, places: Sequence[float], points: Sequence[Point | None], name: str) -> None:
    """A thin line without a band; a wide one that nobody sees lies on it, so that a pointer meets it."""
    known = _known(places, points)
    if known:
        x, mean, *_ = np.array(known).T
        ax.plot(x, mean, color=OTHER.colour, linewidth=0.8, zorder=2)
        (wide,) = ax.plot(x, mean, color=OTHER.colour, linewidth=7, alpha=0.0, zorder=4)
        named(wide, name)
