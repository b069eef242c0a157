"""The details of a line of the page's score table: each seed, the sources, the paired tests, the recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scalearn.comparison.records import UnitRecord
from scalearn.report.figures.cost import bytes_words, seconds_words
from scalearn.report.page.sentences import between, score
from scalearn.report.page.table import NOTHING, Cell, Line, Table, plain_headings
from scalearn.report.statistics import AVERAGE, Comparison, Condition, Paired
from scalearn.report.tables import AGAINST, probability, signed

VERDICTS = {"win": "▲ win", "tie": "= tie", "loss": "▼ loss"}


@dataclass(frozen=True)
class Details:
    """All that is known of one condition at one size.

    Attributes:
        sources: target and its sources in words. recipes: title and settings.
    """

    seeds: Table
    sources: tuple[tuple[str, str], ...]
    tests: Table | None
    tests_note: str
    recipes: tuple[tuple[str, str], ...]


def verdict_words(paired: Paired) -> str:
    """Win, tie or loss, with a sign."""
    return "no spread" if paired.p is None else VERDICTS[paired.verdict]


def details_of(
    comparison: Comparison,
    size: int | str,
    rows: Sequence[UnitRecord],
    holm: dict[tuple[str, str], dict[Condition, float]],
) -> Details:
    """Each seed's score, sources, costs, recipe and paired tests of the rows of one condition at one size."""
    condition = comparison.condition(rows[0])
    of_target = {target: [row for row in rows if row.target == target] for target in comparison.targets}
    of_target = {target: some for target, some in of_target.items() if some}
    tests, note = _tests(comparison, size, condition, holm)
    sources = tuple((target, source_words(some)) for target, some in of_target.items())
    taken = any(row.sources for row in rows)
    seeds = _seed_table(comparison, size, condition, of_target)
    return Details(seeds, sources if taken else (), tests, note, _recipes(of_target))


def _seed_table(
    comparison: Comparison, size: int | str, condition: Condition, of_target: dict[str, list[UnitRecord]]
) -> Table:
    seeds = sorted({row.seed for rows in of_target.values() for row in rows})
    lines = []
    for target, rows in of_target.items():
        cell, by_seed = comparison.cell(target, size, condition), {row.seed: row for row in rows}
        assert cell is not None
        texts = [
            *(_seed_score(by_seed.get(seed)) for seed in seeds),
            score(cell.mean),
            score(cell.std) if len(cell.scores) > 1 else NOTHING,
            _mean([row.dev for row in rows], score),
            _mean([row.epoch for row in rows], lambda epoch: f"{epoch:.1f}".removesuffix(".0")),
            seconds_words(cell.seconds),
            NOTHING if cell.bytes is None else bytes_words(cell.bytes),
            NOTHING if cell.peak_memory is None else bytes_words(cell.peak_memory),
            f"{cell.rows:,}",
            f"{cell.test_rows:,}",
        ]
        lines.append(Line(target, tuple(map(Cell, texts))))
    names = ("target", *(f"seed {seed}" for seed in seeds), "mean", "std", "dev", "epoch", "time", "stored", "peak memory", "rows", "scored on")  # fmt: skip
    return Table("Each seed's score", plain_headings(names), tuple(lines))


def _seed_score(row: UnitRecord | None) -> str:
    return NOTHING if row is None else "diverged" if row.score is None else score(row.score)


def _mean(values: Sequence[float | None], words: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return words(sum(known) / len(known)) if known else NOTHING


def source_words(rows: Sequence[UnitRecord]) -> str:
    """The sources that a condition took; where seeds differ, how many of them took each.

    They are in the order of the first seed.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.sources))
    counts = {name: sum(name in row.sources for row in rows) for name in names}
    if not names:
        return "none"
    return ", ".join(
        name if count == len(rows) else f"{name} ({count} of {len(rows)} seeds)" for name, count in counts.items()
    )


def _tests(
    comparison: Comparison, size: int | str, condition: Condition, holm: dict[tuple[str, str], dict[Condition, float]]
) -> tuple[Table | None, str]:
    """The paired differences to the methods of `AGAINST`, on the average and on each target, and a note on how to read them."""
    lines, counts = [], set()
    for method in AGAINST:
        for target in [*([AVERAGE] if len(comparison.targets) > 1 else []), *comparison.targets]:
            paired = comparison.paired(size, condition, method, target)
            if paired is None:
                continue
            counts.add(paired.count)
            texts = (
                target,
                signed(paired.difference),
                NOTHING if math.isnan(paired.low) else between(paired.low, paired.high),
                verdict_words(paired),
                probability(paired.p),
                probability(holm.get((method, target), {}).get(condition)),
                str(paired.count),
            )
            lines.append(Line(f"over {paired.against}", tuple(map(Cell, texts))))
    if not lines:
        return None, ""
    names = ("gain, points", "on", "mean", "95 % interval", "verdict", "p", "p (Holm)", "seeds")
    few = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(*counts)
    note = (
        f"Paired t tests over {few} seeds: so few find large differences only. p is of that one comparison; "
        "p (Holm) is corrected for all conditions in its column. Seeds tell of another draw and another start, not of other tasks."
    )
    return Table("Paired tests", plain_headings(names, ("on",)), tuple(lines)), note


def _recipes(of_target: dict[str, list[UnitRecord]]) -> tuple[tuple[str, str], ...]:
    """Each recipe with the targets that it is of."""
    targets: dict[str, list[str]] = {}
    for target, rows in of_target.items():
        for row in rows:
            recipe = json.dumps(row.recipe, sort_keys=True, ensure_ascii=False)
            if target not in targets.setdefault(recipe, []):
                targets[recipe].append(target)
    return tuple(
        ("Recipe" if len(targets) == 1 else f"Recipe ({', '.join(names)})", _settings(json.loads(recipe)))
        for recipe, names in targets.items()
    )


def _settings(recipe: dict[str, Any]) -> str:
    plain = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in recipe.items()
    }
    return ", ".join(f"{key} {value}" for key, value in plain.items()) or "not stored"
