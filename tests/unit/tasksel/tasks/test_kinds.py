"""What a label column is taken for, why, and which columns are refused until their kind is named."""

import pytest

from tasksel.errors import UserError
from tasksel.tasks.task import Task

SINGLE = "single_sentence_classification"


def make(labels, folder, **options):
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    return Task.from_dicts(rows, name="own", text="text", folder=folder, **options)


@pytest.mark.parametrize(
    ("labels", "kind", "names", "reason"),
    [
        (["62.01", "62.02"] * 5, SINGLE, ("62.01", "62.02"), "2 distinct numbers with fractions, which repeat: 2 classes"),
        (["1.0", "0.0"] * 5, SINGLE, ("0", "1"), "2 distinct whole numbers: 2 classes (0, 1); --kind regression for scores"),
        ([1.0, 0.0, 2.0] * 5, SINGLE, ("0", "1", "2"), "3 classes"),
        ([3, 1, 2] * 4, SINGLE, ("1", "2", "3"), "3 distinct whole numbers: 3 classes (1, 2, 3)"),
        ([1, 0, -1] * 4, SINGLE, ("-1", "0", "1"), "3 classes (-1, 0, 1)"),
        (["NaN", "yes"] * 4, SINGLE, ("NaN", "yes"), "2 classes (NaN, yes)"),
        (["None", "NA"] * 4, SINGLE, ("NA", "None"), "2 classes"),
        ([True, False] * 4, SINGLE, ("False", "True"), "2 classes"),
        ([f"{i},5" for i in range(40)], "regression", (), "40 distinct numbers with fractions: regression; --kind classification"),
        ([i / 7 for i in range(30)], "regression", (), "regression"),
        ([["a"], None, ["b", None]], "multi_label", ("a", "b"), "lists: multi-label"),
        (["['fit', 'leak']", "['fit']", "[]"], "multi_label", ("fit", "leak"), "lists"),
        (['["fit"]', '["leak"]'], "multi_label", ("fit", "leak"), "lists"),
        (["[0, 1]", "[1, 1]"], "multi_label", ("label_0", "label_1"), "lists"),
        ([[0, 1], [0], [1], []], "multi_label", ("0", "1"), "lists"),
        (["a|b", "b", None], "multi_label", ("a", "b"), "names joined by '|': multi-label, 2 labels"),
    ],
)  # fmt: skip
def test_the_kind_is_said_with_the_reason(labels, kind, names, reason, tmp_path, capsys):
    task = make(labels, tmp_path)
    assert (task.kind, task.labels) == (kind, names)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("label 'label': ")
    assert reason in first


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        ([i % 5 / 2 for i in range(40)], "5 distinct numbers with fractions (0.0, 0.5, 1.0, 1.5, 2.0) in 40 rows, which repeat; --kind regression or"),
        ([i % 50 for i in range(80)], "50 distinct whole numbers in 80 rows; --kind regression or --kind classification"),
        ([f"word {i}" for i in range(50)], "50 distinct texts in 50 rows"),
        (["a;b", "a", "b"] * 3, "several labels joined by ';': join them by '|'"),
        (["a, b", "a", "b"] * 3, "several labels joined by ','"),
        (["good", "bad", "?"] * 3, "row 3 of the list: label '?' stands for a label that is not known"),
        (["good", "bad", -1] * 3, "row 3 of the list: label -1 is a number among words, and often stands for a hidden label"),
        ([1, 2, "NA"] * 3, "row 3 of the list: label 'NA' is not a finite number, and others are; fill it or remove the row"),
        (["1,234", "2.5"] * 3, "'1,234' may be thousands or a fraction"),
        (["['b']", "['a' 'b']"], "row 2 of the list: label \"['a' 'b']\" cannot be read as a list of labels"),
        (["[0 1]", "[1 0]"], "row 1 of the list: label '[0 1]' cannot be read as a list"),
        ([["a"], [["b"]]], "row 2 of the list: label [['b']] cannot be read as a list"),
        ([10**400, 1.5], "is not a finite number"),
        ([{"a": 1}] * 3, "give one label column for each of its keys"),
    ],
)  # fmt: skip
def test_a_doubtful_column_is_refused_with_what_settles_it(labels, options, tmp_path):
    with pytest.raises(UserError) as caught:
        make(labels, tmp_path)
    assert options in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kind_that_is_named_is_not_doubted(tmp_path, capsys):
    assert make([i % 50 for i in range(80)], tmp_path, kind="regression").kind == "regression"
    assert len(make([i % 50 for i in range(80)], tmp_path, kind="classification").labels) == 50
    assert make(["a;b", "a", "b"] * 3, tmp_path, kind="classification").labels == ("a", "a;b", "b")
    assert "label 'label'" not in capsys.readouterr().err
    with pytest.raises(UserError, match="no kind 'classifcation'; did you mean 'classification'"):
        make(["a", "b"], tmp_path, kind="classifcation")
