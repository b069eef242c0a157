"""Draws rows by their labels alone: which ones are learned from, choose the checkpoint, and are scored.

    train rows  ->  held-out fifth, where there is no validation file     always the same one
                ->  the rest, or `rows` or `shots` of it  ->  train | dev

A draw is row numbers, so that it can be kept beside the rows (`tasksel.tasks.row_cache`), and of a million rows takes no more than they do.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tasksel.errors import UserError
from tasksel.tasks.kinds import CLASSES
from tasksel.tasks.splits import keep_each_class

if TYPE_CHECKING:
    from tasksel.tasks.task import Subsample, Task

DEV_SHARE = 0.1  # ScaLearn's code
HELD_OUT = 0.2  # ours: the test share of a file that comes without a validation file


@dataclass(frozen=True)
class Draw:
    """Row numbers by part: of the split "train", and of the validation split where there is one; None stands for a whole split."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray | None
    more: dict[str, np.ndarray | None] = field(default_factory=dict)


def held_out_rows(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a file without a validation file that are learned from, and those that are scored: the same ones whatever the seed.

    >>> [rows.tolist() for rows in held_out_rows(np.array([0, 1] * 4))]
    [[0, 1, 2, 3, 5, 6], [4, 7]]
    """
    test = sorted(keep_each_class(labels, stratified(labels, max(1, round(HELD_OUT * len(labels))), seed=0)))
    return others(len(labels), test), np.array(test, dtype=np.int64)


def draw_rows(task: Task, labels: Mapping[str, np.ndarray], *, rows: int | None, seed: int) -> Draw:
    """The rows of a task's draw.

    Args:
        labels: of every split. rows, seed: as in `tasksel.tasks.load.load_data`.

    Raises:
        UserError: too few rows for the draw; one class among those that are learned from.
    """
    train, numbers = labels["train"], np.arange(len(labels["train"]))
    test: np.ndarray | None = None
    if "validation" not in labels:
        numbers, test = held_out_rows(train)
    scored = _scored(labels["validation"] if test is None else train[test], task.draw)
    if scored is not None and test is not None:
        scored = test[scored]
    seed = seed if task.draw.seed is None else task.draw.seed
    if task.draw.shots is not None:
        kept, dev = map(np.array, _few_shot(task, train[numbers], task.draw.shots, seed=seed))
        _need_classes(task, train[numbers][kept])
    else:
        numbers = numbers[_capped(task, train[numbers], rows, seed=seed)]
        kept, dev = _with_dev(task, train[numbers], seed=seed)
        _need_classes(task, train[numbers])
    others_scored = {
        name: _scored(split, task.draw) for name, split in labels.items() if name not in ("train", "validation", "test")
    }
    return Draw(numbers[kept], numbers[dev], test if scored is None else scored, others_scored)


def _with_dev(task: Task, labels: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are learned from, and a tenth to choose the checkpoint by."""
    dev = stratified(labels, max(1, round(DEV_SHARE * len(labels))), seed=seed)
    dev = sorted(keep_each_class(labels, dev) if task.kind in CLASSES else dev)
    return others(len(labels), dev), np.array(dev)


def _capped(task: Task, labels: np.ndarray, rows: int | None, *, seed: int) -> np.ndarray | list[int]:
    """At most so many rows, by a stratified draw."""
    if rows is not None and rows < 2:
        raise UserError(
            f"rows={rows}: a task needs at least 2 rows, one to learn from and one to choose the checkpoint by"
        )
    chosen = np.arange(len(labels)) if rows is None else stratified(labels, min(rows, len(labels)), seed=seed)
    if len(chosen) < 2:
        raise UserError(
            f"task '{task.name}': {len(chosen)} training row; at least 2 are needed, one of them to choose the checkpoint by"
        )
    return chosen


def _need_classes(task: Task, labels: np.ndarray) -> None:
    """Refuses rows of one class, where there are several rows."""
    one_class = len(labels) > 1 and len(np.unique(labels)) < 2
    if one_class and (task.kind in CLASSES or task.kind == "multiple_choice"):
        raise UserError(
            f"task '{task.name}': every one of the {len(labels)} training rows has the same label; there is nothing to learn"
        )


def _scored(labels: np.ndarray, draw: Subsample) -> np.ndarray | None:
    """The rows that are scored, whatever the seed the same ones; None for all."""
    if draw.test_rows is None or draw.test_rows >= len(labels):
        return None
    if draw.test_rows < 1:
        raise UserError(f"test_rows is {draw.test_rows}; give 1 or more")
    return np.array(sorted(stratified(labels, draw.test_rows, seed=0)), dtype=np.int64)


def _few_shot(task: Task, labels: np.ndarray, shots: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Indices of exactly `shots` rows to learn from, each class among them, and of others to choose the checkpoint by.

    Ours: every class has a row. A plain stratified draw would leave rare classes out of so few rows.

    Raises:
        UserError: fewer rows than classes, or more than there are.
    """
    classes = len(task.labels) if task.kind in CLASSES else 1
    if shots < classes:
        raise UserError(
            f"{shots} rows for '{task.name}', which has {classes} classes: give at least one row per class, {classes} or more"
        )
    if shots >= len(labels):
        raise UserError(
            f"{shots} rows of '{task.name}', which has {len(labels)} training rows: give at most {len(labels) - 1} "
            "(one must be left to choose the checkpoint by), or take the full data"
        )
    chosen = _one_per_class(labels, seed=seed) if task.kind in CLASSES else []
    rest = others(len(labels), chosen)
    chosen += [int(rest[i]) for i in stratified(labels[rest], shots - len(chosen), seed=seed)]
    rest = others(len(labels), chosen)
    dev = min(len(rest), task.draw.dev or shots)
    return chosen, [int(rest[i]) for i in stratified(labels[rest], dev, seed=seed)]


def _one_per_class(labels: np.ndarray, *, seed: int) -> list[int]:
    """The index of a seeded row of each class in the labels."""
    rng = np.random.default_rng(seed)
    return [int(rng.choice(np.flatnonzero(labels == label))) for label in np.unique(labels)]


def others(count: int, taken: Sequence[int]) -> np.ndarray:
    """The indices below `count` that are not taken, in order."""
    left = np.ones(count, dtype=bool)
    left[np.asarray(taken, dtype=np.int64)] = False
    return np.flatnonzero(left)


def stratified(labels: np.ndarray, count: int, *, seed: int) -> list[int]:
    """`count` seeded indices that keep the label shares: systematic sampling over rows sorted by label, shuffled within one.

    The same rule serves classes, multi-hot rows and numbers (which it spreads over their range). Ours.

    >>> sorted(stratified(np.array([0] * 8 + [1] * 4), 3, seed=0))  # two of class 0, one of class 1
    [1, 7, 11]
    """
    draw = random.Random(seed)
    shuffled = np.array([draw.random() for _ in range(len(labels))])
    order = np.lexsort((shuffled, _ranks(labels)))
    start = draw.random()
    places = ((start + np.arange(count)) * len(order) / count).astype(np.int64)
    picked: list[int] = order[places].tolist()
    draw.shuffle(picked)
    return picked


def _ranks(labels: np.ndarray) -> np.ndarray:
    """Numbers in the order of the labels: of texts and multi-hot rows their place among the different ones."""
    if labels.ndim == 1 and labels.dtype != object:
        return labels
    return np.unique(labels, axis=0 if labels.ndim == 2 else None, return_inverse=True)[1].ravel()
