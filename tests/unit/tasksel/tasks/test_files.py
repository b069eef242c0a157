"""Tests of the readers: the same rows from every kind of file, and a place for every complaint."""

import bz2
import gzip
import json
import lzma
import os
from functools import partial

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from refusals import refused_line

from tasksel.errors import UserError
from tasksel.tasks.files import need_columns, read_rows, template_columns

ROWS = [{"text": "good, really", "label": "pos"}, {"text": 'a "bad" one', "label": "neg"}]


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


refused = partial(refused_line, read_rows)


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
    allowed = "allowed: .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .arrow, .feather, the text files also packed (.gz"
    assert f"cannot read '.xlsx'; {allowed}" in refused(write(tmp_path / "a.xlsx", "x"))
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
    assert template_columns(["{answers[0]} {who[name][first]}"]) == ["answers", "who"]
    assert template_columns(["no braces {{but}} doubled {x}"]) == ["x"]


def lines(rows=ROWS):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["a.CSV", "a.Jsonl", "a.ndjson", "A.TSV.GZ", "a.jsonl.bz2", "a.json.xz", "a.csv.zst"])
def test_an_ending_counts_in_any_case_and_packed(tmp_path, name):
    low = name.lower()
    text = lines() if "json" in low else 'text,label\n"good, really",pos\n"a ""bad"" one",neg\n'
    data = text.replace(",", "\t").replace("good\t really", "good, really").encode() if "tsv" in low else text.encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(low[low.rindex(".") :])
    if low.endswith(".zst"):
        pack = lambda raw: pa.compress(raw, "zstd", asbytes=True)  # noqa: E731
    rows = read_rows(write(tmp_path / name, pack(data) if pack else data))
    assert [row.values for row in rows] == ROWS


@pytest.mark.parametrize("kind", ["file", "stream", "feather"])
def test_arrow_files_are_read(tmp_path, kind):
    table, path = pa.Table.from_pylist(ROWS), tmp_path / ("a.feather" if kind == "feather" else "a.arrow")
    if kind == "feather":
        pyarrow.feather.write_feather(table, path)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(str(path), table.schema) as sink:
            sink.write_table(table)
    assert [row.values for row in read_rows(path)] == ROWS


def test_a_folders_name_is_no_column(tmp_path):
    (tmp_path / "label=7").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "label=7" / "a.parquet")
    assert read_rows(tmp_path / "label=7" / "a.parquet")[0].values == ROWS[0]


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path):
    pq.write_table(pa.table([["x"], ["y"]], names=["text", "text"]), tmp_path / "a.parquet")
    assert "column 'text' stands twice" in refused(tmp_path / "a.parquet")


def test_shards_are_read_in_order(tmp_path):
    for number, row in enumerate(ROWS):
        write(tmp_path / f"part-{number}.jsonl", lines([row]))
    rows = read_rows(tmp_path / "part-*.jsonl")
    assert [row.values for row in rows] == ROWS
    assert rows[1].where == f"{tmp_path / 'part-1.jsonl'}:1"
    assert [row.values for row in read_rows(tmp_path)] == ROWS
    assert refused(tmp_path / "none-*.jsonl") == f"no file matches {tmp_path / 'none-*.jsonl'}"


def test_a_name_with_a_stars_sign_is_a_name(tmp_path):
    path = write(tmp_path / "a[1].jsonl", lines())
    assert len(read_rows(path)) == 2


def test_what_is_no_file_is_said(tmp_path):
    (tmp_path / "x.csv").mkdir()
    assert "a folder without a data file" in refused(tmp_path / "x.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a file that can be read twice" in refused(tmp_path / "pipe.csv")
    assert "cannot be read" in refused(tmp_path / ("a" * 300 + ".csv"))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.bz2", "a.json.xz", "a.csv.zst"])
def test_what_cannot_be_unpacked_is_said(tmp_path, name):
    whole = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(name[name.rindex(".") :])
    assert f"not a whole {name[name.rindex('.') :]} file" in refused(write(tmp_path / name, b"no such thing"))
    if whole:
        assert "not a whole" in refused(write(tmp_path / name, whole(lines(ROWS * 99).encode())[:60]))


def test_all_bad_rows_are_counted_and_five_are_shown(tmp_path):
    said = refused(write(tmp_path / "a.jsonl", '{"a": 1}\n' + "{broken\n" * 7))
    assert said.endswith("(7 bad rows, the first 5 are shown)")
    assert [f"a.jsonl:{line}: broken JSON" in said for line in range(2, 9)] == [True] * 5 + [False] * 2
    rows = read_rows(write(tmp_path / "b.jsonl", '{"text": "x"}\n' + '{"txt": "x"}\n' * 6))
    with pytest.raises(UserError, match=r"b\.jsonl:2: 'text'; did you mean 'txt'.*b\.jsonl:3: 'text'.*\(6 bad rows"):
        need_columns(rows, ["text"])


def test_bytes_that_are_texts_are_texts(tmp_path):
    table = pa.table({"text": [b"caf\xc3\xa9", b"x"], "label": [b"a", b"b"], "picture": [b"\xff", b"\xfe"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet")[0].values == {"text": "caf\u00e9", "label": "a", "picture": b"\xff"}


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = write(tmp_path / "bad\udcff.csv", "text,label\nx,1\n")
    assert "the name of the file is not UTF-8" in refused(path)


def test_long_names_of_columns_are_cut_in_a_complaint(tmp_path):
    rows = read_rows(write(tmp_path / "a.csv", "x" * 1_000_000 + ",label\ny,1\n"))
    with pytest.raises(UserError) as caught:
        need_columns(rows, ["text"])
    assert len(str(caught.value)) < 500
