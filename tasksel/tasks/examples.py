"""From the rows of a file to examples: texts, choices, and labels as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.tasks.files import Row, need_columns, template_columns
from tasksel.tasks.labels import label_array
from tasksel.tasks.row_sources import HubSource

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


def to_split(task: Task, rows: list[Row], *, labelled: bool = True, multi_hot: bool | None = None) -> Split:
    """Rows as texts and labels; without labels (`labelled=False`) the labels are zeros; `multi_hot` as in `label_array`.

    Raises:
        UserError: see `tasksel.tasks.load.load_data`.
    """
    parts = (*task.text, *((task.choices,) if isinstance(task.choices, str) else task.choices or ()))
    if task.explode:
        rows = _explode(rows, task.explode, str(task.label))
    need_columns(rows, [*template_columns(parts), *(task.label_columns if labelled else ())])
    kept = [row for row in rows if _has_text(task, row)]
    if len(kept) < len(rows):
        say(f"{task.name}: left out {len(rows) - len(kept)} of {len(rows)} hub rows, which have an empty text")
    texts = [tuple(_render(part, row.values) for part in task.text) for row in kept]
    choices = [_choices(task, row) for row in kept] if task.choices is not None else None
    if not labelled:
        numbers = np.float32 if task.kind in ("regression", "multi_label") else np.int64
        return Split(texts, choices, np.zeros(len(kept), dtype=numbers))
    return Split(texts, choices, label_array(task, kept, choices, multi_hot=multi_hot))


def _explode(rows: list[Row], column: str, label: str) -> list[Row]:
    """One row per item of the list in `column`; its label is 1 where the item is among the row's answers (ReCoRD)."""
    need_columns(rows, [column, label])
    return [
        Row({**row.values, column: item, label: int(item in row.values[label])}, row.where)
        for row in rows
        for item in row.values[column]
    ]


def _render(part: str, values: dict[str, Any]) -> str:
    texts = {
        name: "" if value is None else value for name, value in values.items()
    }  # a null is an empty text, not "None"
    return str(part.format_map(texts) if "{" in part else texts[part]).strip()


def _has_text(task: Task, row: Row) -> bool:
    """Whether every text has a word. Only a hub's rows may be left out, because the user cannot correct those."""
    for part in task.text:
        if not _render(part, row.values):
            if isinstance(task.source, HubSource):
                return False
            raise UserError(f"{row.where}: the text in '{part}' is empty; fill it or remove the row")
    return True


def _choices(task: Task, row: Row) -> list[str]:
    texts = (
        row.values[task.choices]
        if isinstance(task.choices, str)
        else [_render(part, row.values) for part in task.choices or ()]
    )
    if (
        not isinstance(texts, list)
        or not 2 <= len(texts) <= task.outputs
        or not all(str(choice).strip() for choice in texts)
    ):
        raise UserError(
            f"{row.where}: choices {texts!r}; a row of '{task.name}' needs a list of 2 to {task.outputs} texts, none empty"
        )
    return [str(choice).strip() for choice in texts]
