"""What stands behind a line of the page's score table: each seed, the sources, the paired tests, the recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from scalearn.comparison.records import Row
from scalearn.report.cost_picture import bytes_words, seconds_words
from scalearn.report.markup import Html, el, heading, join, line, scroll
from scalearn.report.page_words import between, score
from scalearn.report.statistics import AVERAGE, Comparison, Paired, Way
from scalearn.report.tables import AGAINST, probability, signed

VERDICTS = {"win": "▲ win", "tie": "= tie", "loss": "▼ loss"}


def verdict_words(found: Paired) -> str:
    """Win, tie or loss, with a sign."""
    return "no spread" if found.p is None else VERDICTS[found.verdict]


def details_of(
    comparison: Comparison, size: int | str, rows: Sequence[Row], holm: dict[tuple[str, str], dict[Way, float]]
) -> Html:
    """Each seed's score, sources, costs, recipe and paired tests of the rows of one way at one size."""
    way = comparison.way(rows[0])
    by_target = {target: [row for row in rows if row.target == target] for target in comparison.targets}
    by_target = {target: found for target, found in by_target.items() if found}
    seeds = sorted({row.seed for row in rows})
    return join([
        el("h4", "Each seed"),
        _seed_table(comparison, size, way, by_target, seeds),
        *_sources(by_target),
        _tests(comparison, size, way, holm),
        *_recipes(by_target),
    ])  # fmt: skip


def _seed_table(
    comparison: Comparison, size: int | str, way: Way, by_target: dict[str, list[Row]], seeds: Sequence[int]
) -> Html:
    names = ["target", *(f"seed {seed}" for seed in seeds), "mean", "std", "dev", "epoch", "seconds", "stored", "peak memory", "rows", "scored on"]  # fmt: skip
    body = []
    for target, rows in by_target.items():
        cell, by_seed = comparison.cell(target, size, way), {row.seed: row for row in rows}
        assert cell is not None
        numbers = [
            *(_seed_score(by_seed.get(seed)) for seed in seeds),
            score(cell.mean),
            score(cell.std) if len(cell.scores) > 1 else "–",
            _mean([row.dev for row in rows], score),
            _mean([row.epoch for row in rows], lambda epoch: f"{epoch:.1f}".removesuffix(".0")),
            seconds_words(cell.seconds),
            "–" if cell.bytes is None else bytes_words(cell.bytes),
            "–" if cell.peak_memory is None else bytes_words(cell.peak_memory),
            f"{cell.rows:,}",
            f"{cell.test_rows:,}",
        ]
        body.append(line(el("th", target, scope="row"), *(el("td", number) for number in numbers)))
    head = el("thead", line(*(heading(name, first=None) for name in names)))
    return scroll(el("table", head, el("tbody", *body)), "Each seed's score")


def _seed_score(row: Row | None) -> str:
    return "–" if row is None else "diverged" if row.score is None else score(row.score)


def _mean(values: Sequence[float | None], words: Any) -> str:
    told = [value for value in values if value is not None]
    return words(sum(told) / len(told)) if told else "–"


def source_words(rows: Sequence[Row]) -> str:
    """The sources that a way took; where seeds differ, how many of them took each.

    They are in the order of the first seed.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.sources))
    counts = {name: sum(name in row.sources for row in rows) for name in names}
    if not names:
        return "none"
    return ", ".join(
        name if count == len(rows) else f"{name} ({count} of {len(rows)} seeds)" for name, count in counts.items()
    )


def _sources(by_target: dict[str, list[Row]]) -> list[Html]:
    """Which sources each target took; nothing for a method without."""
    if not any(row.sources for rows in by_target.values() for row in rows):
        return []
    pairs = [part for target, rows in by_target.items() for part in (el("dt", target), el("dd", source_words(rows)))]
    return [el("h4", "Sources"), el("dl", *pairs)]


def _tests(comparison: Comparison, size: int | str, way: Way, holm: dict[tuple[str, str], dict[Way, float]]) -> Html:
    """The paired differences to single-adapter and fusion, on the average and on each target."""
    body, counts = [], set()
    for method in AGAINST:
        for target in [*([AVERAGE] if len(comparison.targets) > 1 else []), *comparison.targets]:
            found = comparison.paired(size, way, method, target)
            if found is None:
                continue
            counts.add(found.count)
            corrected = holm.get((method, target), {}).get(way)
            numbers = [
                signed(found.difference),
                "–" if math.isnan(found.low) else between(found.low, found.high),
                verdict_words(found),
                probability(found.p),
                probability(corrected),
                str(found.count),
            ]
            first = el("th", f"over {found.against}", scope="row")
            body.append(line(first, el("td", target, class_="words"), *(el("td", number) for number in numbers)))
    if not body:
        return Html("")
    names = ("difference, points", "on", "mean", "95 % interval", "verdict", "p", "p, Holm", "seeds")
    head = el("thead", line(*(heading(name, first=None, class_="words" if name == "on" else None) for name in names)))
    few = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(*counts)
    note = (
        f"Paired t tests over {few} seeds: so few find large differences only. p is of that one comparison; "
        "p, Holm is corrected for all ways in its column. Seeds tell of another draw and another start, not of other tasks."
    )
    table = scroll(el("table", head, el("tbody", *body)), "Paired tests")
    return join([el("h4", "Paired tests"), table, el("p", note, class_="note")])


def _recipes(by_target: dict[str, list[Row]]) -> list[Html]:
    """Each recipe with the targets that it is of."""
    targets: dict[str, list[str]] = {}
    for target, rows in by_target.items():
        for row in rows:
            told = json.dumps(row.recipe, sort_keys=True, ensure_ascii=False)
            if target not in targets.setdefault(told, []):
                targets[told].append(target)
    shown = []
    for told, names in targets.items():
        of = "" if len(targets) == 1 else f" ({', '.join(names)})"
        words = ", ".join(f"{key} {_plain(value)}" for key, value in json.loads(told).items()) or "not told"
        shown += [el("h4", f"Recipe{of}"), el("p", el("code", words))]
    return shown


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
