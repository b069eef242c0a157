"""What a data file's columns say of its task, inferred once per content: the rows of a large file are seen one by one, and the outcome is kept.

Only label and choices decide it, so of each row those are held, equal ones once. Where a row is bad, the file is read whole, because an error
names the rows that are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path
from typing import Any

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.tasks.content import Stamp, content_hash, need_unchanged
from tasksel.tasks.data_cache import SMALL, cache_key, data_cache, kept_value
from tasksel.tasks.data_files import ending_of, expand
from tasksel.tasks.files import Row, iter_rows, read_rows
from tasksel.tasks.infer import Columns, infer_shape
from tasksel.tasks.prompts import GENERATION, holds_messages
from tasksel.tasks.row import need_columns

Shape = dict[str, Any]


def file_shape(
    path: str | Path | Sequence[str], columns: Columns, *, name: str, separator: str | None, encoding: str | None
) -> tuple[Columns, Shape]:
    """The columns that a task of a file reads (`Columns.among`), and its shape (`infer_shape`), of which a guess is said.

    Raises:
        UserError: see `infer_shape` and `read_rows`.
    """
    files = expand(path)
    options = {"separator": separator, "encoding": encoding}
    if sum(file.stat().st_size for file in files) < SMALL:
        rows = read_rows(path, **options)
        columns = columns.among(rows[0].values)
        return columns, infer_shape(rows, columns, name=name)
    stamps = list(map(Stamp.of, files))
    contents = [[ending_of(file), content_hash(file)] for file in files]
    key = cache_key([contents, separator, encoding, asdict(columns), name])
    said: list[str] = []

    def make() -> dict[str, Any]:
        inferred, shape = _inferred(path, columns, name, options, said)
        need_unchanged(stamps)
        return {"columns": asdict(inferred), "shape": shape, "said": said}

    kept = kept_value(data_cache() / "shapes" / f"{key}.json", make)
    for line in kept["said"]:
        say(line)
    tuples = {field.name: _as_tuple(kept["columns"][field.name]) for field in fields(Columns)}
    return Columns(**tuples), {field: _as_tuple(value) for field, value in kept["shape"].items()}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _inferred(
    path: str | Path | Sequence[str], columns: Columns, name: str, options: dict[str, Any], said: list[str]
) -> tuple[Columns, Shape]:
    rows = iter_rows(path, **options)
    first = next(rows)
    columns = columns.among(first.values)
    try:
        return columns, infer_shape(_outline(chain([first], rows), columns), columns, name=name, note=said.append)
    except UserError:
        said.clear()
    try:
        return columns, infer_shape(read_rows(path, **options), columns, name=name, note=said.append)
    except UserError:
        for line in said:
            say(line)
        raise


def _outline(rows: Iterable[Row], columns: Columns) -> list[Row]:
    """What decides a shape of each row: label and choices, or of a prompt whether it is a chat; equal ones are one row.

    Raises:
        UserError: a row lacks a column.
    """
    used = columns.used
    choices = (columns.choices,) if isinstance(columns.choices, str) else ()
    decisive = tuple(dict.fromkeys([*columns.label_columns, *choices])) if columns.kind != GENERATION else ()
    outlines: dict[Any, Row] = {}
    outline = []
    for row in rows:
        if not all(column in row.values for column in used):
            need_columns((row,), used)
        values = dict.fromkeys(used, "") | {column: row.values[column] for column in decisive}
        if columns.kind == GENERATION and len(columns.text) == 1 and holds_messages(row.values.get(columns.text[0])):
            values[columns.text[0]] = [{"role": "user"}]
        key = repr([values[column] for column in (*decisive, *columns.text[:1])])
        outline.append(outlines.setdefault(key, Row(values, "")))
    return outline
