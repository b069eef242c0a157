"""Templates over a row's columns: `{column}`, and `{column[key]}` for lists and mappings in it; a plain name is a column.

Nothing else of Python's format strings is taken: no attributes, conversions or widths.
"""

from __future__ import annotations

import datetime
import decimal
import re
import string
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from tasksel.errors import UserError, one_line

if TYPE_CHECKING:
    from tasksel.tasks.files import Row

FIELD = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*)")


class Piece(NamedTuple):
    """Text as it stands, then what a column holds, or the value at these keys in it."""

    literal: str
    column: str | None
    keys: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def parse_template(part: str) -> tuple[Piece, ...]:
    """The pieces of a template, or of the name of a column.

    >>> parse_template("{title}: {body[0]}")
    (Piece(literal='', column='title', keys=()), Piece(literal=': ', column='body', keys=('0',)))

    Raises:
        UserError: a broken template, one without a column, or more than columns and keys.
    """
    if "{" not in part:
        return (Piece("", part),)
    try:
        parsed = list(string.Formatter().parse(part))
    except ValueError as error:
        raise UserError(
            f"template {part!r} is broken ({one_line(error)}); write {{column}} for a column, {{{{ for a brace"
        ) from error
    pieces = []
    for literal, field, width, conversion in parsed:
        if field is None:
            pieces.append(Piece(literal, None))
            continue
        if not field:
            raise UserError(f"template {part!r} names no column; write {{column}} for a column")
        match = FIELD.fullmatch(field)
        if width or conversion or match is None:
            raise UserError(
                f"template {part!r}: a template takes {{column}} and {{column[key]}}, without conversion, width or attribute"
            )
        pieces.append(Piece(literal, match[1], tuple(re.findall(r"\[(.*?)\]", match[2]))))
    return tuple(pieces)


def template_columns(parts: Iterable[str]) -> list[str]:
    """The columns that column names and `{templates}` use, each once.

    >>> template_columns(("{premise} {hypothesis}", "label"))
    ['premise', 'hypothesis', 'label']

    Raises:
        UserError: a broken template, see `parse_template`.
    """
    columns = [piece.column for part in parts for piece in parse_template(part) if piece.column is not None]
    return list(dict.fromkeys(columns))


def render(part: str, row: Row) -> str:
    """The text of a template or column for a row; a null or NaN is no text.

    Raises:
        UserError: a value that is no text, or a key that its column does not hold, with the row's place.
    """
    if "{" not in part:
        return _text(row.values[part], f"{row.where}: '{part}'", numbers=False).strip()
    texts = []
    for literal, column, keys in parse_template(part):
        texts.append(literal)
        if column is not None:
            value = _at(row, column, keys) if keys else row.values[column]
            texts.append(_text(value, f"{row.where}: '{column}'", numbers=True))
    return "".join(texts).strip()


def _at(row: Row, column: str, keys: tuple[str, ...]) -> Any:
    """The value at the keys of lists and mappings in a column."""
    value = row.values[column]
    for key in keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and re.fullmatch(r"[0-9]{1,9}", key) and int(key) < len(value):
            value = value[int(key)]
        else:
            held = f"it holds {list(value)[:12]}" if isinstance(value, dict) else f"given {value!r:.60}"
            raise UserError(f"{row.where}: no [{key}] in '{column}'; {held:.300}")
    return value


def _text(value: Any, where: str, *, numbers: bool) -> str:
    """A value as text; numbers and dates only within a template."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float | decimal.Decimal) and value != value):
        return ""
    if numbers and isinstance(value, int | float | decimal.Decimal | datetime.date | datetime.time):
        return str(value)
    hint = "join its words first" if isinstance(value, list) else "a text must be text"
    raise UserError(f"{where} holds {type(value).__name__} ({value!r:.60}), not text; {hint}")
