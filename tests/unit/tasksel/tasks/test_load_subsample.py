"""Few-shot draws: exactly so many rows, each class among them, others for dev; scored rows that never move."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasksel.errors import UserError
from tasksel.tasks.load import load_data
from tasksel.tasks.task import FileSource, Subsample, Task

CLASSES = ("no", "yes", "rare")


def task(folder, count=60, *, kind="single_sentence_classification", **draw):
    """Rows with a text of their own each; one in twenty is "rare"."""
    labels = [
        ("rare" if i % 20 == 7 else CLASSES[i % 2]) if kind.startswith("single") else i / count for i in range(count)
    ]
    for split, rows in (("train", labels), ("validation", labels[:40])):
        told = [json.dumps({"t": f"{split} {i}", "label": label}) + "\n" for i, label in enumerate(rows)]
        Path(folder / f"{split}.jsonl").write_text("".join(told))
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation")}
    labels, metric = (CLASSES, "accuracy") if kind.startswith("single") else ((), "pearson")
    return Task(
        name="few",
        kind=kind,
        text=("t",),
        labels=labels,
        metric=metric,
        source=FileSource(files=files),
        draw=Subsample(**draw),
    )


@pytest.mark.parametrize("shots", [3, 4, 16, 29])
def test_exactly_so_many_rows_and_as_many_others_for_dev(tmp_path, shots):
    data = load_data(task(tmp_path, shots=shots), seed=1)
    assert (len(data.train), len(data.dev)) == (shots, shots)
    assert not set(data.train.texts) & set(data.dev.texts)


@pytest.mark.parametrize("seed", range(6))
def test_every_class_has_a_row_however_rare(tmp_path, seed):
    data = load_data(task(tmp_path, shots=4), seed=seed)
    assert set(data.train.labels) == {0, 1, 2}


def test_the_shares_are_kept_beyond_that(tmp_path):
    counts = Counter(load_data(task(tmp_path, 200, shots=60), seed=0).train.labels.tolist())
    assert abs(counts[0] - counts[1]) <= 4
    assert 2 <= counts[2] <= 5, "a twentieth of 60, and the one that it is sure of"


def test_each_seed_draws_anew_unless_a_seed_is_told(tmp_path):
    def texts(**draw):
        return [set(load_data(task(tmp_path, shots=8, **draw), seed=seed).train.texts) for seed in (0, 1)]

    one, two = texts()
    assert one != two
    one, two = texts(seed=42)
    assert one == two


def test_a_told_seed_draws_full_data_too(tmp_path):
    one, two = (load_data(task(tmp_path, seed=42), rows=20, seed=seed).fingerprint for seed in (0, 1))
    assert one == two
    one, two = (load_data(task(tmp_path), rows=20, seed=seed).fingerprint for seed in (0, 1))
    assert one != two


def test_dev_is_at_most_as_told_and_at_most_what_is_left(tmp_path):
    assert len(load_data(task(tmp_path, shots=10, dev=5)).dev) == 5
    assert len(load_data(task(tmp_path, shots=10, dev=5000)).dev) == 50
    assert len(load_data(task(tmp_path, shots=50)).dev) == 10


def test_numbers_are_drawn_over_their_range(tmp_path):
    labels = load_data(task(tmp_path, kind="regression", shots=10)).train.labels
    assert len(labels) == 10
    assert labels.max() - labels.min() > 0.7


def test_the_scored_rows_are_the_same_for_every_seed_and_size(tmp_path):
    drawn = [
        load_data(task(tmp_path, test_rows=12, shots=shots), seed=seed).test for seed, shots in ((0, None), (1, 8))
    ]
    assert [len(test) for test in drawn] == [12, 12]
    assert drawn[0].texts == drawn[1].texts
    assert len(load_data(task(tmp_path, test_rows=500)).test) == 40


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        ({"shots": 2}, "2 rows for 'few', which has 3 classes: give at least one row per class, 3 or more"),
        ({"shots": 60}, "60 rows of 'few', which has 60 training rows: give at most 59"),
        ({"shots": 4096}, "4096 rows of 'few', which has 60 training rows"),
        ({"test_rows": 0}, "test_rows is 0; give 1 or more"),
    ],
)
def test_what_the_data_cannot_give_is_said(tmp_path, draw, said):
    with pytest.raises(UserError, match=said):
        load_data(task(tmp_path, **draw))


def test_a_draw_is_part_of_the_task_and_comes_back(tmp_path):
    few = task(tmp_path, shots=8, dev=4)
    assert Task.model_validate_json(few.model_dump_json()) == few
    assert np.array_equal(
        load_data(few).train.labels, load_data(Task.model_validate_json(few.model_dump_json())).train.labels
    )
