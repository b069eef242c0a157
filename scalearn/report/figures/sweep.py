"""Scores over the number of sources: is more of them better?

x   sources            y   score in %, average over targets, mean over seeds with its 95 % interval            one line per method and selector
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scalearn.comparison.condition import ALL
from scalearn.report.figures.curves import curve
from scalearn.report.figures.shown import REFERENCE, SCORE, ascending, main_conditions, percent
from scalearn.report.figures.style import STYLES, styles
from scalearn.report.statistics import Cell, Comparison, Condition, rows_words
from tasksel.display.figures import DOTS, INK, Style
from tasksel.display.layout import panels
from tasksel.display.picture import Picture

DASHES: tuple[Any, ...] = ("-", "--", "-.", DOTS, (0, (6, 2, 1, 2, 1, 2)))
WITH_TARGET = " with target adapter"


def sweep_picture(comparison: Comparison, name: str) -> Picture | None:
    """The average over how many sources are taken, one panel per size; None where no selector was run with two numbers of them."""
    lines = _sweep_lines(comparison)
    shown = {}
    for size in ascending(comparison.sizes):
        cells = {
            line: [comparison.mean_cell(size, condition) for condition in conditions]
            for line, conditions in lines.items()
        }
        if any(sum(cell is not None and bool(cell.scores) for cell in line_cells) > 1 for line_cells in cells.values()):
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
        for (method, choice), conditions in lines.items():
            look = replace(looks[method], line=dashes[choice])
            curve(
                ax, [condition.k for condition in conditions], [percent(cell) for cell in cells[method, choice]], look
            )
        _reference(ax, comparison, size)
        ax.set_xticks(sorted({condition.k for conditions in lines.values() for condition in conditions}))
        ax.set_title(rows_words(size))
    drawn.name_axes("sources", SCORE)
    drawn.legend(labels, marks)
    caption = (
        "Average over targets, over the number of sources taken; bands are 95 % intervals over seeds. A line ends with all sources "
        f"where that was run. Chosen by {', '.join(dashes)}. The dashed level is {REFERENCE}, which takes none."
    )
    return Picture(name, "Score over the number of sources", _sweep_alt(lines, shown), caption, drawn.figure)


Line = tuple[str, str]


def _sweep_lines(comparison: Comparison) -> dict[Line, list[Condition]]:
    """Method and selector -> its conditions by k, all sources last; only those with two numbers or more."""
    lines: dict[Line, list[Condition]] = {}
    conditions = main_conditions(comparison)
    for condition in conditions:
        if condition.by not in (None, ALL):
            lines.setdefault(
                (condition.method, f"{condition.by}{WITH_TARGET if condition.include_target else ''}"), []
            ).append(condition)
    for condition in conditions:
        if condition.by == ALL:
            for (method, choice), members in lines.items():
                alike = method == condition.method and choice.endswith(WITH_TARGET) == condition.include_target
                if alike and condition.k > max(member.k for member in members):
                    members.append(condition)
    return {
        line: sorted(members, key=lambda condition: condition.k) for line, members in lines.items() if len(members) > 1
    }


def _dashes(choices: Sequence[str]) -> dict[str, Any]:
    """A line for each selector."""
    return {choice: DASHES[place % len(DASHES)] for place, choice in enumerate(dict.fromkeys(choices))}


def _reference(ax: Any, comparison: Comparison, size: int | str) -> None:
    for condition in main_conditions(comparison):
        cell = comparison.mean_cell(size, condition) if condition.method == REFERENCE else None
        if cell is not None and cell.scores:
            ax.axhline(100 * cell.mean, color=STYLES[REFERENCE].colour, linestyle=(0, (5, 3)), linewidth=0.9, zorder=2)


def _sweep_alt(lines: dict[Line, list[Condition]], shown: dict[int | str, dict[Line, list[Cell | None]]]) -> str:
    sentences = []
    for size, cells in shown.items():
        known = [
            (cell.mean, condition.k, line)
            for line, conditions in lines.items()
            for condition, cell in zip(conditions, cells[line], strict=True)
            if cell is not None and cell.scores
        ]
        mean, k, (method, choice) = max(known)
        sentences.append(f"with {rows_words(size)} the highest is {100 * mean:.1f} by {method} from {k} by {choice}")
    return f"Average score over the number of sources, {len(lines)} lines: {'; '.join(sentences)}."
