"""A measured transfer matrix: which source helped which target, one finished run a line of JSONL.

    {"target": "sst5", "source": "sst2", "method": "sequential", "seed": 0, "metric": "accuracy",
     "score": 0.412, "dev": 0.5, "steps": 56, "seconds": 7.1}

A run is appended when it ends, so a killed measurement leaves at most one line that is cut short: readers keep the whole ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.storage.jsonl import read_records

SINGLE = "single-adapter"  # the baseline: a fresh adapter, no source


FILE = "matrix.jsonl"


T = TypeVar("T")


@dataclass(frozen=True)
class MatrixRecord:
    """One finished run.

    Attributes:
        source: None for the baseline alone.
        score: on the target's test split, a fraction (Matthews and correlations may be negative); None where the run diverged.
        dev: the same metric on dev. steps, seconds: of training.
    """

    target: str
    source: str | None
    method: str
    seed: int
    metric: str
    score: float | None
    dev: float | None
    steps: int
    seconds: float

    def __post_init__(self) -> None:
        if (self.source is None) != (self.method == SINGLE):
            raise UserError(
                f"source {self.source!r} with method '{self.method}': '{SINGLE}' has null, every other method names one"
            )
        for what, value in (("score", self.score), ("dev", self.dev)):
            if value is not None and not -1 <= value <= 1:
                raise UserError(f"{what} {value}: a fraction from -1 to 1, or null for a run that diverged")

    @property
    def key(self) -> tuple[str, str | None, str, int]:
        """What names the run: target, source, method, seed."""
        return self.target, self.source, self.method, self.seed


@dataclass(frozen=True)
class TransferMatrix:
    """The rows of a measurement; names in order of first appearance.

    Raises:
        UserError: a target that was measured in two metrics.
    """

    rows: tuple[MatrixRecord, ...]

    def __post_init__(self) -> None:
        metrics: dict[str, str] = {}
        for row in self.rows:
            if metrics.setdefault(row.target, row.metric) != row.metric:
                raise UserError(
                    f"target '{row.target}' was measured in '{metrics[row.target]}' and in '{row.metric}': keep one"
                )

    def only(self, targets: Iterable[str]) -> TransferMatrix:
        """The rows of these targets; of all where none is named.

        Raises:
            UserError: a target that the matrix does not hold.
        """
        wanted = set(targets) or set(self.targets)
        for target in sorted(wanted):
            self._need_target(target)
        return TransferMatrix(tuple(row for row in self.rows if row.target in wanted))

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target."""
        return _once(row.target for row in self.rows)

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source."""
        return _once(row.source for row in self.rows if row.source is not None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed."""
        return _once(row.seed for row in self.rows)

    @property
    def methods(self) -> tuple[str, ...]:
        """Every way of transfer, the baseline among them."""
        return _once(row.method for row in self.rows)

    def truth(self, target: str, *, method: str = "sequential") -> tuple[tuple[str, ...], np.ndarray]:
        """What each source gave the target: source names, and scores [seeds, sources] without a gap.

        A source of the target's own name does not count. Where runs are missing or diverged, the seed or the source with the
        largest share of gaps is left out until none are left [ours]; `left_out` tells which.

        Raises:
            UserError: a target or method that the matrix does not hold, or one of which nothing is complete.
        """
        sources, _, scores = self._complete(target, method)
        return sources, scores

    def left_out(self, target: str, *, method: str = "sequential") -> str:
        """The sources and seeds of the matrix that `truth` leaves out, as text; empty where there are none."""
        sources, seeds, _ = self._complete(target, method)
        lost = [f"source {name}" for name in self.sources if name not in (*sources, target)]
        return ", ".join(lost + [f"seed {seed}" for seed in self._seeds(method) if seed not in seeds])

    def seconds(self, target: str, *, method: str = "sequential") -> float:
        """Seconds that one seed's `truth` took: every source tried once, mean over seeds."""
        sources, seeds, _ = self._complete(target, method)
        wanted = {(target, source, method, seed) for source in sources for seed in seeds}
        return sum(row.seconds for row in self.rows if row.key in wanted) / len(seeds)

    def baseline(self, target: str) -> np.ndarray:
        """The target's scores with no source, [seeds]; diverged runs left out, empty where none was measured.

        Raises:
            UserError: a target that the matrix does not hold.
        """
        self._need_target(target)
        rows = [row for row in self.rows if row.target == target and row.method == SINGLE]
        return np.array([row.score for row in rows if row.score is not None], dtype=float)

    def _need_target(self, target: str) -> None:
        if target not in self.targets:
            raise unknown("target in the matrix", target, self.targets)

    def _seeds(self, method: str) -> tuple[int, ...]:
        return _once(row.seed for row in self.rows if row.method == method)

    def _complete(self, target: str, method: str) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray]:
        self._need_target(target)
        known = [name for name in self.methods if name != SINGLE]
        if method not in known:
            raise unknown("method in the matrix", method, known)
        sources, seeds = [name for name in self.sources if name != target], self._seeds(method)
        told = {row.key: row.score for row in self.rows if row.score is not None}
        table = [[told.get((target, source, method, seed), np.nan) for source in sources] for seed in seeds]
        scores = np.array(table, dtype=float).reshape(len(seeds), len(sources))
        kept_seeds, kept_sources = _without_gaps(np.isnan(scores))
        if not (kept_seeds.size and kept_sources.size):
            raise UserError(
                f"target '{target}' has no complete '{method}' runs in the matrix: measure it, or leave it out"
            )
        return (
            tuple(sources[i] for i in kept_sources),
            tuple(seeds[i] for i in kept_seeds),
            scores[np.ix_(kept_seeds, kept_sources)],
        )


def _once(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _without_gaps(gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of `gaps`, bool [seeds, sources], that are left once none of their cells is a gap."""
    seeds, sources = np.arange(gaps.shape[0]), np.arange(gaps.shape[1])
    while (part := gaps[np.ix_(seeds, sources)]).any():
        by_seed, by_source = part.mean(axis=1), part.mean(axis=0)
        if by_seed.max() >= by_source.max():
            seeds = np.delete(seeds, by_seed.argmax())
        else:
            sources = np.delete(sources, by_source.argmax())
    return seeds, sources


def beside(path: Path, name: str) -> Path:
    """The file of that name in the folder of a matrix, which is given as that folder or as its file."""
    return (path if path.is_dir() else path.parent) / name


def read_matrix(path: Path) -> TransferMatrix:
    """The matrix in a JSONL file, or in the folder that holds `matrix.jsonl`. A last line that is cut short is said and left out.

    Raises:
        UserError: see `read_whole_rows`; or no whole row at all.
    """
    path = path / FILE if path.is_dir() else path
    rows, complaint = read_whole_rows(path)
    if complaint:
        say(complaint)
    if not rows:
        raise UserError(f"{path}: no finished run in it yet")
    return TransferMatrix(tuple(rows))


def read_whole_rows(path: Path) -> tuple[list[MatrixRecord], str | None]:
    """The whole rows of a file, each run once, and a complaint where the last line is cut short (a killed run).

    Raises:
        UserError: no such file; a line elsewhere that is broken, a field that is missing, unknown or of the wrong type, or a
            run that stands there twice with different values, each with file:line.
    """
    return read_records(path, MatrixRecord, key=lambda row: row.key)
