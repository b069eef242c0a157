"""The tables of a comparison: scores, gains with a paired test, costs, and the scores from each source alone.

Lines are conditions, in the three blocks of the ScaLearn paper's tables (arXiv:2310.01217): without sources, with sources, ScaLearn's own scalings.
Columns are targets. Scores are in percent; what is not finished is named, never left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.text import Text

from scalearn.comparison.records import RankingRecord
from scalearn.methods.registry import METHODS, PEFT_MERGES
from scalearn.report.statistics import AVERAGE, EACH, Cell, Comparison, Condition, rows_words
from tasksel.display.tables import NOTHING, Block, Item, Mark, Sheet, Terminal, items, listed

BLOCKS = ("without sources", "with sources", "ScaLearn")
AGAINST = ("closed-form-base", "single-adapter", "fusion")
SAME = 1e-12  # means closer than this are the same


def block_of(condition: Condition) -> int:
    """The index in BLOCKS of a condition. ScaLearn's are the mixes whose omega is trained by gradient descent."""
    method = METHODS.get(condition.method) or PEFT_MERGES.get(condition.method)
    if method is None:  # an older version's
        return int(condition.by is not None)
    if not method.takes_sources:
        return 0
    return 2 if method.learns_omega else 1


def blocks_of(comparison: Comparison) -> Iterator[tuple[str, list[Condition]]]:
    """The blocks that are not empty, each with its conditions; runs from each source alone are in none."""
    for number, name in enumerate(BLOCKS):
        conditions = [
            condition for condition in comparison.conditions if condition.by != EACH and block_of(condition) == number
        ]
        if conditions:
            yield name, conditions


def score(cell: Cell | None, seeds: int) -> str:
    """Mean and standard deviation in percent; the number of seeds where it is not the planned one.

    A cell with one seed has no spread.
    """
    if cell is None:
        return NOTHING
    if not cell.scores:
        return "diverged"
    spread = f" ± {100 * cell.std:.1f}" if len(cell.scores) > 1 else ""
    fewer = f" [{len(cell.scores)}]" if len(cell.scores) != seeds else ""
    return f"{100 * cell.mean:.1f}{spread}{fewer}"


def main_sheet(comparison: Comparison, size: int | str) -> Sheet:
    """Each condition on each target with one number of rows, their average, and the trainable parameters of the transfer."""
    columns = [*comparison.targets, *([AVERAGE] if len(comparison.targets) > 1 else [])]
    seeds = {target: len(comparison.seeds(target)) for target in columns}
    marks = {target: _marks(comparison, target, size) for target in columns}
    blocks = []
    for name, conditions in blocks_of(comparison):
        lines = []
        for condition in conditions:
            cells = [comparison.cell(target, size, condition) for target in columns]
            scores = [
                Item(score(cell, seeds[target]), marks[target].get(condition, ""))
                for target, cell in zip(columns, cells, strict=True)
            ]
            lines.append(items(comparison.label(condition), *scores, _trainable(comparison, size, condition)))
        blocks.append(Block(name, tuple(lines)))
    metrics = _metrics(comparison, size)
    head = [f"{target}\n{metrics[target]}".strip() for target in comparison.targets] + columns[
        len(comparison.targets) :
    ]
    return Sheet(
        f"main-{size}",
        f"Scores in %, {rows_words(size)}",
        ("condition", *head, "trainable\nparameters"),
        tuple(blocks),
        (*legend(comparison), *_main_notes(comparison, size)),
    )


def _marks(comparison: Comparison, target: str, size: int | str) -> dict[Condition, Mark]:
    """The best and the second of a column, with those that have the very same mean."""
    conditions = [condition for condition in comparison.conditions if condition.by != EACH]
    means = {
        condition: cell.mean
        for condition in conditions
        if (cell := comparison.cell(target, size, condition)) and cell.scores
    }
    by_condition: dict[Condition, Mark] = {}
    marks: tuple[Mark, Mark] = ("second", "best")  # the best last, so that it stays where both have the same mean
    for best, mark in zip(reversed(comparison.best(target, size)), marks, strict=True):
        if best is not None:
            by_condition |= {condition: mark for condition, mean in means.items() if abs(mean - means[best]) < SAME}
    return by_condition


def _trainable(comparison: Comparison, size: int | str, condition: Condition) -> str:
    """Trainable parameters of the transfer without its head, a mean over the targets that are there."""
    cells = _finished_cells(comparison, size, condition)
    return f"{sum(cell.transfer_parameters for cell in cells) / len(cells):,.0f}" if cells else NOTHING


def _finished_cells(comparison: Comparison, size: int | str, condition: Condition) -> list[Cell]:
    return [cell for target in comparison.targets if (cell := comparison.cell(target, size, condition))]


def _metrics(comparison: Comparison, size: int | str) -> dict[str, str]:
    """Each target's metric; nothing of a target without a row."""
    metrics = {row.target: row.metric.replace("_", " ") for row in comparison.rows}
    return {target: metrics.get(target, "") for target in comparison.targets}


def legend(comparison: Comparison) -> Iterator[str]:
    """How a main table is read, whatever its number of rows."""
    seeds = {target: tuple(comparison.seeds(target)) for target in comparison.targets}
    words = "; ".join(
        ", ".join(map(str, numbers)) + (f" for {', '.join(same)}" if len(same) < len(seeds) else "")
        for numbers in dict.fromkeys(seeds.values())
        if (same := [target for target in seeds if seeds[target] == numbers])
    )
    if any(len(numbers) > 1 for numbers in seeds.values()):
        yield f"Mean ± standard deviation over seeds ({words})"
    else:
        yield f"One seed ({words}): no spread is known"
    yield "Best of a column bold, second underlined; [n]: n seeds only; trainable parameters: of the transfer, without its head"
    if len(seeds) > 1:
        yield f"average: over the {len(seeds)} targets seed by seed, ± is the spread of those averages"


def _main_notes(comparison: Comparison, size: int | str) -> Iterator[str]:
    yield f"Rows trained on / scored: {'; '.join(_counts(comparison, size))}"
    yield from _gaps(comparison, size)


def _counts(comparison: Comparison, size: int | str) -> Iterator[str]:
    for target in comparison.targets:
        cells = [cell for condition in comparison.conditions if (cell := comparison.cell(target, size, condition))]
        if cells:
            yield f"{target} {max(cell.rows for cell in cells):,} / {max(cell.test_rows for cell in cells):,}"


def _gaps(comparison: Comparison, size: int | str) -> Iterator[str]:
    """What is not finished and what diverged, by condition and target."""
    missing, diverged = [], []
    for _, conditions in blocks_of(comparison):
        for condition in conditions:
            for target in comparison.targets:
                cell, planned = comparison.cell(target, size, condition), len(comparison.seeds(target))
                done = len(cell.scores) + cell.diverged if cell else 0
                if done < planned:
                    missing.append(f"{comparison.label(condition)} on {target} ({done} of {planned} seeds)")
                if cell and cell.diverged:
                    diverged.append(f"{comparison.label(condition)} on {target} ({cell.diverged} of {done} seeds)")
    if missing:
        yield f"{NOTHING} Not finished: {listed(missing)}"
    if diverged:
        yield f"Diverged, and left out of means: {listed(diverged)}"


def paired_sheet(comparison: Comparison, size: int | str) -> Sheet | None:
    """The gain of each condition over a new adapter and over AdapterFusion; None where neither was run."""
    others = [name for name in AGAINST if name in comparison.methods]
    if not others:
        return None
    holm = {name: comparison.holm(size, name) for name in others}
    blocks = []
    for name, conditions in blocks_of(comparison):
        lines = [
            items(comparison.label(condition), *(part for other in others for part in _against(comparison, size, condition, other, holm[other])))
            for condition in conditions
        ]  # fmt: skip
        blocks.append(Block(name, tuple(lines)))
    head = [part for name in others for part in (f"gain over\n{name}", "p", "p\n(Holm)", "w / t / l")]
    notes = (
        "Gain: difference of the averages over targets, in points of percent, seed by seed, with its 95 % t interval",
        "p: paired t test over seeds, two-sided, not corrected for the number of comparisons; p (Holm): corrected for all conditions in this column. "
        "With few seeds only large differences are found",
        "w / t / l: targets won, tied and lost; won: the 95 % interval of the difference on that target lies above 0; not corrected either",
        "The other condition has the same choice of sources, or is the only one of its method",
    )
    return Sheet(f"paired-{size}", f"Gains, {rows_words(size)}", ("condition", *head), tuple(blocks), notes)


def _against(
    comparison: Comparison, size: int | str, condition: Condition, other: str, holm: dict[Condition, float]
) -> tuple[str, str, str, str]:
    """Gain with its interval, p, corrected p, and the targets won, tied and lost."""
    paired = comparison.paired(size, condition, other)
    single = [comparison.paired(size, condition, other, target) for target in comparison.targets]
    verdicts = [pair.verdict for pair in single if pair is not None]
    counts = " / ".join(str(verdicts.count(name)) for name in ("win", "tie", "loss")) if verdicts else NOTHING
    if paired is None:
        return NOTHING, NOTHING, NOTHING, counts
    interval = "" if math.isnan(paired.low) else f" [{signed(paired.low)}, {signed(paired.high)}]"
    corrected = probability(holm[condition]) if condition in holm else NOTHING
    return f"{signed(paired.difference)}{interval}", probability(paired.p), corrected, counts


def signed(fraction: float) -> str:
    """Points of percent with their sign.

    >>> signed(0.0123), signed(-0.02), signed(0.0)
    ('+1.2', '−2.0', '0.0')
    """
    shown = f"{100 * abs(fraction):.1f}"
    return shown if float(shown) == 0 else f"{'+' if fraction > 0 else '−'}{shown}"


def probability(p: float | None) -> str:
    """A p value with two digits.

    >>> probability(0.0312), probability(0.00001), probability(None)
    ('0.031', '< 0.0001', '–')
    """
    if p is None:
        return NOTHING
    return "< 0.0001" if p < 1e-4 else f"{p:.2f}" if p >= 0.1 else f"{p:.2g}"


def costs_sheet(comparison: Comparison, size: int | str) -> Sheet:
    """Trainable parameters, stored bytes, seconds and memory of each condition: means over finished targets and seeds."""
    blocks = []
    for name, conditions in blocks_of(comparison):
        lines = []
        for condition in conditions:
            cells = _finished_cells(comparison, size, condition)
            lines.append(
                items(
                    comparison.label(condition),
                    f"{len(cells)} of {len(comparison.targets)}",
                    _trainable(comparison, size, condition),
                    _average([cell.head_parameters for cell in cells], "{:,.0f}"),
                    _size([cell.bytes for cell in cells]),
                    _average([cell.seconds for cell in cells], "{:,.1f}"),
                    _size([cell.peak_memory for cell in cells]),
                )
            )
        blocks.append(Block(name, tuple(lines)))
    notes = (
        "Means over targets and seeds. trainable parameters: of the transfer, and of the head beside it; stored: the files per target, "
        "head included, without the sources' own; seconds: training per seed; memory: the peak while training",
        "Training the sources is not counted: it is done once for all targets",
    )
    head = ("condition", "targets", "trainable\nparameters", "head\nparameters", "stored", "seconds", "memory")
    return Sheet(f"costs-{size}", f"Costs, {rows_words(size)}", head, tuple(blocks), notes)


def _average(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(sum(known) / len(known)) if known else NOTHING


def _size(values: Sequence[float | None]) -> str:
    """The mean of some bytes, in kB, MB or GB."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else math.nan
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if mean >= step:
            return f"{mean / step:,.1f} {unit}"
    return f"{mean:.0f} B" if known else NOTHING


def sources_sheet(comparison: Comparison, size: int | str) -> Sheet | None:
    """The score of transfer from each source alone, per method; None where none was run."""
    conditions = [condition for condition in comparison.conditions if condition.by == EACH]
    if not conditions:
        return None
    seeds = {target: len(comparison.seeds(target)) for target in comparison.targets}
    blocks = []
    for method in dict.fromkeys(condition.method for condition in conditions):
        lines = [
            items(
                str(condition.source),
                method,
                *(score(comparison.cell(target, size, condition), seeds[target]) for target in comparison.targets),
            )
            for condition in conditions
            if condition.method == method
        ]
        blocks.append(Block(method, tuple(lines)))
    head = ("source", "method", *comparison.targets)
    note = f"Each source alone; {NOTHING} on the source's own target, and where it is not finished"
    return Sheet(
        f"sources-{size}", f"One source at a time, in %, {rows_words(size)}", head, tuple(blocks), (note,), words=2
    )


def sheets(comparison: Comparison, size: int | str) -> list[Sheet]:
    """All the tables of one number of rows."""
    if not any(
        comparison.cell(target, size, condition) for target in comparison.targets for condition in comparison.conditions
    ):
        return []
    candidates = (sheet(comparison, size) for sheet in (main_sheet, paired_sheet, costs_sheet, sources_sheet))
    return [sheet for sheet in candidates if sheet is not None]


def rankings_sheet(rankings: Sequence[RankingRecord]) -> Sheet | None:
    """Each target's sources, highest mean score over seeds first; None without a ranking."""
    by_ranking: dict[tuple[str, str, int | str], dict[int, RankingRecord]] = {}
    for row in rankings:
        by_ranking.setdefault((row.by, row.target, row.size), {})[row.seed] = row
    lines: dict[str, list[tuple[Item, ...]]] = {}
    for (by, target, size), seeds in by_ranking.items():
        scores: dict[str, list[float]] = {}
        for row in seeds.values():
            for name, value in zip(row.names, row.scores, strict=True):
                scores.setdefault(name, []).append(value)
        means = {name: sum(values) / len(values) for name, values in scores.items()}
        order = sorted(means, key=lambda name: (-means[name], name))
        shown = ", ".join(f"{name} {means[name]:.3f}" for name in order)
        lines.setdefault(by, []).append(items(by, target, rows_words(size), str(len(seeds)), shown))
    if not lines:
        return None
    blocks = tuple(Block(by, tuple(rows)) for by, rows in lines.items())
    note = "Each selector has a scale of its own; scores are means over the seeds that rank the source"
    return Sheet(
        "rankings",
        "Sources, highest score first",
        ("selector", "target", "rows", "seeds", "sources and scores"),
        blocks,
        (note,),
        words=5,
    )


def table(comparison: Comparison) -> Any:
    """The main tables for a terminal, one per number of rows; what they have in common is said once, below."""
    common, whole = tuple(legend(comparison)), [main_sheet(comparison, size) for size in comparison.sizes]
    shortened = [replace(sheet, notes=tuple(note for note in sheet.notes if note not in common)) for sheet in whole]
    return Group(*map(Terminal, shortened), *(Text(note, style="dim") for note in common))
