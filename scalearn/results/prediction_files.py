"""Predictions as they are written: JSONL with a score by name, CSV with a column by name, or lines to read.

A spreadsheet executes a cell that begins like a formula. Such a cell of a CSV is text here, as OWASP advises ("CSV injection"): it begins
with an apostrophe. Numbers stay numbers, and all else is in quotes.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from tasksel.errors import UserError
from tasksel.storage.atomic import write_text
from tasksel.tasks.files import Row, template_columns
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task

Format = Literal["jsonl", "csv"]
Prediction = Mapping[str, Any]
ID_COLUMNS = ("id", "idx")
FIRST = ("id", "prediction")  # the columns of a CSV before those of the names
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
UNSAFE = re.compile(
    r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)  # a terminal obeys it, or UTF-8 has no bytes for it
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def row_ids(task: Task, rows: Sequence[Row]) -> list[Any]:
    """What names each row: the file's column `id` or `idx`, in capitals too; else the row's number, from 1.

    A column that the task reads as its text, choices or label names no row.
    """
    choices = (task.choices,) if isinstance(task.choices, str) else task.choices or ()
    taken = {task.label, *template_columns((*task.text, *choices))}
    names = [name for name in (rows[0].values if rows else ()) if name not in taken]
    column = next((name for wanted in ID_COLUMNS for name in names if str(name).lower() == wanted), None)
    if column is None:
        return list(range(1, len(rows) + 1))
    return [row.values.get(column) for row in rows]


def score_names(task: Task) -> list[str]:
    """What each score belongs to: a label, or a choice's index from 0; nothing for a number or a text, which is the prediction itself."""
    if task.kind in ("regression", GENERATION):
        return []
    return list(task.labels) or [str(index) for index in range(task.outputs)]


def format_of(out: Path | None, form: Format | None) -> Format | None:
    """The format that was asked for, or that of a file's ending; None for lines to read, where neither is named.

    Raises:
        UserError: a file with another ending, and no format.
    """
    if form or out is None:
        return form
    for known in get_args(Format):
        if out.suffix.lower() == f".{known}":
            return known
    allowed = ", ".join(f".{known}" for known in get_args(Format))
    raise UserError(f"{out}: cannot write '{out.suffix}'; allowed: {allowed}, or name a --format")


def prediction_text(predictions: Sequence[Prediction], form: Format) -> str:
    """Predictions (see `predict_file`) as the text of a JSONL or CSV file.

    >>> rows = [{"id": 7, "prediction": "=no", "scores": {"yes": 0.25, "=no": 0.75}}]
    >>> print(prediction_text(rows, "jsonl") + prediction_text(rows, "csv"), end="")
    {"id": 7, "prediction": "=no", "scores": {"yes": 0.25, "=no": 0.75}}
    "id","prediction","yes","'=no"
    7,"'=no",0.25,0.75
    """
    if form == "jsonl":
        return "".join(_json(row) + "\n" for row in predictions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # or a lone \r would end a line
    names = list(predictions[0]["scores"]) if predictions else []
    writer.writerow([*FIRST, *(cell(f"score {name}" if name in FIRST else name) for name in names)])
    for row in predictions:
        writer.writerow([cell(row["id"]), cell(row["prediction"]), *row["scores"].values()])
    return text.getvalue()


def _json(row: Prediction) -> str:
    text = json.dumps(row, ensure_ascii=False, default=str)
    return json.dumps(row, default=str) if UNSAFE.search(text) else text


def cell(value: Any) -> Any:
    """A value as a CSV's cell: lists joined by "|", nothing that a spreadsheet would execute.

    >>> cell(["a", "b"]), cell("=1+1"), cell("-2.5"), cell("-a")
    ('a|b', "'=1+1", '-2.5', "'-a")
    """
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "|".join(value)
    elif isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def prediction_line(row: Prediction) -> str:
    """A prediction as a line to read: the prediction, each name with its score, and the row's id, with tabs between.

    >>> prediction_line({"id": 7, "prediction": ["b"], "scores": {"a": 0.25, "b": 0.75}}).split("\\t")
    ['b', 'a 0.2500, b 0.7500', 'row 7']
    """
    prediction = row["prediction"]
    if isinstance(prediction, float):
        prediction = f"{prediction:.4f}"
    elif isinstance(prediction, list):
        prediction = ", ".join(prediction) or "none of the labels"
    scores = ", ".join(f"{name} {score:.4f}" for name, score in row["scores"].items())
    return "\t".join(" ".join(str(part).split()) for part in (prediction, scores, f"row {row['id']}"))


def write_predictions(predictions: Sequence[Prediction], out: Path, form: Format | None = None) -> None:
    """Writes predictions as JSONL or CSV, by the format or else the file's ending, atomically.

    Raises:
        UserError: another ending, and no format.
    """
    write_text(out, prediction_text(predictions, format_of(out, form) or "jsonl"))
