"""Options of data files: the same in every command, for sources as for the target; files of one name are told apart."""

import json

import pytest

from scalearn.cli.main import app as scalearn_app
from tasksel.cli.arguments import FileColumns
from tasksel.cli.main import app as tasksel_app
from tasksel.cli.main import main
from tasksel.errors import UserError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """A folder with two files of one name, a copy and a file of several label columns."""
    monkeypatch.chdir(tmp_path)
    for folder, words in (("shop", "tea kettle"), ("hotel", "calm ferry")):
        (tmp_path / folder).mkdir()
        lines = [f"{words} {i},{'ab'[i % 2]},{i % 2}" for i in range(30)]
        (tmp_path / folder / "v.csv").write_text("\n".join(["body,verdict,late", *lines]) + "\n")
    (tmp_path / "copy.csv").write_text((tmp_path / "shop" / "v.csv").read_text())


COLUMNS = ["--text", "body", "--label", "verdict"]
OPTIONS = ["--kind", "classification", "--metric", "macro_f1", "--labels", "b", "a", "--validation", "copy.csv"]


@pytest.mark.parametrize(
    ("app", "command"),
    [
        (tasksel_app, ["show", "shop/v.csv"]),
        (tasksel_app, ["rank", "shop/v.csv", "hotel/v.csv"]),
        (tasksel_app, ["embed", "shop/v.csv"]),
        (scalearn_app, ["train-source", "shop/v.csv"]),
        (scalearn_app, ["transfer", "shop/v.csv", "--out", "out"]),
        (scalearn_app, ["pool", "add", "folder", "--task", "shop/v.csv"]),
    ],
)
def test_every_command_of_a_data_file_takes_its_options(app, command):
    columns = app.parse([*command, *COLUMNS, *OPTIONS]).keywords["columns"]
    task = columns.task("shop/v.csv")
    assert (task.kind, task.metric, task.labels) == ("single_sentence_classification", "macro_f1", ("b", "a"))
    assert set(task.source.files) == {"train", "validation"}


def test_choices_are_a_column_or_several():
    several = FileColumns(text=("body",), label=("late",), choices=("body", "verdict"))
    assert several.task("shop/v.csv").choices == ("body", "verdict")
    with pytest.raises(UserError, match="give a list of texts"):
        FileColumns(text=("body",), label=("late",), choices=("body",)).task("shop/v.csv")


def test_own_files_are_ranked_by_one_set_of_columns_and_a_copy_is_left_out(capsys, tiny):
    arguments = ["rank", "shop/v.csv", "hotel/v.csv", "copy.csv", *COLUMNS, "--by", "vocabulary", "--base", tiny]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "hotel_v" in shown.out
    assert "copy" not in shown.out
    assert "left out, as the rows are those of 'v' itself: copy" in shown.err


def test_the_validation_file_is_that_of_the_first(tmp_path):
    columns = FileColumns(text=("body",), label=("verdict",), validation="copy.csv")
    first, second = columns.tasks(["shop/v.csv", "hotel/v.csv"])
    assert (set(first.source.files), set(second.source.files)) == ({"train", "validation"}, {"train"})
    assert (first.name, second.name) == ("v", "hotel_v")


def test_a_broken_task_does_not_block_its_neighbours(tmp_path, capsys):
    for name, labels in (("good", ["a", "b"]), ("bad", [True, False]), ("worse", None)):
        (tmp_path / "tasks" / name).mkdir(parents=True)
        fields = {"name": name, "kind": "single_sentence_classification", "text_fields": ["t"], "label_names": labels}
        (tmp_path / "tasks" / name / "task.json").write_text(json.dumps(fields))
        rows = [{"t": f"row {i}", "label": "ab"[i % 2]} for i in range(20)]
        (tmp_path / "tasks" / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["show", "good", "--data", "tasks"]) == 0
    said = capsys.readouterr().err
    assert said.count("left out: ") == 2
    assert main(["show", "bad", "--data", "tasks"]) == 2
    assert "labels: True is not text: put quotes around each name" in capsys.readouterr().err.splitlines()[-1]
