"""How often a shortlist holds the sources that re-ranking wants: docs/results/matrix/shortlist.md, from the committed scores alone, in seconds.

    python scripts/shortlist_recall.py

    shortlist     the k sources of the largest score by connectivity, by text, by both fused, or k drawn at random (in expectation)
    recall        whether it holds LogME's first source of all, LogME's first two, the truly best one
    lost          true score of LogME's first of all - true score of LogME's first in the shortlist, in points

The true score is the mean over the matrix's seeds after transfer from that source. Intervals: two-level bootstrap over targets, and over ranking seeds and
the truth's seeds within each, as `tasksel evaluate` draws them. Of equal scores the first by name counts as larger, as in a ranking.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from math import comb
from pathlib import Path

import numpy as np

from tasksel.evaluation.foreign_matrix import read_matrix
from tasksel.evaluation.ground_truth import RESAMPLES, GroundTruth
from tasksel.evaluation.ranking_metrics import bootstrap
from tasksel.evaluation.score_records import SelectorScores, read_scores
from tasksel.evaluation.score_selectors import available_scores
from tasksel.storage.atomic import write_text

MATRIX = Path(__file__).parents[1] / "docs" / "results" / "matrix"
SIZES = (1, 2, 4, 6, 8, 10, 13)
SHORTLISTS = ("connectivity", "text", "connectivity+text", "random")
NOISE = "cola"  # hardly learnt from any source, so that its order is noise

Scores = dict[tuple[str, str, int], SelectorScores]  # by selector, target, ranking seed

# of the shortlist's order (None: any, equally likely), LogME's order, true scores [..., sources] and k: a value [...]
Measure = Callable[[list[int] | None, list[int], np.ndarray, int], np.ndarray]


def order_of(scores: dict[str, float], sources: Sequence[str]) -> list[int]:
    """The places of the sources, largest score first; of equal ones the first by name."""
    return sorted(range(len(sources)), key=lambda place: (-scores[sources[place]], sources[place]))


def holds_first(count: int) -> Measure:
    """Whether the shortlist holds LogME's first `count` sources, all of them."""

    def value(order: list[int] | None, logme: list[int], truth: np.ndarray, k: int) -> np.ndarray:
        n = len(logme)
        share = comb(n - count, k - count) / comb(n, k) if order is None and k >= count else 0.0
        return np.full(truth.shape[:-1], share if order is None else set(logme[:count]) <= set(order[:k]), float)

    return value


def holds_best(order: list[int] | None, logme: list[int], truth: np.ndarray, k: int) -> np.ndarray:
    """Whether the shortlist holds a source of the best true score."""
    best = truth == truth.max(-1, keepdims=True)
    if order is not None:
        return best[..., order[:k]].any(-1).astype(float)
    n = len(logme)
    return np.vectorize(lambda many: 1 - comb(n - many, k) / comb(n, k), otypes=[float])(best.sum(-1))


def lost(order: list[int] | None, logme: list[int], truth: np.ndarray, k: int) -> np.ndarray:
    """Points of true score that LogME's first choice loses within the shortlist."""
    n = len(logme)
    if order is None:  # LogME's j-th is the first in the shortlist where the j before it are not in it
        shares = np.array([comb(n - 1 - place, k - 1) / comb(n, k) for place in range(n)])
    else:
        shares = np.eye(n)[next(place for place, source in enumerate(logme) if source in order[:k])]
    return 100 * (truth[..., logme[0]] - truth[..., logme] @ shares)


MEASURES: dict[str, tuple[Measure, int]] = {  # and the digits it is shown with
    "LogME's first source is in the shortlist": (holds_first(1), 2),
    "LogME's first two sources are in the shortlist": (holds_first(2), 2),
    "The truly best source is in the shortlist": (holds_best, 2),
    "True score lost by re-ranking the shortlist instead of all sources, in points": (lost, 1),
}


def cell(by: str, measure: Measure, digits: int, k: int, truths: dict[str, GroundTruth], scores: Scores) -> str:
    """A measure's mean over targets and ranking seeds, with its interval."""
    means, draws = [], []
    for target, truth in truths.items():
        size = min(k, len(truth.sources))
        pairs = [
            (
                None if by == "random" else order_of(scores[by, target, seed].scores, truth.sources),
                order_of(scores["logme", target, seed].scores, truth.sources),
            )
            for seed in (0, 1)
        ]
        means.append(np.mean([measure(*pair, truth.mean, size) for pair in pairs]))
        every = np.array([measure(*pair, truth.resampled, size) for pair in pairs])  # [ranking seeds, RESAMPLES]
        draws.append(every[np.arange(RESAMPLES) % len(pairs), np.arange(RESAMPLES)])
    mean = float(np.mean(means))
    centre, low, high = bootstrap(np.array(draws), within=1)
    low, high = low - centre + mean, high - centre + mean  # a truth of resampled seeds is noisier: `evaluate_selectors`
    if measure is not lost:
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{number(mean, digits)} [{number(min(low, mean), digits)}, {number(max(high, mean), digits)}]"


def number(value: float, digits: int) -> str:
    """So many decimals, and no minus before a nought."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def page(folder: Path = MATRIX) -> str:
    """The whole page."""
    matrix, named = read_matrix(folder), ("logme", *SHORTLISTS[:-1])
    scores = {one.key: one for one in available_scores(named, read_scores(folder))}
    truths = {
        target: GroundTruth.of(matrix, target, method="sequential", seed=place)
        for place, target in enumerate(matrix.targets)
    }
    without = {target: truth for target, truth in truths.items() if target != NOISE}
    counts = sorted({len(truth.sources) for truth in truths.values()})
    parts = [
        "# How often a shortlist holds the sources that re-ranking wants",
        f"{len(truths)} targets with {counts[0]} to {counts[-1]} sources each, two ranking seeds, five seeds of the true score. "
        "Made by `python scripts/shortlist_recall.py` from the files beside it. "
        "Mean over targets and seeds [95 % interval over targets and seeds]; random: k sources drawn at random, in expectation. "
        "LogME here is of first tokens, as it was measured.",
    ]
    for title, (measure, digits) in MEASURES.items():
        heads = ["k", *SHORTLISTS, *(f"{by}, without {NOISE}" for by in SHORTLISTS[:1])]
        columns = [*((by, truths) for by in SHORTLISTS), (SHORTLISTS[0], without)]
        rows = [[str(k), *(cell(by, measure, digits, k, of, scores) for by, of in columns)] for k in SIZES]
        rule = ["--:"] * len(heads)
        table = "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))
        parts.append(f"## {title}\n\n{table}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write_text(MATRIX / "shortlist.md", page())
    sys.stdout.write(f"{MATRIX / 'shortlist.md'}\n")
