"""Label cells as numbers: multi-hot or indices, one column per label, numbers however they are written, hidden labels."""

import json

import pytest

from tasksel.errors import UserError
from tasksel.tasks.load import read_splits
from tasksel.tasks.task import Task


def jsonl(path, labels):
    path.write_text("".join(json.dumps({"text": f"text {i}", "label": label}) + "\n" for i, label in enumerate(labels)))
    return path


def labels_of(task, split="train"):
    return read_splits(task)[split].labels.tolist()


def tagged(path, **options):
    return Task.from_file(path, text="text", **options)


class TestLists:
    def test_lists_of_indices_are_not_multi_hot_where_another_row_says_so(self, tmp_path):
        task = tagged(jsonl(tmp_path / "a.jsonl", [[0, 1], [0], [1], []]), labels=["fit", "leak"])
        assert labels_of(task) == [[1, 1], [1, 0], [0, 1], [0, 0]]

    def test_the_training_rows_say_it_for_the_validation_rows(self, tmp_path):
        held = jsonl(tmp_path / "b.jsonl", [[0, 1], [0, 1]])
        task = tagged(jsonl(tmp_path / "a.jsonl", [[0, 1], [0], [1]]), labels=["fit", "leak"], validation=held)
        assert labels_of(task, "validation") == [[1, 1], [1, 1]]

    def test_lists_as_long_as_the_labels_are_multi_hot(self, tmp_path):
        task = tagged(jsonl(tmp_path / "a.jsonl", [[0, 1], [1, 0], [1, 1]]), labels=["fit", "leak"])
        assert labels_of(task) == [[0, 1], [1, 0], [1, 1]]

    def test_lists_of_names_that_are_numbers_are_names(self, tmp_path):
        task = tagged(jsonl(tmp_path / "a.jsonl", [[0, 1], [0], [1]]))
        assert (task.labels, labels_of(task)) == (("0", "1"), [[1, 1], [1, 0], [0, 1]])

    def test_an_empty_cell_is_no_label(self, tmp_path):
        task = tagged(jsonl(tmp_path / "a.jsonl", [None, ["fit"], ["leak", None], "fit|leak", "['leak']"]))
        assert (task.labels, labels_of(task)) == (("fit", "leak"), [[0, 0], [1, 0], [0, 1], [1, 1], [0, 1]])


class TestColumns:
    TEXT = "comment,toxic,obscene\n" + "".join(f"text {i},{i % 2},{'' if i % 3 else 'true'}\n" for i in range(12))

    def file(self, tmp_path, text=TEXT):
        (tmp_path / "a.csv").write_text(text)
        return tmp_path / "a.csv"

    @pytest.mark.parametrize("label", [("toxic", "obscene"), "toxic,obscene", "toxic, obscene"])
    def test_one_column_for_each_label(self, tmp_path, label):
        task = Task.from_file(self.file(tmp_path), text="comment", label=label)
        assert (task.kind, task.labels, task.label) == ("multi_label", ("toxic", "obscene"), ("toxic", "obscene"))
        assert labels_of(task)[:4] == [[0, 1], [1, 0], [0, 0], [1, 1]]
        assert Task.model_validate_json(task.model_dump_json()) == task
        assert labels_of(task.one_label("obscene"))[:4] == [1, 0, 0, 1]

    def test_a_task_file_names_them_too(self, tmp_path):
        fields = {
            "name": "a",
            "kind": "multi_label",
            "text": "comment",
            "label": ["toxic", "obscene"],
            "metric": "macro_f1",
        }
        task = Task(**fields, source={"type": "files", "files": {"train": str(self.file(tmp_path))}})
        assert task.labels == ("toxic", "obscene")
        with pytest.raises(UserError, match=r"2 label columns .* for 3 label names"):
            Task(**fields, labels=["a", "b", "c"], source={"type": "files", "files": {"train": "a.csv"}})

    @pytest.mark.parametrize(
        ("options", "answer"),
        [
            ({"label": ("toxic", "obscen")}, "no column at .*a.csv:2: 'obscen'; did you mean 'obscene'"),
            ({"label": "toxic,obscen"}, "did you mean 'obscene'"),
            ({"label": ("toxic", "obscene"), "kind": "regression"}, "2 label columns make a multi_label task, not 'regression'"),
            ({"label": ("toxic", "obscene"), "labels": ["a"]}, "1 label names for 2 label columns"),
        ],
    )  # fmt: skip
    def test_a_mistake_is_one_line(self, tmp_path, options, answer):
        with pytest.raises(UserError, match=answer):
            Task.from_file(self.file(tmp_path), text="comment", **options)

    def test_a_cell_that_says_neither_is_named(self, tmp_path):
        task = Task.from_file(self.file(tmp_path, "comment,a,b\nx,1,0\ny,0.7,1\n"), text="comment", label=("a", "b"))
        with pytest.raises(UserError, match=r"a.csv:3: '0.7' in the label column 'a'; give 1 or 0"):
            read_splits(task)


def test_a_number_is_the_label_of_its_value_however_it_is_written(tmp_path):
    task = tagged(jsonl(tmp_path / "a.jsonl", ["1.0", 0, "0.0", 1.0] * 3))
    assert (task.labels, labels_of(task)[:4]) == (("0", "1"), [1, 0, 0, 1])
    named = tagged(tmp_path / "a.jsonl", labels=["neg", "pos"])
    assert labels_of(named)[:4] == [1, 0, 0, 1]


def test_decimal_commas_are_read_as_points(tmp_path):
    task = tagged(jsonl(tmp_path / "a.jsonl", ["3,5", "0,25", "4"]), kind="regression")
    assert labels_of(task) == [3.5, 0.25, 4.0]


@pytest.mark.parametrize("name", [False, None, 1.5, 1.10])
def test_a_name_that_yaml_does_not_read_as_text_asks_for_quotes(name):
    with pytest.raises(UserError, match=r'labels: .* is not text: put quotes around each name, \["no", "yes"\]'):
        Task(name="a", kind="single_sentence_classification", text="t", labels=[name, "b"], metric="accuracy", source={"type": "files", "files": {}})  # fmt: skip


def test_whole_numbers_are_taken_as_their_text():
    task = Task(name="a", kind="single_sentence_classification", text="t", labels=[1, 2, 3], metric="accuracy", source={"type": "files", "files": {}})  # fmt: skip
    assert task.labels == ("1", "2", "3")
