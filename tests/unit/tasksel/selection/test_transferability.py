"""Tests of transferability: the evidence itself maximised numerically, naive loops, values by hand, and orders that must hold."""

import warnings
from functools import partial
from math import log, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import not_refused
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold

from tasksel.errors import UserError
from tasksel.selection import transferability
from tasksel.selection.transferability import knn, leep, linear_probe, logme, nce

draw = np.random.default_rng(0)
CLASSES = draw.integers(0, 3, 60)
CLEAR = draw.normal(size=(60, 8)) + 3 * np.eye(3, 8)[CLASSES]
VAGUE = draw.normal(size=(60, 8)) + 0.8 * np.eye(3, 8)[CLASSES]
NOISE = draw.normal(size=(60, 8))
HOT = (draw.random((60, 4)) < 0.4).astype(int)
NUMBERS = CLEAR @ draw.normal(size=8) + draw.normal(size=60)
THETA = draw.dirichlet(np.ones(5), 60)
ANGLES = np.array([0, 10, 25, 90, 100, 130]) / 180 * pi
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1) * np.array([[1], [5], [2], [1], [9], [3]])


def direct_evidence(features, y):
    """max over alpha, beta of log N(y; 0, F F^T / alpha + I / beta) / n, by the covariance itself and a search."""
    kernel, n = features @ features.T, len(y)

    def loss(logs):
        alpha, beta = np.exp(np.clip(logs, -30, 30))
        covariance = kernel / alpha + np.eye(n) / beta
        return -multivariate_normal.logpdf(y, np.zeros(n), covariance)

    starts = [(0.0, 0.0), (3.0, 0.0), (-2.0, 3.0)]
    found = [minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}) for start in starts]
    return -min(result.fun for result in found) / n


class TestLogMe:
    @pytest.mark.parametrize("shape", [(30, 4), (25, 12), (14, 30)])
    def test_numbers_have_the_maximum_of_the_density_itself(self, shape):
        features = np.random.default_rng(1).normal(size=shape) * np.geomspace(3, 0.3, shape[1])
        y = features @ np.random.default_rng(2).normal(size=shape[1]) + np.random.default_rng(3).normal(size=shape[0])
        assert logme(features, y, regression=True) == pytest.approx(direct_evidence(features, y), abs=1e-6)

    def test_classes_have_the_mean_of_one_against_the_rest(self):
        wanted = np.mean([direct_evidence(VAGUE, (c == CLASSES) * 1.0) for c in range(3)])
        assert logme(VAGUE, CLASSES) == pytest.approx(wanted, abs=1e-6)
        assert logme(VAGUE, CLASSES * 7 - 3) == pytest.approx(wanted, abs=1e-6)  # classes that are absent do not count

    def test_multi_hot_labels_have_the_mean_of_their_columns(self):
        wanted = np.mean([direct_evidence(NOISE + HOT[:, :1], y) for y in HOT.T * 1.0])
        assert logme(NOISE + HOT[:, :1], HOT) == pytest.approx(wanted, abs=1e-6)
        constant = np.hstack([HOT, np.zeros((60, 1)), np.ones((60, 1))])
        assert logme(NOISE + HOT[:, :1], constant) == pytest.approx(wanted, abs=1e-6)

    def test_columns_that_depend_on_each_other_count_once(self):
        twice = np.hstack([VAGUE, VAGUE])
        y = (CLASSES == 0) * 1.0
        assert logme(twice, y, regression=True) == pytest.approx(direct_evidence(twice, y), abs=1e-6)
        assert logme(twice, CLASSES) == pytest.approx(logme(VAGUE, CLASSES))  # a weight halved in variance, twice

    def test_two_rows_by_hand(self):
        """C = diag(1/alpha + 1/beta, 1/beta) is best at diag(a^2, b^2) where a > b, else at the mean of both."""
        one = np.array([[1.0], [0.0]])
        assert logme(one, np.array([3.0, 2.0]), regression=True) == pytest.approx(-(log(2 * pi) + log(6) + 1) / 2)
        assert logme(one, np.array([2.0, 3.0]), regression=True) == pytest.approx(-(log(2 * pi * 6.5) + 1) / 2)
        assert logme(one, np.array([0.0, 3.0]), regression=True) == pytest.approx(-(log(2 * pi * 4.5) + 1) / 2)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 1000), st.floats(1e-6, 1e6))
    def test_neither_scale_nor_rotation_of_the_features_matters(self, seed, scale):
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))[0]
        assert logme(scale * VAGUE @ turn, CLASSES) == pytest.approx(logme(VAGUE, CLASSES), abs=1e-7)

    def test_stays_finite_where_features_explain_all_or_nothing(self):
        for features in (np.eye(3)[CLASSES], np.hstack([np.eye(60), NOISE]), np.eye(60)[:, :1] * 1e-9, NOISE * 1e150):
            assert np.isfinite(logme(features, CLASSES))
        assert logme(np.eye(3)[CLASSES], CLASSES) > logme(CLEAR, CLASSES)


class TestLeep:
    def test_by_hand(self):
        theta = np.array([[0.8, 0.2], [0.4, 0.6]])  # P(y | z) = 2/3, 1/4 of the first class
        wanted = (log(0.8 * 2 / 3 + 0.2 * 1 / 4) + log(0.4 * 1 / 3 + 0.6 * 3 / 4)) / 2
        assert leep(theta, np.array([0, 1])) == pytest.approx(wanted)

    def test_is_the_naive_loop(self):
        joint = np.zeros((3, 5))
        for y, row in zip(CLASSES, THETA, strict=True):
            joint[y] += row / 60
        total = 0.0
        for y, row in zip(CLASSES, THETA, strict=True):
            total += log(sum(joint[y, z] / joint[:, z].sum() * row[z] for z in range(5)))
        assert leep(THETA, CLASSES) == pytest.approx(total / 60)

    def test_of_certain_predictions_is_nce(self):
        source = draw.integers(0, 4, 60)
        assert leep(np.eye(6)[source], CLASSES) == pytest.approx(nce(source, CLASSES))  # two source classes never occur

    def test_half_precision_is_near_enough_to_one(self):
        assert leep(THETA.astype(np.float16), CLASSES) == pytest.approx(leep(THETA, CLASSES), abs=1e-3)


class TestNce:
    def test_by_hand(self):
        assert nce(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])) == pytest.approx(-0.5 * log(2))
        assert nce(np.array([4, 9, 9, 4]), np.array([1, 0, 0, 1])) == 0.0
        assert nce(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1])) == pytest.approx(0.75 * log(0.75) + 0.25 * log(0.25))

    def test_is_the_naive_loop(self):
        source, total = draw.integers(0, 4, 60), 0.0
        for z in range(4):
            for y in range(3):
                together = np.mean((source == z) & (y == CLASSES))
                total += together * log(together / np.mean(source == z))
        assert nce(source, CLASSES) == pytest.approx(total)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 3)), min_size=2, max_size=30))
    def test_lies_between_the_entropy_and_0(self, pairs):
        source, labels = np.array(pairs).T
        if len(set(labels)) > 1:
            share = np.unique(labels, return_counts=True)[1] / len(labels)
            assert (share * np.log(share)).sum() - 1e-12 <= nce(source, labels) <= 1e-12


class TestKnn:
    def test_by_hand(self):
        """Directions at 0, 10, 25, 90, 100, 130 degrees; lengths do not matter."""
        labels = np.array([0, 0, 1, 1, 1, 0])
        assert knn(CIRCLE, labels, k=1) == 4 / 6  # 25 and 130 are told the class of 10 and 100
        assert knn(CIRCLE, labels, k=3) == 2 / 6  # of 90 and 100, told 1 0 1 and 1 0 1

    def test_is_the_naive_loop(self):
        for k in (1, 2, 5, 6):
            hits = 0
            for i in range(60):
                cosine = [VAGUE[i] @ VAGUE[j] / np.sqrt(VAGUE[i] @ VAGUE[i] * (VAGUE[j] @ VAGUE[j])) for j in range(60)]
                near = [CLASSES[j] for j in sorted(range(60), key=lambda j: -cosine[j]) if j != i][:k]
                most = max(near.count(c) for c in near)
                hits += next(c for c in near if near.count(c) == most) == CLASSES[i]
            assert knn(VAGUE, CLASSES, k=k) == hits / 60

    def test_of_equally_frequent_classes_the_nearer_wins(self):
        labels = np.array([0, 0, 1, 1, 1, 0])
        assert knn(CIRCLE, labels, k=2) == knn(CIRCLE, labels, k=1)  # two that differ: the nearer
        # the rows at 0 and 10 are told 7 5 9 5 7: 7, which is met first; that at 130 is told 5 9 5 7 7: 5; the others have no tie
        assert knn(CIRCLE, np.array([7, 7, 5, 9, 5, 7]), k=5) == 2 / 6

    def test_of_equally_near_rows_the_first_is_the_nearer(self):
        same = np.ones((4, 3)) * np.array([[1], [2], [0.1], [7]])
        assert knn(same, np.array([0, 0, 1, 1]), k=1) == 0.5  # all are told of row 0, row 0 of row 1
        side, labels = np.arange(300) % 2, np.random.default_rng(1).integers(0, 2, 300)
        many = (
            np.random.default_rng(2).uniform(0.1, 9, (300, 1)) * NOISE[side]
        )  # two directions, equal but for rounding
        labels[:4] = side[:4]
        assert knn(many, labels, k=1) == np.mean(labels == side)  # all are told of rows 0 to 3

    def test_numbers_are_told_the_mean_of_their_neighbours(self):
        values = np.array([1.0, 2.0, 3.0, 10.0, 11.0, 12.0])
        predicted = np.array([2.0, 1.0, 2.0, 11.0, 10.0, 11.0])
        wanted = 1 - ((values - predicted) ** 2).sum() / ((values - 6.5) ** 2).sum()
        assert knn(CIRCLE, values, k=1, regression=True) == pytest.approx(wanted)
        two = np.array([2.5, 2.0, 1.5, 11.5, 11.0, 10.5])
        wanted = 1 - ((values - two) ** 2).sum() / ((values - 6.5) ** 2).sum()
        assert knn(CIRCLE, values, k=2, regression=True) == pytest.approx(wanted)

    def test_a_zero_row_is_at_cosine_0(self):
        features = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.1], [-1.0, 0.0]])
        assert knn(features, np.array([0, 0, 1, 1]), k=1) == 1.0

    def test_is_the_same_in_pieces(self, monkeypatch):
        whole = knn(VAGUE, CLASSES), knn(CLEAR, NUMBERS, regression=True)
        monkeypatch.setattr(transferability, "CHUNK", 7)
        assert (knn(VAGUE, CLASSES), knn(CLEAR, NUMBERS, regression=True)) == whole


class TestProbe:
    def naive(self, model, parts, y):
        scores = []
        for train, test in parts.split(VAGUE, y):
            mean, spread = VAGUE[train].mean(0), VAGUE[train].std(0)
            model.fit((VAGUE[train] - mean) / spread, y[train])
            scores.append(model.score((VAGUE[test] - mean) / spread, y[test]))
        return np.mean(scores)

    @pytest.mark.parametrize(("folds", "seed"), [(5, 0), (3, 0), (5, 4)])
    def test_is_the_fit_fold_by_fold(self, folds, seed):
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
        wanted = self.naive(LogisticRegression(max_iter=1000), parts, CLASSES)
        assert 0.4 < wanted < 0.9
        assert linear_probe(VAGUE, CLASSES, folds=folds, seed=seed) == pytest.approx(wanted)
        wanted = self.naive(Ridge(), KFold(folds, shuffle=True, random_state=seed), NUMBERS)
        assert linear_probe(VAGUE, NUMBERS, folds=folds, seed=seed, regression=True) == pytest.approx(wanted)

    def test_neither_scale_nor_shift_of_a_feature_matters(self):
        moved = VAGUE * np.geomspace(1e-3, 1e3, 8) + 5
        assert linear_probe(moved, CLASSES) == pytest.approx(linear_probe(VAGUE, CLASSES))

    def test_a_class_rarer_than_the_folds_is_no_trouble(self):
        labels = CLASSES.copy()
        labels[:2], labels[2] = 3, 4
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert 0.6 < linear_probe(CLEAR, labels) < 1.0

    def test_columns_that_cannot_be_split_are_left_out(self):
        rare, twice = np.eye(60, 1, dtype=int), (np.arange(60) < 2)[:, None] * 1
        both = [linear_probe(VAGUE, y) for y in (HOT, twice[:, 0])]
        assert linear_probe(VAGUE, np.hstack([HOT, twice])) == pytest.approx(both[0] * 4 / 5 + both[1] / 5)
        assert linear_probe(VAGUE, np.hstack([HOT, rare])) == linear_probe(VAGUE, HOT)
        with pytest.raises(UserError, match="none of 1 label columns has both values in at least 2 of 60 rows each"):
            linear_probe(VAGUE, rare)


MEASURES = {
    "logme": lambda features, labels, **more: logme(features, labels, **more),
    "knn": lambda features, labels, **more: knn(features, labels, **more),
    "linear_probe": lambda features, labels, **more: linear_probe(features, labels, **more),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_features_that_know_more_score_higher(measure):
    assert measure(CLEAR, CLASSES) > measure(VAGUE, CLASSES) > measure(NOISE, CLASSES)
    assert measure(CLEAR, NUMBERS, regression=True) > measure(VAGUE, NUMBERS, regression=True)


def test_predictions_that_know_more_score_higher():
    sharp, blunt = (np.exp(x * CLEAR[:, :3]) / np.exp(x * CLEAR[:, :3]).sum(1, keepdims=True) for x in (1.0, 0.3))
    assert leep(sharp, CLASSES) > leep(blunt, CLASSES) > leep(THETA, CLASSES)
    assert nce(CLEAR[:, :3].argmax(1), CLASSES) > nce(VAGUE[:, :3].argmax(1), CLASSES)
    assert nce(VAGUE[:, :3].argmax(1), CLASSES) > nce(NOISE[:, :3].argmax(1), CLASSES)


@pytest.mark.parametrize(
    ("measure", "given_"),
    [(leep, THETA), (nce, THETA.argmax(1)), (knn, VAGUE), (linear_probe, VAGUE)],
    ids=["leep", "nce", "knn", "linear_probe"],
)
def test_multi_hot_labels_have_the_mean_of_their_columns(measure, given_):
    columns = [measure(given_, y) for y in HOT.T]
    assert len(set(columns)) > 1
    assert measure(given_, HOT) == pytest.approx(np.mean(columns))
    assert measure(given_, np.hstack([HOT, np.zeros((60, 1)), np.ones((60, 1))])) == pytest.approx(np.mean(columns))
    if measure is not linear_probe:  # which cannot split one row
        rare = np.eye(60, 1, dtype=int)
        columns.append(measure(given_, rare[:, 0]))
        assert measure(given_, np.hstack([HOT, rare])) == pytest.approx(np.mean(columns))


def broken(value, *where):
    features = NOISE.copy()
    for row in where:
        features[row, 1] = value
    return features


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        (broken(np.nan, 40, 7), CLASSES, "2 of 480 features are NaN or infinite, the first in row 7"),
        (broken(-np.inf, 3), CLASSES, "1 of 480 features are NaN or infinite, the first in row 3"),
        (np.full((60, 3), 0.5), CLASSES, "the features of all 60 rows are the same"),
        (NOISE[:59], CLASSES, "59 rows of features, 60 of labels: give one label per row"),
        (NOISE[:1], CLASSES[:1], "1 rows: at least 2 are needed"),
        (NOISE[0], CLASSES[:8], r"features of shape \[8\]: give \[rows, dimensions\]"),
        (NOISE, np.full(60, 2), "all 60 labels are class 2: at least two classes are needed"),
        (NOISE, NUMBERS, r"labels of shape \[60\] and type float64: .* or numbers with regression=True"),
        (NOISE, np.full((60, 2), 2), "multi-hot: every value must be 0 or 1"),
        (NOISE, np.zeros((60, 3)), "none of 3 label columns has both values"),
    ],
)
def test_bad_features_and_labels_are_refused(features, labels, said):
    assert not_refused({name: partial(measure, features, labels) for name, measure in MEASURES.items()}, said) == {}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full(60, 2.5), "all 60 labels are 2.5: at least two values are needed"),
        (np.where(np.arange(60) == 9, np.nan, 1.0), "1 of 60 labels are NaN or infinite, the first in row 9"),
        (HOT, r"labels of shape \[60, 4\] and type int64: a regression needs \[rows\] numbers"),
    ],
)
def test_bad_numbers_are_refused(labels, said):
    calls = {name: partial(measure, NOISE, labels, regression=True) for name, measure in MEASURES.items()}
    assert not_refused(calls, said) == {}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: leep(THETA * 1.1, CLASSES), r"60 rows are not probabilities, the first is row 0 .*sum 1\.1\)"),
        (lambda: leep(THETA - np.eye(60, 5) + np.eye(60, 5, 1), CLASSES), "rows are not probabilities, the first is row 0"),
        (lambda: leep(np.where(THETA > 2, 0, np.nan), CLASSES), "300 of 300 probabilities are NaN or infinite, the first in row 0"),
        (lambda: leep(THETA[:9], CLASSES), "9 rows of probabilities, 60 of labels"),
        (lambda: leep(THETA[0], CLASSES), r"probabilities of shape \[5\]: give \[rows, source classes\]"),
        (lambda: leep(THETA, CLASSES * 0), "all 60 labels are class 0"),
        (lambda: nce(CLASSES[:9], CLASSES), "9 rows of source labels, 60 of labels"),
        (lambda: nce(THETA, CLASSES), r"source labels of shape \[60, 5\] and type float64: give \[n\] class indices"),
        (lambda: nce(CLASSES, CLASSES * 0), "all 60 labels are class 0"),
        (lambda: knn(NOISE, CLASSES, k=60), "k=60 neighbours of 60 rows: choose 1 to 59"),
        (lambda: knn(NOISE, CLASSES, k=0), "k=0 neighbours of 60 rows: choose 1 to 59"),
        (lambda: linear_probe(NOISE, CLASSES, folds=1), f"folds=1 of 60 rows: choose 2 to {np.bincount(CLASSES).max()}"),
        (lambda: linear_probe(NOISE, CLASSES, folds=50), f"folds=50 of 60 rows: choose 2 to {np.bincount(CLASSES).max()}"),
        (lambda: linear_probe(NOISE, NUMBERS, folds=31, regression=True), "folds=31 of 60 rows: choose 2 to 30"),
        (lambda: linear_probe(NOISE[:4], np.array([0, 0, 0, 1])), "only one class has 2 rows or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(call, said):
    with pytest.raises(UserError, match=said):
        call()
