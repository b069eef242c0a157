"""Tests of the task: a frozen value that says its own mistakes, and what a file's columns tell of it."""

import json

import pytest

from tasksel.errors import UserError
from tasksel.tasks.builtin import builtin_tasks
from tasksel.tasks.infer import DEFAULT_METRIC
from tasksel.tasks.load import load_data, read_splits
from tasksel.tasks.task import BuiltinSource, FileSource, HubSource, Task, TaskSet

SINGLE, PAIR = "single_sentence_classification", "pair_classification"
KINDS = {
    SINGLE: {"text": ("t",), "labels": ("no", "yes", "perhaps")},
    PAIR: {"text": ("a", "b"), "labels": ("no", "yes")},
    "regression": {"text": ("t",)},
    "multi_label": {"text": ("t",), "labels": ("food", "water", "roads", "health")},
    "multiple_choice": {"text": ("t",), "choices": "choices", "num_choices": 5},
}


def make(kind=SINGLE, **changes):
    """A small task of a kind."""
    told = {"name": "a_task", "kind": kind, "metric": DEFAULT_METRIC.get(kind, "accuracy"), "source": BuiltinSource()}
    return Task(**{**told, **KINDS.get(kind, KINDS[SINGLE]), **changes})


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "outputs"), list(zip(KINDS, (3, 2, 1, 4, 5), strict=True)))
def test_a_head_has_as_many_outputs_as_the_kind_asks(kind, outputs):
    assert make(kind).outputs == outputs


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_from_json(kind):
    source = HubSource(path="nyu-mll/glue", config="rte", splits={"train": "train", "more": "x"})
    for task in (make(kind), make(kind, source=source), make(kind, source=FileSource(files={"train": "a.csv"}))):
        back = Task.model_validate_json(task.model_dump_json())
        assert back == task
        assert Task(**json.loads(task.model_dump_json())).fingerprint == task.fingerprint


def test_a_task_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        make().name = "other"


@pytest.mark.parametrize(
    ("kind", "changes", "answer"),
    [
        ("regresion", {}, "no kind 'regresion'; did you mean 'regression'?"),
        (SINGLE, {"metric": "acuracy"}, "no metric 'acuracy'; did you mean 'accuracy'?"),
        (SINGLE, {"lable": "y"}, "no field 'lable'; did you mean 'label'?"),
        (SINGLE, {"name": "a task"}, "task name 'a task': use letters"),
        (SINGLE, {"name": "../up"}, "task name '../up': use letters"),
        (SINGLE, {"text": ("a", "b", "c")}, "3 text columns"),
        (SINGLE, {"text": ()}, "0 text columns"),
        (PAIR, {"text": ("a",)}, "a pair task needs two text columns, given ['a']"),
        (SINGLE, {"labels": ("one",)}, "1 label names ['one']"),
        (PAIR, {"labels": ()}, "0 label names"),
        ("multi_label", {"labels": ("one",)}, "needs two or more"),
        (SINGLE, {"labels": ("a", "b", "a")}, "duplicate label names"),
        (SINGLE, {"choices": "options", "num_choices": 3}, "`choices` belongs to multiple choice"),
        ("multiple_choice", {"choices": None}, "`choices` belongs to multiple choice"),
        ("multiple_choice", {"num_choices": None}, "multiple choice needs `num_choices`"),
        (SINGLE, {"source": {"type": "ftp"}}, "source"),
    ],
)
def test_a_wrong_field_is_answered_in_one_line(kind, changes, answer):
    with pytest.raises(UserError) as caught:
        make(kind, **changes)
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_all_wrong_fields_are_said_at_once():
    with pytest.raises(UserError) as caught:
        make(text=3, kind="pairs")
    assert "text: " in str(caught.value)
    assert "no kind 'pairs'" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ("yes", "no", "perhaps")},
        {"text": ("other",)},
        {"label": "y"},
        {"metric": "macro_f1"},
        {"source": BuiltinSource(seed=1)},
        {"explode": "entities"},
        {"name": "b_task"},
    ],
)
def test_the_fingerprint_moves_with_what_decides_rows_and_labels(changes):
    assert make(**changes).fingerprint != make().fingerprint


def test_the_fingerprint_stays_where_only_the_telling_changes():
    told = make(suite="glue", licence="MIT", note="a remark")
    assert told.fingerprint == make().fingerprint
    assert len(told.fingerprint) == 16


class TestFromFile:
    def test_stars_are_classes_sorted_as_numbers(self, tmp_path):
        path = write(tmp_path / "reviews.csv", "body,stars\ngood,10\nbad,1\nso so,2\nfine,10\n")
        task = Task.from_csv(path, text="body", label="stars")
        assert (task.name, task.kind, task.labels, task.metric) == ("reviews", SINGLE, ("1", "2", "10"), "accuracy")
        assert task.source == FileSource(files={"train": str(path)})
        splits = load_data(task)
        assert sorted(np_labels(splits)) == [0, 1, 2, 2]

    def test_names_sort_after_numbers(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label\nx,b\ny,a\nz,-3\nw,12\n")
        assert Task.from_file(path, text="text").labels == ("-3", "12", "a", "b")

    def test_fractions_mean_regression(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label\nx,1\ny,2.5\nz,3\n")
        task = Task.from_file(path, text="text")
        assert (task.kind, task.labels, task.metric) == ("regression", (), "pearson_spearman")

    def test_floats_of_jsonl_mean_regression_and_integers_do_not(self, tmp_path):
        for value, kind in (("1.0", "regression"), ("1", SINGLE)):
            rows = "".join(f'{{"text": "t", "label": {label}}}\n' for label in (value, "2", "3"))
            assert Task.from_file(write(tmp_path / "a.jsonl", rows), text="text").kind == kind

    def test_names_joined_by_bars_are_several_labels(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label\nx,water|food\ny,\nz,food | roads\n")
        task = Task.from_file(path, text="text")
        assert (task.kind, task.labels, task.metric) == ("multi_label", ("food", "roads", "water"), "macro_f1")

    def test_lists_of_names_are_several_labels(self, tmp_path):
        path = write(tmp_path / "a.jsonl", '{"text": "x", "label": ["b", "a"]}\n{"text": "y", "label": []}\n')
        assert Task.from_file(path, text="text").labels == ("a", "b")

    def test_lists_of_noughts_and_ones_are_numbered_labels(self, tmp_path):
        path = write(tmp_path / "a.jsonl", '{"text": "x", "label": [1, 0, 0]}\n{"text": "y", "label": [1, 1, 0]}\n')
        task = Task.from_file(path, text="text")
        assert (task.kind, task.labels) == ("multi_label", ("label_0", "label_1", "label_2"))

    def test_two_texts_are_a_pair(self, tmp_path):
        path = write(tmp_path / "a.tsv", "p\th\ty\nx\ty\tno\nx\tz\tyes\n")
        task = Task.from_file(path, text=("p", "h"), label="y", name="pairs", metric="macro_f1")
        assert (task.name, task.kind, task.labels, task.metric) == ("pairs", PAIR, ("no", "yes"), "macro_f1")

    def test_choices_are_counted(self, tmp_path):
        rows = [{"text": "t", "choices": ["a", "b"], "label": 1}, {"text": "t", "choices": ["a", "b", "c"], "label": 0}]
        path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        task = Task.from_file(path, text="text", choices="choices")
        assert (task.kind, task.num_choices, task.labels) == ("multiple_choice", 3, ())

    def test_choices_in_columns_are_as_many_as_the_columns(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,one,two,label\nx,a,b,0\n")
        assert Task.from_file(path, text="text", choices=("one", "two")).num_choices == 2

    def test_choices_that_are_no_list_are_refused_with_their_place(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,choices,label\nx,a|b,0\n")
        with pytest.raises(UserError, match=r"a\.csv:2: choices 'a\|b' in 'choices'; give a list"):
            Task.from_file(path, text="text", choices="choices")

    def test_a_given_kind_wins(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label\nx,1\ny,2\n")
        assert Task.from_file(path, text="text", kind="regression").kind == "regression"

    def test_a_validation_file_is_kept_beside(self, tmp_path):
        train = write(tmp_path / "a.csv", "text,label\nx,1\ny,2\n")
        other = write(tmp_path / "b.csv", "text,label\nx,1\ny,2\n")
        task = Task.from_file(train, text="text", validation=other)
        assert task.source == FileSource(files={"train": str(train), "validation": str(other)})

    def test_a_file_name_becomes_a_task_name(self, tmp_path):
        path = write(tmp_path / "my reviews (new).csv", "text,label\nx,1\ny,2\n")
        assert Task.from_file(path, text="text").name == "my_reviews_new_"

    def test_space_round_a_label_is_no_part_of_it(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label\n" + "x, pos\ny,pos\nz, neg\n" * 4)
        task = Task.from_file(path, text="text")
        assert task.labels == ("neg", "pos")
        assert sorted(np_labels(load_data(task))) == [0] * 4 + [1] * 8

    @pytest.mark.parametrize("empty", ["", "  "])
    def test_a_missing_class_label_is_not_a_class(self, tmp_path, empty):
        path = write(tmp_path / "a.csv", f"text,label\nx,pos\ny,{empty}\nz,neg\n")
        with pytest.raises(UserError, match=r"a\.csv:3: no label in 'label'"):
            Task.from_file(path, text="text")

    def test_a_null_class_label_is_not_a_class(self, tmp_path):
        path = write(tmp_path / "a.jsonl", '{"text": "x", "label": "pos"}\n{"text": "y", "label": null}\n')
        with pytest.raises(UserError, match=r"a\.jsonl:2: no label in 'label'"):
            Task.from_file(path, text="text")

    @pytest.mark.parametrize(
        ("options", "answer"),
        [
            ({"text": "bdy", "label": "stars"}, "did you mean 'body'?"),
            ({"text": "body", "label": "star"}, "did you mean 'stars'?"),
            ({"text": "{body} {titel}", "label": "stars"}, "no column at {place}:2: 'titel'"),
            ({"text": "body", "label": "stars", "choices": ("one",)}, "'one'"),
            ({"text": "body", "label": "stars", "metric": "f2"}, "did you mean 'f1'?"),
        ],
    )
    def test_a_wrong_column_is_answered_with_the_nearest(self, tmp_path, options, answer):
        path = write(tmp_path / "a.csv", "body,stars\nx,1\ny,2\n")
        with pytest.raises(UserError) as caught:
            Task.from_file(path, **options)
        assert answer.format(place=path) in str(caught.value)

    def test_one_class_is_refused(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label\nx,1\ny,1\n")
        with pytest.raises(UserError, match=r"1 label names \['1'\]"):
            Task.from_file(path, text="text")


def np_labels(splits):
    """Every label of a file's rows, whatever split they came to."""
    return [*splits.train.labels.tolist(), *splits.dev.labels.tolist(), *splits.test.labels.tolist()]


class TestTaskSet:
    def test_keeps_order_and_finds_by_name(self):
        tasks = TaskSet([make(name="b"), make(name="a")], origin="here")
        assert (tasks.names, len(tasks), "a" in tasks, "c" in tasks) == (["b", "a"], 2, True, False)
        assert tasks["a"].name == "a"
        assert [task.name for task in tasks] == ["b", "a"]
        assert repr(tasks) == "TaskSet(b, a; from here)"

    def test_an_unknown_name_is_answered_with_the_nearest_and_the_place(self):
        tasks = TaskSet(builtin_tasks(), origin="the built-in suite")
        with pytest.raises(UserError, match=r"did you mean 'entail_travel'.*looked in the built-in suite"):
            tasks["entail_travels"]


def test_a_task_prints_as_one_line():
    assert str(make()) == "a_task (own; single sentence classification; 3 outputs; accuracy)"
    assert "a number" in str(make("regression"))


class TestOneLabel:
    def task(self, **changes):
        told = {"name": "crisis", "kind": "multi_label", "text": ("text",), "labels": ("Advice", "Clean up", "News")}
        return Task(**{**told, "metric": "macro_f1", "source": BuiltinSource(), **changes})

    def test_is_a_yes_no_task_scored_by_the_f1_of_yes(self):
        found = self.task().one_label("News")
        assert (found.name, found.kind, found.labels) == (
            "crisis+News",
            "single_sentence_classification",
            ("no", "News"),
        )
        assert (found.metric, found.outputs, found.among) == ("f1", 2, ("Advice", "Clean up", "News"))
        assert self.task(text=("a", "b")).one_label("News").kind == "pair_classification"

    def test_is_found_by_name_in_a_set_of_tasks(self):
        tasks = TaskSet([self.task()], origin="here")
        assert tasks["crisis+Clean_up"] == self.task().one_label("Clean up")
        assert "crisis+News" in tasks
        assert len(tasks) == 1
        with pytest.raises(UserError, match="no label of 'crisis' 'New'; did you mean 'News'"):
            _ = tasks["crisis+New"]

    def test_only_a_multi_label_task_has_labels_to_take_one_of(self):
        with pytest.raises(
            UserError, match="task 'crisis\\+News' is single_sentence_classification: only a multi-label"
        ):
            self.task().one_label("News").one_label("Advice")

    def test_its_rows_say_whether_they_have_the_label(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        rows = [[1, 0, 0], [0, 1, 1], ["News"], ["Advice", "News"], []]
        path.write_text("".join(json.dumps({"text": f"row {i}", "label": row}) + "\n" for i, row in enumerate(rows)))
        source = FileSource(files={"train": str(path)})
        splits = read_splits(self.task(source=source).one_label("News"))
        assert splits["train"].labels.tolist() == [0, 1, 1, 1, 0]
