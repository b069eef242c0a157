"""Matrices that others measured: long and wide tables, percent, gaps, several runs; sizes; one line for each mistake."""

import re
from pathlib import Path

import numpy as np
import pytest

from tasksel.cli.main import main
from tasksel.errors import UserError
from tasksel.evaluation.foreign_matrix import read_matrix, read_sizes

LONG = "source,target,score\na,x,80\nb,x,70\na,y,60\nb,y,65\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="theirs.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def truth(matrix, target):
    sources, scores = matrix.ground_truth(target)
    return dict(zip(sources, scores.mean(axis=0).round(9).tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        (LONG, {"a": 0.8, "b": 0.7}, "scores are read as percent (the largest is 80)"),
        ("Source, Target,Score\na,x,0.8\nb,x,0.7\n".replace(", ", ","), {"a": 0.8, "b": 0.7}, ""),
        (",x,y\na,0.8,0.6\nb,0.7,\nc,nan,0.5\n", {"a": 0.8, "b": 0.7}, "3 sources (rows) by 2 targets (columns)"),
        (",x,y\na,0.8,0.6\nb,0.7,\nc,nan,0.5\n", {"a": 0.8, "b": 0.7}, "2 of 6 pairs were not measured"),
        ("task,x,a\na,80%,90%\nb,70%,55%\n", {"a": 0.8, "b": 0.7}, "left out 1 cells of a task with itself"),
        ("source,target,score\na,x,.7\na,x,.9\nb,x,.6\nb,x,.8\n", {"a": 0.8, "b": 0.7}, "each pair has 2 runs, which are read as its seeds"),
        ("source,target,score\na,x,.7\na,x,.9\nb,x,.7\n", {"a": 0.8, "b": 0.7}, "1 pairs have several runs (up to 2), which are averaged"),
        ("source,target,score,seed\na,x,.7,s1\na,x,.9,s2\nb,x,.6,s1\nb,x,.8,s2\n", {"a": 0.8, "b": 0.7}, ""),
        ("source,target,score,metric\na,x,\"0,8\",f1\nb,x,\"0,7\",f1\n", {"a": 0.8, "b": 0.7}, ""),
    ],
)  # fmt: skip
def test_a_table_is_read_as_it_is(table, capsys, text, expected, said):
    matrix = read_matrix(table(text))
    assert truth(matrix, "x") == expected
    assert said in capsys.readouterr().err


def test_runs_of_a_pair_become_seeds_and_an_empty_source_the_baseline(table):
    matrix = read_matrix(table("source,target,score\na,x,.7\na,x,.9\nb,x,.6\nb,x,.8\n,x,.5\n,x,.5\n"))
    assert matrix.seeds == (0, 1)
    assert matrix.baseline("x").tolist() == [0.5, 0.5]
    assert np.isnan(matrix.seconds("x"))  # nobody said what it cost


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("source,target,score\na,x,80\na,y,0.6\n", "'x' are percent (up to 80) and those of 'y' look like fractions (up to 0.6)"),
        ("source,target,score\na,x,812\n", "theirs.csv:2: score '812'; give a fraction from -1 to 1, or percent"),
        ("source,target,scor\na,x,8\n", "needs source, target and score; 'score'; did you mean 'scor'?"),
        ("a,b\nx,y\n", "theirs.csv:2, column 'b': score 'y'"),
        ("source,target,score\na,,8\n", "theirs.csv:2: a run without a target"),
        ("source,target,score\na,x,\n", "no score in it"),
        ("source,target,score\na,a,.5\n", "no score in it"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(table, text, answer):
    with pytest.raises(UserError) as caught:
        read_matrix(table(text))
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_rank_the_sources_of_each_target(table):
    matrix = read_matrix(table(LONG))
    scores = read_sizes(table("task,rows\nb,2000\na,100\n", "sizes.csv"), matrix)
    assert [(one.by, one.target, one.scores) for one in scores] == [("size", t, {"a": 100, "b": 2000}) for t in "xy"]
    with pytest.raises(UserError, match=r"no source in .*, which the matrix has: 'b'"):
        read_sizes(table("task,rows\na,100\n", "sizes.csv"), matrix)
    with pytest.raises(UserError, match=r"sizes.csv:2: size 'many' in 'rows'"):
        read_sizes(table("task,rows\na,many\n", "sizes.csv"), matrix)


def test_the_command_takes_it_with_sizes_and_without(table, capsys):
    path, sizes = table(LONG), table("source,size\na,100\nb,2000\n", "sizes.csv")
    assert main(["evaluate", str(path), "--sizes", str(sizes)]) == 0
    shown = capsys.readouterr()
    assert "size" in shown.out
    assert "2 targets; ground truth: mean of 1 seeds of 'sequential' transfer from 2 sources" in " ".join(
        shown.out.split()
    )
    assert main(["evaluate", str(path)]) == 0
    assert "oracle" in capsys.readouterr().out
    assert [other.name for other in path.parent.iterdir() if other.suffix == ".jsonl"] == []


def test_the_example_of_the_guide_runs_as_it_stands(table, capsys, monkeypatch, tmp_path):
    page = (Path(__file__).parents[4] / "docs" / "guides" / "choose_sources.md").read_text(encoding="utf-8")
    section = page.split("## A matrix that others measured")[1].split("\n## ")[0]
    for name, text in zip(
        ("theirs.csv", "sizes.csv"), re.findall(r"```csv\n(.*?)```", section, re.DOTALL), strict=True
    ):
        table(text, name)
    (command,) = re.findall(r"^    tasksel (.*)$", section, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0
    assert "2 targets; ground truth: mean of 2 seeds" in " ".join(capsys.readouterr().out.split())
