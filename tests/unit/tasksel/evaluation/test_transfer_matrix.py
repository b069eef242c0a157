"""Tests of the measured matrix: what is complete, what a killed run leaves, and every complaint with its line."""

import dataclasses
import json
import os

import numpy as np
import pytest

from tasksel import UserError
from tasksel.evaluation.transfer_matrix import MatrixRecord, TransferMatrix, read_matrix, read_whole_rows
from tasksel.storage.hashed import without_hash
from tasksel.storage.jsonl import append_row, mend


def row(target="sst5", source="sst2", seed=0, score=0.4, **more):
    told = {"method": "sequential", "metric": "accuracy", "dev": 0.5, "steps": 56, "seconds": 7.0} | more
    return MatrixRecord(target=target, source=source, seed=seed, score=score, **told)


def full(targets=("a", "b"), sources=("x", "y", "z"), seeds=(0, 1)):
    """Score = 0.1 * source + 0.01 * seed + 0.4 for the second target."""
    return [
        row(t, s, seed, round(0.1 * j + 0.01 * seed + 0.4 * i, 3), seconds=float(10 * seed + j))
        for i, t in enumerate(targets)
        for j, s in enumerate(sources)
        for seed in seeds
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "matrix.jsonl"


def write(path, *lines, end="\n"):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)
    return path


def plain(**changes):
    return dataclasses.asdict(row()) | changes


class TestMatrix:
    def test_names_stand_in_order_of_first_appearance(self):
        rows = (row("b", "y", 3), row("a", "x", 1, method="scalearn"), row("b", None, 3, method="single-adapter"))
        matrix = TransferMatrix(rows)
        assert matrix.targets == ("b", "a")
        assert matrix.sources == ("y", "x")
        assert matrix.seeds == (3, 1)
        assert matrix.methods == ("sequential", "scalearn", "single-adapter")

    def test_truth_holds_the_score_of_each_seed_and_source(self):
        names, scores = TransferMatrix(tuple(full())).ground_truth("b")
        assert names == ("x", "y", "z")
        assert scores.tolist() == [[0.4, 0.5, 0.6], [0.41, 0.51, 0.61]]

    def test_truth_does_not_depend_on_the_order_of_a_targets_rows(self):
        rows = full()
        names, scores = TransferMatrix(tuple(rows[:6] + rows[:5:-1])).ground_truth("b")
        assert (names, scores.tolist()) == (("x", "y", "z"), [[0.4, 0.5, 0.6], [0.41, 0.51, 0.61]])

    def test_the_targets_own_source_does_not_count(self):
        matrix = TransferMatrix((*full(), row("a", "a", 0, 0.9), row("a", "a", 1, 0.9)))
        assert matrix.ground_truth("a")[0] == ("x", "y", "z")
        assert matrix.left_out("a") == ""

    def test_another_method_is_another_truth(self):
        rows = [*full(), row("a", "y", 1, 0.9, method="scalearn"), row("a", "y", 7, 0.8, method="scalearn")]
        names, scores = TransferMatrix(tuple(rows)).ground_truth("a", method="scalearn")
        assert (names, scores.tolist()) == (("y",), [[0.9], [0.8]])
        assert TransferMatrix(tuple(rows)).ground_truth("a")[1].shape == (2, 3)

    def test_a_source_that_diverged_is_left_out_and_told(self):
        rows = [dataclasses.replace(r, score=None) if r.key == ("a", "y", "sequential", 1) else r for r in full()]
        matrix = TransferMatrix(tuple(rows))
        assert matrix.ground_truth("a")[0] == ("x", "z")
        assert matrix.ground_truth("a")[1].shape == (2, 2)
        assert matrix.left_out("a") == "source y"
        assert matrix.ground_truth("b")[0] == ("x", "y", "z")

    def test_a_seed_that_has_only_begun_is_left_out_and_told(self):
        matrix = TransferMatrix((*full(), row("a", "x", 2, 0.3)))
        assert matrix.ground_truth("a")[1].shape == (2, 3)
        assert matrix.left_out("a") == "seed 2"

    def test_nothing_complete_is_refused(self):
        with pytest.raises(UserError, match="target 'c' has no complete 'sequential' runs"):
            TransferMatrix((*full(), row("c", "x", 0, None))).ground_truth("c")
        with pytest.raises(UserError, match="target 'b' has no complete 'scalearn' runs"):
            TransferMatrix((*full(), row("a", "x", 0, method="scalearn"))).ground_truth("b", method="scalearn")

    def test_unknown_names_are_answered_with_the_nearest(self):
        matrix = TransferMatrix((*full(("sst5", "trec")), row("sst5", None, method="single-adapter")))
        for ask in (matrix.ground_truth, matrix.baseline, matrix.left_out, matrix.seconds):
            with pytest.raises(UserError, match="no target in the matrix 'sst'; did you mean 'sst5'\\? 2 known"):
                ask("sst")
        with pytest.raises(
            UserError, match="no method in the matrix 'sequental'; did you mean 'sequential'\\? 1 known"
        ):
            matrix.ground_truth("sst5", method="sequental")

    def test_the_baseline_has_the_scores_of_runs_with_no_source(self):
        bare = [row("a", None, seed, score, method="single-adapter") for seed, score in enumerate((0.3, None, 0.5))]
        matrix = TransferMatrix((*full(), *bare))
        assert matrix.baseline("a").tolist() == [0.3, 0.5]
        assert matrix.baseline("b").shape == (0,)
        assert matrix.ground_truth("a")[1].shape == (2, 3)

    def test_seconds_are_those_of_trying_every_source_once(self):
        assert TransferMatrix(tuple(full())).seconds("a") == (0 + 1 + 2 + 10 + 11 + 12) / 2

    def test_two_metrics_of_one_target_are_refused(self):
        with pytest.raises(UserError, match="target 'a' was measured in 'accuracy' and in 'f1': keep one"):
            TransferMatrix((*full(), row("a", "x", 5, metric="f1")))


class TestFile:
    def test_what_is_appended_is_read(self, path):
        rows = [*full(), row("a", None, 0, 0.1, method="single-adapter"), row("ä", "x", 0, None, dev=None)]
        for one in rows:
            append_row(path, one)
        assert read_whole_rows(path) == (rows, None)
        assert read_matrix(path) == read_matrix(path.parent) == TransferMatrix(tuple(rows))

    def test_a_row_is_one_write_that_is_on_the_disk(self, path, monkeypatch):
        calls = []
        monkeypatch.setattr(os, "fsync", lambda handle: calls.append(path.read_bytes()))
        append_row(path, row())
        assert len(calls) == 1
        assert without_hash(json.loads(calls[0]), "here") == plain()
        assert calls[0].endswith(b"}\n")

    @pytest.mark.parametrize("keep", [1, 40, -2])
    def test_a_last_line_that_is_cut_short_is_named_and_left_out(self, path, keep, capsys):
        whole, last = json.dumps(plain()), json.dumps(plain(seed=1))
        write(path, whole, last[:keep], end="")
        rows, complaint = read_whole_rows(path)
        assert rows == [row()]
        assert complaint == f"{path}:2: the last line is cut short (a killed run) and is left out; 1 whole rows"
        assert capsys.readouterr().err == ""
        assert read_matrix(path).rows == (row(),)
        assert "matrix.jsonl:2: the last line is cut short" in " ".join(capsys.readouterr().err.split())

    def test_a_cut_inside_a_letter_is_a_cut_line(self, path):
        path.write_bytes((json.dumps(plain()) + '\n{"target": "ä').encode()[:-1])
        assert read_whole_rows(path)[0] == [row()]

    def test_a_mended_file_can_be_appended_to(self, path):
        write(path, plain(), json.dumps(plain(seed=1))[:30], end="")
        assert f"{path}:2: the last line was cut short" in mend(path)
        assert path.read_text() == json.dumps(plain()) + "\n"
        append_row(path, row(seed=1))
        assert read_whole_rows(path) == ([row(), row(seed=1)], None)

    def test_a_file_that_is_whole_is_mended_by_its_line_end_alone(self, path):
        write(path, plain(), end="")
        assert mend(path) is None
        append_row(path, row(seed=1))
        before = path.read_bytes()
        assert mend(path) is None
        assert path.read_bytes() == before
        assert len(read_whole_rows(path)[0]) == 2
        assert mend(path.with_name("not there")) is None

    def test_blank_lines_and_a_byte_order_mark_are_passed_over(self, path):
        path.write_text("\ufeff" + json.dumps(plain()) + "\n\n\n", encoding="utf-8")
        assert read_whole_rows(path) == ([row()], None)

    def test_a_broken_line_elsewhere_is_refused(self, path):
        write(path, plain(), '{"target": "ss', plain(seed=1))
        for read in (read_whole_rows, mend):
            with pytest.raises(UserError, match=r"matrix.jsonl:2: broken JSON in the middle of the file"):
                read(path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"scor": 1}, "no field at .*:2: 'scor'; did you mean 'score'"),
            ({"steps": 5.5}, ":2: steps must be int, given 5.5"),
            ({"seed": True}, ":2: seed must be int, given true"),
            ({"score": "0.4"}, ':2: score must be float | None, given "0.4"'),
            ({"target": None}, ":2: target must be str, given null"),
            ({"seconds": None}, ":2: seconds must be float, given null"),
            ({"score": float("nan")}, ":2: NaN is not a number; write null for a run that diverged"),
            ({"score": 61.2}, ":2: score 61.2: a fraction from -1 to 1"),
            ({"dev": -1.5}, ":2: dev -1.5: a fraction from -1 to 1"),
            ({"source": None}, ":2: source None with method 'sequential': 'single-adapter' has null"),
            ({"method": "single-adapter"}, ":2: source 'sst2' with method 'single-adapter'"),
        ],
    )
    def test_a_wrong_field_is_refused_with_its_line(self, path, changes, message):
        write(path, plain(seed=9), plain(**changes))
        with pytest.raises(UserError, match=message.replace("|", r"\|")):
            read_whole_rows(path)

    def test_a_missing_field_is_refused_even_in_the_last_line(self, path):
        short = plain()
        del short["dev"]
        write(path, plain(seed=9), short)
        with pytest.raises(UserError, match=":2: field 'dev' is missing; needed: target, source"):
            read_whole_rows(path)
        write(path, "[1, 2]")
        with pytest.raises(UserError, match=":1: a row must be a JSON object, given list"):
            read_whole_rows(path)

    def test_a_whole_number_is_a_fine_score(self, path):
        write(path, plain(score=1, seconds=7))
        assert read_whole_rows(path)[0][0].score == 1.0

    def test_the_same_run_twice_counts_once_if_it_is_the_same(self, path):
        write(path, plain(), plain(seed=1), plain())
        assert read_whole_rows(path) == ([row(), row(seed=1)], None)
        write(path, plain(), plain(seed=1), plain(score=0.41))
        with pytest.raises(
            UserError, match=r"matrix.jsonl:3: .*'sst5', 'sst2'.* duplicates .*matrix.jsonl:1 with different values"
        ):
            read_whole_rows(path)

    def test_no_file_and_no_rows_are_refused(self, path):
        with pytest.raises(UserError, match=r"no file .*matrix.jsonl"):
            read_matrix(path)
        with pytest.raises(UserError, match=r"no file .*matrix.jsonl"):
            read_matrix(path.parent)
        path.touch()
        with pytest.raises(UserError, match="no finished run in it yet"):
            read_matrix(path)


def test_gaps_are_left_out_until_none_is_left():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows = [one for one in full(sources=tuple("uvwxyz"), seeds=range(4)) if rng.random() > 0.15]
        matrix = TransferMatrix(tuple(rows))
        told = {one.key: one.score for one in rows}
        names, scores = matrix.ground_truth("a")
        lost = matrix.left_out("a")
        seeds = [seed for seed in matrix.seeds if f"seed {seed}" not in lost]
        assert scores.tolist() == [[told["a", name, "sequential", seed] for name in names] for seed in seeds]
        assert {*names} == {name for name in matrix.sources if f"source {name}" not in lost}
