"""The file of scores: what is appended is read, and a wrong line is named."""

import dataclasses
import json

import pytest
from selector_scores import scored, worth

from tasksel import UserError
from tasksel.evaluation.score_records import read_scores
from tasksel.storage.jsonl import append_row


def test_what_is_appended_is_read(tmp_path):
    told = scored("connectivity", worth())
    for one in told:
        append_row(tmp_path / "scores.jsonl", one)
    assert read_scores(tmp_path) == read_scores(tmp_path / "scores.jsonl") == {one.key: one for one in told}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": {"sst2": "0.7"}}, r':1: scores must be dict\[str, float\], given {"sst2": "0.7"}'),
        ({"scores": {"sst2": float("inf")}}, ":1: Infinity is not a number"),
        ({"seed": None}, ":1: seed must be int, given null"),
        ({"byte": 3}, "no field at .*scores.jsonl:1: 'byte'; did you mean 'bytes'"),
    ],
)
def test_a_wrong_field_is_refused_with_its_line(tmp_path, changes, message):
    told = dataclasses.asdict(scored("a", worth())[0]) | changes
    (tmp_path / "scores.jsonl").write_text(json.dumps(told) + "\n")
    with pytest.raises(UserError, match=message):
        read_scores(tmp_path)


def test_a_last_line_that_is_cut_short_is_said(tmp_path, capsys):
    path, (first, second, *_) = tmp_path / "scores.jsonl", scored("a", worth())
    path.write_text(json.dumps(dataclasses.asdict(first)) + "\n" + json.dumps(dataclasses.asdict(second))[:-9])
    assert list(read_scores(path).values()) == [first]
    assert "scores.jsonl:2: the last line is cut short" in " ".join(capsys.readouterr().err.split())


def test_the_same_ranking_twice_must_be_the_same(tmp_path):
    one = scored("a", worth())[0]
    for told in (one, one):
        append_row(tmp_path / "scores.jsonl", told)
    assert list(read_scores(tmp_path).values()) == [one]
    append_row(tmp_path / "scores.jsonl", dataclasses.replace(one, seconds=9.0))
    with pytest.raises(UserError, match=r":3: \('a', 'target_0', 0\) duplicates .*:1 with different values"):
        read_scores(tmp_path)


def test_no_file_and_an_empty_one_hold_none(tmp_path):
    assert read_scores(tmp_path) == {}
    (tmp_path / "scores.jsonl").touch()
    assert read_scores(tmp_path) == {}
