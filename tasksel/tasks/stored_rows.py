"""Stores rows from memory in a file named after its content, for a worker, a pool or a later `explain` to read.

    rows -> plain JSON values -> <cache>/tasks/<16 hex digits of the text>.jsonl

The same rows give the same file, whatever their container; only the columns that a task reads are stored.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasksel.errors import UserError, one_line
from tasksel.storage.atomic import write_text
from tasksel.storage.user_path import user_path
from tasksel.tasks.files import Row


def cache_root() -> Path:
    """Where what can be computed again is kept for all projects: SCALEARN_CACHE, or `scalearn` in the user's cache."""
    if cache := os.environ.get("SCALEARN_CACHE"):
        return user_path(cache)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "scalearn"


def cache_folder() -> Path:
    """Where rows are stored: the folder `tasks` of the cache."""
    return cache_root() / "tasks"


def rows_text(rows: Sequence[Row]) -> str:
    """Rows of plain values as lines of JSON.

    Raises:
        UserError: text that is not Unicode (half of a surrogate pair), with its row.
    """
    lines = []
    for row in rows:
        line = json.dumps(row.values, ensure_ascii=False, allow_nan=False)
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{row.where}: text that cannot be stored as UTF-8 ({error.reason})") from error
        lines.append(line + "\n")
    return "".join(lines)


def rows_path(text: str, folder: str | Path | None = None) -> Path:
    """The file that holds this text, in `folder` or the cache."""
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return (user_path(folder) if folder else cache_folder()).resolve() / f"{name}.jsonl"


def keep_text(path: Path, text: str) -> bool:
    """Writes `text` to `path`, atomically, unless the file holds it already; returns whether it was written.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return False
        write_text(path, text)
    except OSError as error:
        raise UserError(
            f"cannot store the rows in {path.parent} ({one_line(error)}); give folder=, or set SCALEARN_CACHE"
        ) from error
    return True


def plain(value: Any, where: str) -> Any:
    """A value in JSON's types: missing values are null, dates are text, numpy's scalars and arrays are numbers and lists.

    >>> plain((1, float("nan"), datetime.date(2024, 5, 17)), "row 1")
    [1, None, '2024-05-17']

    Raises:
        UserError: names the place of the value (`where`) and its type.
    """
    if value is None or _is_missing(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | decimal.Decimal):
        number = float(value)
        return number if math.isfinite(number) else str(number)  # JSON has no infinity; as a label it is refused
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta) or _is_numpy_date(value):
        return str(value)
    if hasattr(value, "tolist"):  # numpy, torch
        return plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [plain(item, where) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): plain(item, where) for key, item in value.items()}
    raise UserError(f"{where} holds {type(value).__name__}; give text, numbers, booleans, dates, or lists of them")


def _is_missing(value: Any) -> bool:
    """Whether it is NaN, NaT or pandas' NA, none of which equals itself. (NA has no truth value, so its type is compared.)"""
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return (isinstance(value, float | decimal.Decimal) or _is_numpy_date(value)) and bool(value != value)


def _is_numpy_date(value: Any) -> bool:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("M", "m") and getattr(value, "ndim", 1) == 0
