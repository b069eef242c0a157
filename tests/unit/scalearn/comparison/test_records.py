"""Rows are stored whole, read back alike, and refused where this version cannot know what they mean."""

import pytest

from scalearn.comparison.records import UnitRecord, name_of, parse_record, read_lines
from tasksel import UserError
from tasksel.storage.jsonl import append_line, write_lines

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


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [row(), row(seed=2)])
    path.write_text(path.read_text()[:-20])
    assert read_lines(path, UnitRecord) == [row()]


def test_any_other_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(row().model_dump_json() + "\n{broken\n" + row().model_dump_json() + "\n")
    with pytest.raises(UserError, match=r"rows\.jsonl:2: broken JSON"):
        read_lines(path, UnitRecord)


def test_a_row_of_a_newer_version_is_refused_by_that():
    with pytest.raises(UserError, match=r"here: written by a newer version \(format 2, this one reads 1\)"):
        parse_record({**TOLD, "format": 2, "colour": "red"}, UnitRecord, "here")


@pytest.mark.parametrize(("change", "said"), [({"colour": "red"}, "colour"), ({"score": "high"}, "score")])
def test_a_row_of_other_fields_is_refused_with_the_field(change, said):
    with pytest.raises(UserError, match=rf"here: not a row that this version reads \({said}"):
        parse_record({**TOLD, **change}, UnitRecord, "here")


def test_a_unit_is_told_in_words():
    assert name_of(row()) == "rte with 16 rows by scalearn from 3 sources by text, seed 1"
    assert (
        name_of(row(size="full", own=True, k=1))
        == "rte with all rows by scalearn from 1 source by text with its own, seed 1"
    )
    assert name_of(row(by=None, k=0, method="full")) == "rte with 16 rows by full, seed 1"
    alone = row(by="each", k=1, sources={"mnli": "f"})
    assert name_of(alone) == "rte with 16 rows by scalearn from 1 source by each (mnli), seed 1"
