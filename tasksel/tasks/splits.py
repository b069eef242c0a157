"""What a split may hold: a rare class stays in train, rows without a label are not scored, texts that stand in two splits are said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.tasks.examples import Split
from tasksel.tasks.files import Row, need_columns
from tasksel.tasks.kinds import CLASSES
from tasksel.tasks.label_values import HIDDEN, as_number
from tasksel.tasks.labels import is_placeholder
from tasksel.tasks.row_sources import FileSource

if TYPE_CHECKING:
    from tasksel.tasks.task import Task


_compared: set[str] = set()  # tasks whose texts have been: a task is loaded anew for every seed and stage

COMPARED = 100_000  # characters of a text: more are never tokenized by default


@cache
def _say_once(message: str, task: str) -> None:
    """Says a line about a task (its fingerprint): its rows are loaded anew for every seed and stage."""
    say(message)


def keep_each_class(labels: np.ndarray, taken: Sequence[int]) -> list[int]:
    """The rows to take out of train, less one of each class that would have none left there; at least one row stays taken.

    Args:
        labels: class indices [rows], or multi-hot [rows, labels]; numbers are left as they are. taken: indices.

    >>> keep_each_class(np.array([0, 0, 0, 0, 1]), [4, 1])
    [1]
    """
    if labels.ndim == 1 and not np.issubdtype(labels.dtype, np.integer):
        return list(taken)
    if labels.ndim == 1 and len(taken):
        counts = np.bincount(labels)
        if np.all((counts - np.bincount(labels[list(taken)], minlength=len(counts)))[labels[list(taken)]] > 0):
            return list(taken)  # as nearly always: no class is rare
    hot = labels if labels.ndim == 2 else np.eye(int(labels.max()) + 1, dtype=np.int8)[labels]
    left = hot.sum(0) - hot[list(taken)].sum(0)
    kept: list[int] = []
    for index in taken:
        if np.any((hot[index] > 0) & (left <= 0)):
            left = left + hot[index]
        else:
            kept.append(index)
    if kept:
        return kept
    spare = [i for i in range(len(labels)) if i not in taken and np.all(hot.sum(0)[hot[i] > 0] > 1)]
    return spare[:1] or list(taken)


def say_lost_classes(task: Task, train: Split) -> None:
    """Says which classes have no training row: they cannot be learned, and what is scored may hold them."""
    if task.kind in CLASSES:
        present = set(np.unique(train.labels).tolist())
        lost = [name for index, name in enumerate(task.labels) if index not in present]
    elif task.kind == "multi_label":
        lost = [name for name, count in zip(task.labels, train.labels.sum(0).tolist(), strict=True) if not count]
    else:
        return
    if lost:
        names = ", ".join(f"'{name}'" for name in lost[:8]) + (", …" if len(lost) > 8 else "")
        _say_once(
            f"{task.name}: no training row of {len(lost)} of {len(task.labels)} labels: {names}", task.fingerprint
        )


def say_twins(task: Task, twins: int, scored: int, *, held_out: bool) -> None:
    """Says, once, how many of the texts that are scored stand in train too, for a user's own files."""
    if task.fingerprint in _compared:
        return
    _compared.add(task.fingerprint)
    if twins:
        what = "held-out" if held_out else "validation"
        say(f"{task.name}: {twins} of {scored} {what} texts stand in train too")


def is_compared(task: Task) -> bool:
    """Whether a task's texts need no comparison: it is not of a user's own files, or its twins have been said."""
    return not isinstance(task.source, FileSource) or task.fingerprint in _compared


def count_twins(train: Split, test: Split) -> int:
    """How many of the texts that are scored stand in train too, but for case and the length of spaces."""
    known, keys = np.sort(_keys(train)), _keys(test)
    if not len(known):
        return 0
    places = np.searchsorted(known, keys)
    return int((known[np.minimum(places, len(known) - 1)] == keys).sum())


def _keys(split: Split) -> np.ndarray:
    """What is compared of each row: a 64-bit hash of its texts and choices, without case and the length of spaces."""
    rows = zip(split.texts, split.choices or repeat([]), strict=False)
    plain = (
        tuple(" ".join(text[:COMPARED].split()).casefold() for text in (*texts, *options)) for texts, options in rows
    )
    return np.fromiter(map(hash, plain), np.int64, count=len(split))


def scored_rows(task: Task, split: str, rows: list[Row]) -> list[Row]:
    """The rows of a split that are scored; those whose label is hidden (empty, `?`, -1) are left out, which is said.

    Raises:
        UserError: a missing label column; no row of a validation split has a label.
    """
    kept = labelled(task, rows)
    if all_hidden(task, [as_number(row.values[str(task.label)]) for row in kept] if task.kind == "regression" else []):
        kept = []
    if not kept:
        raise UserError(
            f"{rows[0].where}: no {split} row has a label of '{task.name}' (given {rows[0].values[task.label_columns[0]]!r}): "
            "give rows with labels, or leave the validation file out"
        )
    say_hidden(task, split, len(rows) - len(kept), len(rows))
    return kept


def labelled(task: Task, rows: list[Row]) -> list[Row]:
    """The rows whose label is not hidden.

    Raises:
        UserError: a missing label column.
    """
    need_columns(rows, task.label_columns)
    return [row for row in rows if not is_placeholder(task, row)]


def all_hidden(task: Task, labels: Sequence[float | None]) -> bool:
    """Whether the labels of a regression say -1 throughout, which stands for a hidden label."""
    return task.kind == "regression" and all(label == HIDDEN for label in labels)


def say_hidden(task: Task, split: str, hidden: int, rows: int) -> None:
    """Says how many rows of a split have no label, if any have none."""
    if hidden:
        _say_once(f"{task.name}: {hidden} of {rows} {split} rows have no label: not scored", task.fingerprint)
