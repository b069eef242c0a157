"""Rows of local CSV, TSV, JSONL and Parquet files, each with its line.

The readers are the standard library's and pyarrow's; every error names file and line.
"""

from __future__ import annotations

import csv
import json
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksel.errors import UserError, one_line, unknown

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row and its place, e.g. `train.jsonl:17`."""

    values: dict[str, Any]
    where: str


def read_rows(path: Path) -> list[Row]:
    """Every row of a file, blank lines left out.

    Raises:
        UserError: no such file, an unknown ending, a broken line (named), or no rows at all.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if not path.is_file():
        siblings = (
            sorted(other.name for other in path.parent.glob("*") if other.suffix in ENDINGS)
            if path.parent.is_dir()
            else []
        )
        raise UserError(f"no file {path}" + (f"; in that folder: {', '.join(siblings[:8])}" if siblings else ""))
    if path.suffix not in readers:
        raise UserError(
            f"{path}: cannot read '{path.suffix or 'a file without an ending'}'; allowed: {', '.join(ENDINGS)}"
        )
    try:
        rows = list(readers[path.suffix](path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error
    if not rows:
        raise UserError(f"{path}: the file is empty: it has no rows")
    return rows


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        try:
            for values in reader:
                where = f"{path}:{reader.line_num}"
                if None in values or None in values.values():
                    raise UserError(
                        f"{where}: {len(reader.fieldnames or ())} columns in the header, another number in this row"
                    )
                yield Row(values, where)
        except csv.Error as error:
            raise UserError(f"{path}:{reader.reader.line_num}: broken CSV ({error})") from error


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}:{number}: broken JSON ({error.msg} at column {error.colno})") from error
            if not isinstance(values, dict):
                raise UserError(f"{path}:{number}: a row must be a JSON object, given {type(values).__name__}")
            yield Row(values, f"{path}:{number}")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({one_line(error)})") from error
    for number, values in enumerate(table.to_pylist(), 1):
        yield Row(values, f"{path}:row {number}")


def template_columns(parts: Iterable[str]) -> list[str]:
    """The columns that column names and `{templates}` use, each once.

    >>> template_columns(("{premise} {hypothesis}", "label"))
    ['premise', 'hypothesis', 'label']

    Raises:
        UserError: a broken template.
    """
    columns: list[str] = []
    for part in parts:
        try:
            fields = (
                [name for _, name, *_ in string.Formatter().parse(part) if name is not None] if "{" in part else [part]
            )
        except ValueError as error:
            raise UserError(f"template {part!r} is broken ({error}); write {{column}} for a column") from error
        if not all(fields):
            raise UserError(f"template {part!r} names no column; write {{column}} for a column")
        columns += [name.split("[")[0].split(".")[0] for name in fields]
    return list(dict.fromkeys(columns))


def need_columns(rows: list[Row], columns: Iterable[str]) -> None:
    """Refuses rows that lack a column.

    Raises:
        UserError: names the column, the row's place, and the columns that it has.
    """
    for row in rows:
        for column in columns:
            if column not in row.values:
                raise unknown(f"column at {row.where}:", column, row.values)
