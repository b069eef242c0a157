"""Rows are stored whole, read back alike, and refused where this version cannot know what they mean."""

import json
from pathlib import Path

import pytest

from scalearn.comparison.records import NO_ROW, UnitRecord, name_of, read_lines
from tasksel import UserError
from tasksel.storage.hashed import parse_record
from tasksel.storage.jsonl import append_line, write_lines

STORED = Path(__file__).parents[3] / "support" / "stored_by_0_1"
TOLD = {
    "key": "0" * 16, "target": "rte", "kind": "pair_classification", "metric": "accuracy", "base": {"name": "minilm"}, "method": "scalearn",
    "protocol": "sound", "size": 16, "rows": 16, "dev_rows": 16, "test_rows": 277, "seed": 1, "by": "text", "k": 3, "score": 0.5, "data": "0",
}  # fmt: skip


def row(**changes):
    return UnitRecord.model_validate({**TOLD, **changes})


def test_rows_come_back_as_they_were(tmp_path):
    rows = [row(), row(seed=2, size="full", omega=[[0.5, 0.25]])]
    write_lines(tmp_path / "rows.jsonl", rows)
    append_line(tmp_path / "rows.jsonl", row(seed=3))
    assert read_lines(tmp_path / "rows.jsonl", UnitRecord) == [*rows, row(seed=3)]


def test_no_file_holds_no_rows(tmp_path):
    assert read_lines(tmp_path / "none.jsonl", UnitRecord) == []


def test_a_last_line_that_was_cut_short_is_left_out_and_said(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [row(), row(seed=2)])
    path.write_text(path.read_text()[:-20])
    assert read_lines(path, UnitRecord) == [row()]
    assert (
        "rows.jsonl:2: the last line is cut short (a killed run) and is left out; 1 whole rows"
        in capsys.readouterr().err
    )


def test_any_other_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [row(), row(seed=2)])
    path.write_text(path.read_text().replace("\n", "\n{broken\n", 1))
    with pytest.raises(UserError, match=r"rows\.jsonl:2: broken JSON"):
        read_lines(path, UnitRecord)


def test_a_row_of_a_newer_version_is_refused_by_that(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**TOLD, "format": 3, "colour": "red"}) + "\n")
    with pytest.raises(UserError, match=r"rows\.jsonl:1: written by a newer version \(format 3, this one reads 2\)"):
        read_lines(path, UnitRecord)


def test_a_row_of_version_0_1_is_written_again_as_it_was(tmp_path):
    path = tmp_path / "rows.jsonl"
    stored = (STORED / "run" / "rows.jsonl").read_bytes()
    path.write_bytes(stored)
    rows = read_lines(path, UnitRecord)
    assert {(row.format, row.settings) for row in rows} == {(1, None)}
    write_lines(path, rows)
    assert path.read_bytes() == stored


@pytest.mark.parametrize("number", [0, 1])
def test_an_altered_row_is_refused_with_its_line(tmp_path, number):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [row(), row(seed=2)])
    lines = path.read_text().splitlines(keepends=True)
    lines[number] = lines[number].replace('"score":0.5', '"score":0.6')
    path.write_text("".join(lines))
    with pytest.raises(UserError, match=rf"rows\.jsonl:{number + 1} is cut short or altered"):
        read_lines(path, UnitRecord)


@pytest.mark.parametrize("end", ["\n", "*", "\x0b"])
def test_a_last_line_that_is_broken_and_not_cut_short_is_refused(tmp_path, end):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [row(), row(seed=2)])
    whole = path.read_text()[:-1]
    path.write_text((whole[:-20] if end == "\n" else whole) + end)
    with pytest.raises(UserError, match=r"rows\.jsonl:2: broken JSON"):
        read_lines(path, UnitRecord)


@pytest.mark.parametrize(
    ("change", "said"), [({"colour": "red"}, "colour"), ({"score": "high"}, "score"), ({"score": 1.5}, "score")]
)
def test_a_row_of_other_fields_is_refused_with_the_field(change, said):
    with pytest.raises(UserError, match=rf"here: not a row that this version reads \({said}"):
        parse_record({**TOLD, **change}, UnitRecord, "here", NO_ROW)


def test_a_unit_is_told_in_words():
    assert name_of(row()) == "rte with 16 rows by scalearn from 3 sources by text, seed 1"
    assert (
        name_of(row(size="full", own=True, k=1))
        == "rte with all rows by scalearn from 1 source by text with its own, seed 1"
    )
    assert name_of(row(by=None, k=0, method="full")) == "rte with 16 rows by full, seed 1"
    alone = row(by="each", k=1, sources={"mnli": "f"})
    assert name_of(alone) == "rte with 16 rows by scalearn from 1 source by each (mnli), seed 1"
