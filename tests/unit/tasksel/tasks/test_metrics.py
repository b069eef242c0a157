"""Tests of the metrics: each is what scikit-learn and scipy give, and what a hand can count."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from tasksel.tasks.metrics import METRICS, decide, label_range, score, within
from tasksel.tasks.text_metrics import TEXT_METRICS

draw = np.random.default_rng(0)
LABELS = draw.integers(0, 3, 60)
LOGITS = draw.normal(size=(60, 3)) + 1.5 * np.eye(3)[LABELS]
CHOSEN = LOGITS.argmax(1)
TWO, TWO_CHOSEN = (LABELS > 0).astype(int), LOGITS[:, :2].argmax(1)
NUMBERS = draw.normal(size=60)
GUESSED = NUMBERS[:, None] ** 3 + draw.normal(size=(60, 1))
HOT = draw.integers(0, 2, (40, 4)).astype(np.float32)
SEVERAL = draw.normal(size=(40, 4)) + HOT


@pytest.mark.parametrize(
    ("name", "logits", "labels", "wanted"),
    [
        ("accuracy", LOGITS, LABELS, sk.accuracy_score(LABELS, CHOSEN)),
        ("macro_f1", LOGITS, LABELS, sk.f1_score(LABELS, CHOSEN, average="macro")),
        ("micro_f1", LOGITS, LABELS, sk.f1_score(LABELS, CHOSEN, average="micro")),
        ("matthews", LOGITS, LABELS, sk.matthews_corrcoef(LABELS, CHOSEN)),
        ("f1", LOGITS[:, :2], TWO, sk.f1_score(TWO, TWO_CHOSEN)),
        ("accuracy_f1", LOGITS[:, :2], TWO, (sk.accuracy_score(TWO, TWO_CHOSEN) + sk.f1_score(TWO, TWO_CHOSEN)) / 2),
        ("pearson", GUESSED, NUMBERS, pearsonr(GUESSED[:, 0], NUMBERS)[0]),
        ("spearman", GUESSED, NUMBERS, spearmanr(GUESSED[:, 0], NUMBERS)[0]),
        ("pearson_spearman", GUESSED, NUMBERS,
            (pearsonr(GUESSED[:, 0], NUMBERS)[0] + spearmanr(GUESSED[:, 0], NUMBERS)[0]) / 2),
        ("macro_f1", SEVERAL, HOT, sk.f1_score(HOT, SEVERAL > 0, average="macro")),
        ("micro_f1", SEVERAL, HOT, sk.f1_score(HOT, SEVERAL > 0, average="micro")),
        ("accuracy", SEVERAL, HOT, sk.accuracy_score(HOT, SEVERAL > 0)),
    ],
)  # fmt: skip
def test_a_metric_is_what_the_library_gives(name, logits, labels, wanted):
    assert 0.1 < wanted < 1.0  # a value that another metric would not give by chance
    assert score(name, logits, labels) == pytest.approx(wanted, abs=1e-12)


def test_binary_f1_is_of_the_class_with_index_1():
    logits = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])  # chosen 1 1 0 0
    labels = np.array([1, 0, 0, 0])  # one hit, one false alarm: precision 1/2, recall 1
    assert score("f1", logits, labels) == pytest.approx(2 / 3)
    assert score("accuracy_f1", logits, labels) == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_matthews_by_hand():
    logits = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
    assert score("matthews", logits, np.array([1, 0, 0, 0])) == pytest.approx(1 / np.sqrt(3))
    assert score("matthews", logits, np.array([0, 0, 1, 1])) == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_spearman"])
def test_a_constant_prediction_has_no_correlation(name):
    assert score(name, np.full((5, 1), 0.3), np.arange(5.0)) == 0.0
    assert score(name, np.arange(5.0)[:, None], np.full(5, 2.0)) == 0.0
    assert score(name, np.array([[1.0]]), np.array([2.0])) == 0.0  # nor has a single row


def test_correlation_knows_its_sign():
    numbers = np.arange(6.0)
    assert score("pearson", -2 * numbers[:, None], numbers) == pytest.approx(-1.0)
    assert score("spearman", np.exp(numbers)[:, None], numbers) == pytest.approx(1.0)
    assert score("pearson", np.exp(numbers)[:, None], numbers) < 0.9


def test_a_class_that_is_never_predicted_counts_as_nought_without_a_warning(recwarn):
    assert score("macro_f1", np.array([[1.0, 0.0]] * 4), np.array([0, 0, 1, 1])) == pytest.approx(1 / 3)
    assert not recwarn


def test_several_labels_are_decided_one_by_one():
    assert decide(np.array([[0.1, -0.1, 0.0]]), np.array([[1, 0, 0]])).tolist() == [[1, 0, 0]]
    assert decide(np.array([[0.1, -0.1, 0.0]]), np.array([0])).tolist() == [0]


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_scores_one(name):
    if name in TEXT_METRICS:
        assert score(name, np.array(["The Nile", "no"]), np.array(["Nile", "no."])) == pytest.approx(0.833 if name == "rouge_l" else 1, abs=1e-3)  # fmt: skip
        return
    labels = np.array([0, 1, 1, 0, 1])
    logits = labels[:, None] if name in ("pearson", "spearman", "pearson_spearman") else np.eye(2)[labels]
    assert score(name, logits.astype(float), labels.astype(float) if logits.shape[1] == 1 else labels) == 1.0


def test_a_label_range_is_that_of_numbers_alone_and_as_it_was_written():
    assert label_range("regression", np.array([0.1, 4.7, 2], dtype=np.float32)) == (0.1, 4.7)
    assert label_range("multi_label", np.eye(2)) is None
    assert label_range("single_sentence_classification", np.array([0, 1])) is None


def test_numbers_beyond_the_limits_are_set_to_them_in_a_copy():
    logits = np.array([[-1.0], [0.5], [2.0]])
    assert within(logits, (0.0, 1.0)).tolist() == [[0.0], [0.5], [1.0]]
    assert within(logits, None) is logits
    assert logits.tolist() == [[-1.0], [0.5], [2.0]]
