"""Synthetic matrices and scores for tests of judging: what each source is worth is known, the noise is chosen."""

import numpy as np

from tasksel.evaluation.score_records import SelectorScores
from tasksel.evaluation.transfer_matrix import MatrixRecord, TransferMatrix

SOURCES = tuple(f"source_{i}" for i in range(12))
TARGETS = tuple(f"target_{i}" for i in range(4))
SEEDS = range(5)


def worth():
    """What each source is worth to each target, [targets, sources]."""
    return 0.5 + 0.3 * np.random.default_rng(0).random((len(TARGETS), len(SOURCES)))


def make_matrix(noise=0.01, seeds=SEEDS):
    rng, rows = np.random.default_rng(1), []
    for i, target in enumerate(TARGETS):
        for seed in seeds:
            for j, source in enumerate(SOURCES):
                score = round(min(1.0, worth()[i, j] + noise * rng.normal()), 4)
                rows.append(MatrixRecord(target, source, "sequential", seed, "accuracy", score, 0.5, 50, 2.0))
            rows.append(MatrixRecord(target, None, "single-adapter", seed, "accuracy", 0.5, 0.5, 50, 2.0))
    return TransferMatrix(tuple(rows))


def scored(by, values, *, seed=0, targets=TARGETS, seconds=1.0):
    """`values` [targets, sources] as scores."""
    return [
        SelectorScores(by, target, seed, dict(zip(SOURCES, map(float, row), strict=True)), seconds, 3.0, 1161)
        for target, row in zip(targets, values, strict=False)
    ]


def noisy(by, spread, *, seeds=3, seconds=1.0):
    rng = np.random.default_rng(len(by))
    return [
        one
        for seed in range(seeds)
        for one in scored(by, worth() + spread * rng.normal(size=worth().shape), seed=seed, seconds=seconds)
    ]


def three_methods():
    """One that knows much, one that knows little and is slow, and one of two values that takes no time."""
    kind = scored("task kind", worth() > 0.65, seconds=0.0)
    return [*noisy("good", 0.02), *noisy("poor", 0.3, seconds=40.0), *kind]
