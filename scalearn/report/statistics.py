"""Finished rows side by side: means and spreads over seeds, averages over targets, differences between conditions with a paired test.

    interval     mean +- t(0.975, n - 1) * std / sqrt(n)      of one cell over its n seeds, std with n - 1     [std]
    difference   the same of (condition - other) seed by seed, both from the same draw; p of the paired t test      [std]

A comparison holds the rows of one base and one protocol: numbers of different ones never stand in one table. With five seeds a paired test
finds large differences only; its p is of that one comparison (`Comparison.holm` corrects those of one column).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from scalearn.comparison.condition import ALL, EACH, FULL, Condition
from scalearn.comparison.records import UnitRecord

AVERAGE = "average"
NO_SPREAD = 1e-12  # below this, differences of fractions are alike but for rounding


def rows_words(size: int | str) -> str:
    """A number of training rows in words.

    >>> rows_words("full"), rows_words(16)
    ('all rows', '16 rows')
    """
    return "all rows" if size == FULL else f"{size} row{'' if size == 1 else 's'}"


@dataclass(frozen=True)
class Cell:
    """One target with one number of rows by one condition, over seeds. Scores are fractions.

    Attributes:
        scores: by seed, without those that diverged; `diverged` says how many did.
        transfer_parameters, head_parameters, seconds, bytes, peak_memory: means over seeds; None where no row has it.
        rows, test_rows: trained on and scored, the most of any seed.
    """

    target: str
    size: int | str
    condition: Condition
    metric: str
    scores: dict[int, float]
    diverged: int
    transfer_parameters: float
    head_parameters: float
    seconds: float
    bytes: float | None
    peak_memory: float | None
    rows: int
    test_rows: int

    @property
    def mean(self) -> float:
        """Over seeds; nan where all diverged."""
        return float(np.mean(list(self.scores.values()))) if self.scores else math.nan

    @property
    def std(self) -> float:
        """Over seeds, with n - 1; 0 for one seed."""
        return float(np.std(list(self.scores.values()), ddof=1)) if len(self.scores) > 1 else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % t interval of the mean over seeds; (nan, nan) for one seed."""
        return _interval(np.array(list(self.scores.values())))


@dataclass(frozen=True)
class Paired:
    """A condition minus another, seed by seed.

    Attributes:
        against: the other's label. low, high: the 95 % interval of the mean difference.
        p: of the paired t test, two-sided. 1 where no seed differs. None, with low and high nan, where all seeds differ by the very same
            amount: with no spread there is nothing to test.
        count: seeds that both have.
    """

    against: str
    difference: float
    low: float
    high: float
    p: float | None
    count: int

    @property
    def verdict(self) -> str:
        """ "win" or "loss" where the interval lies on one side of 0, else "tie"."""
        return "win" if self.low > 0 else "loss" if self.high < 0 else "tie"


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return math.nan, math.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def paired(first: dict[int, float], second: dict[int, float], against: str) -> Paired | None:
    """first - second over the seeds of both; None with fewer than two.

    >>> paired({0: 0.5, 1: 0.75}, {0: 0.5, 1: 0.75, 2: 0.1}, "fusion")
    Paired(against='fusion', difference=0.0, low=0.0, high=0.0, p=1.0, count=2)
    """
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    scores, other_scores = np.array([first[seed] for seed in seeds]), np.array([second[seed] for seed in seeds])
    differences = scores - other_scores
    mean = float(differences.mean())
    if np.ptp(differences) < NO_SPREAD:
        if abs(mean) < NO_SPREAD:
            return Paired(against, 0.0, 0.0, 0.0, 1.0, len(seeds))
        return Paired(against, mean, math.nan, math.nan, None, len(seeds))
    return Paired(
        against, mean, *_interval(differences), float(stats.ttest_rel(scores, other_scores).pvalue), len(seeds)
    )


class Comparison:
    """The rows of one base and one protocol, in the configuration's order.

    Attributes:
        base: name of the base; with its fingerprint where two of a store share a name.
        targets: of the configuration, whether finished or not, then others that rows name. sizes: those of rows, "full" first.
        repeated: rows that another one of the same target, size, condition and seed replaces (the last counts).
    """

    def __init__(
        self, rows: Sequence[UnitRecord], config: dict[str, Any] | None = None, *, base: str | None = None
    ) -> None:
        if not rows:
            raise ValueError("no rows to compare")
        config = config or {}
        self.rows = list(rows)
        self.base, self.protocol = base or rows[0].base["name"], rows[0].protocol
        targets_config = config.get("targets", {})
        self.targets = _ordered((row.target for row in rows), targets_config.get("tasks", ()), keep=True)
        self.sizes = _ordered(sorted({row.size for row in rows}, key=_size_order), targets_config.get("sizes") or ())
        self._config = config
        self._most = max((row.k - row.own for row in rows if self._takes_all(row)), default=0)
        by_cell: dict[tuple[str, int | str, Condition], dict[int, UnitRecord]] = {}
        for row in rows:
            by_cell.setdefault((row.target, row.size, self.condition(row)), {})[row.seed] = row
        self.repeated = len(rows) - sum(map(len, by_cell.values()))
        self._cells = {key: _cell(key, list(by_cell[key].values())) for key in by_cell}
        self.conditions = _condition_order({condition for _, _, condition in by_cell}, rows, config)
        self.methods = list(dict.fromkeys(condition.method for condition in self.conditions))

    def __repr__(self) -> str:
        return f"Comparison({self.base}, {self.protocol}: {len(self.conditions)} conditions, {len(self.targets)} targets, {len(self.rows)} rows)"

    def condition(self, row: UnitRecord) -> Condition:
        """The condition that a row belongs to; rows that take all sources share one, whatever their number."""
        if row.by == EACH:
            return Condition(row.method, row.by, row.k, row.own, next(iter(row.sources), None))
        return Condition(
            row.method, row.by, max(row.k, self._most + row.own) if self._takes_all(row) else row.k, row.own
        )

    def _takes_all(self, row: UnitRecord) -> bool:
        """Whether its sources are all there are, by name or (a method that needs an order) by their number."""
        names, top = self._config.get("sources", {}).get("tasks", ()), self._config.get("rank", {}).get("top", ())
        others = len(names) - (row.target in names)
        return row.by == ALL or (row.by is not None and row.k - row.own == others and others not in np.atleast_1d(top))

    def label(self, condition: Condition) -> str:
        """The method, and in brackets what distinguishes its conditions: the number of sources, the selector, the target adapter."""
        if condition.by == EACH:
            return f"{condition.method} (from {condition.source})"
        others = [other for other in self.conditions if other.method == condition.method and other.by != EACH]
        by, k, target = (
            len({getattr(other, part) for other in others}) > 1 for part in ("by", "others", "include_target")
        )
        if condition.by == ALL:
            parts = [f"all {condition.others}"] if by or k else []
        else:
            parts = [*([str(condition.others)] if k else []), *([f"by {condition.by}"] if by else [])]
        choice = ", ".join(
            [
                *([" ".join(parts)] if parts else []),
                *(["with target adapter"] if target and condition.include_target else []),
            ]
        )
        return f"{condition.method} ({choice})" if choice else condition.method

    def seeds(self, target: str) -> list[int]:
        """The planned seeds of a target, finished or not; for the "average", those planned for all targets."""
        if target == AVERAGE:
            every = [set(self.seeds(name)) for name in self.targets]
            return sorted(set.intersection(*every))
        targets_config = self._config.get("targets", {})
        planned = (targets_config.get("seeds_of") or {}).get(target) or targets_config.get("seeds") or ()
        return list(planned) or sorted({row.seed for row in self.rows if row.target == target})

    def cell(self, target: str, size: int | str, condition: Condition) -> Cell | None:
        """One cell, or None where no seed is finished. The target "average" gives `mean_cell`."""
        return self.mean_cell(size, condition) if target == AVERAGE else self._cells.get((target, size, condition))

    def mean_cell(self, size: int | str, condition: Condition) -> Cell | None:
        """Averages over the targets, seed by seed, of the seeds that all have; None where a target is missing, or no seed is common."""
        cells = [self._cells.get((target, size, condition)) for target in self.targets]
        present = [cell for cell in cells if cell is not None]
        seeds = sorted(set.intersection(*(set(cell.scores) for cell in present))) if present else []
        if len(present) < len(cells) or not seeds:
            return None
        return Cell(
            target=AVERAGE,
            size=size,
            condition=condition,
            metric="mean over targets",
            scores={seed: float(np.mean([cell.scores[seed] for cell in present])) for seed in seeds},
            diverged=sum(cell.diverged for cell in present),
            transfer_parameters=_mean([cell.transfer_parameters for cell in present]) or 0.0,
            head_parameters=_mean([cell.head_parameters for cell in present]) or 0.0,
            seconds=_mean([cell.seconds for cell in present]) or 0.0,
            bytes=_mean([cell.bytes for cell in present]),
            peak_memory=_mean([cell.peak_memory for cell in present]),
            rows=max(cell.rows for cell in present),
            test_rows=max(cell.test_rows for cell in present),
        )

    def counterpart(self, condition: Condition, method: str) -> Condition | None:
        """The condition of another method with the same choice of sources, or its only condition; None where several could be meant, or none."""
        conditions = [other for other in self.conditions if other.method == method and other.by != EACH]
        alike = [other for other in conditions if other == replace(condition, method=method)]
        return alike[0] if alike else conditions[0] if len(conditions) == 1 else None

    def paired(self, size: int | str, condition: Condition, against: str, target: str | None = None) -> Paired | None:
        """The condition minus its counterpart by another method, on one target or on the averages over targets.

        None where that is the same condition, where one of them is not there, and with fewer than two seeds in common.
        """
        other = self.counterpart(condition, against)
        if other is None or other == condition:
            return None
        cell, other_cell = self.cell(target or AVERAGE, size, condition), self.cell(target or AVERAGE, size, other)
        if cell is None or other_cell is None:
            return None
        return paired(cell.scores, other_cell.scores, self.label(other))

    def holm(self, size: int | str, against: str, target: str | None = None) -> dict[Condition, float]:
        """p of each condition against a method, corrected by Holm (1979) over all conditions that are tested there."""
        tested = {
            condition: self.paired(size, condition, against, target)
            for condition in self.conditions
            if condition.by != EACH
        }
        known = {condition: found.p for condition, found in tested.items() if found is not None and found.p is not None}
        corrected, largest = {}, 0.0
        for place, condition in enumerate(sorted(known, key=known.__getitem__)):
            largest = max(largest, min(1.0, known[condition] * (len(known) - place)))
            corrected[condition] = largest
        return corrected

    def best(self, target: str, size: int | str) -> tuple[Condition | None, Condition | None]:
        """The best and the second condition by mean, of a target or of the "average". Sources alone do not count."""
        cells = [
            cell
            for condition in self.conditions
            if condition.by != EACH and (cell := self.cell(target, size, condition)) and cell.scores
        ]
        order = [cell.condition for cell in sorted(cells, key=lambda cell: -cell.mean)]
        first, second, *_ = [*order, None, None]
        return first, second


def comparisons(rows: Sequence[UnitRecord], config: dict[str, Any] | None = None) -> list[Comparison]:
    """The rows by base (its fingerprint) and protocol, each as a comparison, in the order of their first rows."""
    groups: dict[tuple[str, str], list[UnitRecord]] = {}
    for row in rows:
        groups.setdefault((row.base["fingerprint"], row.protocol), []).append(row)
    fingerprints: dict[str, set[str]] = {}
    for row in rows:
        fingerprints.setdefault(row.base["name"], set()).add(row.base["fingerprint"])
    compared = []
    for (fingerprint, _), group in groups.items():
        name = group[0].base["name"]
        compared.append(
            Comparison(group, config, base=f"{name} ({fingerprint})" if len(fingerprints[name]) > 1 else name)
        )
    return compared


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _cell(key: tuple[str, int | str, Condition], rows: list[UnitRecord]) -> Cell:
    target, size, condition = key
    return Cell(
        target=target,
        size=size,
        condition=condition,
        metric=rows[0].metric,
        scores={row.seed: row.score for row in sorted(rows, key=lambda row: row.seed) if row.score is not None},
        diverged=sum(row.score is None for row in rows),
        transfer_parameters=_mean([row.parameters.get("transfer", 0) for row in rows]) or 0.0,
        head_parameters=_mean([row.parameters.get("head", 0) for row in rows]) or 0.0,
        seconds=_mean([row.seconds for row in rows]) or 0.0,
        bytes=_mean([row.bytes for row in rows]),
        peak_memory=_mean([row.peak_memory for row in rows]),
        rows=max(row.rows for row in rows),
        test_rows=max(row.test_rows for row in rows),
    )


def _size_order(size: int | str) -> tuple[bool, int]:
    return size != FULL, size if isinstance(size, int) else 0


def _ordered(present: Iterable[Any], planned: Iterable[Any], *, keep: bool = False) -> list[Any]:
    """What is present, in the planned order, then in its own; `keep`: with what is planned and not present."""
    unique = list(dict.fromkeys(present))
    return list(dict.fromkeys([item for item in planned if keep or item in unique] + unique))


def _condition_order(conditions: set[Condition], rows: Sequence[UnitRecord], config: dict[str, Any]) -> list[Condition]:
    """By method, selector, number of sources and source, as the configuration lists them."""
    asked_by = config.get("rank", {}).get("by") or ()
    methods = _ordered((row.method for row in rows), config.get("methods", ()))
    bys = _ordered((row.by for row in rows), [asked_by] if isinstance(asked_by, str) else asked_by)
    sources = _ordered((name for row in rows for name in row.sources), config.get("sources", {}).get("tasks", ()))

    def position(condition: Condition) -> tuple[bool, int, int, int, bool, int]:
        """Sorts single sources last, then as the configuration lists methods, selectors, numbers and sources."""
        source = sources.index(condition.source) if condition.source else 0
        return (
            condition.by == EACH,
            methods.index(condition.method),
            bys.index(condition.by),
            condition.others,
            condition.include_target,
            source,
        )

    return sorted(conditions, key=position)
