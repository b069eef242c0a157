"""The last layer's solution is scikit-learn's own, for every kind of task; it stays finite whatever the rows are."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from tasksel.errors import UserError
from tasksel.training.closed_form import solve

CLASSES = "single_sentence_classification"


def rows(n=60, d=24, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    return x, x @ draw.normal(size=d) + draw.normal(size=n)


def sklearns(x, y, strength):
    return LogisticRegression(C=strength, tol=1e-12, max_iter=10_000).fit(x, y)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize(("n", "d"), [(60, 24), (30, 80)])
@pytest.mark.parametrize("outputs", [2, 4])
def test_classes_are_solved_as_by_scikit_learn(n, d, outputs, strength):
    x, value = rows(n, d)
    y = np.digitize(value, np.quantile(value, np.arange(1, outputs) / outputs))
    found, wanted = solve(x, y, CLASSES, outputs=outputs, strength=strength), sklearns(x, y, strength)
    if outputs == 2:  # scikit-learn has one row of weights
        np.testing.assert_allclose(found.weight[1] - found.weight[0], wanted.coef_[0], atol=1e-6)
        np.testing.assert_allclose(found.bias[1] - found.bias[0], wanted.intercept_[0], atol=1e-6)
    else:
        np.testing.assert_allclose(found.weight, wanted.coef_, atol=1e-6)
        np.testing.assert_allclose(found.bias, wanted.intercept_, atol=1e-6)


def test_each_of_several_labels_is_solved_alone():
    x, value = rows()
    y = np.stack([value > 0, value > 1, np.roll(value, 3) > 0], 1).astype(int)
    found = solve(x, y, "multi_label", outputs=3, strength=0.1)
    for label in range(3):
        wanted = sklearns(x, y[:, label], 0.1)
        np.testing.assert_allclose(found.weight[label], wanted.coef_[0], atol=1e-6)
        np.testing.assert_allclose(found.bias[label], wanted.intercept_[0], atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 24), (30, 80)])
def test_numbers_are_ridge_regression(n, d):
    x, value = rows(n, d)
    found, wanted = solve(x, value, "regression", outputs=1, strength=0.1), Ridge(alpha=10).fit(x, value)
    np.testing.assert_allclose(found.weight[0], wanted.coef_, atol=1e-6)
    np.testing.assert_allclose(found.logits(x)[:, 0], wanted.predict(x), atol=1e-6)


def test_two_choices_are_a_logistic_regression_on_their_difference():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(50, 2, 12))
    y = (x[:, 1, 0] - x[:, 0, 0] + draw.normal(size=50) > 0).astype(int)
    found = solve(x, y, "multiple_choice", outputs=2, strength=0.5)
    wanted = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-12, max_iter=10_000).fit(x[:, 1] - x[:, 0], y)
    np.testing.assert_allclose(found.weight[0], wanted.coef_[0], atol=1e-5)
    assert found.logits(x).shape == (50, 2)


def test_a_choice_that_a_row_lacks_counts_for_nothing():
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(40, 3, 6)), draw.integers(0, 2, 40)
    mask = np.ones((40, 3), dtype=bool)
    mask[:, 2] = False
    found = solve(x, y, "multiple_choice", outputs=3, strength=0.5, mask=mask)
    np.testing.assert_allclose(
        found.weight, solve(x[:, :2], y, "multiple_choice", outputs=2, strength=0.5).weight, atol=1e-5
    )


def test_separable_rows_have_a_finite_solution():
    x = np.concatenate([np.full((20, 3), -1.0), np.full((20, 3), 1.0)])
    found = solve(x, np.repeat([0, 1], 20), CLASSES, outputs=2, strength=1.0)
    assert np.isfinite(found.weight).all()
    assert np.abs(found.logits(x)).max() < 50


def test_a_class_without_a_row_is_never_likelier_than_half_a_row():
    x, value = rows()
    found = solve(x, (value > 0).astype(int), CLASSES, outputs=3, strength=0.1)
    logits = found.logits(x)
    assert not found.weight[2].any()
    assert (np.exp(logits[:, 2]) / np.exp(logits).sum(1)).mean() < 1 / 60


def test_one_class_alone_is_its_share():
    found = solve(np.ones((4, 2)), np.zeros(4, dtype=int), CLASSES, outputs=2, strength=1.0)
    assert found.logits(np.zeros((1, 2))).argmax() == 0


def test_features_that_are_not_finite_are_refused_with_their_row():
    x, value = rows()
    x[7, 3] = np.nan
    with pytest.raises(UserError, match=r"1 of 1440 features are NaN or infinite, the first in row 7"):
        solve(x, (value > 0).astype(int), CLASSES, outputs=2, strength=1.0)


def test_labels_that_are_not_finite_are_refused_with_their_row():
    x, value = rows()
    value[3] = np.inf
    with pytest.raises(UserError, match=r"1 of 60 labels are NaN or infinite, the first in row 3"):
        solve(x, value, "regression", outputs=1, strength=1.0)


@pytest.mark.parametrize("kind", [CLASSES, "regression", "multi_label"])
def test_without_an_intercept_it_is_scikit_learns_too(kind):
    x, value = rows()
    y = {CLASSES: (value > 0).astype(int), "regression": value, "multi_label": (value > 0).astype(int)[:, None]}[kind]
    found = solve(x, y, kind, outputs=2 if kind == CLASSES else 1, strength=0.1, intercept=False)
    weight = found.weight[1] - found.weight[0] if kind == CLASSES else found.weight[0]
    plain = Ridge(alpha=10, fit_intercept=False) if kind == "regression" else LogisticRegression(C=0.1, tol=1e-12, max_iter=10_000, fit_intercept=False)  # fmt: skip
    np.testing.assert_allclose(weight, plain.fit(x, y.ravel()).coef_.ravel(), atol=1e-6)
    assert not found.bias.any()


@pytest.mark.filterwarnings("error")
def test_many_classes_of_one_row_each_are_solved_without_a_warning():
    x, _ = rows(20, 30)
    found = solve(x, np.arange(20), CLASSES, outputs=77, strength=1.0)
    assert found.logits(x).argmax(1).tolist() == list(range(20))


def test_a_label_that_all_rows_have_or_none_is_a_constant():
    x, value = rows()
    y = np.stack([np.ones(60), np.zeros(60), value > 0], 1).astype(int)
    found = solve(x, y, "multi_label", outputs=3, strength=1.0)
    assert not found.weight[:2].any()
    assert (found.bias[0], found.bias[1]) == pytest.approx((np.log(120), -np.log(120)))


def test_labels_that_are_one_number_are_predicted():
    x, _ = rows()
    found = solve(x, np.full(60, 3.0), "regression", outputs=1, strength=1.0)
    np.testing.assert_allclose(found.logits(x), 3.0)


def test_a_solution_takes_one_thread_and_gives_the_others_back():
    from threadpoolctl import threadpool_info, threadpool_limits

    import tasksel.training.closed_form as module

    seen, solver = [], module._solve
    threads = lambda: [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]  # noqa: E731

    def spy(*arguments):
        seen.append(threads())
        return solver(*arguments)

    x, value = rows()
    with threadpool_limits(2, user_api="blas"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_solve", spy)
        solve(x, value, "regression", outputs=1, strength=1.0)
        assert set(seen[0]) == {1}
        assert set(threads()) == {2}


def test_other_numbers_of_rows_and_labels_are_refused():
    with pytest.raises(UserError, match="3 rows of features, 2 of labels"):
        solve(np.ones((3, 2)), np.zeros(2, dtype=int), CLASSES, outputs=2, strength=1.0)
