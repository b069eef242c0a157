"""A value and its hash: what was altered is refused, also where the hash itself was, and what version 0.1 wrote is read."""

import json

import pytest
from pydantic import Field

from tasksel import UserError
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_hashed, read_record, with_hash, without_hash, write_hashed


class Scored(Frozen):
    score: Score
    names: dict[str, float] = Field(default_factory=dict)


def test_a_value_comes_back_as_it_was(tmp_path):
    value = {"score": 0.1 + 0.2, "names": {"10": 1e-7, "2": 1e22}, "text": "ä\u2028", "none": None, "list": [[], {}]}
    write_hashed(tmp_path / "a.json", value)
    assert read_hashed(tmp_path / "a.json") == value


def test_numbers_as_keys_are_hashed_as_they_will_be_read(tmp_path):
    write_hashed(tmp_path / "a.json", {"scores": {2: 0.5, 10: 0.25}})
    assert read_hashed(tmp_path / "a.json") == {"scores": {"2": 0.5, "10": 0.25}}


@pytest.mark.parametrize(
    "change",
    [
        {"score": 0.25},
        {"hash": "0" * 16},
        {"hash": None},
        {"format": 1},
        {"format": "2"},
        {"more": 1},
    ],
)
def test_what_was_altered_is_refused(change):
    with pytest.raises(UserError, match=r"^a\.json is cut short or altered: restore it, or delete it and run again$"):
        without_hash(with_hash({"score": 0.5}) | change, "a.json")


def test_a_lost_hash_is_no_way_out():
    value = with_hash({"score": 0.5})
    del value["hash"]
    with pytest.raises(UserError, match="altered"):
        without_hash(value, "a.json")


@pytest.mark.parametrize("names", [("hash", "hasi"), ("format", "fornat")])
def test_an_altered_name_of_the_hash_or_the_format_is_no_way_out(tmp_path, names):
    write_hashed(tmp_path / "a.json", {"score": 0.5})
    path = tmp_path / "a.json"
    path.write_text(path.read_text().replace(*names))
    with pytest.raises(UserError, match=r"a\.json"):
        read_record(path, Scored, "a score")


def test_what_version_0_1_wrote_is_read_and_what_is_no_object_too(tmp_path):
    for value in ({"score": 0.5}, {"format": 1, "score": 0.5}, [1], 3):
        (tmp_path / "a.json").write_text(json.dumps(value))
        assert read_hashed(tmp_path / "a.json") == value


def test_a_newer_format_is_said_to_be_one():
    with pytest.raises(UserError, match=r"a\.json: written by a newer version \(format 3, this one reads 2\)"):
        without_hash({"format": 3, "hash": "of another kind"}, "a.json")


@pytest.mark.parametrize("score", [1.5, -1.1, float("nan"), float("inf"), "high"])
def test_a_score_out_of_its_range_is_refused(tmp_path, score):
    write_hashed(tmp_path / "a.json", {"score": score})
    with pytest.raises(UserError, match=r"a\.json: not a score \(score: "):
        read_record(tmp_path / "a.json", Scored, "a score")


@pytest.mark.parametrize("score", [1, -1, 0.5, 1.0000000000000002])
def test_a_score_in_its_range_is_read(tmp_path, score):
    write_hashed(tmp_path / "a.json", {"score": score})
    assert read_record(tmp_path / "a.json", Scored, "a score").score == score


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, '"\\ud800', "\ud83d".encode("utf-8", "surrogatepass")])
def test_json_that_cannot_be_read_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"a\.json:1: broken JSON"):
        read_hashed(tmp_path / "a.json")
