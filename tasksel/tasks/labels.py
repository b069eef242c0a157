"""From label cells to numbers: class indices, multi-hot rows, numbers; and which rows have a label at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasksel.errors import UserError
from tasksel.tasks.bad_rows import each_row
from tasksel.tasks.files import Row
from tasksel.tasks.label_values import HIDDEN, as_number, is_blank, is_hidden, is_on, label_name, listed
from tasksel.tasks.prompts import GENERATION, has_target, target_text

if TYPE_CHECKING:
    from tasksel.tasks.task import Task


def label_array(
    task: Task, rows: Sequence[Row], choices: Sequence[Sequence[str]] | None, *, multi_hot: bool | None = None
) -> np.ndarray:
    """The labels of rows as numbers: [rows], or [rows, labels] of a multi-label task; of generation the target texts [rows].

    Args:
        choices: of each row, for multiple choice.
        multi_hot: whether lists of 0 and 1 say of each label whether it holds; by default as these rows imply (`are_multi_hot`).

    Raises:
        UserError: a label outside the label set, or that is no number, with its place.
    """
    if task.kind == GENERATION:
        return np.array(each_row(rows, lambda row: target_text(task, row)), dtype=object)
    hot = are_multi_hot(task, rows) if multi_hot is None else multi_hot
    labels = each_row(range(len(rows)), lambda i: _label(task, rows[i], choices[i] if choices else None, hot))
    return np.array(labels, dtype=np.float32 if task.kind in ("regression", "multi_label") else np.int64)


def are_multi_hot(task: Task, rows: Iterable[Row]) -> bool:
    """Whether the lists of numbers in a multi-label column are multi-hot: all as long as there are labels, all of 0 and 1.

    With two labels [0, 1] may be both indices, or "not the first, the second"; the other rows of the column say which. Where all label
    names are numbers, lists that hold such names are lists of names.
    """
    if not isinstance(task.label, str) or not (task.among or task.kind == "multi_label"):
        return False
    names = task.among or task.labels
    one, by_name = False, True
    for row in rows:
        items = listed(row.values.get(task.label))
        if items and all(map(_is_index, items)):
            one, by_name = True, by_name and all(label_name(item) in names for item in items)
            if len(items) != len(names) or not all(map(_is_bit, items)):
                return False
    return one and not by_name


def _is_index(item: Any) -> bool:
    return isinstance(item, bool) or as_number(item) is not None


def _is_bit(item: Any) -> bool:
    return isinstance(item, bool) or as_number(item) in (0, 1)


def labelled_rows(task: Task, rows: Sequence[Row], choices: Sequence[Sequence[str]] | None) -> list[int]:
    """The rows that have a label of the task; -1, `?`, an empty cell and a name outside the label set are none.

    Where no row of a multi-label file has a label, none counts: an empty cell is "no label of them" only beside others.
    """
    if task.kind == GENERATION:
        return [i for i, row in enumerate(rows) if has_target(task, row)]
    hot = are_multi_hot(task, rows)
    known = [i for i, row in enumerate(rows) if _has_label(task, row, choices[i] if choices else None, hot)]
    if task.kind == "regression" and all(as_number(rows[i].values[str(task.label)]) == HIDDEN for i in known):
        return []
    blank = all(is_blank(rows[i].values[column]) for i in known for column in task.label_columns)
    return [] if task.kind == "multi_label" and blank else known


def _has_label(task: Task, row: Row, choices: Sequence[str] | None, hot: bool) -> bool:
    """Whether the label of a row can be read, and is not a placeholder."""
    if not all(column in row.values for column in task.label_columns):
        return False
    try:
        _label(task, row, choices, hot)
    except UserError:
        return False
    return True


def is_placeholder(task: Task, row: Row) -> bool:
    """Whether a row's label is hidden: empty, `?` or -1, where that is not a label of the task. No empty cell of a multi-label task is."""
    values = [row.values.get(column) for column in task.label_columns]
    if task.kind == GENERATION:
        return any(map(is_blank, values))
    names = {label_name(value) for value in values}
    if task.kind == "multi_label" or task.among:
        return any(is_hidden(value) and not is_blank(value) for value in values) and not names <= set(task.labels)
    if task.kind == "regression":
        return is_blank(values[0]) or names == {"?"}
    return is_hidden(values[0]) and not names <= set(task.labels)


def _label(task: Task, row: Row, choices: Sequence[str] | None, hot: bool) -> int | float | list[int]:
    if task.kind == "multi_label":
        return _several(task, row, hot)
    if task.among:
        return _several(task.model_copy(update={"labels": task.among}), row, hot)[task.among.index(task.labels[1])]
    value = row.values[str(task.label)]
    if task.kind == "regression":
        number = as_number(value)
        if number is None:
            raise UserError(f"{row.where}: label {value!r} is not a finite number; task '{task.name}' is regression")
        return number
    if choices is not None:
        index = as_number(value)
        if index is None or index != int(index) or not 0 <= index < len(choices):
            raise UserError(
                f"{row.where}: label {value!r} is not the index of one of the row's {len(choices)} choices (0 to {len(choices) - 1})"
            )
        return int(index)
    return _class_index(task, row, value)


def _several(task: Task, row: Row, hot: bool) -> list[int]:
    """The multi-hot row of a multi-label task: from one column for each label, or from one that lists them."""
    if not isinstance(task.label, str):
        return [int(is_on(row.values[column], row.where, column)) for column in task.label]
    items = listed(row.values[task.label])
    if hot and items and all(map(_is_bit, items)):
        return [int(float(item)) for item in items]
    indices = {_class_index(task, row, item) for item in items}
    return [int(i in indices) for i in range(len(task.labels))]


def numbers_are_names(labels: Sequence[str]) -> bool:
    """Whether all label names are numbers ("1" to "5" stars): then a number in the data is a name and not an index."""
    return all(as_number(label) is not None for label in labels)


def _class_index(task: Task, row: Row, value: Any) -> int:
    """A label name's index; where names are themselves numbers a number is a name (1.0 is "1"), otherwise an index."""
    name = label_name(value)
    if name in task.labels:
        return task.labels.index(name)
    number = as_number(value)
    by_name = numbers_are_names(task.labels)
    if by_name and number is not None:
        equal = [i for i, label in enumerate(task.labels) if as_number(label) == number]
        if len(equal) == 1:
            return equal[0]
    index = int(value) if isinstance(value, bool) else number
    if not by_name and index is not None and index == int(index) and 0 <= index < len(task.labels):
        return int(index)
    allowed = ", ".join(task.labels[:12]) + (", …" if len(task.labels) > 12 else "")
    raise UserError(
        f"{row.where}: label {value!r} is not in the label set of '{task.name}': {allowed}"
        + ("" if by_name else f" (or 0 to {len(task.labels) - 1})")
    )
