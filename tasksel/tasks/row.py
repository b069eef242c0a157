"""One row of a task's data, and its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasksel.errors import UserError, unknown
from tasksel.tasks.bad_rows import BadRows


@dataclass(frozen=True, slots=True)
class Row:
    """One row and its place, e.g. `train.jsonl:17`."""

    values: dict[str, Any]
    where: str


def need_columns(rows: Sequence[Row], columns: Iterable[str]) -> None:
    """Refuses rows that lack a column.

    Raises:
        UserError: names the column, the places of the first rows that lack it, and the columns that they have.
    """
    columns, bad = tuple(columns), BadRows()
    for row in rows:
        for column in columns:
            if column not in row.values:
                bad.add(_missing(row, column) if bad.count < 1 else f"{row.where}: '{column}'")
                break
    bad.refuse()


def _missing(row: Row, column: str) -> UserError:
    return unknown(f"column at {row.where}:", column, [f"{name:.60}" for name in row.values])
