"""Tests of the readers: the same rows from every kind of file, and a place for every complaint."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksel.errors import UserError
from tasksel.tasks.files import need_columns, read_rows, template_columns

ROWS = [{"text": "good, really", "label": "pos"}, {"text": 'a "bad" one', "label": "neg"}]


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path):
    """What the reader says of a file, which must be one line."""
    with pytest.raises(UserError) as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_ending_gives_the_same_rows(tmp_path):
    files = [
        write(tmp_path / "a.csv", 'text,label\n"good, really",pos\n"a ""bad"" one",neg\n'),
        write(tmp_path / "a.tsv", 'text\tlabel\ngood, really\tpos\n"a ""bad"" one"\tneg\n'),
        write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        tmp_path / "a.parquet",
    ]
    pq.write_table(pa.Table.from_pylist(ROWS), files[-1])
    assert [[row.values for row in read_rows(path)] for path in files] == [ROWS] * 4


def test_a_row_knows_its_line(tmp_path):
    csv = write(tmp_path / "a.csv", 'text,label\n"two\nlines",1\n\nz,0\n')
    assert [row.where for row in read_rows(csv)] == [f"{csv}:3", f"{csv}:5"]
    jsonl = write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    assert [row.where for row in read_rows(jsonl)] == [f"{jsonl}:1", f"{jsonl}:3"]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet")[1].where.endswith("a.parquet:row 2")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, name):
    text = {"a.csv": "text,label\nx,1\n", "a.jsonl": '{"text": "x", "label": "1"}\n'}[name]
    assert read_rows(write(tmp_path / name, b"\xef\xbb\xbf" + text.encode()))[0].values == {"text": "x", "label": "1"}


@pytest.mark.parametrize(
    ("name", "text", "place", "answer"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', ":2:", "broken JSON"),
        ("a.jsonl", '{"a": 1}\n\n[1, 2]\n', ":3:", "a row must be a JSON object, given list"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", ":3:", "2 columns in the header, another number in this row"),
        ("a.csv", "a,b\n1\n", ":2:", "2 columns in the header"),
        ("a.csv", 'a,b\n1,"2" x\n', ":2:", "broken CSV"),
        ("a.tsv", "a\tb\n1\t2\t3\n", ":2:", "2 columns in the header"),
    ],
)
def test_a_broken_line_is_named(tmp_path, name, text, place, answer):
    said = refused(write(tmp_path / name, text))
    assert said.startswith(f"{tmp_path / name}{place}")
    assert answer in said


@pytest.mark.parametrize(("name", "text"), [("a.csv", ""), ("a.csv", "text,label\n"), ("a.jsonl", "\n\n")])
def test_an_empty_file_is_refused(tmp_path, name, text):
    assert "the file is empty" in refused(write(tmp_path / name, text))


def test_an_unknown_ending_is_answered_with_the_known(tmp_path):
    assert "cannot read '.xlsx'; allowed: .csv, .tsv, .jsonl, .parquet" in refused(write(tmp_path / "a.xlsx", "x"))
    assert "a file without an ending" in refused(write(tmp_path / "a", "x"))


def test_a_missing_file_is_answered_with_its_neighbours(tmp_path):
    write(tmp_path / "train.csv", "a\n1\n")
    write(tmp_path / "notes.txt", "")
    assert refused(tmp_path / "trian.csv") == f"no file {tmp_path / 'trian.csv'}; in that folder: train.csv"
    assert refused(tmp_path / "none" / "a.csv") == f"no file {tmp_path / 'none' / 'a.csv'}"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_text_that_is_not_utf8_is_refused(tmp_path, name):
    text = "text,label\ncafé,1\n" if name == "a.csv" else '{"text": "café"}\n'
    assert "not UTF-8 text" in refused(write(tmp_path / name, text.encode("latin-1")))


def test_what_is_no_parquet_is_refused(tmp_path):
    assert "not a Parquet file" in refused(write(tmp_path / "a.parquet", "PAR1 but no more"))


def test_a_missing_column_names_the_nearest_and_the_row(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "x", "label": 1}\n{"text": "x", "labels": 1}\n')
    with pytest.raises(UserError, match=r"no column at .*a\.jsonl:2: 'label'; did you mean 'labels'\? 2 known"):
        need_columns(read_rows(path), ["text", "label"])


def test_columns_of_templates():
    assert template_columns(["{a} and {b}", "c", "{a}"]) == ["a", "b", "c"]
    assert template_columns(["{answers[0]} {who.name}"]) == ["answers", "who"]
    assert template_columns(["no braces {{but}} doubled {x}"]) == ["x"]
