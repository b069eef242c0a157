"""A configuration's own files: named, read by their columns, relative to it; and no target's rows under another name."""

import pytest

from scalearn.comparison.config import read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.matrix_config import MatrixConfig
from scalearn.comparison.measure_matrix import MatrixMeasurement
from scalearn.comparison.own_tasks import check_own_rows, configured_tasks
from tasksel.errors import UserError

FILES = """
  mine: {path: data/a.csv, text: body, label: v}
  other: {path: data/b.csv, text: body, label: [p, q], validation: data/b.csv}
  task: data/task.yaml
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that is not the working one, with two data files, a copy and a task file."""
    data = tmp_path / "there" / "data"
    data.mkdir(parents=True)
    (data / "a.csv").write_text("body,v\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(30)))
    (data / "copy.csv").write_text((data / "a.csv").read_text())
    (data / "b.csv").write_text("body,p,q\n" + "".join(f"line {i},{i % 2},{i % 3 == 0:d}\n" for i in range(30)))
    source = f"source: {{type: files, files: {{train: {data / 'a.csv'}}}}}"
    fields = "name: long_name\nkind: single_sentence_classification\ntext: body\nlabel: v\nlabels: [b, a]\nmetric: f1\n"
    (data / "task.yaml").write_text(fields + source)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "there"


def config(folder, sources, targets, files=FILES, kind=MatrixConfig):
    text = f"name: c\nfiles: {files}\nsources: {{tasks: [{sources}]}}\ntargets: {{tasks: [{targets}]}}\nmethods: [scalearn]\n"
    (folder / "c.yaml").write_text(text)
    return read_config(folder / "c.yaml", kind)


@pytest.mark.parametrize("kind", [Experiment, MatrixConfig])
def test_files_stand_among_the_tasks_by_their_names(folder, kind):
    tasks = configured_tasks(config(folder, "sentiment_films, task", "other", kind=kind))
    assert (tasks["task"].name, tasks["task"].labels, tasks["task"].metric) == ("task", ("b", "a"), "f1")
    assert tasks["other"].label == ("p", "q")
    assert set(tasks["other"].source.files) == {"train", "validation"}
    assert "sentiment_films" in tasks
    assert "mine" not in tasks  # which nobody names


def test_a_configuration_comes_back_from_json(folder):
    before = config(folder, "mine", "other", kind=Experiment)
    assert Experiment.model_validate_json(before.model_dump_json()) == before


@pytest.mark.parametrize(
    ("sources", "targets", "files", "answer"),
    [
        ("data/a.csv", "other", FILES, "'data/a.csv' is a path, and sources and targets are names: write `files: {a: {path: data/a.csv"),
        ("rte_", "other", FILES, "no task 'rte_'"),
        ("mine", "other", FILES.replace("body, label: v", "bdy, label: v"), "files.mine: no column at"),
        ("mine", "sentiment_films", FILES.replace("mine:", "sentiment_films: data/task.yaml\n  mine:"), "files.sentiment_films: a task has that name already"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(folder, sources, targets, files, answer):
    configured = config(folder, sources, targets, files)
    with pytest.raises(UserError) as caught:
        MatrixMeasurement(configured, folder / "out")
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_a_file_is_answered_with_the_nearest(folder):
    with pytest.raises(UserError, match=r"files.mine.pth: no key 'pth'; did you mean 'path'"):
        config(folder, "mine", "other", FILES.replace("mine: {path", "mine: {pth"))


def test_a_source_with_the_targets_rows_is_refused_whatever_its_name(folder):
    files = f"{FILES}  copy: {{path: data/copy.csv, text: body, label: v}}\n"
    twins = config(folder, "mine, sentiment_films", "copy", files)
    with pytest.raises(UserError, match="'mine' holds the rows of the target 'copy' under another name"):
        check_own_rows(twins, configured_tasks(twins))
    apart = config(folder, "mine, sentiment_films", "other", files)
    check_own_rows(apart, configured_tasks(apart))
