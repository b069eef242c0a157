"""From the rows of a file to examples: texts, choices, and labels as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.tasks.bad_rows import each_row
from tasksel.tasks.files import Row, need_columns, template_columns
from tasksel.tasks.labels import label_array
from tasksel.tasks.mapped_rows import joined, taken
from tasksel.tasks.prompts import GENERATION, prompt_text
from tasksel.tasks.row_sources import HubSource
from tasksel.tasks.templates import render

if TYPE_CHECKING:
    from tasksel.tasks.task import Task


@dataclass(frozen=True)
class Split:
    """Rows of a task: one or two texts each, the choices of multiple choice, and `labels` [rows] or [rows, labels]; of generation texts.

    Texts and choices are lists, or of a large set `tasksel.tasks.mapped_rows.MappedRows`, which are read from the cache when they are asked for.

    >>> split = Split([("fine",), ("poor",), ("good",)], None, np.array([1, 0, 1]))
    >>> split.take([1, 2]).texts
    [('poor',), ('good',)]
    """

    texts: Sequence[tuple[str, ...]]
    choices: Sequence[list[str]] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | np.ndarray) -> Split:
        """The rows at `indices`, in that order."""
        choices = taken(self.choices, indices) if self.choices is not None else None
        return Split(taken(self.texts, indices), choices, self.labels[np.asarray(indices, dtype=np.int64)])

    def joined(self, other: Split) -> Split:
        """The rows of both, of the same task."""
        both = self.choices is not None and other.choices is not None
        choices = joined(self.choices, other.choices) if both else None  # type: ignore[arg-type]
        return Split(joined(self.texts, other.texts), choices, np.concatenate([self.labels, other.labels]))


def to_split(task: Task, rows: list[Row], *, labelled: bool = True, multi_hot: bool | None = None) -> Split:
    """Rows as texts and labels; without labels (`labelled=False`) the labels are zeros, or empty texts; `multi_hot` as in `label_array`.

    Raises:
        UserError: see `tasksel.tasks.load.load_data`.
    """
    split, left_out = split_of(task, rows, labelled=labelled, multi_hot=multi_hot)
    say_left_out(task, left_out, len(split))
    return split


def split_of(task: Task, rows: list[Row], *, labelled: bool = True, multi_hot: bool | None = None) -> tuple[Split, int]:
    """`to_split`, and how many rows of a hub are left out, which have no text."""
    parts = (*task.text, *((task.choices,) if isinstance(task.choices, str) else task.choices or ()))
    if task.explode:
        rows = _explode(rows, task.explode, str(task.label))
    need_columns(rows, [*template_columns(parts), *(task.label_columns if labelled else ())])
    rendered = each_row(rows, lambda row: _texts(task, row))
    kept = [row for row, texts in zip(rows, rendered, strict=True) if texts is not None]
    texts = [texts for texts in rendered if texts is not None]
    choices = each_row(kept, lambda row: _choices(task, row)) if task.choices is not None else None
    labels = label_array(task, kept, choices, multi_hot=multi_hot) if labelled else unlabelled(task, len(kept))
    return Split(texts, choices, labels), len(rows) - len(kept)


def say_left_out(task: Task, left_out: int, kept: int) -> None:
    """Says how many rows of a hub have no text, if any have none."""
    if left_out:
        say(f"{task.name}: left out {left_out} of {left_out + kept} hub rows, which have an empty text")


def unlabelled(task: Task, rows: int) -> np.ndarray:
    """The labels of rows that have none: zeros, or empty texts."""
    if task.kind == GENERATION:
        return np.full(rows, "", dtype=object)
    return np.zeros(rows, dtype=np.float32 if task.kind in ("regression", "multi_label") else np.int64)


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
    generation = task.kind == GENERATION
    texts = (prompt_text(task, row),) if generation else tuple(render(part, row) for part in task.text)
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
