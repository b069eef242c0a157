"""The tables of a comparison: scores, differences with a paired test, costs, and what each source gives alone.

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
from scalearn.methods.registry import METHODS
from scalearn.report.statistics import AVERAGE, EACH, Cell, Comparison, Condition, rows_words
from tasksel.display.tables import NOTHING, Block, Item, Mark, Sheet, Terminal, items, listed

BLOCKS = ("without sources", "with sources", "ScaLearn")
AGAINST = ("single-adapter", "fusion")
SAME = 1e-12  # means closer than this are the same


def block_of(condition: Condition) -> int:
    """Which of the BLOCKS a condition stands in. ScaLearn's are the mixes whose omega is learned by gradient."""
    method = METHODS.get(condition.method)
    if method is None:  # an older version's
        return int(condition.by is not None)
    if not method.takes_sources:
        return 0
    return 2 if method.learns_omega else 1


def blocks_of(comparison: Comparison) -> Iterator[tuple[str, list[Condition]]]:
    """The blocks that there are, each with its conditions. What each source gives alone stands in none."""
    for number, name in enumerate(BLOCKS):
        conditions = [
            condition for condition in comparison.conditions if condition.by != EACH and block_of(condition) == number
        ]
        if conditions:
            yield name, conditions


def score(cell: Cell | None, seeds: int) -> str:
    """Mean and standard deviation in percent; the number of seeds where it is not the asked one.

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
    """Each condition on each target with one number of rows, their average, and what the transfer learns."""
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
            lines.append(items(comparison.label(condition), *scores, _learned(comparison, size, condition)))
        blocks.append(Block(name, tuple(lines)))
    metrics = _metrics(comparison, size)
    head = [f"{target}\n{metrics[target]}".strip() for target in comparison.targets] + columns[
        len(comparison.targets) :
    ]
    return Sheet(
        f"main-{size}",
        f"Scores in %, {rows_words(size)}",
        ("way", *head, "learned"),
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
    found: dict[Condition, Mark] = {}
    marks: tuple[Mark, Mark] = ("second", "best")  # the best last, so that it stays where both have the same mean
    for best, mark in zip(reversed(comparison.best(target, size)), marks, strict=True):
        if best is not None:
            found |= {condition: mark for condition, mean in means.items() if abs(mean - means[best]) < SAME}
    return found


def _learned(comparison: Comparison, size: int | str, condition: Condition) -> str:
    """Learned numbers of the transfer, a mean over the targets that are there."""
    there = _there(comparison, size, condition)
    return f"{sum(cell.transfer_parameters for cell in there) / len(there):,.0f}" if there else NOTHING


def _there(comparison: Comparison, size: int | str, condition: Condition) -> list[Cell]:
    return [cell for target in comparison.targets if (cell := comparison.cell(target, size, condition))]


def _metrics(comparison: Comparison, size: int | str) -> dict[str, str]:
    """Each target's metric; nothing of a target without a row."""
    told = {row.target: row.metric.replace("_", " ") for row in comparison.rows}
    return {target: told.get(target, "") for target in comparison.targets}


def legend(comparison: Comparison) -> Iterator[str]:
    """How a main table is read, whatever its number of rows."""
    seeds = {target: tuple(comparison.seeds(target)) for target in comparison.targets}
    told = "; ".join(
        ", ".join(map(str, some)) + (f" for {', '.join(alike)}" if len(alike) < len(seeds) else "")
        for some in dict.fromkeys(seeds.values())
        if (alike := [target for target in seeds if seeds[target] == some])
    )
    if any(len(some) > 1 for some in seeds.values()):
        yield f"Mean ± standard deviation over seeds ({told})"
    else:
        yield f"One seed ({told}): no spread is known"
    yield "Best of a column bold, second underlined; [n]: so many seeds only; learned: numbers that the transfer learns, without the head"
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
                cell, asked = comparison.cell(target, size, condition), len(comparison.seeds(target))
                done = len(cell.scores) + cell.diverged if cell else 0
                if done < asked:
                    missing.append(f"{comparison.label(condition)} on {target} ({done} of {asked} seeds)")
                if cell and cell.diverged:
                    diverged.append(f"{comparison.label(condition)} on {target} ({cell.diverged} of {done} seeds)")
    if missing:
        yield f"{NOTHING} Not finished: {listed(missing)}"
    if diverged:
        yield f"Diverged, and left out of means: {listed(diverged)}"


def paired_sheet(comparison: Comparison, size: int | str) -> Sheet | None:
    """Each condition against a new adapter and against AdapterFusion; None where neither is there."""
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
    head = [part for name in others for part in (f"minus\n{name}", "p", "p\n(Holm)", "w / t / l")]
    notes = (
        "Difference of the averages over targets, in points of percent, seed by seed, with its 95 % t interval",
        "p: paired t test over seeds, two-sided, not corrected for the number of comparisons; p (Holm): corrected over this column's ways. "
        "With few seeds only large differences are found",
        "w / t / l: targets won, tied and lost; won: the 95 % interval of the difference on that target lies above 0; not corrected either",
        "The other side has the same choice of sources, or is the only one of its method there is",
    )
    return Sheet(f"paired-{size}", f"Differences, {rows_words(size)}", ("way", *head), tuple(blocks), notes)


def _against(
    comparison: Comparison, size: int | str, condition: Condition, other: str, holm: dict[Condition, float]
) -> tuple[str, str, str, str]:
    """Difference, p, corrected p, and the targets won, tied and lost."""
    found = comparison.paired(size, condition, other)
    single = [comparison.paired(size, condition, other, target) for target in comparison.targets]
    verdicts = [one.verdict for one in single if one is not None]
    counts = " / ".join(str(verdicts.count(name)) for name in ("win", "tie", "loss")) if verdicts else NOTHING
    if found is None:
        return NOTHING, NOTHING, NOTHING, counts
    interval = "" if math.isnan(found.low) else f" [{signed(found.low)}, {signed(found.high)}]"
    corrected = probability(holm[condition]) if condition in holm else NOTHING
    return f"{signed(found.difference)}{interval}", probability(found.p), corrected, counts


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
    """What each condition learns, stores and takes: means over the targets that are there, and seeds."""
    blocks = []
    for name, conditions in blocks_of(comparison):
        lines = []
        for condition in conditions:
            there = _there(comparison, size, condition)
            lines.append(
                items(
                    comparison.label(condition),
                    f"{len(there)} of {len(comparison.targets)}",
                    _learned(comparison, size, condition),
                    _average([cell.head_parameters for cell in there], "{:,.0f}"),
                    _size([cell.bytes for cell in there]),
                    _average([cell.seconds for cell in there], "{:,.1f}"),
                    _size([cell.peak_memory for cell in there]),
                )
            )
        blocks.append(Block(name, tuple(lines)))
    notes = (
        "Means over targets and seeds. learned: numbers of the transfer, and of the head beside it; stored: the files that a target adds, "
        "head included, without the sources' own; seconds: a seed's training; memory: the most held while training",
        "Training the sources is not counted: it is done once for all targets",
    )
    head = ("way", "targets", "learned", "head", "stored", "seconds", "memory")
    return Sheet(f"costs-{size}", f"Costs, {rows_words(size)}", head, tuple(blocks), notes)


def _average(values: Sequence[float | None], form: str) -> str:
    told = [value for value in values if value is not None]
    return form.format(sum(told) / len(told)) if told else NOTHING


def _size(values: Sequence[float | None]) -> str:
    """Bytes in a unit that a person reads."""
    told = [value for value in values if value is not None]
    mean = sum(told) / len(told) if told else math.nan
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if mean >= step:
            return f"{mean / step:,.1f} {unit}"
    return f"{mean:.0f} B" if told else NOTHING


def sources_sheet(comparison: Comparison, size: int | str) -> Sheet | None:
    """What each source gives alone, by method; None where none was tried."""
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
    found = (sheet(comparison, size) for sheet in (main_sheet, paired_sheet, costs_sheet, sources_sheet))
    return [sheet for sheet in found if sheet is not None]


def rankings_sheet(rankings: Sequence[RankingRecord]) -> Sheet | None:
    """Each target's sources, nearest first, by their mean score over seeds; None without a ranking."""
    found: dict[tuple[str, str, int | str], dict[int, RankingRecord]] = {}
    for row in rankings:
        found.setdefault((row.by, row.target, row.size), {})[row.seed] = row
    lines: dict[str, list[tuple[Item, ...]]] = {}
    for (by, target, size), seeds in found.items():
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
    blocks = tuple(Block(by, tuple(told)) for by, told in lines.items())
    note = "The score of each way of choosing is its own; a mean over the seeds that have the source"
    return Sheet(
        "rankings", "Sources, nearest first", ("by", "target", "rows", "seeds", "sources"), blocks, (note,), words=5
    )


def table(comparison: Comparison) -> Any:
    """The main tables for a terminal, one a number of rows; what they have in common is said once, below."""
    common, shown = tuple(legend(comparison)), [main_sheet(comparison, size) for size in comparison.sizes]
    own = [replace(sheet, notes=tuple(note for note in sheet.notes if note not in common)) for sheet in shown]
    return Group(*map(Terminal, own), *(Text(note, style="dim") for note in common))
