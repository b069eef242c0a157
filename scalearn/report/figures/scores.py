"""Scores drawn against the trainable parameters of the transfer.

x   trainable parameters, log            y   score in %, average over targets, mean over seeds with its 95 % interval
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scalearn.report.figures.shown import SCORE, ascending, main_conditions
from scalearn.report.figures.style import styles
from scalearn.report.statistics import Cell, Comparison, rows_words
from tasksel.display.figures import INK, Style, short
from tasksel.display.layout import panels
from tasksel.display.picture import Picture


def parameters_picture(comparison: Comparison, name: str) -> Picture | None:
    """The average over targets against the trainable parameters of the transfer, one panel per size; None where no average is complete."""
    shown = _averages(comparison)
    if not shown:
        return None
    cells = [cell for group in shown.values() for cell in group]
    methods = [method for method in comparison.methods if any(cell.condition.method == method for cell in cells)]
    looks = styles(comparison.methods)
    drawn = panels(len(shown), height=2.6 if len(shown) == 1 else 2.0, labels=methods)
    ticks = _parameter_ticks([cell.transfer_parameters for cell in cells])
    of_method = [condition.method for condition in main_conditions(comparison)]
    numbered = {method for method in methods if 1 < of_method.count(method) <= 4}
    for ax, (size, group) in zip(drawn.axes, shown.items(), strict=True):
        _parameter_axis(ax, ticks, any(cell.transfer_parameters == 0 for cell in cells))
        ax.set_title(rows_words(size))
        for cell in group:
            _parameter_point(ax, cell, looks[cell.condition.method], ticks, cell.condition.method in numbered)
    drawn.name_axes("trainable parameters (log)", SCORE)
    drawn.legend(methods, [looks[method] for method in methods], lines=False)
    caption = "Average over targets against the parameters that the transfer trains for one target, its head not counted; lines are 95 % intervals over seeds."
    caption += " A small number beside a marker: how many sources." if numbered else ""
    return Picture(
        name, "Score against trainable parameters", _parameters_alt(comparison, shown), caption, drawn.figure
    )


def _averages(comparison: Comparison) -> dict[int | str, list[Cell]]:
    """The complete averages of each size that has any."""
    averages = {
        size: [
            cell
            for condition in main_conditions(comparison)
            if (cell := comparison.mean_cell(size, condition)) and cell.scores
        ]
        for size in ascending(comparison.sizes)
    }
    return {size: cells for size, cells in averages.items() if cells}


def _parameter_point(ax: Any, cell: Cell, look: Style, ticks: Sequence[int], numbered: bool) -> None:
    """A marker with its interval, and how many sources it takes."""
    x, mean, (low, high) = _parameter_place(cell.transfer_parameters, ticks), 100 * cell.mean, cell.interval
    if not math.isnan(low):
        ax.plot([x, x], [100 * low, 100 * high], color=look.colour, linewidth=0.9, alpha=0.6, zorder=2)
    ax.plot([x], [mean], color=look.colour, marker=look.marker, markerfacecolor=look.face, linestyle="", zorder=3)
    if numbered:
        mark = f"{cell.condition.k}{'+target' if cell.condition.include_target else ''}"
        ax.annotate(mark, (x, mean), xytext=(4, 0), textcoords="offset points", fontsize=6, va="center")


def _parameters_alt(comparison: Comparison, shown: dict[int | str, list[Cell]]) -> str:
    sentences = []
    for size, cells in shown.items():
        best, last = max(cells, key=lambda cell: cell.mean), min(cells, key=lambda cell: cell.mean)
        sentences.append(
            f"With {rows_words(size)}, the highest average is {100 * best.mean:.1f} by {comparison.label(best.condition)} "
            f"with {short(best.transfer_parameters)} trainable parameters; the lowest of {len(cells)} conditions is {100 * last.mean:.1f} "
            f"by {comparison.label(last.condition)} with {short(last.transfer_parameters)}."
        )
    return " ".join(sentences)


def _parameter_ticks(counts: Sequence[float]) -> list[int]:
    """Powers of ten around all counts, at most about seven."""
    trained = [count for count in counts if count > 0] or [1.0]
    low, high = math.floor(math.log10(min(trained))), math.ceil(math.log10(max(trained)))
    return list(range(low, max(high, low + 1) + 1))


def _parameter_place(count: float, ticks: Sequence[int]) -> float:
    """Nothing trained stands one power left of the first."""
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
