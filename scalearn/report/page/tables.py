"""The tables of the page: scores, sources alone, costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scalearn.comparison.condition import EACH
from scalearn.comparison.records import UnitRecord
from scalearn.report import statistics
from scalearn.report.figures.cost import bytes_words, seconds_words
from scalearn.report.figures.shown import REFERENCE, ascending
from scalearn.report.page.details import details_of, verdict_words
from scalearn.report.page.sentences import score
from scalearn.report.page.table import Cell, Heading, Line, Table
from scalearn.report.statistics import AVERAGE, Comparison, Condition, rows_words
from scalearn.report.tables import AGAINST, SAME, blocks_of, signed

CONDITION = Heading("condition", first="up")
PARAMETERS = Heading("parameters", "trainable", first="up")


def _conditions(comparison: Comparison) -> list[Condition]:
    """In the blocks of the paper's tables; sources alone stand in none."""
    return [condition for _, conditions in blocks_of(comparison) for condition in conditions]


# --- scores


def score_table(comparison: Comparison, size: int | str, ident: str) -> Table:
    """One line per condition: the average, its gains, each target; a line opens its details."""
    columns = ([AVERAGE] if len(comparison.targets) > 1 else []) + comparison.targets
    others = [method for method in AGAINST if method in comparison.methods]
    holm = {(method, target): comparison.holm(size, method, target) for method in others for target in columns}
    marks = {target: _marks(comparison, size, target) for target in columns}
    rows: dict[Condition, list[UnitRecord]] = {}
    for row in comparison.rows:
        if row.size == size:
            rows.setdefault(comparison.condition(row), []).append(row)
    lines = []
    for number, condition in enumerate(condition for condition in _conditions(comparison) if condition in rows):
        cells = [_score_cell(comparison.cell(target, size, condition), marks[target]) for target in columns]
        cells[1:1] = [_gain_cell(comparison, size, condition, method) for method in others]
        of_targets = [cell for target in comparison.targets if (cell := comparison.cell(target, size, condition))]
        cells.append(_number([cell.transfer_parameters for cell in of_targets]))
        details = details_of(comparison, size, rows[condition], holm)
        lines.append(Line(comparison.label(condition), tuple(cells), f"{ident}-{number}", details))
    headings = [Heading(target, _metric(comparison, size, target)) for target in columns]
    headings[1:1] = [Heading(f"gain over {method}", "points") for method in others]
    return Table(f"Scores with {rows_words(size)}", (CONDITION, *headings, PARAMETERS), tuple(lines))


def _metric(comparison: Comparison, size: int | str, target: str) -> str:
    if target == AVERAGE:
        return f"over {len(comparison.targets)} targets"
    cells = [cell for condition in _conditions(comparison) if (cell := comparison.cell(target, size, condition))]
    return cells[0].metric.replace("_", " ") if cells else "not run"


def _marks(comparison: Comparison, size: int | str, target: str) -> tuple[float, float]:
    """The best and the second mean of a column; nan where there is none."""
    cells = [
        comparison.cell(target, size, condition) if condition else None for condition in comparison.best(target, size)
    ]
    best, second = (cell.mean if cell else math.nan for cell in cells)
    return best, second


def _score_cell(cell: statistics.Cell | None, marks: tuple[float, float]) -> Cell:
    """Mean and interval, marked where it is the best or the second."""
    if cell is None:
        return Cell()
    lost = (f"{cell.diverged} diverged",) if cell.diverged else ()
    if not cell.scores:
        return Cell(small=lost)
    low, high = cell.interval
    small = (f"{score(low)}–{score(high)}" if not math.isnan(low) else "one seed", *lost)
    best, second = (abs(cell.mean - mark) < SAME for mark in marks)
    return Cell(score(cell.mean), cell.mean, small, "best" if best else "second" if second else "")


def _gain_cell(comparison: Comparison, size: int | str, condition: Condition, method: str) -> Cell:
    target = None if len(comparison.targets) > 1 else comparison.targets[0]
    paired = comparison.paired(size, condition, method, target)
    return Cell() if paired is None else Cell(signed(paired.difference), paired.difference, (verdict_words(paired),))


# --- sources alone


def alone_table(comparison: Comparison, size: int | str, method: str) -> Table | None:
    """Transfer from each source alone: score, and gain over single-adapter; None where none was run."""
    conditions = [
        condition for condition in comparison.conditions if condition.by == EACH and condition.method == method
    ]
    conditions = [
        condition for condition in conditions if any(comparison.cell(t, size, condition) for t in comparison.targets)
    ]
    if not conditions:
        return None
    lines = []
    for condition in conditions:
        cells = []
        for target in comparison.targets:
            cell, paired = (
                comparison.cell(target, size, condition),
                comparison.paired(size, condition, REFERENCE, target),
            )
            small = () if paired is None else (f"{signed(paired.difference)} {verdict_words(paired)}",)
            cells.append(Cell() if cell is None else Cell(score(cell.mean), cell.mean, small))
        lines.append(Line(str(condition.source), tuple(cells)))
    headings = (Heading("source", first="up"), *map(Heading, comparison.targets))
    return Table(f"{method} from one source alone, with {rows_words(size)}", headings, tuple(lines))


# --- costs


def costs_table(comparison: Comparison) -> Table:
    """Trainable parameters, stored bytes, and for each size the time and the memory: means over the targets that are finished."""
    sizes = list(reversed(ascending(comparison.sizes)))
    lines = []
    for condition in _conditions(comparison):
        of_size = {
            size: [cell for t in comparison.targets if (cell := comparison.cell(t, size, condition))] for size in sizes
        }
        all_cells = [cell for cells in of_size.values() for cell in cells]
        numbers = [
            _number([cell.transfer_parameters for cell in all_cells]),
            _number([cell.head_parameters for cell in all_cells]),
            _number([cell.bytes for cell in all_cells], bytes_words),
        ]
        for cells in of_size.values():
            numbers.append(_number([cell.seconds for cell in cells], seconds_words))
            numbers.append(_number([cell.peak_memory for cell in cells], bytes_words))
        lines.append(Line(comparison.label(condition), tuple(numbers)))
    headings = [
        CONDITION,
        PARAMETERS,
        Heading("head", "parameters", first="up"),
        Heading("stored", "per target", first="up"),
    ]
    for size in sizes:
        headings.append(Heading("time", f"per seed, {rows_words(size)}", first="up"))
        headings.append(Heading("peak memory", rows_words(size), first="up"))
    return Table("What each condition costs", tuple(headings), tuple(lines))


def _number(values: Sequence[float | None], words: Callable[[float], str] = "{:,.0f}".format) -> Cell:
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else math.nan
    return Cell(words(mean), mean) if known else Cell()
