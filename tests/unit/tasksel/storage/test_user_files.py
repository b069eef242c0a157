"""Tests of YAML and JSON that users write: bounds, doubled keys, broken text; nothing but plain values."""

import json
import os
import time

import pytest
import yaml
from refusals import refused_line

from tasksel.storage.user_files import depth_of, parse_yaml, read_fields, whole_characters
from tasksel.storage.user_path import user_path

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a: &a [*a]", "a.yaml:1: nested more than 50 deep, or in itself"),
        ("a: 1\nb: &b {c: *b}", "a.yaml:2: nested more than 50 deep"),
        ("[" * 100_000, "a.yaml:1: nested more than 50 deep"),
        ("- " * 5_000 + "x", "nested more than 50 deep"),
        ("a: &a0 [x]\n" + "".join(f"b{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300)), "nested more than 50 deep"),
        (LAUGHS, "more than 100,000 values, with what its aliases stand for"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: 'a' stands twice"),
        ("a: {x: 1, x: 2}", "a.yaml:1: 'x' stands twice"),
        ("a: [1", "a.yaml:1: broken YAML"),
        ("a: b: c", "broken YAML"),
        ("a: 2024-13-45", "broken YAML"),
        ("a: !!timestamp x", "broken YAML"),
        ("a: !!bool x", "broken YAML"),
        ("a: !!python/object/apply:os.system [ls]", "a.yaml:1: broken YAML (could not determine a constructor"),
        ("a: *b", "broken YAML (found undefined alias"),
        ("a: 1\n---\nb: 2", "broken YAML"),
        ("? [a, b]\n: 1", "broken YAML"),
        ("a: \x07", "broken YAML"),
        ("x" * 2_000_000, "larger than 1 MB"),
    ],
)
def test_what_is_broken_or_beyond_the_bounds_is_one_line(text, answer):
    start = time.perf_counter()
    assert answer in refused_line(lambda: parse_yaml(text, "a.yaml"))
    assert time.perf_counter() - start < 10


def test_plain_values_are_as_yaml_reads_them():
    text = "a: &a {x: 1}\nb: {<<: *a, y: [no, 'no', 1.5]}\nc: *a\nd:\n"
    assert parse_yaml(text, "a.yaml") == yaml.safe_load(text)
    assert parse_yaml("", "a.yaml") is None


@pytest.mark.parametrize(
    ("name", "data", "answer"),
    [
        ("a.json", b'{"a": 1,\n "b" 2}', "a.json:2: broken JSON"),
        ("a.json", b'{"a": 1, "a": 2}', "'a' stands twice"),
        ("a.json", b"[" * 100_000, "nested more than 50 deep"),
        ("a.json", b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "nested more than 50 deep"),
        ("a.json", b"[1]", "a task file is a mapping (name: value), given [1]"),
        ("a.yaml", b"1: x", "is a mapping"),
        ("a.yaml", b"", "is a mapping"),
        ("a.yaml", b"a: 1\nb: caf\xe9", "a.yaml:2: not UTF-8 text"),
        ("a.yaml", b"a: " + b"x" * 2_000_000, "larger than 1 MB: not a task file"),
    ],
)
def test_a_file_is_named_with_its_fault(tmp_path, name, data, answer):
    (tmp_path / name).write_bytes(data)
    assert answer in refused_line(lambda: read_fields(tmp_path / name, "a task file"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert refused_line(lambda: read_fields(tmp_path / "none.yaml")) == f"no file {tmp_path / 'none.yaml'}"
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path, tmp_path / "pipe.yaml"):
        assert "not a file" in refused_line(lambda path=path: read_fields(path))


def test_json_keeps_what_yaml_would_break(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"text": "😀"}))  # as two escaped halves
    (tmp_path / "b.json").write_bytes(b'\xef\xbb\xbf{"text": "half \\ud83d"}')
    assert read_fields(tmp_path / "a.json") == {"text": "😀"}
    assert read_fields(tmp_path / "b.json") == {"text": "half \ufffd"}


def test_whole_characters_stay():
    value = {"a": ["plain", "é😀", 1, None]}
    assert whole_characters(value) == value
    assert depth_of(value) == 2


def test_a_home_folder_is_expanded_and_an_unknown_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a.csv") == tmp_path / "a.csv"
    assert str(user_path("~$draft.csv")) == "~$draft.csv"
