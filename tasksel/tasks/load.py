"""From a task to the rows that are trained on and scored.

    rows -> Split (texts, labels) -> train | dev | test        `tasksel.model.encoding` makes token ids of them

`dev` is a seeded, stratified tenth of train, for choosing checkpoints; `test` is the public validation set and is only ever scored.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tasksel.bounds import check_seed
from tasksel.errors import UserError
from tasksel.storage.atomic import value_hash
from tasksel.tasks.builtin import builtin_rows
from tasksel.tasks.data_files import expand
from tasksel.tasks.examples import Split, to_split
from tasksel.tasks.files import Row, read_rows
from tasksel.tasks.hub import hub_rows
from tasksel.tasks.infer import CLASSES
from tasksel.tasks.labels import are_multi_hot
from tasksel.tasks.splits import keep_each_class, say_lost_classes, say_twins, scored_rows
from tasksel.tasks.task import FileSource, HubSource, Subsample, Task

DEV_SHARE = 0.1  # ScaLearn's code
HELD_OUT = 0.2  # ours: the test share of a file that comes without a validation file


@dataclass(frozen=True)
class Data:
    """A task's rows, split for training.

    Attributes:
        train: rows to learn from.
        dev: rows to choose the checkpoint by.
        test: the public validation set, only ever scored.
        more: other splits that are scored too, by name (MNLI's mismatched).

    >>> from tasksel.tasks.registry import get_task
    >>> data = load_data(get_task("sentiment_films"), rows=100)
    >>> len(data.train), len(data.dev), len(data.test)
    (90, 10, 200)
    """

    train: Split
    dev: Split
    test: Split
    more: dict[str, Split] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of every row of every split, wherever the rows are read from."""
        parts = (self.train, self.dev, self.test, *self.more.values())
        return value_hash([[split.texts, split.choices, split.labels.tolist()] for split in parts])


def load_data(task: Task, *, rows: int | None = None, seed: int = 0) -> Data:
    """A task's splits.

    Args:
        rows: at most so many rows for train and dev together, by a seeded, stratified draw; a task with `draw.shots` ignores it.
        seed: of that draw, and of the dev rows.

    Raises:
        UserError: a missing column, an empty text, a label outside the label set (each with its place), a train split of one class,
            fewer shots than classes or more than rows.

    >>> from tasksel.tasks.registry import get_task
    >>> load_data(get_task("entail_travel"), rows=50, seed=1).train.texts[0][0].endswith(".")
    True
    """
    check_seed(seed)
    splits = read_splits(task)
    if "train" not in splits:
        raise UserError(f"task '{task.name}' has no train split, only {', '.join(splits) or 'test'}; name one")
    train = splits["train"]
    if "validation" in splits:
        test = splits["validation"]
    else:  # always the same rows, whatever the seed: a test set must not move
        held_out = keep_each_class(train.labels, stratified(train.labels, max(1, round(HELD_OUT * len(train))), seed=0))
        test, train = train.take(sorted(held_out)), train.take(_others(len(train), held_out))
    say_twins(task, train, test, held_out="validation" not in splits)
    test = _scored(test, task.draw)
    draw_seed = seed if task.draw.seed is None else task.draw.seed
    if task.draw.shots is not None:
        kept, dev = _few_shot(task, train, task.draw.shots, seed=draw_seed)
    else:
        train = _capped(task, train, rows, seed=draw_seed)
        dev = stratified(train.labels, max(1, round(DEV_SHARE * len(train))), seed=draw_seed)
        dev = sorted(keep_each_class(train.labels, dev) if task.kind in CLASSES else dev)
        kept = _others(len(train), dev)
    _need_classes(task, train.labels[kept] if task.draw.shots else train.labels)
    say_lost_classes(task, train.take(kept))
    more = {
        name: _scored(split, task.draw) for name, split in splits.items() if name not in ("train", "validation", "test")
    }
    return Data(train.take(kept), train.take(dev), test, more)


def _capped(task: Task, train: Split, rows: int | None, *, seed: int) -> Split:
    """At most so many rows, by a stratified draw."""
    if rows is not None:
        if rows < 2:
            raise UserError(
                f"rows={rows}: a task needs at least 2 rows, one to learn from and one to choose the checkpoint by"
            )
        train = train.take(stratified(train.labels, min(rows, len(train)), seed=seed))
    if len(train) < 2:
        raise UserError(
            f"task '{task.name}': {len(train)} training row; at least 2 are needed, one of them to choose the checkpoint by"
        )
    return train


def _need_classes(task: Task, labels: np.ndarray) -> None:
    """Refuses rows of one class, where there are several rows."""
    one_class = len(labels) > 1 and len(np.unique(labels)) < 2
    if one_class and (task.kind in CLASSES or task.kind == "multiple_choice"):
        raise UserError(
            f"task '{task.name}': every one of the {len(labels)} training rows has the same label; there is nothing to learn"
        )


def _scored(test: Split, draw: Subsample) -> Split:
    """The rows that are scored: whatever the seed, the same ones."""
    if draw.test_rows is None or draw.test_rows >= len(test):
        return test
    if draw.test_rows < 1:
        raise UserError(f"test_rows is {draw.test_rows}; give 1 or more")
    return test.take(sorted(stratified(test.labels, draw.test_rows, seed=0)))


def _few_shot(task: Task, train: Split, shots: int, *, seed: int) -> tuple[list[int], list[int]]:
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
    if shots >= len(train):
        raise UserError(
            f"{shots} rows of '{task.name}', which has {len(train)} training rows: give at most {len(train) - 1} "
            "(one must be left to choose the checkpoint by), or take the full data"
        )
    chosen = _one_per_class(train.labels, seed=seed) if task.kind in CLASSES else []
    rest = _others(len(train), chosen)
    chosen += [rest[i] for i in stratified(train.labels[rest], shots - len(chosen), seed=seed)]
    rest = _others(len(train), chosen)
    dev = min(len(rest), task.draw.dev or shots)
    return chosen, [rest[i] for i in stratified(train.labels[rest], dev, seed=seed)]


def _one_per_class(labels: np.ndarray, *, seed: int) -> list[int]:
    """The index of a seeded row of each class in the labels."""
    rng = np.random.default_rng(seed)
    return [int(rng.choice(np.flatnonzero(labels == label))) for label in np.unique(labels)]


def _others(count: int, taken: list[int]) -> list[int]:
    """The indices below `count` that are not taken, in order."""
    return sorted(set(range(count)) - set(taken))


def read_splits(task: Task) -> dict[str, Split]:
    """Every split that the task's source names, unshuffled and whole.

    Raises:
        UserError: see `load_data`.
    """
    if isinstance(task.source, HubSource):  # read once per process, because every stage loads the task
        return _hub_splits(task.model_dump_json())
    if isinstance(task.source, FileSource):
        files = [file for split, path in task.source.files.items() if split != "test" for file in expand(path)]
        return _file_splits(task.model_dump_json(), tuple(map(_stamp, files)))
    return _splits(task, _placed(task, builtin_rows(task.name, task.source.seed)))


def _stamp(file: Path) -> tuple[str, int, int, int]:
    """What changes when a file does: its place, inode, time and size."""
    stat = file.stat()
    return str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2)  # the files of a target, which several stages read in turn; more would keep large data in memory
def _file_splits(task_json: str, stamps: tuple[tuple[str, int, int, int], ...]) -> dict[str, Split]:
    task = Task.model_validate_json(task_json)
    assert isinstance(task.source, FileSource)
    options = {"separator": task.source.separator, "encoding": task.source.encoding}
    rows = {split: read_rows(path, **options) for split, path in task.source.files.items() if split != "test"}
    return _splits(
        task,
        {split: placed if split == "train" else scored_rows(task, split, placed) for split, placed in rows.items()},
    )


def _splits(task: Task, rows: dict[str, list[Row]]) -> dict[str, Split]:
    hot = are_multi_hot(task, [row for placed in rows.values() for row in placed])
    return {split: to_split(task, placed, multi_hot=hot) for split, placed in rows.items()}


@lru_cache(maxsize=8)
def _hub_splits(task_json: str) -> dict[str, Split]:
    task = Task.model_validate_json(task_json)
    assert isinstance(task.source, HubSource)
    label = task.label if isinstance(task.label, str) else None
    rows = hub_rows(task.source, name=task.name, label=label, labels=task.labels)
    return {split: to_split(task, placed) for split, placed in _placed(task, rows).items() if split != "test"}


def _placed(task: Task, loaded: dict[str, list[dict[str, Any]]]) -> dict[str, list[Row]]:
    """Rows that are not in a file, each with the place that an error message names."""
    return {
        split: [Row(values, f"{task.name}/{split}:{n}") for n, values in enumerate(rows, 1)]
        for split, rows in loaded.items()
    }


def stratified(labels: np.ndarray, count: int, *, seed: int) -> list[int]:
    """`count` seeded indices that keep the label shares: systematic sampling over rows sorted by label, shuffled within one.

    The same rule serves classes, multi-hot rows and numbers (which it spreads over their range). Ours.

    >>> sorted(stratified(np.array([0] * 8 + [1] * 4), 3, seed=0))  # two of class 0, one of class 1
    [1, 7, 11]
    """
    draw = random.Random(seed)
    keys = [tuple(label) if labels.ndim == 2 else label for label in labels.tolist()]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], draw.random()))
    start = draw.random()
    picked = [order[int((start + i) * len(order) / count)] for i in range(count)]
    draw.shuffle(picked)
    return picked
