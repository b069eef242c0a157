"""Tests of data: every form of label, splits that never overlap, the draws, templates, token ids and batches."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused_line

from tasksel import find_tasks
from tasksel.model.base import load_base
from tasksel.model.encoding import encode, length_batches
from tasksel.tasks import load as module
from tasksel.tasks.examples import Split, to_split
from tasksel.tasks.files import Row, iter_rows
from tasksel.tasks.infer import DEFAULT_METRIC
from tasksel.tasks.load import load_data, read_splits, stratified
from tasksel.tasks.task import BuiltinSource, FileSource, HubSource, Task

SINGLE, PAIR = "single_sentence_classification", "pair_classification"
KINDS = {
    SINGLE: {"text": ("t",), "labels": ("no", "yes", "perhaps")},
    PAIR: {"text": ("a", "b"), "labels": ("no", "yes")},
    "regression": {"text": ("t",)},
    "multi_label": {"text": ("t",), "labels": ("food", "water", "roads")},
    "multiple_choice": {"text": ("t",), "choices": "choices", "num_choices": 4},
}


def make(kind=SINGLE, **changes):
    """A small task of a kind; its rows come from where the test says."""
    told = {"name": "a_task", "kind": kind, "metric": DEFAULT_METRIC[kind], "source": BuiltinSource()}
    return Task(**{**told, **KINDS[kind], **changes})


def split_of(task, *rows):
    return to_split(task, [Row(row, f"rows:{n}") for n, row in enumerate(rows, 1)])


def file_task(folder, rows, *, kind=SINGLE, validation=None, **changes):
    """A task over JSONL files of these rows."""
    files = {}
    for split, told in (("train", rows), ("validation", validation)):
        if told is not None:
            files[split] = str(folder / f"{split}.jsonl")
            Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in told))
    return make(kind, source=FileSource(files=files), **changes)


def numbered(count, classes=("no", "yes")):
    """Rows with a text of their own each."""
    return [{"t": f"text {i}", "label": classes[i % len(classes)]} for i in range(count)]


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "given", "index"),
        [
            (("no", "yes"), "yes", 1),
            (("no", "yes"), " yes ", 1),
            (("no", "yes"), 1, 1),
            (("no", "yes"), "0", 0),
            (("no", "yes"), True, 1),
            (("1", "2", "10"), 10, 2),  # where names are numbers, a number is a name
            (("1", "2", "10"), "1", 0),
            (("False", "True"), True, 1),
            (("-1", "1"), -1, 0),
        ],
    )
    def test_of_classes(self, labels, given, index):
        found = split_of(make(labels=labels), {"t": "x", "label": given})
        assert found.labels.tolist() == [index]
        assert found.labels.dtype == np.int64

    @pytest.mark.parametrize(("given", "number"), [(2, 2.0), ("2.5", 2.5), (-1.25, -1.25)])
    def test_of_regression(self, given, number):
        found = split_of(make("regression"), {"t": "x", "label": given})
        assert found.labels.tolist() == [number]
        assert found.labels.dtype == np.float32

    @pytest.mark.parametrize(
        ("given", "hot"),
        [
            ([1, 0, 1], [1, 0, 1]),
            (["roads", "food"], [1, 0, 1]),
            ("roads|food", [1, 0, 1]),
            (" roads | food ", [1, 0, 1]),
            ("water", [0, 1, 0]),
            ("", [0, 0, 0]),
            ([], [0, 0, 0]),
            ([2], [0, 0, 1]),
            ([1, 2], [0, 1, 1]),
        ],
    )
    def test_of_several(self, given, hot):
        found = split_of(make("multi_label"), {"t": "x", "label": given})
        assert found.labels.tolist() == [hot]
        assert found.labels.dtype == np.float32

    @pytest.mark.parametrize("given", [2, "2"])
    def test_of_choices(self, given):
        found = split_of(make("multiple_choice"), {"t": "x", "choices": ["a", "b", " c "], "label": given})
        assert found.labels.tolist() == [2]
        assert found.choices == [["a", "b", "c"]]

    @pytest.mark.parametrize(
        ("kind", "row", "answer"),
        [
            (SINGLE, {"label": "maybe"}, "label 'maybe' is not in the label set of 'a_task': no, yes, perhaps (or 0 to 2)"),
            (SINGLE, {"label": 3}, "label 3 is not in the label set"),
            (SINGLE, {"label": -1}, "label -1 is not in the label set"),
            (SINGLE, {"label": None}, "label None is not in the label set"),
            (SINGLE, {"label": "²"}, "label '²' is not in the label set"),
            ("regression", {"label": "good"}, "label 'good' is not a finite number"),
            ("regression", {"label": "nan"}, "label 'nan' is not a finite number"),
            ("regression", {"label": None}, "label None is not a finite number"),
            ("multi_label", {"label": "food|fire"}, "label 'fire' is not in the label set"),
            ("multi_label", {"label": [0, 1, 7]}, "label 7 is not in the label set"),
            ("multiple_choice", {"label": 2, "choices": ["a", "b"]}, "not the index of one of the row's 2 choices (0 to 1)"),
            ("multiple_choice", {"label": "a", "choices": ["a", "b"]}, "not the index of one of"),
            ("multiple_choice", {"label": 0, "choices": ["a"]}, "needs a list of 2 to 4 texts"),
            ("multiple_choice", {"label": 0, "choices": ["a", " "]}, "none empty"),
            ("multiple_choice", {"label": 0, "choices": list("abcde")}, "needs a list of 2 to 4 texts"),
            ("multiple_choice", {"label": 0, "choices": "a|b"}, "needs a list of 2 to 4 texts"),
            (SINGLE, {"t": "  ", "label": "no"}, "the text in 't' is empty"),
            (SINGLE, {"t": None, "label": "no"}, "the text in 't' is empty"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_with_its_place(self, kind, row, answer):
        good = {"t": "x", "label": {"regression": 1, "multi_label": "food"}.get(kind, 0), "choices": ["a", "b"]}
        said = refused_line(lambda: split_of(make(kind), good, {"t": "x", **row}))
        assert said.startswith("rows:2: ")
        assert answer in said

    def test_numbers_that_are_names_are_never_indices(self):
        said = refused_line(lambda: split_of(make(labels=("1", "2", "10")), {"t": "x", "label": 0}))
        assert said.endswith("is not in the label set of 'a_task': 1, 2, 10")

    def test_are_noughts_where_they_are_not_asked_for(self):
        rows = [Row({"t": "x"}, "rows:1"), Row({"t": "y", "label": "unheard of"}, "rows:2")]
        assert to_split(make(), rows, labelled=False).labels.tolist() == [0, 0]


class TestTexts:
    def test_columns_and_templates(self):
        task = make(PAIR, text=("{title}: {body[0]}", "b"))
        found = split_of(task, {"title": "T", "body": ["one", "two"], "b": " answer ", "label": 1})
        assert found.texts == [("T: one", "answer")]

    def test_a_null_in_a_template_is_no_text(self):
        found = split_of(make(text=("{a} {b}",)), {"a": "one", "b": None, "label": 0})
        assert found.texts == [("one",)]

    def test_choices_from_columns(self):
        task = make("multiple_choice", choices=("one", "{two}!"), num_choices=2)
        found = split_of(task, {"t": "x", "one": "a", "two": "b", "label": 1})
        assert found.choices == [["a", "b!"]]

    def test_a_missing_column_is_answered_with_the_nearest(self):
        assert "no column at rows:2: 't'; did you mean 'tt'?" in refused_line(
            lambda: split_of(make(), {"t": "x", "label": 0}, {"tt": "x", "label": 0})
        )

    def test_only_a_hubs_empty_rows_are_left_out(self, capsys):
        rows = [{"t": "", "label": 0}, {"t": "x", "label": 1}]
        assert split_of(make(source=HubSource(path="a/b")), *rows).texts == [("x",)]
        assert "left out 1 of 2 hub rows" in capsys.readouterr().err

    def test_a_list_becomes_one_row_an_item(self):
        """ReCoRD: each entity is put into the query, and is right when it is among the answers."""
        task = make(PAIR, text=("passage", "{query} {entities}"), label="answers", explode="entities")
        record = {"passage": "P", "query": "Who?", "entities": ["Ann", "Bob", "An"], "answers": ["Bob", "An"]}
        found = split_of(task, record, {**record, "entities": ["Ann"], "answers": ["Bob"]})
        assert found.texts == [("P", "Who? Ann"), ("P", "Who? Bob"), ("P", "Who? An"), ("P", "Who? Ann")]
        assert found.labels.tolist() == [0, 1, 1, 0]

    def test_a_list_that_is_not_there_is_named(self):
        task = make(PAIR, text=("a", "b"), explode="entities", label="answers")
        assert "'entities'" in refused_line(lambda: split_of(task, {"a": "x", "b": "y", "answers": []}))


class TestLoad:
    def test_without_validation_a_fifth_is_held_out_and_never_moves(self, tmp_path):
        task = file_task(tmp_path, numbered(100))
        first, second = load_data(task, seed=0), load_data(task, seed=7)
        assert len(first.test) == 20
        assert Counter(first.test.labels.tolist()) == {0: 10, 1: 10}
        assert first.test.texts == second.test.texts
        assert load_data(task, rows=10, seed=3).test.texts == first.test.texts
        assert first.dev.texts != second.dev.texts  # the seed does move what it should

    def test_a_validation_file_is_the_test_set(self, tmp_path):
        data = load_data(file_task(tmp_path, numbered(50), validation=[{"t": "held", "label": 1}]))
        assert data.test.texts == [("held",)]
        assert len(data.train) + len(data.dev) == 50

    @pytest.mark.parametrize(("count", "dev"), [(100, 8), (10, 1), (3, 1)])
    def test_dev_is_a_tenth_of_what_is_left(self, tmp_path, count, dev):
        data = load_data(file_task(tmp_path, numbered(count)))
        test = max(1, round(0.2 * count))
        assert [len(data.train), len(data.dev), len(data.test)] == [count - test - dev, dev, test]

    @pytest.mark.parametrize("rows", [None, 2, 31, 1000])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_no_row_is_in_two_splits(self, tmp_path, rows, seed):
        data = load_data(file_task(tmp_path, numbered(120)), rows=rows, seed=seed)
        parts = [set(split.texts) for split in (data.train, data.dev, data.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == (min(rows or 96, 96) + 24)
        labels = {f"text {i}": i % 2 for i in range(120)}
        for split in (data.train, data.dev, data.test):
            assert [labels[text] for (text,) in split.texts] == split.labels.tolist()

    def test_shares_of_classes_stay(self, tmp_path):
        data = load_data(
            file_task(tmp_path, numbered(400, ("no", "no", "no", "yes")), validation=numbered(4)), rows=100
        )
        assert Counter([*data.train.labels.tolist(), *data.dev.labels.tolist()]) == {0: 75, 1: 25}
        assert Counter(data.dev.labels.tolist())[1] in (2, 3)

    def test_a_draw_is_the_same_for_the_same_seed_only(self, tmp_path):
        task = file_task(tmp_path, numbered(120))
        drawn = [load_data(task, rows=20, seed=seed) for seed in (0, 0, 1)]
        assert drawn[0].train.texts == drawn[1].train.texts
        assert drawn[0].fingerprint == drawn[1].fingerprint
        rows = [{*data.train.texts, *data.dev.texts} for data in drawn]  # whatever part of them dev is
        assert rows[0] == rows[1] != rows[2]
        assert drawn[0].fingerprint != drawn[2].fingerprint

    def test_the_fingerprint_sees_rows_and_not_where_they_lie(self, tmp_path):
        for name in ("a", "b", "c"):
            (tmp_path / name).mkdir()
        rows = numbered(20)
        other = [{**rows[0], "t": "text 0!"}, *rows[1:]]
        prints = [
            load_data(file_task(tmp_path / n, r)).fingerprint for n, r in (("a", rows), ("b", rows), ("c", other))
        ]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize(
        ("rows", "options", "answer"),
        [
            (numbered(20, ("yes",)), {}, "every one of the 16 training rows has the same label"),
            (numbered(20), {"rows": 1}, "rows=1: a task needs at least 2 rows"),
            (numbered(1), {}, "0 training row"),
            (numbered(2), {}, "1 training row"),
        ],
    )
    def test_what_cannot_be_learnt_is_refused(self, tmp_path, rows, options, answer):
        assert answer in refused_line(lambda: load_data(file_task(tmp_path, rows), **options))

    def test_a_task_without_train_is_refused(self, tmp_path):
        task = file_task(tmp_path, None, validation=numbered(4))
        assert "'a_task' has no train split, only validation" in refused_line(lambda: load_data(task))

    def test_further_splits_are_kept_and_test_is_not(self, tmp_path):
        task = file_task(tmp_path, numbered(20), validation=numbered(4))
        files = task.source.files
        more = {**files, "mismatched": files["validation"], "test": "never/read.jsonl"}
        data = load_data(task.model_copy(update={"source": FileSource(files=more)}))
        assert list(data.more) == ["mismatched"]
        assert len(data.more["mismatched"]) == 4

    def test_regression_of_one_value_and_lists_are_no_single_class(self, tmp_path):
        rows = [{"t": f"x {i}", "label": 1.5} for i in range(10)]
        assert set(load_data(file_task(tmp_path, rows, kind="regression")).train.labels.tolist()) == {1.5}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.data(), st.integers(0, 2**32))
def test_a_stratified_draw_is_distinct_and_proportional(labels, data, seed):
    count = data.draw(st.integers(0, len(labels)))
    picked = stratified(np.array(labels), count, seed=seed)
    assert len(picked) == count
    assert len(set(picked)) == count
    assert all(0 <= i < len(labels) for i in picked)
    drawn = Counter(labels[i] for i in picked)
    for label, held in Counter(labels).items():
        assert abs(drawn[label] - count * held / len(labels)) < 1
    assert stratified(np.array(labels), count, seed=seed) == picked


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(0, 100))
def test_a_stratified_draw_spreads_over_numbers(count, seed):
    values = np.random.default_rng(seed).permutation(10 * count).astype(np.float32)
    drawn = sorted(values[stratified(values, count, seed=seed)])
    for place, value in enumerate(drawn):  # one from each of `count` equal slices of the range, up to the common start
        assert 10 * place <= value < 10 * (place + 1)


def test_multi_hot_rows_are_stratified_by_their_combination():
    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 1]] * 10, dtype=np.float32)
    drawn = Counter(tuple(row) for row in labels[stratified(labels, 8, seed=0)].tolist())
    assert drawn == {(0, 1): 4, (1, 0): 2, (1, 1): 2}


def test_a_draw_is_not_in_the_order_of_labels():
    labels = np.repeat([0, 1], 50)
    assert labels[stratified(labels, 20, seed=0)].tolist() != [0] * 10 + [1] * 10


class TestEncode:
    @pytest.fixture
    def tokenizer(self):
        return load_base("minilm").tokenizer

    def test_one_text(self, tokenizer):
        encoded = encode(Split([("a cat sat",), ("cats",)], None, np.array([1, 0])), tokenizer, max_length=8)
        assert encoded.ids == [[tokenizer("a cat sat")["input_ids"]], [tokenizer("cats")["input_ids"]]]
        assert encoded.lengths == [5, 3]
        assert len(encoded) == 2

    def test_padding_is_masked(self, tokenizer):
        labels = np.array([1, 0, 1])
        encoded = encode(Split([("a cat sat",), ("cats",), ("no",)], None, labels), tokenizer, max_length=8)
        batch = encoded.batch([1, 0])
        assert batch["input_ids"].shape == (2, 5)
        assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
        assert batch["input_ids"][0, 3:].tolist() == [tokenizer.pad_token_id] * 2
        assert batch["labels"].tolist() == [0, 1]
        assert "choice_mask" not in batch

    def test_a_pair_has_segments_and_the_longer_text_is_cut(self, tokenizer):
        split = Split([("one two three four five six seven eight", "cats sat")], None, np.array([0]))
        encoded = encode(split, tokenizer, max_length=8)
        assert tokenizer.convert_ids_to_tokens(encoded.ids[0][0]) == [
            "[CLS]", "one", "two", "three", "[SEP]", "cats", "sat", "[SEP]",
        ]  # fmt: skip
        assert encoded.batch([0])["token_type_ids"].tolist() == [[0] * 5 + [1] * 3]

    def test_a_missing_choice_is_masked(self, tokenizer):
        split = Split([("it rains", ), ("go",)], [["yes", "no no no"], ["a", "b", "c"]], np.array([1, 2]))  # fmt: skip
        encoded = encode(split, tokenizer, max_length=16, width=4)
        batch = encoded.batch([0, 1])
        assert batch["choice_mask"].tolist() == [[True, True, False, False], [True, True, True, False]]
        assert batch["input_ids"].shape[0] == batch["attention_mask"].shape[0] == batch["token_type_ids"].shape[0] == 8
        assert batch["attention_mask"].sum(1).tolist() == [6, 8, 1, 1, 5, 5, 5, 1]
        pair = tokenizer("it rains", "no no no")
        assert batch["input_ids"][1].tolist() == pair["input_ids"]
        assert batch["token_type_ids"][1].tolist() == pair["token_type_ids"]
        assert encoded.lengths == [8, 5]

    def test_two_texts_before_a_choice_are_joined(self, tokenizer):
        encoded = encode(Split([("a", "b")], [["x", "y"]], np.array([0])), tokenizer, max_length=16, width=2)
        assert encoded.ids[0][1] == tokenizer("a b", "y")["input_ids"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 128), max_size=300), st.integers(1, 33), st.integers(0, 1000))
def test_batches_are_a_permutation_of_the_rows(lengths, size, seed):
    batches = length_batches(lengths, size, seed=seed)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert all(1 <= len(batch) <= size for batch in batches)
    assert batches == length_batches(lengths, size, seed=seed)


def test_batches_have_like_lengths_in_no_order():
    lengths = np.random.default_rng(0).integers(3, 129, 640).tolist()
    batches = length_batches(lengths, 16, seed=0)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert padded < 1.08 * sum(lengths)  # drawn at random it would be about 1.8
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest != sorted(longest)
    assert batches != length_batches(lengths, 16, seed=1)


def all_tasks():
    """The real tasks where their folder is, the built-in suite everywhere."""
    named = os.environ.get("SCALEARN_DATA")
    return [*find_tasks(), *(find_tasks(named) if named else ())]


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: f"{task.suite}-{task.name}")
def test_every_task_at_hand_loads(task):
    whole = read_splits(task)
    data = load_data(task, rows=64)
    assert len(data.train) + len(data.dev) == min(64, len(whole["train"]))
    assert len(data.test) == len(whole["validation"])
    width = data.train.labels.shape[1:]
    assert width == ((task.outputs,) if task.kind == "multi_label" else ())
    if task.labels and not width:
        assert set(data.test.labels.tolist()) <= set(range(task.outputs))


def test_a_file_is_read_once_for_several_stages_and_again_when_it_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    task = Task.from_csv(path, text="text")
    reads = []
    monkeypatch.setattr(module, "iter_rows", lambda *a, **k: (reads.append(a), iter_rows(*a, **k))[1])
    first, again = (load_data(task, seed=seed) for seed in (0, 1))
    assert len(reads) == 1
    assert sorted(first.train.texts + first.dev.texts) == sorted(again.train.texts + again.dev.texts)
    path.write_text(path.read_text().replace("text 3,", "word 3,"))
    changed = load_data(task)
    assert len(reads) == 2
    assert changed.fingerprint != first.fingerprint
