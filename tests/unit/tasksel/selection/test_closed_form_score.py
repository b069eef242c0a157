"""Tests of the closed form's score: it is what a head that is solved on the same model and rows is said to reach, for every kind of task."""

import numpy as np
import pytest
import torch

from tasksel import UserError, get_task, load_data
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.selection.closed_form_score import ClosedFormScore, head_inputs
from tasksel.selection.source_features import training_rows
from tasksel.training.features import pooled
from tasksel.training.solved_start import solve_head

KINDS = ("sentiment_films", "entail_travel", "similarity_market", "complaints_orders", "endings_daily")


pytestmark = pytest.mark.usefixtures("few_strengths")


@pytest.fixture(scope="module")
def base(tiny):
    return load_base(tiny)


def encoded_rows(name, base, rows=30):
    task = get_task(name)
    return task, encode_split(training_rows(load_data(task, rows=rows)), task, base.tokenizer, max_length=32)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_it_is_the_score_of_a_head_solved_on_the_same_rows(base, name, pooling):
    task, encoded = encoded_rows(name, base)
    model = base.model()
    features, _ = pooled(model, encoded, pooling=pooling)
    add_head(model, task, name="head", pooling=pooling)
    assert ClosedFormScore.of(task, encoded, seed=3)(features) == solve_head(model, task, encoded, seed=3).score


def test_a_feature_that_holds_the_label_scores_best_and_one_that_is_constant_changes_nothing(base):
    task, encoded = encoded_rows("sentiment_films", base)
    score, noise = ClosedFormScore.of(task, encoded, seed=0), np.random.default_rng(0).normal(size=(30, 4))
    informed = np.column_stack([noise, encoded.labels])
    assert score(informed) == 1.0
    assert score(noise) < 1.0
    assert score(np.column_stack([noise, np.full(30, 5.0)])) == score(noise)


def test_every_source_meets_the_same_folds(base):
    task, encoded = encoded_rows("sentiment_films", base)
    score, features = ClosedFormScore.of(task, encoded, seed=0), np.random.default_rng(0).normal(size=(30, 4))
    assert score(features) == score(features) == ClosedFormScore.of(task, encoded, seed=0)(features)


@pytest.mark.parametrize("name", KINDS)
def test_two_rows_have_a_score_and_one_is_refused(base, name):
    task, encoded = encoded_rows(name, base)
    features, _ = pooled(base.model(), encoded.take([0, 1]), pooling="first")
    assert np.isfinite(ClosedFormScore.of(task, encoded.take([0, 1]), seed=0)(features))
    with pytest.raises(UserError, match=f"1 row of '{name}': at least 2"):
        ClosedFormScore.of(task, encoded.take([0]), seed=0)


def test_a_class_of_one_row_and_features_that_are_all_alike_have_a_score(base):
    task, encoded = encoded_rows("question_type", base)
    labels = np.zeros(30, dtype=np.int64)
    labels[0] = 1
    lonely = ClosedFormScore(task, labels, None, ClosedFormScore.of(task, encoded, seed=0).parts)
    assert lonely(np.random.default_rng(0).normal(size=(30, 4))) >= 0.9
    assert lonely(np.ones((30, 4))) == pytest.approx(29 / 30)


def test_features_that_are_not_numbers_are_refused(base):
    task, encoded = encoded_rows("sentiment_films", base)
    with pytest.raises(UserError, match="NaN or infinite"):
        ClosedFormScore.of(task, encoded, seed=0)(np.full((30, 4), np.nan))


def test_the_inputs_are_standardised_and_flattened_and_move_no_other_draw():
    features = np.random.default_rng(0).normal(3.0, 2.0, size=(50, 6))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    inputs = head_inputs(features)
    assert torch.rand(1) == expected
    z = (features - features.mean(0)) / features.std(0)
    np.testing.assert_allclose(inputs, np.tanh(0.3 * z) / 0.3, atol=1e-5)
