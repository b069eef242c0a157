"""Rows of JSON: lines of it, a list, or a table as pandas and `datasets` write one.

    {"text": "fine"}  one a line                                  .jsonl, .ndjson, and a .json that `Dataset.to_json` wrote
    [{"text": "fine"}, ...]                                       a list
    {"data": [{"text": "fine"}, ...], ...}                        a list in a mapping
    {"columns": ["text"], "data": [["fine"], ...], ...}           pandas' `split`
    {"text": ["fine", ...], "label": [1, ...]}                    columns as lists
    {"text": {"0": "fine", ...}, ...}, {"0": {"text": "fine"}}    pandas' columns and `index`

Values stay JSON's: a number is no text. Half of a surrogate pair becomes the replacement character.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tasksel.errors import UserError, one_line
from tasksel.storage.user_files import DEPTH, TOO_DEEP, depth_of, whole_characters, without_twins
from tasksel.tasks.bad_rows import BadRows
from tasksel.tasks.row import Row
from tasksel.tasks.text_files import TextFile

_decode = json.JSONDecoder(object_pairs_hook=without_twins).decode


def line_rows(file: TextFile) -> Iterator[Row]:
    """The rows of a file with a JSON object a line; blank lines are left out. Bad lines are refused together, after the last row.

    Raises:
        UserError: every line that is broken or no object.
    """
    bad = BadRows()
    with file.lines() as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            where = f"{file.path}:{number}"
            try:
                values = _value(line)
                if not isinstance(values, dict):
                    raise UserError(f"a row must be a JSON object, given {type(values).__name__}")
            except json.JSONDecodeError as error:
                bad.add(f"{where}: broken JSON ({error.msg} at column {error.colno})")
            except (ValueError, RecursionError) as error:
                bad.add(f"{where}: {TOO_DEEP if isinstance(error, RecursionError) else one_line(error)}")
            else:
                yield Row(values, where)
    bad.refuse()


def json_rows(file: TextFile) -> Iterator[Row]:
    """The rows of a file that is one JSON value, or a value a line.

    Raises:
        UserError: broken JSON (its line), or a value that holds no rows.
    """
    with file.lines() as lines:
        text = lines.read()
    if not text.strip():
        return
    try:
        value = _value(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            del text
            yield from line_rows(file)
            return
        raise UserError(f"{file.path}:{error.lineno}: broken JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        problem = TOO_DEEP if isinstance(error, RecursionError) else one_line(error)
        raise UserError(f"{file.path}: {problem}") from error
    bad = BadRows()
    for number, values in enumerate(_table(value, file), 1):
        where = f"{file.path}:row {number}"
        if isinstance(values, dict):
            yield Row(values, where)
        else:
            bad.add(f"{where}: a row must be a JSON object, given {type(values).__name__}")
    bad.refuse()


def _value(text: str) -> Any:
    """A JSON value of whole characters, nested within bounds."""
    value = _decode(text)
    if text.count("[") + text.count("{") > DEPTH and depth_of(value) > DEPTH:
        raise RecursionError
    return whole_characters(value) if "\\ud" in text or "\\uD" in text else value


def _table(value: Any, file: TextFile) -> Iterator[Any] | list[Any]:
    """The rows of a JSON value, in whichever of the forms it is."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UserError(f"{file.path}: a list of rows is needed, given {type(value).__name__}")
    if _is_split(value):
        return _of_split(value, file)
    lists = [name for name, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    if "data" in lists or len(lists) == 1:
        return value["data" if "data" in lists else lists[0]]
    if len(lists) > 1:
        raise UserError(f"{file.path}: lists of rows under {', '.join(map(repr, lists[:12]))}; give one file each")
    columns = list(value.values())
    if columns and all(isinstance(column, list) for column in columns):
        if len(lengths := {name: len(column) for name, column in value.items()}) and len(set(lengths.values())) > 1:
            raise UserError(f"{file.path}: columns of different lengths: {lengths!s:.300}")
        return (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
    if columns and all(isinstance(column, dict) for column in columns):
        return _of_mappings(value, file)
    return [value]  # a file with one line


def _is_split(value: dict[str, Any]) -> bool:
    return isinstance(value.get("columns"), list) and isinstance(value.get("data"), list) and len(value) <= 3


def _of_split(value: dict[str, Any], file: TextFile) -> Iterator[Any]:
    names, bad = value["columns"], BadRows()
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise UserError(f"{file.path}: columns {names!s:.300}; give names, none of them twice")
    for number, row in enumerate(value["data"], 1):
        if not isinstance(row, list) or len(row) != len(names):
            bad.add(f"{file.path}:row {number}: not a list of {len(names)} values, one a column")
    bad.refuse()
    return (dict(zip(names, row, strict=True)) for row in value["data"])


def _of_mappings(value: dict[str, Any], file: TextFile) -> Iterator[Any]:
    """Rows of mappings in a mapping: those are columns where the inner keys are numbers, rows where the outer ones are."""
    inner = list(dict.fromkeys(key for column in value.values() for key in column))
    if inner and all(key.isdecimal() for key in inner):
        return ({name: column[key] for name, column in value.items() if key in column} for key in inner)
    if all(key.isdecimal() for key in value):
        return iter(value.values())
    raise UserError(
        f"{file.path}: mappings in a mapping, of which neither the outer keys ({', '.join(list(value)[:4])}, …) nor the inner ones "
        f"({', '.join(inner[:4])}, …) are row numbers; write a list of rows"
    )
