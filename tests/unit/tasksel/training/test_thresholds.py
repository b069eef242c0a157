"""F1's biases: as many rows as have a label are said to have it; other metrics get no bias."""

import numpy as np
import pytest

from tasksel.training.thresholds import RATES, candidates

LABELS = np.array([[1, 0], [0, 0], [0, 1], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]])


def test_a_label_is_given_to_as_large_a_share_of_rows_as_have_it():
    logits = np.random.default_rng(0).normal(size=(10, 2)) - 5
    biases = list(candidates("macro_f1", "multi_label", logits, LABELS))
    counts = [(logits > bias).sum(0).tolist() for bias in biases]
    assert counts[0] == [0, 0]
    assert counts[1 + RATES.index(1.0)] == [1, 2]
    assert counts[1 + RATES.index(2.0)] == [2, 4]


def test_a_label_that_no_row_has_is_given_to_one_row_at_most():
    logits = np.random.default_rng(0).normal(size=(10, 1))
    for bias in list(candidates("micro_f1", "multi_label", logits, np.zeros((10, 1))))[1:]:
        assert (logits > bias).sum() == 1


def test_f1_of_one_class_may_be_a_guess_for_every_row():
    logits, labels = np.random.default_rng(0).normal(size=(10, 2)), np.arange(10) % 2
    last = list(candidates("f1", "pair_classification", logits, labels))[-1]
    assert ((logits - last).argmax(1) == 1).all()


def test_macro_f1_of_classes_is_evened_out_by_their_shares():
    labels = np.array([0] * 8 + [1] * 2)
    biases = list(candidates("macro_f1", "single_sentence_classification", np.zeros((10, 2)), labels))
    np.testing.assert_allclose(biases[-1], np.log([0.8, 0.2]))


@pytest.mark.parametrize("metric", ["accuracy", "matthews", "pearson"])
def test_other_metrics_have_no_bias(metric):
    (only,) = candidates(metric, "single_sentence_classification", np.ones((4, 2)), np.array([0, 1, 0, 1]))
    assert not only.any()
