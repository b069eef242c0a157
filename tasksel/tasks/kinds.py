"""Guesses a task's kind from the values of its label column, with the reason; a doubtful guess is refused with the option that settles it.

    lists, `a|b`                                     multi-label
    words                                            classes
    whole numbers                                    classes; many that hardly repeat: refused
    whole numbers written as fractions (1.0)         classes where few repeat; regression where they hardly do
    fractions (3.5, "3,5")                           regression where they hardly repeat; two that repeat are classes; else refused
    `?`, -1 among words, "NA" among numbers          refused, with the row

"Few" is 20 and "hardly" under 2 rows a value (10 for more than a few whole numbers) [ours].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from tasksel.errors import UserError
from tasksel.tasks.label_values import (
    HIDDEN,
    THOUSANDS,
    as_number,
    has_fraction_form,
    is_blank,
    is_list,
    label_name,
    listed,
    looks_like_list,
)

Kind = Literal[
    "single_sentence_classification",
    "pair_classification",
    "regression",
    "multi_label",
    "multiple_choice",
    "generation",
]
CLASSES: tuple[Kind, Kind] = ("single_sentence_classification", "pair_classification")
FEW = 20  # distinct values
REPEATS = 2  # rows for each of them
MANY_REPEATS = 10  # the same where there are more than a few whole numbers
SHOWN = 6
NOTHING = ("nan", "na", "n/a", "none", "null", "nil", "-", "--", "inf", "-inf", "missing", "unknown")
Cell = tuple[Any, str]  # a value and its place
CLASSES_OPTION, SCORES_OPTION, SEVERAL_OPTION = "--kind classification", "--kind regression", "--kind multi_label"


def class_kind(text: Sequence[str]) -> Kind:
    """Classification of one text, or of a pair."""
    return "pair_classification" if len(text) == 2 else "single_sentence_classification"


def guess_kind(cells: Sequence[Cell], text: Sequence[str], *, floats: bool = False) -> tuple[Kind, str]:
    """The kind that the values of a label column imply, and why, in words for the user.

    Args:
        cells: values with their places. text: the text columns. floats: whether the column's type is a floating-point number.

    Raises:
        UserError: values that may be of two kinds, with what settles it; a value that can be no label.

    >>> guess_kind([("good", "a.csv:2"), ("bad", "a.csv:3")], ["body"])
    ('single_sentence_classification', '2 classes (bad, good)')
    >>> guess_kind([(2.5, "a.csv:2"), (0.75, "a.csv:3"), (1, "a.csv:4")], ["body"])[0]
    'regression'
    """
    present = [(value, where) for value, where in cells if not is_blank(value)]
    if not present:
        raise UserError(f"{cells[0][1]}: no row has a label; name the label's column (--label)")
    for value, where in present:
        if isinstance(value, dict):
            raise UserError(
                f"{where}: label {value!r:.60} is an object; give one label column for each of its keys (--label A B)"
            )
    if lists := _lists(present):
        return lists
    numbers = [as_number(value) for value, _ in present]
    if None in numbers:
        _refuse_mixture(present, numbers)
    try:
        if None in numbers:
            kind, reason = _words([label_name(value) for value, _ in present])
        else:
            kind, reason = _numbers([value for value, _ in present], [float(number or 0) for number in numbers], floats)
    except UserError as error:
        raise UserError(f"{present[0][1]}: {error}") from error
    return class_kind(text) if kind in CLASSES else kind, reason


def _lists(present: Sequence[Cell]) -> tuple[Kind, str] | None:
    """Multi-label, where cells hold lists or `a|b`; None where they do not."""
    lists = [is_list(value) for value, _ in present]
    if any(lists) or all(looks_like_list(value) for value, _ in present):
        check_lists(present)
        for (value, where), holds in zip(present, lists, strict=True):
            if not holds and "|" not in str(value) and isinstance(present[lists.index(True)][0], str):
                raise UserError(
                    f"{where}: label {value!r:.60} among lists of labels; {SEVERAL_OPTION} or {CLASSES_OPTION} says what they are"
                )
        texts = isinstance(present[0][0], str)
        return "multi_label", "lists: multi-label" + (f"; {CLASSES_OPTION} if each text is one class" if texts else "")
    if any(isinstance(value, str) and "|" in value for value, _ in present):
        names = {item for value, _ in present for item in listed(value)}
        return (
            "multi_label",
            f"names joined by '|': multi-label, {len(names)} labels; {CLASSES_OPTION} if '|' is part of a name",
        )
    return None


def check_lists(cells: Sequence[Cell]) -> None:
    """Refuses cells in brackets that cannot be read as a list of labels: of numpy's form, or of lists.

    Raises:
        UserError: the first of them, with its place.
    """
    for value, where in cells:
        unread = looks_like_list(value) and not is_list(value)
        if unread or any(isinstance(item, list | tuple | dict) for item in listed(value)):
            raise UserError(
                f"{where}: label {value!r:.60} cannot be read as a list of labels; write ['a', 'b'] or a|b, or {CLASSES_OPTION}"
            )


def _numbers(values: Sequence[Any], numbers: Sequence[float], floats: bool) -> tuple[Kind, str]:
    """The kind of a column of numbers."""
    distinct, rows = len(set(numbers)), len(numbers)
    repeat = rows >= REPEATS * distinct or (distinct <= 2 and rows > distinct)
    if all(number == int(number) for number in numbers):
        what, fractions = f"{distinct} distinct whole numbers", floats or any(map(has_fraction_form, values))
        if fractions and not repeat:
            return (
                "regression",
                f"{what} written as fractions, which hardly repeat: regression; {CLASSES_OPTION} for classes",
            )
        if distinct > FEW and (fractions or rows < MANY_REPEATS * distinct):
            raise _doubt(f"{what} in {rows} rows")
        names = _some(sorted({int(number) for number in numbers}))
        return CLASSES[0], f"{what}: {distinct} classes ({names}); {SCORES_OPTION} for scores"
    names = _some(sorted(set(numbers)))
    what = f"{distinct} distinct numbers with fractions"
    if repeat and distinct <= 2:
        return CLASSES[0], f"{what}, which repeat: {distinct} classes ({names}); {SCORES_OPTION} for scores"
    if repeat and not floats:
        raise _doubt(f"{what} ({names}) in {rows} rows, which repeat")
    return "regression", f"{what}: regression; {CLASSES_OPTION} for classes"


def _doubt(what: str) -> UserError:
    return UserError(f"the labels may be scores or classes: {what}; {SCORES_OPTION} or {CLASSES_OPTION} says which")


def _words(names: Sequence[str]) -> tuple[Kind, str]:
    """Classes; not where hardly a text repeats, or where texts join labels."""
    counts = Counter(names)
    if len(counts) > FEW and len(names) < REPEATS * len(counts):
        raise UserError(
            f"the labels are {len(counts)} distinct texts in {len(names)} rows ({_some(sorted(counts))}): is it the label's column (--label)? "
            f"{CLASSES_OPTION} takes them as classes"
        )
    for mark in (";", ","):
        joined = [name for name in counts if mark in name]
        parts = {name: [part.strip() for part in name.split(mark)] for name in joined}
        uses = Counter(part for name in counts for part in set(parts.get(name, [name])))
        if joined and all(uses[part] > 1 for name in joined for part in parts[name]):
            raise UserError(
                f"labels like {joined[0]!r:.60} may be several labels joined by '{mark}': join them by '|' for a multi-label task, "
                f"or {CLASSES_OPTION} takes each text as one class"
            )
    return CLASSES[0], f"{len(counts)} class{'es' * (len(counts) != 1)} ({_some(sorted(counts))})"


def _refuse_mixture(present: Sequence[Cell], numbers: Sequence[float | None]) -> None:
    """Refuses what stands for a missing label among others: `?`, -1 among words, a word for nothing among numbers, a word among fractions.

    Raises:
        UserError: the first such cell.
    """
    words = [cell for cell, number in zip(present, numbers, strict=True) if number is None]
    figures = [cell for cell, number in zip(present, numbers, strict=True) if number is not None]
    commas = [cell for cell in words if THOUSANDS.fullmatch(label_name(cell[0]))]
    if commas and len(commas) == len(words):
        raise UserError(f"{commas[0][1]}: label {commas[0][0]!r} may be thousands or a fraction; write 1234 or 1.234")
    unknowns = [cell for cell in words if label_name(cell[0]) == "?"]
    nothings = [cell for cell in words if label_name(cell[0]).lower() in NOTHING]
    hidden = [cell for cell in figures if as_number(cell[0]) == HIDDEN]
    scores = any(has_fraction_form(value) for value, _ in figures) or len({value for value, _ in figures}) > FEW
    if unknowns:
        (value, where), reason = unknowns[0], "stands for a label that is not known"
    elif figures and len(words) <= len(figures) and (nothings or scores):
        (value, where), reason = (nothings or words)[0], "is not a finite number, and others are"
    elif hidden and len(figures) == len(hidden):
        (value, where), reason = hidden[0], "is a number among words, and often stands for a hidden label"
    else:
        return
    raise UserError(
        f"{where}: label {value!r:.60} {reason}; fill it or remove the row, or {CLASSES_OPTION} if it is a class"
    )


def _some(names: Sequence[Any]) -> str:
    """The first few names."""
    return ", ".join(f"{name!s:.30}" for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
