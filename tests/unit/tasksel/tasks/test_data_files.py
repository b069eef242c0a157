"""Tests of paths: shards, folders by split, names, task files that hold paths, and `~`."""

import json

import pytest
from refusals import refused_line

from tasksel import Task, load_data
from tasksel.tasks.data_files import named_files, split_files
from tasksel.tasks.registry import read_task_file, resolve_task

OPTIONS = {"text": "text", "label": "label"}


def rows(path, count=40, start=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"text": f"text {i}", "label": ("no", "yes")[i % 2]} for i in range(start, start + count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sizes(task):
    data = load_data(task)
    return len(data.train) + len(data.dev), len(data.test)


class TestShards:
    def test_of_a_pattern_are_one_training_split(self, tmp_path):
        for number in range(3):
            rows(tmp_path / f"train-{number}.jsonl", 20, 20 * number)
        task = Task.from_file(tmp_path / "train-*.jsonl", **OPTIONS)
        assert (task.name, sizes(task)) == ("train", (48, 12))
        assert Task.model_validate_json(task.model_dump_json()) == task

    def test_of_a_folder_are_found_by_split(self, tmp_path):
        for number in range(2):
            rows(tmp_path / "reviews" / f"train-0000{number}-of-00002.jsonl", 20)
        rows(tmp_path / "reviews" / "dev.jsonl", 6)
        rows(tmp_path / "reviews" / "test.jsonl", 9)
        task = Task.from_data(tmp_path / "reviews", **OPTIONS)
        assert (task.name, sizes(task)) == ("reviews", (40, 6))
        assert resolve_task(str(tmp_path / "reviews"), text=("text",)).source == task.source

    def test_that_datasets_saved_to_disk_are_its_arrow_files(self, tmp_path):
        from datasets import Dataset, DatasetDict

        parts = {"train": Dataset.from_json(str(rows(tmp_path / "a.jsonl", 40))), "test": Dataset.from_json(str(rows(tmp_path / "b.jsonl", 6)))}  # fmt: skip
        parts["train"].save_to_disk(tmp_path / "one", num_shards=2)
        DatasetDict(parts).save_to_disk(tmp_path / "both")
        DatasetDict(validation=parts["test"]).save_to_disk(tmp_path / "neither")
        assert sizes(Task.from_data(tmp_path / "one", **OPTIONS)) == (32, 8)
        assert split_files(tmp_path / "both").keys() == {"train", "test"}
        assert sizes(Task.from_data(tmp_path / "both", **OPTIONS)) == sizes(Task.from_data(tmp_path / "one", **OPTIONS))
        assert "no training file there, only validation" in refused_line(
            Task.from_data, tmp_path / "neither", **OPTIONS
        )

    def test_that_are_missing_are_counted(self, tmp_path):
        rows(tmp_path / "train-00001-of-00003.jsonl")
        assert "1 of 3 train shards are there" in refused_line(lambda: split_files(tmp_path))

    def test_of_two_kinds_are_refused(self, tmp_path):
        rows(tmp_path / "a" / "train.jsonl")
        rows(tmp_path / "a" / "train.ndjson")
        assert "several files for train: train.jsonl, train.ndjson" in refused_line(lambda: split_files(tmp_path / "a"))
        rows(tmp_path / "b" / "x.jsonl")
        rows(tmp_path / "b" / "y.ndjson")
        assert "files of several kinds (x.jsonl, y.ndjson)" in refused_line(lambda: named_files(tmp_path / "b"))

    def test_without_training_rows_are_refused(self, tmp_path):
        rows(tmp_path / "test.jsonl")
        assert "no training file there, only test" in refused_line(lambda: named_files(tmp_path))

    def test_a_task_folder_has_no_other_names_for_a_split(self, tmp_path):
        (tmp_path / "task.json").write_text("{}")
        rows(tmp_path / "train.jsonl")
        rows(tmp_path / "dev.jsonl")
        assert set(named_files(tmp_path)) == {"train"}


class TestTaskFiles:
    @pytest.fixture
    def described(self, tmp_path):
        fields = {
            "name": "x",
            "kind": "single_sentence_classification",
            "text": ["text"],
            "labels": ["no", "yes"],
            "metric": "accuracy",
        }
        rows(tmp_path / "tasks" / "rows.jsonl")

        def write(name, files, folder="tasks"):
            path = tmp_path / folder / name
            path.write_text(json.dumps({**fields, "source": {"type": "files", "files": files}}))
            return path

        return write

    @pytest.mark.parametrize("name", ["task.yaml", "task.json", "x.JSON"])
    def test_name_files_beside_them(self, described, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        for files in ("rows.jsonl", "r*.jsonl", ["rows.jsonl"]):
            task = read_task_file(described(name, {"train": files}).relative_to(tmp_path))
            assert sizes(task) == (32, 8)
            assert resolve_task(f"tasks/{name}") == task

    def test_from_0_1_that_name_files_in_the_working_directory_are_read_and_told(
        self, described, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.chdir(tmp_path)
        task = read_task_file(described("task.yaml", {"train": "tasks/rows.jsonl"}))
        assert sizes(task) == (32, 8)
        assert "'tasks/rows.jsonl' is read from the working directory" in capsys.readouterr().err

    def test_may_name_a_home_folder(self, described, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert sizes(read_task_file(described("task.yaml", {"train": "~/tasks/rows.jsonl"}))) == (32, 8)

    def test_say_how_their_rows_are_written(self, described, tmp_path):
        path = described("task.json", {"train": "rows.csv"})
        fields = json.loads(path.read_text())
        fields["source"] |= {"separator": ":", "encoding": "cp1252"}
        path.write_text(json.dumps(fields))
        (tmp_path / "tasks" / "rows.csv").write_bytes(b"text:label\n" + "café:no\nthé:yes\n".encode("cp1252") * 10)
        assert sizes(read_task_file(path)) == (16, 4)


def test_what_nobody_says_of_a_file_is_not_stored(tmp_path):
    task = Task.from_file(rows(tmp_path / "a.jsonl"), **OPTIONS)
    assert task.model_dump(mode="json")["source"] == {"type": "files", "files": {"train": str(tmp_path / "a.jsonl")}}


@pytest.mark.parametrize("name", ["rows.json", "rows.JSON"])
def test_json_of_rows_is_no_task_file(tmp_path, name):
    path = tmp_path / name
    path.write_text(json.dumps([{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(20)]))
    assert sizes(resolve_task(str(path), text=("text",))) == (16, 4)
    assert "say which columns hold the text" in refused_line(lambda: resolve_task(str(path)))


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    rows(tmp_path / "a.jsonl")
    assert sizes(Task.from_data("~/a.jsonl", **OPTIONS)) == (32, 8)
    assert resolve_task("~/a.jsonl", text=("text",)).source.files == {"train": str(tmp_path / "a.jsonl")}
