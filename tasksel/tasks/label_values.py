"""Reads one cell of a label column: whether it is empty or hidden, its number, its name, the labels that it lists."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from typing import Any

from tasksel.errors import UserError

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # "1,234" may be 1234 or 1.234: neither is assumed
LIST = re.compile(r"\[.*\]|\{.*\}|\(.*\)", re.DOTALL)
HIDDEN = -1  # what GLUE and others write where a test label is kept secret
TRUE, FALSE = ("1", "true", "yes"), ("0", "false", "no", "")


def is_blank(value: Any) -> bool:
    """Whether a cell is empty: null, NaN, or text without a character.

    >>> [is_blank(value) for value in (None, float("nan"), " ", "NaN", 0)]
    [True, True, True, False, False]
    """
    return value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip()


def is_hidden(value: Any) -> bool:
    """Whether a cell is empty or holds what stands for a hidden label: `?` or -1.

    >>> [is_hidden(value) for value in ("?", "-1", -1.0, [], 1)]
    [True, True, True, False, False]
    """
    return is_blank(value) or str(value).strip() == "?" or as_number(value) == HIDDEN


def as_number(value: Any) -> float | None:
    """The finite number that a cell holds, with a point or a decimal comma; None where it is another thing.

    >>> [as_number(value) for value in (2, "62.01", "3,5", "1,234", "NaN", True)]
    [2.0, 62.01, 3.5, None, None, None]
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < sys.float_info.max else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if DECIMAL_COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text):
        text = text.replace(",", ".")
    number = float(text) if NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def has_fraction_form(value: Any) -> bool:
    """Whether a number is written as a fraction, be it a whole one: 1.0, "62.01", "3,5"; pandas writes whole labels so where one is missing."""
    return isinstance(value, float) or (isinstance(value, str) and bool(re.search(r"[.,e]", value, re.IGNORECASE)))


def label_name(value: Any) -> str:
    """The name that a cell stands for: its text.

    >>> label_name(" good "), label_name(3), label_name(True)
    ('good', '3', 'True')
    """
    return str(value).strip()


def whole_name(value: Any) -> str:
    """The name of a whole number, however it is written.

    >>> whole_name("1.0"), whole_name(-1), whole_name("+2")
    ('1', '-1', '2')
    """
    number = as_number(value)
    return label_name(value) if number is None else str(int(number))


def is_list(value: Any) -> bool:
    """Whether a cell is a list, or the text of one: `['a', 'b']` as Python writes it, `["a", "b"]` as JSON does."""
    return isinstance(value, list | tuple) or (isinstance(value, str) and _parsed(value) is not None)


def looks_like_list(value: Any) -> bool:
    """Whether a cell is in square brackets, be it a list that can be read or not (numpy writes `['a' 'b']`)."""
    return isinstance(value, list | tuple) or (
        isinstance(value, str) and bool(re.fullmatch(r"\s*\[.*\]\s*", value, re.DOTALL))
    )


def listed(value: Any) -> list[Any]:
    """The labels that a cell of several lists: a list, the text of a list, names joined by `|`; none in an empty cell.

    >>> listed(["fit", None]), listed("['a', 'b']"), listed("food| water"), listed(None), listed("NaN")
    (['fit'], ['a', 'b'], ['food', 'water'], [], ['NaN'])
    """
    if is_blank(value):
        return []
    if isinstance(value, list | tuple):
        items = list(value)
    elif isinstance(value, str):
        parsed = _parsed(value)
        items = value.split("|") if parsed is None else parsed
    else:
        items = [value]
    return [item.strip() if isinstance(item, str) else item for item in items if not is_blank(item)]


def _parsed(text: str) -> list[Any] | None:
    """The list that a text in brackets is; None where it is none, or joins two strings without a comma (numpy's form)."""
    text = text.strip()
    if not LIST.fullmatch(text) or re.search(r"['\"]\s+['\"]", text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    if isinstance(value, dict) or not isinstance(value, list | tuple | set):
        return None
    items = sorted(value, key=str) if isinstance(value, set) else list(value)
    return items if all(item is None or isinstance(item, str | int | float | bool) for item in items) else None


def is_on(value: Any, where: str, column: str) -> bool:
    """Whether the cell of a column of one label says that the row has it; an empty one says no.

    Raises:
        UserError: a value that is neither.

    >>> is_on("1.0", "a.csv:2", "toxic"), is_on(None, "a.csv:2", "toxic")
    (True, False)
    """
    if is_blank(value):
        return False
    word = whole_name(value).lower() if as_number(value) in (0, 1) else label_name(value).lower()
    if word not in (*TRUE, *FALSE):
        raise UserError(f"{where}: {value!r} in the label column '{column}'; give 1 or 0 (or true or false, yes or no)")
    return word in TRUE
