"""Tests of JSON: every form in which pandas and `datasets` write a table, and what is no table."""

import json
from functools import partial

import pytest
from refusals import refused_line

from tasksel.tasks.files import read_rows

ROWS = [{"text": "fine", "label": 1}, {"text": "poor", "label": 0}]


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


refused = partial(refused_line, read_rows)


def of_pandas(orient):
    import pandas

    return pandas.DataFrame(ROWS).to_json(orient=orient)


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        json.dumps(ROWS, indent=2),
        "".join(json.dumps(row) + "\n" for row in ROWS),
        {"data": ROWS},
        {"version": "1.0", "data": ROWS, "other": [{"a": 1}]},
        {"rows": ROWS, "count": 2},
        *map(of_pandas, ("columns", "index", "records", "split", "table")),
        {"text": ["fine", "poor"], "label": [1, 0]},
    ],
)
def test_every_form_of_a_table_is_read(tmp_path, value):
    rows = [
        {name: row.values[name] for name in ("text", "label")} for row in read_rows(write(tmp_path / "a.json", value))
    ]
    assert rows == ROWS


def test_one_line_is_one_row(tmp_path):
    rows = read_rows(write(tmp_path / "a.json", {"text": "fine", "label": ["a", "b"]}))
    assert [row.values for row in rows] == [{"text": "fine", "label": ["a", "b"]}]


def test_values_keep_their_type(tmp_path):
    row = {"text": "007", "label": 1.0, "on": True, "none": None, "list": ["NA"], "large": 2**70}
    for name, value in (("a.json", [row]), ("a.jsonl", row)):
        (read,) = read_rows(write(tmp_path / name, value))
        assert read.values == row
        assert type(read.values["label"]) is float


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("[1, 2", ":1: broken JSON"),
        ('[{"a": 1},\n{"a" 1}]', ":2: broken JSON"),
        ("7", "a list of rows is needed, given int"),
        ([ROWS[0], 3, None], "row 2: a row must be a JSON object, given int"),
        ({"train": ROWS, "validation": ROWS}, "lists of rows under 'train', 'validation'"),
        ({"text": ["a"], "label": [1, 0]}, "columns of different lengths"),
        ({"text": {"r1": "a"}, "label": {"r1": "b"}}, "row numbers; write a list of rows"),
        ({"columns": ["a", "b"], "data": [[1, 2], [1]]}, "row 2: not a list of 2 values"),
        ('[{"text": "a", "text": "b"}]', "'text' stands twice"),
        ("[" * 100_000, "nested more than 50 deep"),
        ('[{"a": ' + "[" * 60 + "]" * 60 + "}]", "nested more than 50 deep"),
        ("[" + "9" * 5000 + "]", "4300 digits"),
        ("", "the file is empty"),
        ("[]", "the file is empty"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, value, answer):
    assert answer in refused(write(tmp_path / "a.json", value))


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ('{"text": "a", "text": "b"}', ":2: 'text' stands twice"),
        ("[" * 100_000, ":2: nested more than 50 deep"),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}", ":2: nested more than 50 deep"),
        ("9" * 5000, ":2: Exceeds the limit"),
    ],
)
def test_a_line_that_is_beyond_the_bounds_is_named(tmp_path, line, answer):
    assert answer in refused(write(tmp_path / "a.jsonl", '{"text": "x"}\n' + line + "\n"))


def test_half_of_a_surrogate_pair_is_replaced_and_a_whole_one_kept(tmp_path):
    text = '{"text": "half \\ud83d of \\uD83D\\uDE00", "label": ["\\udc00"], "\\ud800": 1}'
    for name in ("a.jsonl", "a.json"):
        (row,) = read_rows(write(tmp_path / name, text))
        assert row.values == {"text": "half \ufffd of 😀", "label": ["\ufffd"], "\ufffd": 1}
