"""One target's ground truth, resampled over seeds, and every ranking metric of a selector's scores against it.

    ground truth        mean over the matrix's seeds                  [sources]
    resampled truth     mean over seeds drawn with replacement        [RESAMPLES, sources]: what the bootstrap's inner level draws from
    one seed            each seed's own scores, against the mean of the other seeds: the ceiling of what one measurement can know

All ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasksel.evaluation.ranking_metrics import RANKING_METRICS
from tasksel.evaluation.transfer_matrix import TransferMatrix

RESAMPLES = 300  # resampled ground truths per target, from which the bootstrap draws

# per metric of a selector on one target: values [ranking seeds] against the ground truth, and [RESAMPLES] against the resampled ones
MetricValues = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class GroundTruth:
    """What each source gave one target, and how that varies over seeds.

    Attributes:
        sources: names. scores: [seeds, sources], fractions.
        mean: over seeds [sources]. resampled: means of resampled seeds [RESAMPLES, sources].
        rng: draws the seeds.
    """

    sources: tuple[str, ...]
    scores: np.ndarray
    mean: np.ndarray
    resampled: np.ndarray
    rng: np.random.Generator = field(repr=False)

    @classmethod
    def of(cls, matrix: TransferMatrix, target: str, *, method: str, seed: int) -> GroundTruth:
        """The ground truth of one target by one transfer method."""
        sources, scores = matrix.ground_truth(target, method=method)
        rng = np.random.default_rng(seed)
        draws = rng.integers(0, len(scores), (RESAMPLES, len(scores)))
        return cls(sources, scores, _mean_score(scores), _mean_score(scores[draws], axis=1), rng)

    def evaluate(self, predicted: np.ndarray) -> MetricValues:
        """Predicted scores [ranking seeds, sources] against the truth, and against each resampled truth, ranking seeds in turn."""
        in_turn = predicted[np.arange(RESAMPLES) % len(predicted)] if len(predicted) > 1 else predicted
        return _metric_values((predicted, self.mean), (in_turn, self.resampled))

    def evaluate_oracle(self) -> MetricValues:
        """The truth as its own prediction."""
        return _metric_values((self.mean, self.mean), (self.resampled, self.resampled))

    def evaluate_one_seed(self) -> MetricValues:
        """Each seed's own scores against the mean of the others; NaN where there is one seed only."""
        count = len(self.scores)
        if count == 1:
            return {name: (np.full(1, np.nan), np.full(RESAMPLES, np.nan)) for name in RANKING_METRICS}
        others = np.array([_mean_score(np.delete(self.scores, seed, axis=0)) for seed in range(count)])
        seeds = self.rng.integers(0, count, RESAMPLES)
        draws = self.rng.integers(0, count - 1, (RESAMPLES, count - 1))
        draws += draws >= seeds[:, None]  # any seed but that one
        return _metric_values((self.scores, others), (self.scores[seeds], _mean_score(self.scores[draws], axis=1)))


def _mean_score(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean, rounded so that sources that tie still do after the sum."""
    return scores.mean(axis=axis).round(12)


def _metric_values(real: tuple[np.ndarray, np.ndarray], resampled: tuple[np.ndarray, np.ndarray]) -> MetricValues:
    """Every metric of two (predicted, truth)."""
    return {name: (np.atleast_1d(metric.of(*real)), metric.of(*resampled)) for name, metric in RANKING_METRICS.items()}
