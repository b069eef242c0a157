"""An interval is that of the metrics themselves over drawn rows, however it is computed, and there is none where it would mean nothing."""

import time
import warnings

import numpy as np
import pytest

from tasksel.tasks.bootstrap import interval, resampled
from tasksel.tasks.metrics import METRICS, score

ROWS = 60
CASES = [
    *(("classes", metric) for metric in ("accuracy", "macro_f1", "micro_f1", "matthews")),
    *(("two classes", metric) for metric in ("f1", "accuracy_f1", "matthews", "macro_f1")),
    *(("several labels", metric) for metric in ("accuracy", "macro_f1", "micro_f1")),
    *(("numbers", metric) for metric in ("pearson", "spearman", "pearson_spearman")),
    *(("texts", metric) for metric in ("exact_match", "token_f1", "rouge_l")),
]


def rows_of(kind, count=ROWS):
    """Labels, and the logits of a good and of a bad model."""
    rng = np.random.default_rng(1)
    if kind == "texts":
        words = np.array(["red sky", "blue sky", "a green hill"], dtype=object)
        labels = rng.integers(0, 3, count)
        good = np.where(rng.random(count) < 0.7, labels, (labels + 1) % 3)
        return words[labels], words[good], words[rng.integers(0, 3, count)]
    outputs = {"classes": 4, "two classes": 2, "several labels": 3, "numbers": 1}[kind]
    if kind == "numbers":
        labels = rng.integers(0, 6, count) / 2  # with ties
        return labels, labels[:, None] + rng.normal(size=(count, 1)), rng.normal(size=(count, 1))
    labels = rng.integers(0, 2, (count, outputs)) if kind == "several labels" else rng.integers(0, outputs, count)
    hot = labels if kind == "several labels" else np.eye(outputs)[labels]
    return labels, 2 * hot - 1 + rng.normal(size=(count, outputs)), rng.normal(size=(count, outputs))


class WholeDraws:
    """A generator whose every draw is all rows, once."""

    def multinomial(self, count, shares, size):
        return np.tile(np.round(shares * count), (size, 1))

    def integers(self, low, high, size):
        return np.tile(np.arange(high), (size[0], 1))


@pytest.mark.parametrize(("kind", "metric"), CASES)
def test_the_score_of_a_draw_is_the_metric_on_its_rows(kind, metric, monkeypatch):
    labels, *models = rows_of(kind)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: WholeDraws())
    found = resampled(metric, models, labels, draws=3)
    np.testing.assert_allclose(found, [[score(metric, logits, labels) for logits in models]] * 3, atol=1e-12)


@pytest.mark.parametrize(("kind", "metric"), [CASES[0], CASES[8], CASES[11], CASES[15]])
def test_the_interval_is_that_of_draws_of_rows(kind, metric):
    labels, good, bad = rows_of(kind)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, ROWS, ROWS) for _ in range(200)]
    slow = [score(metric, good[rows], labels[rows]) - score(metric, bad[rows], labels[rows]) for rows in draws]
    found = resampled(metric, [good, bad], labels)
    low, high = interval(found[:, 0] - found[:, 1])
    width = high - low
    np.testing.assert_allclose((low, high), np.quantile(slow, (0.025, 0.975)), atol=0.25 * width)


def test_every_metric_is_tried_here():
    assert {metric for _, metric in CASES} == set(METRICS)


def test_a_class_that_comes_nowhere_does_not_count_in_macro_f1(monkeypatch):
    logits, labels = np.eye(4)[[0, 1, 1, 0]], np.array([0, 1, 0, 0])
    monkeypatch.setattr(np.random, "default_rng", lambda seed: WholeDraws())
    found = resampled("macro_f1", [logits], labels, draws=1)
    assert found[0, 0] == pytest.approx(score("macro_f1", logits, labels))


@pytest.mark.parametrize("metric", ["matthews", "f1", "accuracy_f1", "pearson", "spearman", "pearson_spearman"])
def test_labels_that_are_all_the_same_have_no_interval_and_no_warning(metric):
    outputs = 2 if metric in ("matthews", "f1", "accuracy_f1") else 1
    logits = np.random.default_rng(0).normal(size=(9, outputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = resampled(metric, [logits], np.zeros(9, dtype=int))
        assert interval(found[:, 0]) is None


@pytest.mark.parametrize("metric", METRICS)
def test_few_rows_have_an_interval_of_numbers_or_none(metric):
    kind = next(kind for kind, name in CASES if name == metric)
    for count in (1, 2, 3):
        labels, *models = rows_of(kind, count)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = resampled(metric, models, labels)
            between = [interval(found[:, 0]), interval(found[:, 0] - found[:, 1])]
        assert all(pair is None or (np.isfinite(pair).all() and pair[0] < pair[1]) for pair in between)


def test_an_interval_is_the_same_each_time_and_moves_with_the_seed():
    labels, good, bad = rows_of("classes")
    one, two, other = (resampled("accuracy", [good, bad], labels, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_many_rows_are_drawn_in_chunks_of_the_same_kind(monkeypatch):
    labels, good, bad = rows_of("numbers")
    whole = resampled("spearman", [good, bad], labels, draws=50)
    monkeypatch.setattr("tasksel.tasks.bootstrap.AT_ONCE", 7 * ROWS)
    np.testing.assert_array_equal(resampled("spearman", [good, bad], labels, draws=50), whole)


@pytest.mark.parametrize(("kind", "metric"), [("several labels", "macro_f1"), ("numbers", "pearson_spearman")])
def test_a_thousand_rows_take_no_time_to_speak_of(kind, metric):
    labels, *models = rows_of(kind, 1000)
    begun = time.process_time()
    resampled(metric, models, labels)
    assert time.process_time() - begun < 4  # about 0.5 s


@pytest.mark.parametrize("metric", ["pearson", "spearman", "pearson_spearman"])
def test_a_constant_prediction_correlates_with_nothing(metric):
    labels, good, _ = rows_of("numbers", 23)
    found = resampled(metric, [np.full((23, 1), 0.1 + value) for value in (0.0, 0.2, 1e8)] + [good], labels)
    assert (found[:, :3] == 0).all()
    assert found[:, 3].mean() > 0.5
