"""Predictions as files: an id and a score by name in each row, and nothing in a CSV that a spreadsheet would execute."""

import csv
import io
import json

import pytest

from scalearn.results.prediction_files import (
    cell,
    format_of,
    prediction_line,
    prediction_text,
    row_ids,
    score_names,
    write_predictions,
)
from tasksel import UserError, get_task
from tasksel.tasks.files import Row

TASKS = {
    "single": "sentiment_phones",
    "number": "rating_hotels",
    "several": "complaints_orders",
    "choices": "endings_daily",
}


def rows_of(*values):
    return [Row(value, f"rows.jsonl:{number}") for number, value in enumerate(values, 1)]


def table(predictions):
    return list(csv.DictReader(io.StringIO(prediction_text(predictions, "csv"))))


@pytest.mark.parametrize(
    ("column", "values", "ids"),
    [
        ("id", ["a7", "a8"], ["a7", "a8"]),
        ("idx", [0, 1], [0, 1]),
        ("ID", ["x", None], ["x", None]),
        ("idx", [{"paragraph": 1, "answer": 2}, {}], [{"paragraph": 1, "answer": 2}, {}]),
        ("identity", [8, 9], [1, 2]),
    ],
)
def test_a_row_goes_by_its_id_or_its_number(column, values, ids):
    task = get_task("sentiment_phones")
    assert row_ids(task, rows_of(*({task.text[0]: "a", column: value} for value in values))) == ids


def test_id_comes_before_idx_and_a_column_that_is_read_is_no_id():
    task = get_task("sentiment_phones").model_copy(update={"label": "id"})
    both = rows_of({task.text[0]: "a", "idx": 5, "id": 3})
    assert row_ids(get_task("sentiment_phones"), both) == [3]
    assert row_ids(task, both) == [5]
    assert row_ids(task.model_copy(update={"text": ("idx", "{idx} {id}")}), both) == [1]
    assert row_ids(task, []) == []


def test_each_kind_names_its_scores():
    assert score_names(get_task(TASKS["single"])) == list(get_task(TASKS["single"]).labels)
    assert score_names(get_task(TASKS["several"])) == list(get_task(TASKS["several"]).labels)
    assert score_names(get_task(TASKS["choices"])) == ["0", "1", "2"]
    assert score_names(get_task(TASKS["number"])) == []


def test_both_forms_hold_an_id_and_a_score_by_name():
    predictions = [
        {"id": 7, "prediction": ["späť", "late"], "scores": {"späť": 0.9, "late": 0.75}},
        {"id": {"q": 1}, "prediction": [], "scores": {"späť": 0.1, "late": 0.25}},
    ]
    assert [json.loads(line) for line in prediction_text(predictions, "jsonl").splitlines()] == predictions
    one, two = table(predictions)
    assert one == {"id": "7", "prediction": "späť|late", "späť": "0.9", "late": "0.75"}
    assert two == {"id": '{"q": 1}', "prediction": "", "späť": "0.1", "late": "0.25"}


def test_a_number_has_its_prediction_alone():
    assert prediction_text([{"id": 1, "prediction": -2.5, "scores": {}}], "csv") == '"id","prediction"\n1,-2.5\n'
    assert prediction_text([], "csv") == '"id","prediction"\n'


def test_a_label_called_like_a_column_has_a_column_of_its_own():
    (row,) = table([{"id": 1, "prediction": "id", "scores": {"id": 0.75, "prediction": 0.25}}])
    assert row == {"id": "1", "prediction": "id", "score id": "0.75", "score prediction": "0.25"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_is_a_formula(start):
    formula = f"{start}cmd|' /C calc'!A0"
    (line,) = list(csv.reader(io.StringIO(prediction_text([{"id": formula, "prediction": formula, "scores": {formula: 0.5}}], "csv"), newline="")))[1:]  # fmt: skip
    assert line == [f"'{formula}", f"'{formula}", "0.5"]
    assert cell([formula, "b"]) == f"'{formula}|b"
    assert prediction_text([{"id": 1, "prediction": "a", "scores": {formula: 0.5}}], "csv").split(",")[2].lstrip('"')[0] == "'"  # fmt: skip


@pytest.mark.parametrize("number", ["-1", "+1", "-2.5e-3", "+.5", "-3.", -1, -0.25, 7, True, None])
def test_numbers_stay_numbers(number):
    assert cell(number) == number


@pytest.mark.parametrize("word", ["-", "+49 170", "-1-1", "-inf", "+nan", "-1_0", "--1", "-1;2", "+1\n"])
def test_what_only_begins_like_a_number_is_none(word):
    assert cell(word) == f"'{word}"


def test_words_are_left_alone():
    assert [cell(word) for word in ("a=b", "e-mail", "", "'quoted'", " =a")] == ["a=b", "e-mail", "", "'quoted'", " =a"]


def test_any_character_is_stored(tmp_path):
    predictions = [{"id": "\ud800", "prediction": "\u202e\x1b[0m\x9b", "scores": {"\u202e\x1b[0m\x9b": 1.0}}]
    for form in ("jsonl", "csv"):
        write_predictions(predictions, tmp_path / f"out.{form}")
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert json.loads(text) == predictions[0]
    assert text.isascii()
    assert "\\ud800" in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_the_format_is_the_one_named_or_the_endings(tmp_path):
    assert format_of(tmp_path / "out.CSV", None) == "csv"
    assert format_of(tmp_path / "out.txt", "jsonl") == "jsonl"
    assert format_of(None, "csv") == "csv"
    assert format_of(None, None) is None
    with pytest.raises(UserError, match=r"cannot write '\.xlsx'; allowed: \.jsonl, \.csv, or name a --format"):
        format_of(tmp_path / "out.xlsx", None)


def test_a_line_to_read_is_one_line():
    line = prediction_line({"id": "a\nb", "prediction": "not\tgood\n", "scores": {"not\tgood\n": 0.75, "x": 0.25}})
    assert line == "not good\tnot good 0.7500, x 0.2500\trow a b"
    assert prediction_line({"id": 1, "prediction": [], "scores": {"a": 0.1}}) == "none of the labels\ta 0.1000\trow 1"
    assert prediction_line({"id": 1, "prediction": 3.14159, "scores": {}}) == "3.1416\t\trow 1"
