"""Rare classes stay in train, rows without a label are not scored, and texts of two splits are said."""

import numpy as np
import pytest

from tasksel.errors import UserError
from tasksel.tasks.load import load_data
from tasksel.tasks.splits import keep_each_class
from tasksel.tasks.task import Task


def write(path, rows):
    path.write_text("body,v\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def task_of(path, **options):
    return Task.from_file(path, text="body", label="v", **options)


def test_a_class_of_one_row_is_always_trained(tmp_path):
    for size in range(40, 60):
        rows = [(f"row {i} of {size}", "ab"[i % 2]) for i in range(size)]
        task = task_of(write(tmp_path / f"{size}.csv", [*rows, ("the odd one", "rare")]))
        assert task.labels.index("rare") in load_data(task).train.labels


def test_a_label_of_one_row_is_always_trained(tmp_path):
    for size in range(40, 50):
        rows = [(f"row {i} of {size}", "a|b" if i % 2 else "b") for i in range(size)]
        task = task_of(write(tmp_path / f"{size}.csv", [*rows, ("the odd one", "rare|b")]))
        data = load_data(task)
        assert (data.train.labels.sum(0) + data.dev.labels.sum(0))[task.labels.index("rare")] == 1


@pytest.mark.parametrize(
    ("labels", "taken", "kept"),
    [
        (np.array([0, 0, 0, 1]), [3, 0], [0]),
        (np.array([0, 0, 0, 1]), [3], [0]),  # at least one row stays taken
        (np.array([0, 1, 2]), [1], [1]),  # no row can be spared
        (np.array([0, 0, 1, 1]), [2, 3], [3]),
        (np.array([0.5, 1.5]), [0], [0]),
        (np.array([[1, 0], [1, 0], [1, 1]]), [2, 0], [0]),
    ],
)
def test_the_last_row_of_a_class_is_given_back(labels, taken, kept):
    assert keep_each_class(labels, taken) == kept


def test_a_class_that_the_cap_left_out_is_said(tmp_path, capsys):
    rows = [(f"row {i}", "ab"[i % 2]) for i in range(200)]
    task = task_of(write(tmp_path / "a.csv", [*rows, ("odd", "rare")]))
    lost = [load_data(task, rows=10, seed=seed).train.labels.tolist().count(2) == 0 for seed in range(3)]
    assert any(lost)
    assert capsys.readouterr().err.count("a: no training row of 1 of 3 labels: 'rare'") == 1  # said once


def test_held_out_texts_that_stand_in_train_are_said(tmp_path, capsys):
    path = write(tmp_path / "twins.csv", [(f"row {i}", "ab"[i % 2]) for i in range(12)] * 6)
    load_data(task_of(path))
    assert "twins: 14 of 14 held-out texts stand in train too" in capsys.readouterr().err
    other = write(tmp_path / "b.csv", [("ROW  1", "a"), ("another", "b")])
    load_data(task_of(path, validation=other))
    assert "twins: 1 of 2 validation texts stand in train too" in capsys.readouterr().err
    load_data(task_of(path, validation=path))
    assert "72 of 72 validation texts stand in train too" in capsys.readouterr().err


class TestHiddenLabels:
    @pytest.mark.parametrize("hidden", ["-1", "?", "", "-1.0"])
    def test_some_are_left_out_of_what_is_scored(self, tmp_path, capsys, hidden):
        train = write(tmp_path / "a.csv", [(f"row {i}", "ab"[i % 2]) for i in range(20)])
        held = write(tmp_path / "b.csv", [("x", "a"), ("y", hidden), ("z", "b")])
        data = load_data(task_of(train, validation=held))
        assert data.test.texts == [("x",), ("z",)]
        assert "a: 1 of 3 validation rows have no label: not scored" in capsys.readouterr().err

    def test_all_are_refused(self, tmp_path):
        held = write(tmp_path / "b.csv", [("x", -1), ("y", -1)])
        for labels in ("ab", ("0.25", "0.5")):
            train = write(tmp_path / "a.csv", [(f"row {i}", labels[i % 2]) for i in range(20)])
            kind = "regression" if labels != "ab" else None
            with pytest.raises(UserError, match=r"b.csv:2: no validation row has a label of 'a' \(given '-1'\)"):
                load_data(task_of(train, validation=held, kind=kind))

    def test_minus_one_may_be_a_class(self, tmp_path):
        path = write(tmp_path / "a.csv", [(f"row {i}", i % 3 - 1) for i in range(30)])
        assert len(load_data(task_of(path, validation=path)).test) == 30
