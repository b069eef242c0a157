"""From the rows of a file to examples: texts, choices, and labels as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.tasks.bad_rows import each_row
from tasksel.tasks.files import Row, need_columns, template_columns
from tasksel.tasks.row_sources import HubSource
from tasksel.tasks.templates import render

if TYPE_CHECKING:
    from tasksel.tasks.task import Task


@dataclass(frozen=True)
class Split:
    """Rows of a task: one or two texts each, the choices of multiple choice, and `labels` [rows] or [rows, labels].

    >>> split = Split([("fine",), ("poor",), ("good",)], None, np.array([1, 0, 1]))
    >>> split.take([1, 2]).texts
    [('poor',), ('good',)]
    """

    texts: list[tuple[str, ...]]
    choices: list[list[str]] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> Split:
        """The rows at `indices`, in that order."""
        choices = [self.choices[i] for i in indices] if self.choices is not None else None
        return Split([self.texts[i] for i in indices], choices, self.labels[list(indices)])


def to_split(task: Task, rows: list[Row], *, labelled: bool = True) -> Split:
    """Rows as texts and labels; without labels (`labelled=False`) the labels are zeros.

    Raises:
        UserError: see `tasksel.tasks.load.load_data`.
    """
    parts = (*task.text, *((task.choices,) if isinstance(task.choices, str) else task.choices or ()))
    if task.explode:
        rows = _explode(rows, task.explode, task.label)
    need_columns(rows, [*template_columns(parts), *([task.label] if labelled else [])])
    rendered = each_row(rows, lambda row: _texts(task, row))
    kept = [row for row, texts in zip(rows, rendered, strict=True) if texts is not None]
    if len(kept) < len(rows):
        say(f"{task.name}: left out {len(rows) - len(kept)} of {len(rows)} hub rows, which have an empty text")
    texts = [texts for texts in rendered if texts is not None]
    choices = each_row(kept, lambda row: _choices(task, row)) if task.choices is not None else None
    labels = (
        [_label(task, row, choices[i] if choices else None) for i, row in enumerate(kept)]
        if labelled
        else [0] * len(kept)
    )
    return Split(
        texts, choices, np.array(labels, dtype=np.float32 if task.kind in ("regression", "multi_label") else np.int64)
    )


def _explode(rows: list[Row], column: str, label: str) -> list[Row]:
    """One row per item of the list in `column`; its label is 1 where the item is among the row's answers (ReCoRD)."""
    need_columns(rows, [column, label])
    return [
        Row({**row.values, column: item, label: int(item in row.values[label])}, row.where)
        for row in rows
        for item in row.values[column]
    ]


def _texts(task: Task, row: Row) -> tuple[str, ...] | None:
    """The texts of a row; None for a hub's row without one, which may be left out, because the user cannot correct it."""
    texts = tuple(render(part, row) for part in task.text)
    if all(texts):
        return texts
    if isinstance(task.source, HubSource):
        return None
    part = task.text[texts.index("")]
    raise UserError(f"{row.where}: the text in '{part}' is empty; fill it or remove the row")


def _choices(task: Task, row: Row) -> list[str]:
    if isinstance(task.choices, str):
        cell = row.values[task.choices]
        texts = [_choice(item) for item in cell] if isinstance(cell, list) else []
    else:
        cell = texts = [render(part, row) for part in task.choices or ()]
    if not 2 <= len(texts) <= task.outputs or not all(texts):
        raise UserError(
            f"{row.where}: choices {cell!r:.300}; a row of '{task.name}' needs a list of 2 to {task.outputs} texts, none empty"
        )
    return texts


def _choice(item: Any) -> str:
    """A choice's text, also of a number; nothing for what is neither."""
    is_number = isinstance(item, int | float) and item == item
    return str(item).strip() if is_number or isinstance(item, str) else ""


def _label(task: Task, row: Row, choices: list[str] | None) -> int | float | list[int]:
    value = row.values[task.label]
    if task.kind == "regression":
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"{row.where}: label {value!r} is not a finite number; task '{task.name}' is regression")
        return number
    if task.kind == "multi_label":
        return _multi_hot(task, row, value)
    if task.among:
        parent = task.model_copy(update={"labels": task.among})
        return _multi_hot(parent, row, value)[task.among.index(task.labels[1])]
    if choices is not None:
        if not str(value).isdecimal() or int(value) >= len(choices):
            raise UserError(
                f"{row.where}: label {value!r} is not the index of one of the row's {len(choices)} choices (0 to {len(choices) - 1})"
            )
        return int(value)
    return _class_index(task, row, value)


def _class_index(task: Task, row: Row, value: Any) -> int:
    """A label name's index; where names are themselves numbers ("1" to "5" stars) a number is a name, otherwise an index."""
    name = str(value).strip()
    if name in task.labels:
        return task.labels.index(name)
    numbers_are_names = all(label.lstrip("-").isdecimal() for label in task.labels)
    if not numbers_are_names and isinstance(value, bool | int) and 0 <= int(value) < len(task.labels):
        return int(value)
    if not numbers_are_names and name.isdecimal() and int(name) < len(task.labels):
        return int(name)
    allowed = ", ".join(task.labels[:12]) + (", …" if len(task.labels) > 12 else "")
    raise UserError(
        f"{row.where}: label {value!r} is not in the label set of '{task.name}': {allowed}"
        + ("" if numbers_are_names else f" (or 0 to {len(task.labels) - 1})")
    )


def _multi_hot(task: Task, row: Row, value: Any) -> list[int]:
    items = value if isinstance(value, list) else [part.strip() for part in str(value).split("|") if part.strip()]
    if len(items) == len(task.labels) and all(item in (0, 1) for item in items):
        return [int(item) for item in items]
    indices = {_class_index(task, row, item) for item in items}
    return [int(i in indices) for i in range(len(task.labels))]
