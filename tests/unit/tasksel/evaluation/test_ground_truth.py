"""Tests of a target's ground truth: the mean of its seeds, resampled means, one seed against the others."""

import numpy as np
import pytest

from tasksel.evaluation.ground_truth import RESAMPLES, GroundTruth
from tasksel.evaluation.ranking_metrics import RANKING_METRICS, regret
from tasksel.evaluation.transfer_matrix import MatrixRecord, TransferMatrix

SCORES = {"x": (0.8, 0.6, 0.7), "y": (0.5, 0.9, 0.4), "z": (0.1, 0.2, 0.3)}  # of target t from each source, by seed


def truth_of(seeds, *, draw=0):
    rows = [
        MatrixRecord("t", source, "sequential", seed, "accuracy", SCORES[source][seed], None, 1, 1.0)
        for source in SCORES
        for seed in range(seeds)
    ]
    return GroundTruth.of(TransferMatrix(tuple(rows)), "t", method="sequential", seed=draw)


def test_the_truth_is_the_mean_of_the_seeds_and_resampled_truths_are_means_of_drawn_ones():
    truth = truth_of(2)
    np.testing.assert_allclose(truth.mean, [0.7, 0.7, 0.15])
    assert truth.resampled.shape == (RESAMPLES, 3)
    assert set(truth.resampled[:, 0]) == {0.8, 0.7, 0.6}  # seed 0 twice, both, seed 1 twice


def test_the_same_seed_draws_the_same_truths_and_another_others():
    np.testing.assert_array_equal(truth_of(3).resampled, truth_of(3).resampled)
    assert not np.array_equal(truth_of(3).resampled, truth_of(3, draw=1).resampled)


def test_one_seed_is_evaluated_by_the_mean_of_the_others():
    truth = truth_of(3)
    values, _ = truth.evaluate_one_seed()["regret@1"]
    others = [truth.scores[[1, 2]].mean(0), truth.scores[[0, 2]].mean(0), truth.scores[[0, 1]].mean(0)]
    wanted = [float(regret(scores, other, 1)) for scores, other in zip(truth.scores, others, strict=True)]
    assert values == pytest.approx(wanted)
    assert len(set(wanted)) > 1


def test_one_seed_alone_has_no_others_to_be_evaluated_by():
    values = truth_of(1).evaluate_one_seed()
    assert set(values) == set(RANKING_METRICS)
    assert all(np.isnan(real).all() and np.isnan(resampled).all() for real, resampled in values.values())


def test_an_oracle_loses_nothing_against_any_resampled_truth():
    real, resampled = truth_of(3).evaluate_oracle()["regret@1"]
    assert real.tolist() == [0.0]
    assert not resampled.any()
