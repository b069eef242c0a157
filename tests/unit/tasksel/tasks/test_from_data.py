"""Tests of tasks from rows in memory: what each container says of kind and labels, how rows are kept, and whose row is wrong."""

import datetime
import decimal
import json
import subprocess
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from refusals import refused_line

from tasksel.errors import UserError
from tasksel.tasks.builtin import builtin_tasks
from tasksel.tasks.in_memory import container_of
from tasksel.tasks.infer import class_names, feature_type
from tasksel.tasks.load import load_data, read_splits
from tasksel.tasks.registry import suites
from tasksel.tasks.row_sources import FileSource
from tasksel.tasks.stored_rows import cache_folder, plain
from tasksel.tasks.task import Task, TaskSet

SINGLE, PAIR = "single_sentence_classification", "pair_classification"
TEXT, NAMES = datasets.Value("string"), ["neg", "pos"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of this test alone."""
    monkeypatch.setenv("SCALEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tasks"


def rows(*labels):
    """A row per label, with a text of its own."""
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def frame(*labels, **columns):
    return pd.DataFrame({"text": [f"text {i}" for i in range(len(labels))], "label": list(labels), **columns})


def dataset(*labels, feature, **columns):
    """A Dataset whose label column is of the type `feature`."""
    features = {"text": TEXT, "label": feature}
    texts = [f"text {i}" for i in range(len(labels))]
    return datasets.Dataset.from_dict({"text": texts, "label": list(labels)}, features=datasets.Features(features))


def make(data, **options):
    return Task.from_data(data, **{"name": "a_task", "text": "text", **options})


refused = partial(refused_line, make)


def stored(task, split="train"):
    """The rows as they are kept."""
    return [json.loads(line) for line in Path(task.source.files[split]).read_text(encoding="utf-8").splitlines()]


def labels_of(task, split="train"):
    return read_splits(task)[split].labels.tolist()


class TestFromDicts:
    @pytest.mark.parametrize(
        ("labels", "kind", "names", "metric"),
        [
            (("good", "bad"), SINGLE, ("bad", "good"), "accuracy"),
            ((10, 2, 1), SINGLE, ("1", "2", "10"), "accuracy"),
            ((True, False), SINGLE, ("False", "True"), "accuracy"),
            ((1, 2.5), "regression", (), "pearson_spearman"),
            ((["food"], ["water", "food"], []), "multi_label", ("food", "water"), "macro_f1"),
            (([1, 0], [1, 1]), "multi_label", ("label_0", "label_1"), "macro_f1"),
            (("food|water", ""), "multi_label", ("food", "water"), "macro_f1"),
        ],
    )
    def test_the_labels_say_what_kind_it_is(self, labels, kind, names, metric):
        task = make(rows(*labels))
        assert (task.name, task.kind, task.labels, task.metric, task.suite) == ("a_task", kind, names, metric, "own")
        assert len(labels_of(task)) == len(labels)

    def test_two_texts_are_a_pair_and_a_column_of_lists_are_choices(self):
        pair = [{"a": "x", "b": "y", "label": i} for i in range(2)]
        assert make(pair, text=("a", "b")).kind == PAIR
        choice = [{"text": "x", "options": list("abc")[: i + 2], "label": i} for i in range(2)]
        task = make(choice, choices="options")
        assert (task.kind, task.num_choices, task.labels) == ("multiple_choice", 3, ())
        assert labels_of(task) == [0, 1]

    def test_is_the_task_that_the_same_rows_in_a_file_give(self, tmp_path):
        path = tmp_path / "a_task.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(*"abc" * 10)))
        file, memory = Task.from_file(path, text="text"), make(rows(*"abc" * 10))
        assert memory.model_copy(update={"source": file.source}) == file
        assert load_data(memory).fingerprint == load_data(file).fingerprint

    def test_names_can_be_put_in_an_order(self):
        task = make(rows("spam", "ham", "spam"), labels=["spam", "ham"], metric="f1")
        assert (task.labels, labels_of(task)) == (("spam", "ham"), [0, 1, 0])

    def test_validation_rows_are_the_test_set(self):
        task = make(rows(*"ab" * 8), validation=rows("b", "a", "b"))
        assert load_data(task).test.labels.tolist() == [1, 0, 1]

    @pytest.mark.parametrize(
        ("data", "options", "answer"),
        [
            ([], {}, "the list is empty: it has no rows"),
            ([{"text": "x", "label": 1}, ["y", 2]], {}, "row 2 of the list: a row must be a dict, given list"),
            (
                [{"text": "x", "label": 1}, {"text": "y", "labels": 1}],
                {},
                "no column at row 2 of the list: 'label'; did you mean 'labels'? 2 known",
            ),
            (rows("a", None, "b"), {}, "row 2 of the list: no label in 'label'"),
            (rows("a", " ", "b"), {}, "row 2 of the list: no label in 'label'"),
            (rows("a", "a"), {}, "1 label names ['a']"),
            ([*rows("a", "b"), {"text": " ", "label": "a"}], {}, "row 3 of the list: the text in 'text' is empty"),
            (rows(1.5, float("inf")), {}, "row 2 of the list: label 'inf' is not a finite number"),
            (rows(1.5, "x"), {}, "row 2 of the list: label 'x' is not a finite number"),
            (rows("a", {1}), {}, "row 2 of the list: column 'label' holds set; give text, numbers"),
            ([{"text": "\ud800", "label": "a"}, *rows("b")], {}, "row 1 of the list: text that cannot be stored as UTF-8"),
            (rows("a", "b"), {"validation": rows("c")}, "row 1 of the validation list: label 'c' is not in the label set"),
            (rows("a", "b"), {"validation": "b.csv"}, "validation rows as str: give a pandas DataFrame, a list of dicts"),
            (rows("a", "b"), {"text": "{txt} x"}, "no column at row 1 of the list: 'txt'; did you mean 'text'?"),
            (rows("a", "b"), {"labels": ["a", "c"]}, "row 2 of the list: label 'b' is not in the label set"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_with_its_row(self, cache, data, options, answer):
        assert answer in refused(data, **options)
        assert not cache.exists()  # what is refused is not kept


class TestFromPandas:
    def test_categories_are_the_names_in_their_order(self):
        levels = pd.Categorical(["high", "low", "high"], categories=["low", "mid", "high"], ordered=True)
        task = make(frame(*levels).assign(label=levels))
        assert (task.kind, task.labels, labels_of(task)) == (SINGLE, ("low", "mid", "high"), [2, 0, 2])

    @pytest.mark.parametrize("categories", [[3, 1, 2], [2.5, 0.5, 1.5]])
    def test_categories_of_numbers_are_classes_too(self, categories):
        task = make(frame(0, 0).assign(label=pd.Categorical(categories[1:], categories=categories)))
        assert (task.kind, task.labels) == (SINGLE, tuple(map(str, categories)))
        assert labels_of(task) == [1, 2]

    def test_categories_as_numbers_are_numbers_where_the_kind_says_so(self):
        task = make(frame(0, 0).assign(label=pd.Categorical([1, 5])), kind="regression")
        assert (task.labels, labels_of(task)) == ((), [1.0, 5.0])

    def test_bins_are_classes_in_order(self):
        task = make(frame(0, 0, 0).assign(label=pd.cut([1, 9, 5], [0, 3, 6, 10])))
        assert (task.labels, labels_of(task)) == (("(0, 3]", "(3, 6]", "(6, 10]"), [0, 2, 1])

    @pytest.mark.parametrize(
        ("labels", "kind", "kept"),
        [
            (np.array([1, 0], dtype=np.int8), SINGLE, [1, 0]),
            (np.array([True, False]), SINGLE, [True, False]),
            (np.array([1, 2], dtype=np.float32), "regression", [1.0, 2.0]),
            (pd.array([1, 2], dtype="Int64"), SINGLE, [1, 2]),
            (pd.array(["a", "b"], dtype="string"), SINGLE, ["a", "b"]),
            ([np.array([1, 0]), np.array([0, 1])], "multi_label", [[1, 0], [0, 1]]),
            ([("a",), ("b", "a")], "multi_label", [["a"], ["b", "a"]]),
            (pd.to_datetime(["2024-01-01", "2024-02-01"]), SINGLE, ["2024-01-01 00:00:00", "2024-02-01 00:00:00"]),
        ],
    )
    def test_values_of_numpy_and_pandas_are_kept_as_plain_ones(self, labels, kind, kept):
        task = make(frame(0, 0).assign(label=labels))
        assert (task.kind, [row["label"] for row in stored(task)]) == (kind, kept)

    def test_a_missing_part_of_a_template_is_no_text(self):
        data = frame("a", "b").assign(title=[None, "T"])
        assert read_splits(make(data, text="{title} {text}"))["train"].texts == [("text 0",), ("T text 1",)]

    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
    def test_a_missing_text_or_label_is_named_by_row_and_index(self, missing):
        data = frame("a", "b", "c").astype(object).set_index(pd.Index(["x", "y", "z"]))
        text, label = data.copy(), data.copy()
        text.loc["z", "text"] = label.loc["y", "label"] = missing
        assert refused(text).startswith("row 3 of the DataFrame (index 'z'): the text in 'text' is empty")
        assert refused(label).startswith("row 2 of the DataFrame (index 'y'): no label in 'label'")

    def test_a_category_that_is_missing_is_no_label(self):
        data = frame("a", "b").assign(label=pd.Categorical(["a", None], categories=["a", "b"]))
        assert refused(data).startswith("row 2 of the DataFrame (index 1): no label in 'label'")

    def test_only_the_columns_that_are_read_matter(self):
        task = make(frame("a", "b", image=[b"1", b"2"]))
        assert stored(task) == [{"text": "text 0", "label": "a"}, {"text": "text 1", "label": "b"}]
        assert "row 1 of the DataFrame (index 0): column 'image' holds bytes" in refused(
            frame("a", "b", image=[b"1", b"2"]), text=("text", "image")
        )

    def test_a_column_that_is_not_there_is_answered_with_the_nearest(self):
        assert "no column in the DataFrame: 'txt'; did you mean 'text'? 2 known" in refused(frame("a", "b"), text="txt")
        assert "no column in the validation DataFrame: 'label'" in refused(
            frame("a", "b"), validation=frame("a").drop(columns="label")
        )

    def test_a_column_that_stands_twice_is_refused(self):
        twice = pd.concat([frame("a", "b"), frame("c", "d")[["label"]]], axis=1)
        assert "the DataFrame has 2 columns 'label'; rename all but one" in refused(twice)

    def test_columns_named_by_numbers_are_named_as_text(self):
        assert make(frame("a", "b").rename(columns={"text": 0, "label": 1}), text="0", label="1").labels == ("a", "b")

    def test_an_empty_frame_is_refused(self):
        assert refused(frame()) == "the DataFrame is empty: it has no rows"

    def test_categories_of_the_validation_rows_must_be_known(self):
        train, other = (frame(*names).assign(label=pd.Categorical(names)) for names in (["a", "b"], ["a", "c"]))
        assert "the validation rows have the label names ['a', 'c'], the training rows ['a', 'b']" in refused(
            train, validation=other
        )
        assert make(train, validation=train.head(1)).labels == ("a", "b")


class TestFromDataset:
    def test_class_labels_are_the_names_in_their_order(self):
        task = make(dataset(1, 0, 1, feature=datasets.ClassLabel(names=["zero", "a"])))
        assert (task.kind, task.labels, labels_of(task)) == (SINGLE, ("zero", "a"), [1, 0, 1])

    def test_class_labels_that_are_named_by_numbers_are_not_mistaken_for_indices(self):
        task = make(dataset(0, 1, 2, feature=datasets.ClassLabel(names=["2", "1", "other"])))
        assert (task.labels, labels_of(task)) == (("2", "1", "other"), [0, 1, 2])

    def test_lists_of_class_labels_are_several_labels(self):
        task = make(dataset([1], [0, 1], [], feature=datasets.List(datasets.ClassLabel(names=NAMES))))
        assert (task.kind, task.labels, labels_of(task)) == ("multi_label", ("neg", "pos"), [[0, 1], [1, 1], [0, 0]])

    def test_a_float_feature_is_regression_and_an_integer_is_a_class(self):
        assert make(dataset(1, 2, feature=datasets.Value("float32"))).kind == "regression"
        assert make(dataset(1, 2, feature=datasets.Value("int64"))).labels == ("1", "2")

    def test_class_labels_of_choices_are_indices(self):
        features = {"text": TEXT, "a": TEXT, "b": TEXT, "label": datasets.ClassLabel(names=["a", "b"])}
        columns = {"text": ["x", "y"], "a": ["1", "2"], "b": ["3", "4"], "label": [1, 0]}
        task = make(datasets.Dataset.from_dict(columns, features=datasets.Features(features)), choices=("a", "b"))
        assert (task.kind, task.num_choices, labels_of(task)) == ("multiple_choice", 2, [1, 0])

    @pytest.mark.parametrize("missing", [-1, None])
    def test_a_row_without_a_class_label_is_named(self, missing):
        data = dataset(0, missing, 1, feature=datasets.ClassLabel(names=NAMES))
        assert refused(data).startswith("row 2 of the Dataset: no label in 'label'")

    def test_a_missing_column_is_answered_with_the_nearest(self):
        assert "no column in the Dataset: 'txt'; did you mean 'text'?" in refused(
            dataset(0, 1, feature=datasets.ClassLabel(names=NAMES)), text="txt"
        )

    def test_of_a_dict_of_splits_train_and_validation_are_used_and_test_is_not(self, capsys):
        feature = datasets.ClassLabel(names=NAMES)
        splits = {"train": (0, 1, 0), "validation": (1, 1), "test": (-1, -1)}
        task = make(datasets.DatasetDict({name: dataset(*codes, feature=feature) for name, codes in splits.items()}))
        assert set(task.source.files) == {"train", "validation"}
        assert labels_of(task, "validation") == [1, 1]
        assert "no split" not in capsys.readouterr().err

    def test_splits_can_be_named(self):
        feature = datasets.ClassLabel(names=NAMES)
        data = datasets.DatasetDict({name: dataset(0, 1, feature=feature) for name in ("fit", "dev", "odd")})
        task = make(data, splits={"train": "fit", "validation": "dev", "mismatched": "odd"})
        assert set(task.source.files) == {"train", "validation", "mismatched"}
        assert set(make(data, splits={"train": "fit", "test": "odd"}).source.files) == {"train"}  # test is never scored
        assert "no split 'deb'; did you mean 'dev'?" in refused(data, splits={"train": "fit", "validation": "deb"})
        assert "no split to train on; name one of fit, dev, odd with splits={'train': ...}" in refused(data)

    def test_that_no_split_is_held_out_is_said(self, capsys):
        feature = datasets.ClassLabel(names=NAMES)
        make(datasets.DatasetDict({name: dataset(0, 1, feature=feature) for name in ("train", "dev")}))
        assert "no split 'validation' among train, dev: a fifth of train is held out" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("data", "options", "answer"),
        [
            (
                datasets.Dataset.from_list(rows("a", "b")),
                {"splits": {"train": "x"}},
                "given a Dataset; use validation=",
            ),
            (
                datasets.DatasetDict(train=datasets.Dataset.from_list(rows("a", "b"))),
                {"validation": rows("a")},
                "a DatasetDict has its own validation split; say which with splits=",
            ),
        ],
    )
    def test_an_option_that_does_not_fit_is_refused(self, data, options, answer):
        assert answer in refused(data, **options)


class TestKeptRows:
    def test_the_same_rows_give_the_same_file_whatever_held_them(self, cache, capsys):
        data = rows("neg", "pos", "neg")
        holders = [
            data,
            [{"other": 1, "label": row["label"], "text": row["text"]} for row in data],
            pd.DataFrame(data),
            frame("neg", "pos", "neg").assign(label=pd.Categorical(["neg", "pos", "neg"])),
            datasets.Dataset.from_list(data),
            dataset(0, 1, 0, feature=datasets.ClassLabel(names=NAMES)),
        ]
        tasks = [make(holder) for holder in holders]
        assert len({task.model_dump_json() for task in tasks}) == 1
        assert [str(path) for path in cache.iterdir()] == [tasks[0].source.files["train"]]
        stored_line, kinds = (
            f"a_task: 3 train rows are stored in {tasks[0].source.files['train']}",
            "label 'label': 2 classes (neg, pos)",
        )
        assert sorted(capsys.readouterr().err.splitlines()) == sorted(
            [stored_line, *[kinds] * 4]
        )  # types say it of the other two

    def test_other_rows_or_another_order_give_another_file(self, cache):
        for data in (rows("a", "b"), rows("b", "a"), rows("a", "c")):
            make(data)
        assert len(list(cache.iterdir())) == 3

    def test_the_task_comes_back_from_json_in_another_process(self, python):
        task = make([{"text": "naïve “日本”", "label": 1}, {"text": "line\nbreak\u2028", "label": 2}] * 3)
        code = "import sys; from tasksel import Task, load_data; print(load_data(Task.model_validate_json(sys.argv[1])).fingerprint)"
        done = subprocess.run(
            [python, "-c", code, task.model_dump_json()], capture_output=True, text=True, check=True, timeout=120
        )
        assert done.stdout.strip() == load_data(task).fingerprint

    def test_a_file_that_was_changed_is_written_anew(self):
        task = make(rows("a", "b"))
        Path(task.source.files["train"]).write_text("changed")
        make(rows("a", "b"))
        assert stored(task) == rows("a", "b")

    def test_a_folder_of_ones_own_keeps_them(self, tmp_path, cache):
        task = make(rows("a", "b"), folder=tmp_path / "own")
        assert Path(task.source.files["train"]).parent == tmp_path / "own"
        assert not cache.exists()

    def test_the_cache_is_where_the_environment_says(self, monkeypatch, tmp_path, cache):
        assert cache_folder() == cache
        monkeypatch.delenv("SCALEARN_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "scalearn" / "tasks"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == Path.home() / ".cache" / "scalearn" / "tasks"

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path):
        (tmp_path / "file").write_text("")
        said = refused(rows("a", "b"), folder=tmp_path / "file" / "below")
        assert said.startswith(f"cannot store the rows in {tmp_path / 'file' / 'below'} (")
        assert said.endswith("give folder=, or set SCALEARN_CACHE")

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (np.datetime64("2024-01-01T10:00"), "2024-01-01T10:00"),
            (np.datetime64("NaT"), None),
            (datetime.date(2024, 1, 1), "2024-01-01"),
            (datetime.timedelta(hours=1), "1:00:00"),
            (decimal.Decimal("1.5"), 1.5),
            (decimal.Decimal("NaN"), None),
            (np.float32(0.5), 0.5),
            (np.str_("x"), "x"),
            (np.array([[1.0, np.nan]]), [[1.0, None]]),
            ({"a": (1, pd.NA)}, {"a": [1, None]}),
            (-np.inf, "-inf"),
        ],
    )
    def test_a_value_is_kept_as_json_has_it(self, value, kept):
        as_json = plain(value, "here")
        assert as_json == kept
        assert type(as_json) is type(kept)

    @pytest.mark.parametrize("value", [b"x", {1: 2}, {"a": object()}, 1j, {1, 2}])
    def test_anything_else_is_refused(self, value):
        with pytest.raises(UserError, match=r"here holds .*; give text, numbers, booleans, dates, or lists of them"):
            plain(value, "here")


class TestFrontDoor:
    def test_takes_whatever_one_has(self, tmp_path):
        (tmp_path / "folder").mkdir()
        described = {"name": "in_folder", "kind": SINGLE, "text_fields": ["text"], "label_names": ["a", "b"]}
        (tmp_path / "folder" / "task.json").write_text(json.dumps(described))
        lines = "".join(json.dumps(row) + "\n" for row in rows("a", "b"))
        (tmp_path / "folder" / "train.jsonl").write_text(lines)
        (tmp_path / "own.csv").write_text("text,label\nx,a\ny,b\n")
        assert Task.from_data(tmp_path / "folder") == Task.from_folder(tmp_path / "folder")
        assert Task.from_data(str(tmp_path / "folder")).name == "in_folder"
        path = tmp_path / "own.csv"
        assert Task.from_data(path, text="text") == Task.from_csv(path, text="text")
        assert Task.from_data(str(path), text="text", validation=path).source == FileSource(
            files={"train": str(path), "validation": str(path)}
        )
        assert make(rows("a", "b")) == Task.from_dicts(rows("a", "b"), name="a_task", text="text")
        assert make(frame("a", "b")) == Task.from_pandas(frame("a", "b"), name="a_task", text="text")
        data = datasets.Dataset.from_list(rows("a", "b"))
        assert make(data) == Task.from_dataset(data, name="a_task", text="text")

    def test_a_dict_holds_splits_of_any_sort(self, tmp_path):
        task = make({"train": frame("a", "b"), "validation": rows("b"), "test": "never read"})
        assert labels_of(task, "validation") == [1]
        (tmp_path / "own.csv").write_text("text,label\nx,a\ny,b\n")
        files = {"train": tmp_path / "own.csv", "validation": tmp_path / "own.csv"}
        assert set(Task.from_data(files, text="text").source.files) == {"train", "validation"}

    @pytest.mark.parametrize(
        ("data", "options", "answer"),
        [
            (3, {}, "no task can be read from int; give a file, a task folder, a hub id, a pandas DataFrame"),
            (iter([]), {}, "no task can be read from list_iterator"),
            ({"text": ["x"], "label": [1]}, {}, "no split 'text'; did you mean 'test'? 3 known: test, train, validation; a dict holds"),
            ({"validation": rows("a")}, {}, "no split 'train' in the dict, only validation"),
            ({"train": rows("a"), "validation": rows("a")}, {"validation": rows("a")}, "give them once"),
            (rows("a", "b"), {"lable": "y"}, "no option of Task.from_dicts 'lable'; did you mean 'label'?"),
            (rows("a", "b"), {"revision": "main"}, "no option of Task.from_dicts 'revision'"),
            (rows("a", "b"), {"name": None}, "Task.from_dicts needs name="),
            (frame("a", "b"), {"name": None, "text": None}, "Task.from_pandas needs name= and text="),
            ("reviews.csv", {}, "no file reviews.csv"),
            ({"train": "a.csv", "validation": rows("a")}, {}, "validation rows as list beside the file a.csv; give a validation file"),
            ("tests/reviews.cvs", {}, "no file tests/reviews.cvs"),
            (Path("owner/name"), {}, "no file owner/name"),
            ("a/b/c", {}, "no file a/b/c"),
        ],
    )  # fmt: skip
    def test_what_it_cannot_take_is_one_line(self, data, options, answer):
        assert answer in refused(data, **options)

    @pytest.mark.parametrize(
        ("constructor", "data", "answer"),
        [
            (Task.from_pandas, rows("a", "b"), "Task.from_pandas reads a DataFrame, given list; Task.from_data reads either"),
            (Task.from_dicts, frame("a", "b"), "Task.from_dicts reads a list of dicts, given DataFrame"),
            (Task.from_dataset, rows("a", "b"), "Task.from_dataset reads a datasets.Dataset or DatasetDict, given list"),
        ],
    )  # fmt: skip
    def test_a_constructor_refuses_what_another_reads(self, constructor, data, answer):
        with pytest.raises(UserError, match=answer):
            constructor(data, name="a_task", text="text")

    def test_a_container_is_known_by_the_name_of_its_type_or_of_its_parent(self):
        class Frame(pd.DataFrame):
            pass

        assert container_of(Frame()) == "DataFrame"
        assert container_of(datasets.DatasetDict()) == "DatasetDict"
        assert [container_of(value) for value in ((), "x", Path("x"), 3, {})] == ["list", "path", "path", None, "dict"]


def test_features_say_kind_and_names():
    label = datasets.ClassLabel(names=NAMES)
    assert class_names(label) == class_names(datasets.List(label)) == ("neg", "pos")
    assert class_names(None) is None
    said = [feature_type(feature) for feature in (label, datasets.List(label), datasets.Value("float64"))]
    assert [label_type.holds for label_type in said if label_type] == ["classes", "multi_label", "regression"]
    assert feature_type(datasets.Value("int64")) is feature_type(datasets.List(TEXT)) is feature_type(None) is None


def test_tasks_of_earlier_versions_keep_their_fingerprint():
    """Names of stored embeddings, adapters and results: written down from the code of before `from_data`."""
    tasks = {task.name: task for task in (*TaskSet(builtin_tasks(), origin=""), *suites()["glue"], *suites()["humset"])}
    known = {
        "sentiment_films": "e7160464e1d8d808",
        "rte": "f5dd978f108415f8",
        "sectors": "5e467693df5ba6f3",
    }
    assert {name: tasks[name].fingerprint for name in known} == known
    assert suites()["superglue"]["copa"].fingerprint == "021255d5d569fd9c"
    assert tasks["sectors"].one_label("Health").fingerprint == "59f94d0e742f3025"
    assert load_data(tasks["sentiment_films"]).fingerprint == "69c012a2a8884f1d"


def test_a_file_is_the_task_that_it_was(tmp_path):
    """The whole stored form, with a fixed place in place of the test's own."""
    path = tmp_path / "reviews.csv"
    path.write_text("body,stars\n" + "".join(f"text {i},{i % 3 + 1}\n" for i in range(40)))
    task = Task.from_csv(path, text="body", label="stars")
    there = task.model_copy(update={"source": FileSource(files={"train": "/data/reviews.csv"})})
    assert there.model_dump_json() == (
        '{"name":"reviews","kind":"single_sentence_classification","text":["body"],"label":"stars","labels":["1","2","3"],'
        '"among":[],"choices":null,"num_choices":null,"metric":"accuracy","suite":"own",'
        '"source":{"type":"files","files":{"train":"/data/reviews.csv"}},"explode":null,'
        '"draw":{"shots":null,"dev":null,"seed":null,"test_rows":null},"licence":"not stated","note":""}'
    )
    assert (there.fingerprint, load_data(task).fingerprint) == ("013ef69c49204e59", "86e161dfa0cf0137")


def test_no_library_of_data_is_imported_before_it_is_needed(python, tmp_path):
    """Making and keeping rows of dicts needs none either."""
    code = (
        "import sys, tasksel.tasks.task, tasksel.tasks.from_data, tasksel.tasks.registry\n"
        "tasksel.tasks.task.Task.from_data([{'t': 'x', 'label': 1}, {'t': 'y', 'label': 2}], name='a', text='t')\n"
        "print(*sorted({'torch', 'transformers', 'datasets', 'pandas', 'sklearn', 'pyarrow', 'scipy', 'adapters'} & set(sys.modules)))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""

    @pytest.mark.parametrize(
        ("change", "said"),
        [({"metric": None}, "metric is null; leave it out"), ({"num_choices": []}, "num_choices"), ({"suite": None}, "suite is null")],
    )  # fmt: skip
    def test_a_value_of_task_json_that_says_nothing_is_refused(self, tmp_path, change, said):
        described = {"name": "in_folder", "kind": SINGLE, "text_fields": ["text"], "label_names": ["a", "b"]} | change
        (tmp_path / "task.json").write_text(json.dumps(described))
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows("a", "b")))
        with pytest.raises(UserError, match=said):
            Task.from_folder(tmp_path)
