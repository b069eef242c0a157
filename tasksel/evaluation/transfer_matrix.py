"""A measured transfer matrix: the score of each target after transfer from each source, one line of JSONL per finished run.

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
from tasksel.storage.user_path import user_path

SINGLE = "single-adapter"  # the baseline: a new adapter, no source
FILE = "matrix.jsonl"
T = TypeVar("T")


@dataclass(frozen=True)
class MatrixRecord:
    """One finished run, as stored.

    Attributes:
        target: the task trained on.
        source: the task transferred from; None for the baseline alone.
        method: of transfer.
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
        """What identifies the run: target, source, method, seed."""
        return self.target, self.source, self.method, self.seed


@dataclass(frozen=True)
class TransferMatrix:
    """The runs of a measurement; names in order of first appearance.

    Use it to evaluate selectors (`evaluate_selectors`), or as the ground truth of an oracle. `tasksel.read_matrix` reads one.

    Attributes:
        rows: one per run.

    Raises:
        UserError: a target that was measured in two metrics.

    >>> runs = [("mnli", 0.75), ("cola", 0.5)]
    >>> matrix = TransferMatrix(
    ...     tuple(MatrixRecord("rte", source, "sequential", 0, "accuracy", score, None, 56, 7.1) for source, score in runs)
    ... )
    >>> matrix.ground_truth("rte")
    (('mnli', 'cola'), array([[0.75, 0.5 ]]))
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
        """The matrix of these targets; of all where none is named.

        Raises:
            UserError: a target that the matrix does not hold.
        """
        kept = set(targets) or set(self.targets)
        for target in sorted(kept):
            self._check_target(target)
        return TransferMatrix(tuple(row for row in self.rows if row.target in kept))

    @property
    def targets(self) -> tuple[str, ...]:
        """Every target."""
        return _unique(row.target for row in self.rows)

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source."""
        return _unique(row.source for row in self.rows if row.source is not None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed."""
        return _unique(row.seed for row in self.rows)

    @property
    def methods(self) -> tuple[str, ...]:
        """Every transfer method, the baseline among them."""
        return _unique(row.method for row in self.rows)

    def ground_truth(self, target: str, *, method: str = "sequential") -> tuple[tuple[str, ...], np.ndarray]:
        """The target's scores after transfer from each source: source names, and scores [seeds, sources] without a gap.

        A source of the target's own name does not count. Where runs are missing or diverged, the seed or the source with the
        largest share of gaps is left out until none are left [ours]; `left_out` says which.

        Raises:
            UserError: a target or method that the matrix does not hold, or one of which nothing is complete.
        """
        sources, _, scores = self._complete(target, method)
        return sources, scores

    def left_out(self, target: str, *, method: str = "sequential") -> str:
        """The sources and seeds of the matrix that `ground_truth` leaves out, as text; empty where there are none."""
        sources, seeds, _ = self._complete(target, method)
        sources_out = [f"source {name}" for name in self.sources if name not in (*sources, target)]
        return ", ".join(sources_out + [f"seed {seed}" for seed in self._seeds(method) if seed not in seeds])

    def seconds(self, target: str, *, method: str = "sequential") -> float:
        """Seconds that one seed of the ground truth took: every source tried once, mean over seeds."""
        sources, seeds, _ = self._complete(target, method)
        keys = {(target, source, method, seed) for source in sources for seed in seeds}
        return sum(row.seconds for row in self.rows if row.key in keys) / len(seeds)

    def baseline(self, target: str) -> np.ndarray:
        """The target's scores with no source, [seeds]; diverged runs left out, empty where none was measured.

        Raises:
            UserError: a target that the matrix does not hold.
        """
        self._check_target(target)
        rows = [row for row in self.rows if row.target == target and row.method == SINGLE]
        return np.array([row.score for row in rows if row.score is not None], dtype=float)

    def _check_target(self, target: str) -> None:
        if target not in self.targets:
            raise unknown("target in the matrix", target, self.targets)

    def _seeds(self, method: str) -> tuple[int, ...]:
        return _unique(row.seed for row in self.rows if row.method == method)

    def _complete(self, target: str, method: str) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray]:
        """Sources, seeds and scores [seeds, sources] without a gap; see `ground_truth`."""
        self._check_target(target)
        known = [name for name in self.methods if name != SINGLE]
        if method not in known:
            raise unknown("method in the matrix", method, known)
        sources, seeds = [name for name in self.sources if name != target], self._seeds(method)
        score_of = {row.key: row.score for row in self.rows if row.score is not None}
        table = [[score_of.get((target, source, method, seed), np.nan) for source in sources] for seed in seeds]
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


def _unique(values: Iterable[T]) -> tuple[T, ...]:
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
    """The file of that name in the folder of a matrix; `path` is that folder or the matrix's own file, or a table (then named after it).

    >>> beside(Path("runs/matrix/matrix.jsonl"), "scores.jsonl").as_posix()
    'runs/matrix/scores.jsonl'
    """
    if path.suffix and path.suffix != Path(FILE).suffix and not path.is_dir():
        return path.with_name(f"{path.stem}.{name}")
    return (path if path.is_dir() else path.parent) / name


def read_matrix(path: Path) -> TransferMatrix:
    """The matrix in a JSONL file, or in the folder that holds `matrix.jsonl`. A last line that is cut short is left out with a warning.

    Raises:
        UserError: see `read_whole_rows`; or no whole row at all.

    >>> matrix = read_matrix(Path("docs/results/matrix"))  # doctest: +SKIP
    >>> len(matrix.targets), len(matrix.sources), len(matrix.seeds)  # doctest: +SKIP
    (8, 13, 5)
    """
    path = user_path(path)
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
            run that duplicates another with different values, each with file:line.
    """
    return read_records(path, MatrixRecord, key=lambda row: row.key)
