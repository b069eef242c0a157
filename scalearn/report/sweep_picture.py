"""Scores over the number of sources: is more of them better?

x   sources            y   score in %, average over targets, mean over seeds with its 95 % interval            a line a method and way of choosing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scalearn.comparison.condition import ALL
from scalearn.report.drawing import DOTS, INK, STYLES, Picture, Style, panels, styles
from scalearn.report.score_pictures import REFERENCE, SCORE, ascending, curve, main_ways, percent
from scalearn.report.statistics import Cell, Comparison, Way, rows_words

DASHES: tuple[Any, ...] = ("-", "--", "-.", DOTS, (0, (6, 2, 1, 2, 1, 2)))
WITH_OWN = " with own"


def sweep_picture(comparison: Comparison, name: str) -> Picture | None:
    """The average over how many sources are taken, a panel a size; None where no way of choosing was run with two numbers of them."""
    lines = _sweep_lines(comparison)
    shown = {}
    for size in ascending(comparison.sizes):
        cells = {line: [comparison.mean_cell(size, way) for way in ways] for line, ways in lines.items()}
        if any(sum(cell is not None and bool(cell.scores) for cell in found) > 1 for found in cells.values()):
            shown[size] = cells
    if not shown:
        return None
    looks, dashes = styles(comparison.methods), _dashes([choice for _, choice in lines])
    methods, several = list(dict.fromkeys(method for method, _ in lines)), len(dashes) > 1
    labels = [*methods, *(f"by {choice}" for choice in dashes if several)]
    marks = [replace(looks[method], line="-") for method in methods]
    marks += [Style(INK, "", dash) for dash in dashes.values() if several]
    drawn = panels(len(shown), height=2.6 if len(shown) == 1 else 1.9, labels=labels)
    for ax, (size, cells) in zip(drawn.axes, shown.items(), strict=True):
        for (method, choice), ways in lines.items():
            look = replace(looks[method], line=dashes[choice])
            curve(ax, [way.k for way in ways], [percent(cell) for cell in cells[method, choice]], look)
        _reference(ax, comparison, size)
        ax.set_xticks(sorted({way.k for ways in lines.values() for way in ways}))
        ax.set_title(rows_words(size))
    drawn.name_axes("sources", SCORE)
    drawn.legend(labels, marks)
    caption = (
        "Average over targets, over the number of sources taken; bands are 95 % intervals over seeds. A line ends with all sources "
        f"where that was run. Chosen by {', '.join(dashes)}. The dashed level is {REFERENCE}, which takes none."
    )
    return Picture(name, "Score over the number of sources", _sweep_alt(lines, shown), caption, drawn.figure)


Line = tuple[str, str]


def _sweep_lines(comparison: Comparison) -> dict[Line, list[Way]]:
    """Method and way of choosing -> its ways by k, all sources last; only those with two numbers or more."""
    lines: dict[Line, list[Way]] = {}
    ways = main_ways(comparison)
    for way in ways:
        if way.by not in (None, ALL):
            lines.setdefault((way.method, f"{way.by}{WITH_OWN if way.own else ''}"), []).append(way)
    for way in ways:
        if way.by == ALL:
            for (method, choice), found in lines.items():
                alike = method == way.method and choice.endswith(WITH_OWN) == way.own
                if alike and way.k > max(one.k for one in found):
                    found.append(way)
    return {line: sorted(found, key=lambda way: way.k) for line, found in lines.items() if len(found) > 1}


def _dashes(choices: Sequence[str]) -> dict[str, Any]:
    """A line for each way of choosing."""
    return {choice: DASHES[place % len(DASHES)] for place, choice in enumerate(dict.fromkeys(choices))}


def _reference(ax: Any, comparison: Comparison, size: int | str) -> None:
    for way in main_ways(comparison):
        cell = comparison.mean_cell(size, way) if way.method == REFERENCE else None
        if cell is not None and cell.scores:
            ax.axhline(100 * cell.mean, color=STYLES[REFERENCE].colour, linestyle=(0, (5, 3)), linewidth=0.9, zorder=2)


def _sweep_alt(lines: dict[Line, list[Way]], shown: dict[int | str, dict[Line, list[Cell | None]]]) -> str:
    told = []
    for size, cells in shown.items():
        known = [
            (cell.mean, way.k, line)
            for line, ways in lines.items()
            for way, cell in zip(ways, cells[line], strict=True)
            if cell is not None and cell.scores
        ]
        mean, k, (method, choice) = max(known)
        told.append(f"with {rows_words(size)} the highest is {100 * mean:.1f} by {method} from {k} by {choice}")
    return f"Average score over the number of sources, {len(lines)} lines: {'; '.join(told)}."
