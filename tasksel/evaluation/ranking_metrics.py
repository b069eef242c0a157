"""How good a ranking of sources is, against the scores that transfer from each source reached.

    nDCG     = sum_j gain_j * discount(place of j)  /  the same sum in the true order
    gain     = 2^rel - 1,  discount = 1 / log2(place + 1),  rel by one of three named conventions
    regret@k = 100 * (best of all - best of the k chosen) / best of all

predicted, truth    [..., sources], which broadcast; larger is better; truth in fractions. Results [...].

Sources with equal predicted scores have no order: each metric is its expectation over every order of the tied sources, in closed form
(for nDCG: McSherry & Najork, ECIR 2008; for the others ours), so that a random order is simply constant scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import comb
from scipy.stats import rankdata

from tasksel.errors import UserError, unknown


def _percent(truth: np.ndarray) -> np.ndarray:
    """The score in percent; below 0 (Matthews) it counts as 0 [ours]: a relevance cannot be negative."""
    return 100 * np.clip(truth, 0, None)


def _places(truth: np.ndarray) -> np.ndarray:
    """N - gold rank, the best has rank 1; sources that truly tie share the mean of their ranks [ours]."""
    return truth.shape[-1] - rankdata(-truth, method="average", axis=-1)


# lin: the score in percent, of all sources, the target's own among them [Lin et al. 2024, code]
# schulte: 100 x the score, of all sources but the target itself [Schulte et al. 2024]. The formula is lin's; only the candidates differ,
#          so the two give the same number wherever no source of the target's own name is among the candidates.
# taskweb: N - gold rank, of all sources but the target [TaskWeb]
CONVENTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"lin": _percent, "schulte": _percent, "taskweb": _places}


def ndcg(predicted: np.ndarray, truth: np.ndarray, convention: str) -> np.ndarray:
    """nDCG over all places, 0 to 1, in one of the CONVENTIONS. Where every relevance is 0, all orders are as good: 1 [ours].

    Use it to say how good the whole order is; `regret` says what the first k are worth.

    Args:
        predicted: scores of a selector [..., sources], any scale. truth: scores reached by transfer, fractions. They broadcast.
        convention: "taskweb" (relevance N - true rank), "lin" or "schulte" (100 x score).

    >>> float(ndcg(np.array([3.0, 2.0, 1.0]), np.array([0.9, 0.5, 0.1]), "taskweb"))
    1.0

    Raises:
        UserError: an unknown convention; scores that are not numbers, or of different lengths.
    """
    if convention not in CONVENTIONS:
        raise unknown("nDCG convention", convention, CONVENTIONS)
    predicted, truth = _checked(predicted, truth)
    first, last = _tied(predicted)
    discount = 1 / np.log2(np.arange(2, truth.shape[-1] + 2))
    until = np.concatenate([[0.0], np.cumsum(discount)])
    expected = np.where(first == last, discount[first - 1], (until[last] - until[first - 1]) / (last - first + 1))
    gain = 2.0 ** CONVENTIONS[convention](truth) - 1
    reached = (gain * expected).sum(axis=-1)
    ideal = (np.sort(gain, axis=-1)[..., ::-1] * discount).sum(axis=-1)
    return np.where(ideal > 0, reached / np.where(ideal > 0, ideal, 1), 1.0)[()]


def regret(predicted: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """By how much the best of the first k falls short of the best of all, in percent of the best of all.

    Use it to say what is lost when only the first k sources are tried; `ndcg` scores the whole order.

    0 where the best is not above 0: no source reached anything, so nothing is lost [ours]. Above 100 where the chosen are below 0.
    A k beyond the number of sources chooses all.

    >>> float(regret(np.array([1.0, 2.0]), np.array([0.8, 0.4]), 1))  # (0.8 - 0.4) / 0.8
    50.0

    Raises:
        UserError: k below 1; scores that are not numbers, or of different lengths.
    """
    predicted, truth = _checked(predicted, truth)
    return _percent_lost(truth.max(axis=-1), _best_of_chosen(predicted, truth, _checked_k(k, truth)))


def mean_regret(predicted: np.ndarray, truth: np.ndarray, k: int = 5) -> np.ndarray:
    """TaskWeb's "regret@k", another quantity: the MEAN of the first k against the mean of the truly best k, in percent of the latter.

    >>> round(float(mean_regret(np.array([2.0, 1.0]), np.array([0.4, 0.8]), 1)), 3)  # (0.8 - 0.4) / 0.8
    50.0
    """
    predicted, truth = _checked(predicted, truth)
    best = np.sort(truth, axis=-1)[..., -_checked_k(k, truth) :].mean(axis=-1)
    return _percent_lost(best, top_k_mean(predicted, truth, k))


def top_k_mean(predicted: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """The mean true score of the first k, a fraction.

    >>> float(top_k_mean(np.array([3.0, 2.0, 1.0]), np.array([0.5, 0.75, 1.0]), 2))
    0.625
    """
    predicted, truth = _checked(predicted, truth)
    k = _checked_k(k, truth)
    first, last = _tied(predicted)
    chosen = np.clip(
        (k - first + 1) / (last - first + 1), 0, 1
    )  # how probable it is that a source is among the first k
    return (truth * chosen).sum(axis=-1) / k


def rank_of_best(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The place, from 1, of the truly best source in the ranking; of several that are best, of the first one met.

    >>> float(rank_of_best(np.array([3.0, 2.0, 1.0]), np.array([0.5, 0.9, 0.1])))
    2.0
    """
    predicted, truth = _checked(predicted, truth)
    first, last = np.broadcast_arrays(*_tied(predicted), truth)[:2]
    best = truth == truth.max(axis=-1, keepdims=True)
    start = np.where(best, first, truth.shape[-1] + 1).min(axis=-1)
    met = best & (first == start[..., None])
    size = np.where(met, last - first + 1, 0).max(axis=-1)
    return (
        start - 1 + (size + 1) / (met.sum(axis=-1) + 1)
    )  # the first of m among s places is expected at (s + 1) / (m + 1)


def true_rank_of_first(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The true rank, from 1, of the source that is ranked first: 1 + the number of sources that are truly better.

    >>> float(true_rank_of_first(np.array([3.0, 2.0, 1.0]), np.array([0.5, 0.9, 0.1])))
    2.0
    """
    predicted, truth = _checked(predicted, truth)
    first, last = _tied(predicted)
    gold = rankdata(-truth, method="min", axis=-1)
    return (gold * (first == 1) / (last - first + 1)).sum(axis=-1)


def bootstrap(
    values: np.ndarray | Sequence[Sequence[float]],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    within: int | None = None,
) -> tuple[float, float, float]:
    """Mean and percentile interval of values [targets, seeds], by a two-level bootstrap: targets, and seeds within each.

    Args:
        values: of each target under each seed. draws: resamples. level: coverage of the interval.
        within: seeds drawn within each drawn target; as many as there are by default.

    Returns:
        mean, low, high

    Raises:
        UserError: not two axes, no values, or values that are not numbers.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim != 2 or not table.size or np.isnan(table).any():
        raise UserError(f"bootstrap: values must be numbers [targets, seeds], given shape {list(table.shape)}")
    count, seeds = table.shape
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, count, (draws, count, 1))
    means = table[targets, rng.integers(0, seeds, (draws, count, within or seeds))].mean(axis=(1, 2))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(table.mean()), float(low), float(high)


def _tied(predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and last place, from 1, of the group of equal scores that each source belongs to."""
    first, last = (rankdata(-predicted, method=end, axis=-1).astype(int) for end in ("min", "max"))
    return first, last


def _best_of_chosen(predicted: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """The expected best true score of the first k.

    Groups of equal scores that end by place k are chosen whole; of the group of g that place k splits, m are drawn, and the i-th best of
    it is the best drawn in C(g - i, m - 1) of C(g, m) cases.
    """
    first, last = _tied(predicted)
    sure = np.where(last <= k, truth, -np.inf).max(axis=-1)
    split = (first <= k) & (k < last)
    size = np.where(split, last - first + 1, 0).max(axis=-1, keepdims=True)
    drawn = np.where(split, k - first + 1, 0).max(axis=-1, keepdims=True)
    best = np.where(split, np.maximum(truth, sure[..., None]), -np.inf)
    best = np.sort(best, axis=-1)[..., ::-1]  # the split group first, best first
    chance = comb(size - np.arange(1, truth.shape[-1] + 1), drawn - 1) / comb(size, drawn)
    expected = (chance * np.where(np.isinf(best), 0, best)).sum(axis=-1)
    return np.where(size[..., 0] > 0, expected, sure)


def _percent_lost(best: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """The shortfall in percent of the best; 0 where the best is not above 0."""
    return np.where(best > 0, 100 * (best - reached) / np.where(best > 0, best, 1), 0.0)[()]


def _checked(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays, refused where they are not scores of the same sources."""
    predicted, truth = np.asarray(predicted, dtype=float), np.asarray(truth, dtype=float)
    sizes = [array.shape[-1] if array.ndim else 0 for array in (predicted, truth)]
    if sizes[0] != sizes[1] or not sizes[0]:
        raise UserError(f"{sizes[0]} predicted scores for {sizes[1]} true ones: give one per source, and at least one")
    for what, array in (("predicted", predicted), ("true", truth)):
        if np.isnan(array).any():
            raise UserError(f"a {what} score is not a number (source {int(np.argwhere(np.isnan(array))[0, -1])})")
    if truth.max() > 1:
        raise UserError(f"a true score of {truth.max():g}: true scores are fractions up to 1, not percent")
    return predicted, truth


def _checked_k(k: int, truth: np.ndarray) -> int:
    if k < 1:
        raise UserError(f"k={k}: choose at least 1 source")
    return min(k, truth.shape[-1])


@dataclass(frozen=True)
class RankingMetric:
    """A number that says how good a ranking is, as tables show it.

    Attributes:
        of: computes it from predicted and true scores [..., sources].
        digits: decimals shown. least, most: the range that it cannot leave.
    """

    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    digits: int
    least: float = -math.inf
    most: float = math.inf


def _top_percent(predicted: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    return 100 * top_k_mean(predicted, truth, k)


RANKING_METRICS = {
    **{
        f"nDCG {name}": RankingMetric(partial(ndcg, convention=name), 3, 0, 1) for name in ("taskweb", "lin", "schulte")
    },
    **{f"regret@{k}": RankingMetric(partial(regret, k=k), 1, 0) for k in (1, 3, 5)},
    "mean regret@5": RankingMetric(partial(mean_regret, k=5), 1, 0),
    "rank of best": RankingMetric(rank_of_best, 1, 1),
    "rank of first": RankingMetric(true_rank_of_first, 1, 1),
    **{f"top-{k}": RankingMetric(partial(_top_percent, k=k), 1) for k in (1, 3, 5)},
}
