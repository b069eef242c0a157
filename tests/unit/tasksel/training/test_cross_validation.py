"""A last layer's strength is the one that is best on rows it was not solved on; the folds adapt to few rows."""

import numpy as np
import pytest

from tasksel import UserError, get_task
from tasksel.tasks.metrics import score
from tasksel.training.closed_form import solve
from tasksel.training.cross_validation import STRENGTHS, WITHOUT_FOLDS, cross_validated, folds, out_of_fold

CLASSES = "single_sentence_classification"


@pytest.fixture
def two_classes():
    return get_task("sentiment_films")


def noisy(n=80, d=40, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    return x, (x[:, 0] + draw.normal(size=n) > 0).astype(int)


def test_a_row_is_scored_by_a_head_that_never_saw_it(two_classes):
    x, y = noisy(20)
    parts = folds(y, CLASSES)
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(20))
    assert all(not set(train) & set(held) for train, held in parts)
    logits = out_of_fold(x, y, two_classes, parts, strength=0.1)
    train, held = parts[0]
    wanted = solve(x[train], y[train], CLASSES, outputs=2, strength=0.1).logits(x[held])
    np.testing.assert_allclose(logits[held], wanted)


def test_the_strength_with_the_best_metric_is_kept_and_solved_on_all_rows(two_classes):
    x, y = noisy()
    parts, found = folds(y, CLASSES, seed=3), cross_validated(x, y, two_classes, seed=3)
    scores = {c: score("accuracy", out_of_fold(x, y, two_classes, parts, strength=c), y) for c in STRENGTHS}
    assert found.score == max(scores.values())
    assert found.strength == min(c for c in STRENGTHS if scores[c] == found.score)
    wanted = solve(x, y, CLASSES, outputs=2, strength=found.strength)
    np.testing.assert_allclose(found.layer.weight, wanted.weight)


def test_the_bias_that_f1_asks_for_is_in_the_layer():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 5))
    y = (x[:, 0] + draw.normal(size=200) > 2).astype(int)  # rare: probabilities stay below one half
    task = get_task("sentiment_films").model_copy(update={"metric": "f1"})
    found, plain = cross_validated(x, y, task), solve(x, y, CLASSES, outputs=2, strength=1e-3)
    assert score("f1", found.layer.logits(x), y) > score("f1", plain.logits(x), y) + 0.1
    assert found.score == score("f1", found.logits, y)


@pytest.mark.parametrize(("rows", "count"), [(1, 0), (2, 2), (3, 3), (40, 5)])
def test_there_are_no_more_folds_than_rows(rows, count):
    assert len(folds(np.arange(rows) % 2, CLASSES)) == count


def test_a_class_with_one_row_is_no_obstacle(two_classes):
    x, y = noisy(30)
    y[:] = 0
    y[4] = 1
    assert cross_validated(x, y, two_classes).score == 29 / 30


def test_a_single_row_is_solved_without_folds(two_classes):
    found = cross_validated(np.ones((1, 3)), np.array([1]), two_classes)
    assert (found.score, found.strength) == (None, WITHOUT_FOLDS)
    assert found.layer.logits(np.ones((1, 3))).argmax() == 1


RARE = "a class with fewer rows than the 5 folds of cross-validation is missing from some of them"
SAID = {
    "a single row": ([0], "1 row: too few for cross-validation, so the head's strength is not chosen"),
    "fewer rows than folds": ([0, 1, 0], "3 rows: cross-validated in 3 folds instead of 5"),
    "a class of one row": ([0] * 9 + [1], RARE),
    "rare classes": ([0] * 9 + [1, 2, 2], RARE),
    "enough of each": ([0, 1] * 5, ""),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_too_rare_for_the_folds_is_said_in_one_line(case, capsys):
    labels, line = SAID[case]
    folds(np.array(labels), CLASSES)
    assert capsys.readouterr().err.strip() == line


def test_numbers_and_labels_have_no_classes_to_be_rare(capsys):
    folds(np.arange(10) / 10, "regression")
    folds(np.eye(10, dtype=int), "multi_label")
    assert not capsys.readouterr().err


def test_a_row_that_is_not_finite_is_named_by_its_own_number(two_classes):
    x, y = noisy(30)
    x[17, 2] = np.inf
    with pytest.raises(UserError, match="1 of 1200 features are NaN or infinite, the first in row 17"):
        cross_validated(x, y, two_classes)


def test_numbers_are_scored_within_the_range_they_were_solved_on():
    task = get_task("rating_hotels")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 5))
    y = np.clip(3 * x[:, 0], -1, 1)
    found = cross_validated(x, y, task)
    assert abs(found.layer.logits(x)).max() > 1  # the layer's own are left as they are
    assert abs(found.logits).max() == 1
    assert found.score == score(task.metric, found.logits, y)


def test_a_layer_without_a_bias_is_chosen_without_one():
    x, y = noisy()
    task = get_task("sentiment_films").model_copy(update={"metric": "f1"})
    assert not cross_validated(x, y, task, intercept=False).layer.bias.any()


def test_a_choice_that_a_row_lacks_is_never_chosen():
    draw = np.random.default_rng(0)
    x, y, mask = draw.normal(size=(30, 3, 8)), draw.integers(0, 2, 30), np.ones((30, 3), dtype=bool)
    mask[::2, 2] = False
    task = get_task("entail_kitchen").model_copy(update={"kind": "multiple_choice", "num_choices": 3, "labels": ()})
    logits = cross_validated(x, y, task, mask=mask).logits
    assert np.isneginf(logits[::2, 2]).all()
    assert np.isfinite(logits[1::2]).all()
