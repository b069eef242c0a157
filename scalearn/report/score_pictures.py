"""Scores drawn against learned numbers and over training rows.

x   learned numbers or training rows, log            y   score in %, or points over single-adapter; mean over seeds with its 95 % interval

Where a method was run in several ways, the ones with most sources and without the target's own stand for it in the curves: a rule
that looks at no score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scalearn.comparison.condition import ALL, EACH, FULL
from scalearn.report.drawing import (
    INK,
    STYLES,
    Picture,
    Style,
    panels,
    short,
    styles,
)
from scalearn.report.statistics import AVERAGE, Cell, Comparison, Way, rows_words

SCORE = "score, %"
REFERENCE = "single-adapter"


def ascending(sizes: Sequence[int | str]) -> list[int | str]:
    """Sizes by their number of rows, "full" last."""
    return sorted(sizes, key=lambda size: (size == FULL, size if isinstance(size, int) else 0))


def main_ways(comparison: Comparison) -> list[Way]:
    """All ways but those of one source alone."""
    return [way for way in comparison.ways if way.by != EACH]


def standing_ways(comparison: Comparison) -> list[Way]:
    """One way a method: without the target's own source if it has such a one, of those the one with most sources, of those all of them."""
    chosen: dict[str, Way] = {}
    for way in main_ways(comparison):
        held = chosen.get(way.method)
        if held is None or (not way.own, way.k, way.by == ALL) > (not held.own, held.k, held.by == ALL):
            chosen[way.method] = way
    return list(chosen.values())


def standing_words(ways: Sequence[Way], comparison: Comparison) -> str:
    """Which way stands for each method that was run in several; nothing where each was run in one."""
    several = [way for way in ways if sum(other.method == way.method for other in main_ways(comparison)) > 1]
    if not several:
        return ""
    groups: dict[str, list[str]] = {}
    for way in several:
        chosen = f"all {way.k} sources" if way.by == ALL else f"{way.k} source{'s' if way.k > 1 else ''} by {way.by}"
        groups.setdefault(chosen + (" with the target's own" if way.own else ""), []).append(way.method)
    told = "; ".join(f"{', '.join(methods)} from {chosen}" for chosen, methods in groups.items())
    return f" Of methods that were run in several ways, the one with most sources is drawn: {told}."


# --- score against learned numbers


def parameters_picture(comparison: Comparison, name: str) -> Picture | None:
    """The average over targets against what the transfer learns, a panel a size; None where no average is complete."""
    shown = {
        size: [
            cell
            for way in main_ways(comparison)
            if (cell := comparison.mean_cell(size, way)) is not None and cell.scores
        ]
        for size in ascending(comparison.sizes)
    }
    shown = {size: cells for size, cells in shown.items() if cells}
    if not shown:
        return None
    cells = [cell for group in shown.values() for cell in group]
    labels = [method for method in comparison.methods if any(cell.way.method == method for cell in cells)]
    looks = styles(comparison.methods)
    drawn = panels(len(shown), height=2.6 if len(shown) == 1 else 2.0, labels=labels)
    ticks = _parameter_ticks([cell.transfer_parameters for cell in cells])
    several = {method for method in labels if 1 < sum(way.method == method for way in main_ways(comparison)) <= 4}
    for ax, (size, group) in zip(drawn.axes, shown.items(), strict=True):
        _parameter_axis(ax, ticks, any(cell.transfer_parameters == 0 for cell in cells))
        ax.set_title(rows_words(size))
        for cell in group:
            _parameter_point(ax, cell, looks[cell.way.method], ticks, cell.way.method in several)
    drawn.name_axes("learned numbers (log)", SCORE)
    drawn.legend(labels, [looks[method] for method in labels], lines=False)
    caption = "Average over targets against the numbers that the transfer learns for a target, its head not counted; lines are 95 % intervals over seeds."
    caption += " A small number beside a marker is how many sources the way takes." if several else ""
    return Picture(name, "Score against learned numbers", _parameters_alt(comparison, shown), caption, drawn.figure)


def _parameter_point(ax: Any, cell: Cell, look: Style, ticks: Sequence[int], numbered: bool) -> None:
    """A marker with its interval, and how many sources it takes."""
    x, mean, (low, high) = _parameter_place(cell.transfer_parameters, ticks), 100 * cell.mean, cell.interval
    if not math.isnan(low):
        ax.plot([x, x], [100 * low, 100 * high], color=look.colour, linewidth=0.9, alpha=0.6, zorder=2)
    ax.plot([x], [mean], color=look.colour, marker=look.marker, markerfacecolor=look.face, linestyle="", zorder=3)
    if numbered:
        mark = f"{cell.way.k}{'+own' if cell.way.own else ''}"
        ax.annotate(mark, (x, mean), xytext=(4, 0), textcoords="offset points", fontsize=6, va="center")


def _parameters_alt(comparison: Comparison, shown: dict[int | str, list[Cell]]) -> str:
    told = []
    for size, cells in shown.items():
        best, last = max(cells, key=lambda cell: cell.mean), min(cells, key=lambda cell: cell.mean)
        told.append(
            f"With {rows_words(size)}, the highest average is {100 * best.mean:.1f} by {comparison.label(best.way)} "
            f"with {short(best.transfer_parameters)} learned numbers; the lowest of {len(cells)} ways is {100 * last.mean:.1f} "
            f"by {comparison.label(last.way)} with {short(last.transfer_parameters)}."
        )
    return " ".join(told)


def _parameter_ticks(counts: Sequence[float]) -> list[int]:
    """Powers of ten around all counts, at most about seven."""
    learned = [count for count in counts if count > 0] or [1.0]
    low, high = math.floor(math.log10(min(learned))), math.ceil(math.log10(max(learned)))
    return list(range(low, max(high, low + 1) + 1))


def _parameter_place(count: float, ticks: Sequence[int]) -> float:
    """Nothing learned stands one power left of the first."""
    return math.log10(count) if count > 0 else ticks[0] - 1


def _parameter_axis(ax: Any, ticks: Sequence[int], zero: bool) -> None:
    step = 1 if len(ticks) <= 4 else 2
    places = [float(tick) for tick in ticks[::step]]
    names = [short(10.0**tick) for tick in ticks[::step]]
    if zero:
        ax.axvline(ticks[0] - 0.5, color=INK, linestyle=(0, (2, 2)), linewidth=0.7)
        places, names = [ticks[0] - 1.0, *places], ["none", *names]
    ax.set_xticks(places, names)
    ax.set_xlim((ticks[0] - 1.4) if zero else ticks[0] - 0.1, ticks[-1] + 0.3)


# --- score over rows


def few_shot_picture(comparison: Comparison, name: str) -> Picture | None:
    """Score over training rows, a panel a target and one for the average; None for a single size."""
    ways = standing_ways(comparison)
    drawn = _over_rows(comparison, ways, lambda target, size, way: percent(comparison.cell(target, size, way)), SCORE)
    if drawn is None:
        return None
    figure, told, first = drawn
    of = "on average" if first == AVERAGE else f"on {first}"
    alt = f"Few-shot curves of {len(ways)} methods. Highest {of}: {'; '.join(told)}."
    caption = "Score over training rows, mean over seeds; bands are 95 % intervals over seeds."
    return Picture(name, "Score over training rows", alt, caption + standing_words(ways, comparison), figure)


def lead_picture(comparison: Comparison, name: str) -> Picture | None:
    """Points over the reference, over training rows, a panel a target and one for the average; None for a single size or without it."""
    ways = [way for way in standing_ways(comparison) if way.method != REFERENCE]

    def lead(target: str, size: int | str, way: Way) -> Point | None:
        found = comparison.paired(size, way, REFERENCE, target)
        return None if found is None else (100 * found.difference, 100 * found.low, 100 * found.high)

    drawn = _over_rows(comparison, ways, lead, f"points over {REFERENCE}")
    if drawn is None:
        return None
    figure, told, first = drawn
    for ax in figure.axes:
        if ax.axison:
            ax.axhline(0, color=STYLES[REFERENCE].colour, linewidth=1.0, zorder=2)
    of = "on average" if first == AVERAGE else f"on {first}"
    alt = f"Lead of {len(ways)} methods over {REFERENCE}, in points. Largest {of}: {'; '.join(told)}."
    caption = (
        f"What each method has over {REFERENCE} (the line at 0), seed by seed; bands are 95 % intervals of the paired difference. "
        "Where a band holds 0, the difference is no more than the noise between seeds."
    )
    title = f"Lead over {REFERENCE}"
    return Picture(name, title, alt, caption + standing_words(ways, comparison), figure)


def _over_rows(
    comparison: Comparison, ways: Sequence[Way], point: Callable[[str, int | str, Way], Point | None], words: str
) -> tuple[Any, list[str], str] | None:
    """Curves over the sizes: the figure, the highest at each size of the first panel in words, and that panel's name."""
    sizes = ascending(comparison.sizes)
    targets = [AVERAGE, *comparison.targets] if len(comparison.targets) > 1 else list(comparison.targets)
    curves = {target: {way: [point(target, size, way) for size in sizes] for way in ways} for target in targets}
    targets = [target for target in targets if any(one for line in curves[target].values() for one in line)]
    if len(sizes) < 2 or not targets:
        return None
    labels, looks = [way.method for way in ways], styles(comparison.methods)
    drawn = panels(len(targets), height=1.75, labels=labels)
    places = _size_places(sizes)
    for ax, target in zip(drawn.axes, targets, strict=True):
        for way in ways:
            curve(ax, places, curves[target][way], looks[way.method])
        _size_axis(ax, sizes, places)
        ax.set_title(target)
    drawn.name_axes("training rows (log)", words)
    drawn.legend(labels, [looks[way.method] for way in ways])
    told = []
    for place, size in enumerate(sizes):
        found = [(one[0], way.method) for way, line in curves[targets[0]].items() if (one := line[place]) is not None]
        if found:
            mean, method = max(found)
            told.append(f"{method} with {mean:.1f} at {rows_words(size)}")
    return drawn.figure, told, targets[0]


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


Point = tuple[float, float, float]


def percent(cell: Cell | None) -> Point | None:
    """Mean, low and high in %, low and high nan for one seed; None where there is no score."""
    if cell is None or not cell.scores:
        return None
    low, high = cell.interval
    return 100 * cell.mean, 100 * low, 100 * high


def curve(ax: Any, places: Sequence[float], points: Sequence[Point | None], look: Style) -> None:
    """A line with its band through the points that are there; where a seed is alone there is no band."""
    known = [(x, *point) for x, point in zip(places, points, strict=True) if point is not None]
    if not known:
        return
    x, mean, low, high = np.array(known).T
    ax.fill_between(x, low, high, color=look.colour, alpha=0.10, linewidth=0, zorder=1)
    ax.plot(
        x, mean, color=look.colour, marker=look.marker, markerfacecolor=look.face, markersize=4,
        linestyle=look.line, linewidth=1.1, zorder=3,
    )  # fmt: skip
