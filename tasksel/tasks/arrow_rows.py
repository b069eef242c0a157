"""Rows of Parquet, Arrow and Feather files, read by pyarrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasksel.errors import UserError, one_line
from tasksel.tasks.row import Row

SLICE = 10_000  # rows that are values at a time
NAMES = {".parquet": "Parquet", ".arrow": "Arrow", ".feather": "Feather"}


def arrow_rows(path: Path, ending: str) -> Iterator[Row]:
    """Every row of a file, each with its number.

    Raises:
        UserError: a file of another kind, or a column that stands twice.
    """
    import pyarrow as pa

    try:
        table = _with_texts(_table(path, ending))
        for name, times in Counter(table.column_names).items():
            if times > 1:
                raise UserError(f"{path}: column '{name:.60}' stands twice; rename or remove one")
        for start in range(0, len(table), SLICE):
            for number, row in enumerate(table.slice(start, SLICE).to_pylist(), start + 1):
                yield Row(row, f"{path}:row {number}")
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a {NAMES[ending]} file ({one_line(error)})") from error


def _table(path: Path, ending: str) -> Any:
    if ending == ".parquet":
        import pyarrow.parquet as pq

        return pq.ParquetFile(path).read()  # `read_table` would take columns from the names of folders (label=1/)
    import pyarrow as pa

    try:
        with pa.ipc.open_file(path) as reader:
            return reader.read_all()
    except pa.ArrowInvalid:  # what `datasets` stores is a stream
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            return reader.read_all()


def _with_texts(table: Any) -> Any:
    """The table with columns of bytes that are UTF-8 as texts, as some writers store them."""
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            try:
                table = table.set_column(i, field.name, table.column(i).cast(pa.large_string()))
            except pa.ArrowInvalid:  # a picture, for example
                continue
    return table
