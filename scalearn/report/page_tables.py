"""The tables of the page: scores, sources alone, costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scalearn.comparison.condition import EACH
from scalearn.comparison.records import Row
from scalearn.report.cost_picture import bytes_words, seconds_words
from scalearn.report.markup import NONE, Html, el, fold, heading, line, scroll, value_cell
from scalearn.report.page_details import details_of, verdict_words
from scalearn.report.page_words import score
from scalearn.report.score_pictures import REFERENCE, ascending
from scalearn.report.statistics import AVERAGE, Cell, Comparison, Way, rows_words
from scalearn.report.tables import AGAINST, SAME, blocks_of, signed


def _ways(comparison: Comparison) -> list[Way]:
    """In the blocks of the paper's tables; sources alone stand in none."""
    return [way for _, ways in blocks_of(comparison) for way in ways]


# --- scores


def score_table(comparison: Comparison, size: int | str, ident: str) -> Html:
    """A line a way: the average, what it is over others, each target; a line opens what stands behind it."""
    columns = ([AVERAGE] if len(comparison.targets) > 1 else []) + comparison.targets
    others = [method for method in AGAINST if method in comparison.methods]
    holm = {(method, target): comparison.holm(size, method, target) for method in others for target in columns}
    marks = {target: _marks(comparison, size, target) for target in columns}
    rows: dict[Way, list[Row]] = {}
    for row in comparison.rows:
        if row.size == size:
            rows.setdefault(comparison.way(row), []).append(row)
    bodies = []
    for number, way in enumerate(way for way in _ways(comparison) if way in rows):
        part, label = f"{ident}-{number}", comparison.label(way)
        cells = [_score_cell(comparison.cell(target, size, way), marks[target]) for target in columns]
        cells[1:1] = [_over_cell(comparison, size, way, method) for method in others]
        learned = _average([cell.transfer_parameters for target in comparison.targets if (cell := comparison.cell(target, size, way))])  # fmt: skip
        cells.append(value_cell(learned, f"{learned:,.0f}"))
        name = el("th", fold(part, label), scope="row", data_sort=label)
        details = el(
            "td", el("div", details_of(comparison, size, rows[way], holm), class_="inner"), colspan=len(cells) + 1
        )
        bodies.append(el("tbody", line(name, *cells), line(details, class_="details", id=part)))
    head = el("thead", line(*_score_headings(comparison, size, columns, others)))
    caption = f"Scores with {rows_words(size)}"
    return scroll(el("table", el("caption", caption, class_="hidden"), head, *bodies, class_="main"), caption)


def _score_headings(
    comparison: Comparison, size: int | str, columns: Sequence[str], others: Sequence[str]
) -> list[Html]:
    """The first target (or the average), what it is over others, the rest."""
    named = [heading(target, _metric(comparison, size, target)) for target in columns]
    named[1:1] = [heading(f"over {method}", "points") for method in others]
    return [heading("way", first="up"), *named, heading("learned", "numbers", first="up")]


def _metric(comparison: Comparison, size: int | str, target: str) -> str:
    if target == AVERAGE:
        return f"over {len(comparison.targets)} targets"
    cells = [cell for way in _ways(comparison) if (cell := comparison.cell(target, size, way))]
    return cells[0].metric if cells else "not run"


def _marks(comparison: Comparison, size: int | str, target: str) -> tuple[float, float]:
    """The best and the second mean of a column; nan where there is none."""
    cells = [comparison.cell(target, size, way) if way else None for way in comparison.best(target, size)]
    best, second = (cell.mean if cell else math.nan for cell in cells)
    return best, second


def _score_cell(cell: Cell | None, marks: tuple[float, float]) -> Html:
    """Mean and interval. Best: bold, a star and a tint; second: underlined; both in words for who does not see it."""
    if cell is None:
        return value_cell(None)
    lost = el("small", f"{cell.diverged} diverged") if cell.diverged else None
    if not cell.scores:
        return value_cell(None, NONE, lost)
    low, high = cell.interval
    spread = el("small", f"{score(low)}–{score(high)}") if not math.isnan(low) else el("small", "one seed")
    shown: Html = el("span", score(cell.mean), class_="score")
    if abs(cell.mean - marks[0]) < SAME:
        star, words = el("span", "★ ", aria_hidden="true"), el("span", " best", class_="hidden")
        return value_cell(cell.mean, el("strong", star, shown, words), spread, lost, class_="best")
    if abs(cell.mean - marks[1]) < SAME:
        return value_cell(cell.mean, shown, el("span", " second", class_="hidden"), spread, lost, class_="second")
    return value_cell(cell.mean, shown, spread, lost)


def _over_cell(comparison: Comparison, size: int | str, way: Way, method: str) -> Html:
    target = None if len(comparison.targets) > 1 else comparison.targets[0]
    found = comparison.paired(size, way, method, target)
    if found is None:
        return value_cell(None)
    return value_cell(found.difference, signed(found.difference), el("small", verdict_words(found)))


# --- sources alone


def alone_table(comparison: Comparison, size: int | str, method: str) -> Html | None:
    """What each source gives alone: score, and points over single-adapter; None where none was run."""
    ways = [way for way in comparison.ways if way.by == EACH and way.method == method]
    ways = [way for way in ways if any(comparison.cell(target, size, way) for target in comparison.targets)]
    if not ways:
        return None
    body = []
    for way in ways:
        cells = []
        for target in comparison.targets:
            cell, over = comparison.cell(target, size, way), comparison.paired(size, way, REFERENCE, target)
            small = None if over is None else el("small", f"{signed(over.difference)} {verdict_words(over)}")
            cells.append(value_cell(None) if cell is None else value_cell(cell.mean, score(cell.mean), small))
        body.append(el("tbody", line(el("th", way.source, scope="row", data_sort=way.source), *cells)))
    head = el("thead", line(heading("source", first="up"), *(heading(target) for target in comparison.targets)))
    label = f"{method} from one source alone, with {rows_words(size)}"
    return scroll(el("table", el("caption", label, class_="hidden"), head, *body, class_="main"), label)


# --- costs


def costs_table(comparison: Comparison) -> Html:
    """Learned numbers, stored bytes, and for each size the seconds and the memory: means over the targets that are finished."""
    sizes = list(reversed(ascending(comparison.sizes)))
    bodies = []
    for way in _ways(comparison):
        by_size = {
            size: [cell for t in comparison.targets if (cell := comparison.cell(t, size, way))] for size in sizes
        }
        cells = [cell for found in by_size.values() for cell in found]
        numbers = [
            value_cell(learned := _average([cell.transfer_parameters for cell in cells]), f"{learned:,.0f}"),
            value_cell(head := _average([cell.head_parameters for cell in cells]), f"{head:,.0f}"),
            _cost([cell.bytes for cell in cells], bytes_words),
        ]
        for found in by_size.values():
            numbers.append(_cost([cell.seconds for cell in found], seconds_words))
            numbers.append(_cost([cell.peak_memory for cell in found], bytes_words))
        name = el("th", comparison.label(way), scope="row", data_sort=comparison.label(way))
        bodies.append(el("tbody", line(name, *numbers)))
    names = [heading("way", first="up"), heading("learned", "numbers", first="up")]
    names += [
        heading("head", "numbers", first="up"),
        heading("stored", "a target", first="up"),
    ]
    for size in sizes:
        names.append(heading("seconds", f"a seed, {rows_words(size)}", first="up"))
        names.append(heading("peak memory", rows_words(size), first="up"))
    caption = el("caption", "What each way costs", class_="hidden")
    return scroll(el("table", caption, el("thead", line(*names)), *bodies, class_="main"), "What each way costs")


def _average(values: Sequence[float | None]) -> float:
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else math.nan


def _cost(values: Sequence[float | None], words: Any) -> Html:
    mean = _average(values)
    return value_cell(None) if math.isnan(mean) else value_cell(mean, words(mean))
