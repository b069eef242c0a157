"""From a task to rows, splits, token ids and batches.

    rows -> Split (texts, labels) -> train | dev | test -> Encoded (token ids) -> batches of like length

`dev` is a seeded, stratified tenth of train, for choosing checkpoints; `test` is the public validation set and is only ever scored.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tasksel.builtin import builtin_rows
from tasksel.errors import UserError
from tasksel.files import Row, need_columns, read_rows, template_columns
from tasksel.hub import hub_rows
from tasksel.progress import say
from tasksel.storage import value_hash
from tasksel.task import Draw, FileSource, HubSource, Task

DEV_SHARE = 0.1  # the authors' share (methods: ScaLearn)
CLASSES = ("single_sentence_classification", "pair_classification")
HELD_OUT = 0.2  # ours: the test share of a file that comes without a validation file


@dataclass(frozen=True)
class Split:
    """Rows of a task: one or two texts each, the choices where there are any, and `labels` [rows] or [rows, labels]."""

    texts: list[tuple[str, ...]]
    choices: list[list[str]] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> Split:
        """The rows at `indices`, in that order."""
        choices = [self.choices[i] for i in indices] if self.choices is not None else None
        return Split([self.texts[i] for i in indices], choices, self.labels[list(indices)])


@dataclass(frozen=True)
class Data:
    """A task's rows, split for training."""

    train: Split
    dev: Split
    test: Split
    more: dict[str, Split] = field(default_factory=dict)  # other splits that are scored too (MNLI's mismatched)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of every row of every split: what was trained on, wherever it lay."""
        parts = (self.train, self.dev, self.test, *self.more.values())
        return value_hash([[split.texts, split.choices, split.labels.tolist()] for split in parts])


def load(task: Task, *, rows: int | None = None, seed: int = 0) -> Data:
    """A task's splits; `rows` caps train and dev together by a seeded, stratified draw, unless the task's own draw says how many shots.

    Raises:
        UserError: a missing column, an empty text, a label outside the label set (each with its place), a train split of one class,
            fewer shots than classes or more than rows.
    """
    splits = read_splits(task)
    if "train" not in splits:
        raise UserError(f"task '{task.name}' has no train split, only {', '.join(splits) or 'test'}; name one")
    train = splits["train"]
    if "validation" in splits:
        test = splits["validation"]
    else:  # always the same rows, whatever the seed: a test set must not move
        held = set(stratified(train.labels, max(1, round(HELD_OUT * len(train))), seed=0))
        test, train = train.take(sorted(held)), train.take([i for i in range(len(train)) if i not in held])
    test = _scored(test, task.draw)
    drawn_by = seed if task.draw.seed is None else task.draw.seed
    if task.draw.shots is not None:
        learnt, chosen = _few(task, train, task.draw.shots, seed=drawn_by)
    else:
        train = _capped(task, train, rows, seed=drawn_by)
        chosen = stratified(train.labels, max(1, round(DEV_SHARE * len(train))), seed=drawn_by)
        held = set(chosen)
        learnt, chosen = [i for i in range(len(train)) if i not in held], sorted(chosen)
    _need_classes(task, train.labels[learnt] if task.draw.shots else train.labels)
    more = {
        name: _scored(split, task.draw) for name, split in splits.items() if name not in ("train", "validation", "test")
    }
    return Data(train.take(learnt), train.take(chosen), test, more)


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


def _scored(test: Split, draw: Draw) -> Split:
    """The rows that are scored: whatever the seed, the same ones."""
    if draw.test_rows is None or draw.test_rows >= len(test):
        return test
    if draw.test_rows < 1:
        raise UserError(f"test_rows is {draw.test_rows}; give 1 or more")
    return test.take(sorted(stratified(test.labels, draw.test_rows, seed=0)))


def _few(task: Task, train: Split, shots: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Indices of exactly `shots` rows to learn from, each class among them, and of others to choose the checkpoint by.

    That every class has a row is ours: the shares of a plain draw would leave rare classes out of so few rows.

    Raises:
        UserError: fewer rows than classes, or more than there are.
    """
    classes = len(task.labels) if task.kind in CLASSES else 1
    if shots < classes:
        raise UserError(
            f"{shots} rows for '{task.name}', which has {classes} classes: give at least one row a class, {classes} or more"
        )
    if shots >= len(train):
        raise UserError(
            f"{shots} rows of '{task.name}', which has {len(train)} training rows: give at most {len(train) - 1} "
            "(one must be left to choose the checkpoint by), or take the full data"
        )
    first = _one_each(train.labels, seed=seed) if task.kind in CLASSES else []
    rest = _others(len(train), first)
    first += [rest[i] for i in stratified(train.labels[rest], shots - len(first), seed=seed)]
    rest = _others(len(train), first)
    dev = min(len(rest), task.draw.dev or shots)
    return first, [rest[i] for i in stratified(train.labels[rest], dev, seed=seed)]


def _one_each(labels: np.ndarray, *, seed: int) -> list[int]:
    """The index of a seeded row of each class that there is."""
    rng = np.random.default_rng(seed)
    return [int(rng.choice(np.flatnonzero(labels == label))) for label in np.unique(labels)]


def _others(count: int, taken: list[int]) -> list[int]:
    return sorted(set(range(count)) - set(taken))


def read_splits(task: Task) -> dict[str, Split]:
    """Every split that the task's source names, unshuffled and whole.

    Raises:
        UserError: see `load`.
    """
    if isinstance(task.source, HubSource):  # asked once a process: every stage loads the task anew
        return _hub_splits(task.model_dump_json())
    if isinstance(task.source, FileSource):
        found = {split: read_rows(Path(path)) for split, path in task.source.files.items() if split != "test"}
    else:
        found = _placed(task, builtin_rows(task.name, task.source.seed))
    return {split: to_split(task, rows) for split, rows in found.items()}


@lru_cache(maxsize=8)
def _hub_splits(told: str) -> dict[str, Split]:
    task = Task.model_validate_json(told)
    assert isinstance(task.source, HubSource)
    rows = hub_rows(task.source, name=task.name, label=task.label, labels=task.labels)
    return {split: to_split(task, placed) for split, placed in _placed(task, rows).items() if split != "test"}


def _placed(task: Task, loaded: dict[str, list[dict[str, Any]]]) -> dict[str, list[Row]]:
    """Rows that stand in no file, with the place that a complaint names."""
    return {
        split: [Row(values, f"{task.name}/{split}:{n}") for n, values in enumerate(rows, 1)]
        for split, rows in loaded.items()
    }


def to_split(task: Task, rows: list[Row], *, labelled: bool = True) -> Split:
    """Rows as texts and labels; without labels (`labelled=False`) the labels are zeros.

    Raises:
        UserError: see `load`.
    """
    parts = (*task.text, *((task.choices,) if isinstance(task.choices, str) else task.choices or ()))
    if task.explode:
        rows = _explode(rows, task.explode, task.label)
    need_columns(rows, [*template_columns(parts), *([task.label] if labelled else [])])
    kept = [row for row in rows if _has_text(task, row)]
    if len(kept) < len(rows):
        say(f"{task.name}: left out {len(rows) - len(kept)} of {len(rows)} hub rows, which have an empty text")
    texts = [tuple(_render(part, row.values) for part in task.text) for row in kept]
    choices = [_choices(task, row) for row in kept] if task.choices is not None else None
    labels = (
        [_label(task, row, choices[i] if choices else None) for i, row in enumerate(kept)]
        if labelled
        else [0] * len(kept)
    )
    return Split(
        texts, choices, np.array(labels, dtype=np.float32 if task.kind in ("regression", "multi_label") else np.int64)
    )


def _explode(rows: list[Row], column: str, label: str) -> list[Row]:
    """One row an item of the list in `column`; its label is 1 where the item is among the row's answers (ReCoRD)."""
    need_columns(rows, [column, label])
    return [
        Row({**row.values, column: item, label: int(item in row.values[label])}, row.where)
        for row in rows
        for item in row.values[column]
    ]


def _render(part: str, values: dict[str, Any]) -> str:
    known = {name: "" if value is None else value for name, value in values.items()}  # a null is no text, not "None"
    return str(part.format_map(known) if "{" in part else known[part]).strip()


def _has_text(task: Task, row: Row) -> bool:
    """Whether every text has a word. Only a hub's rows may be left out: nobody here can mend those."""
    for part in task.text:
        if not _render(part, row.values):
            if isinstance(task.source, HubSource):
                return False
            raise UserError(f"{row.where}: the text in '{part}' is empty; fill it or take the row out")
    return True


def _choices(task: Task, row: Row) -> list[str]:
    found = (
        row.values[task.choices]
        if isinstance(task.choices, str)
        else [_render(part, row.values) for part in task.choices or ()]
    )
    if (
        not isinstance(found, list)
        or not 2 <= len(found) <= task.outputs
        or not all(str(choice).strip() for choice in found)
    ):
        raise UserError(
            f"{row.where}: choices {found!r}; a row of '{task.name}' needs a list of 2 to {task.outputs} texts, none empty"
        )
    return [str(choice).strip() for choice in found]


def _label(task: Task, row: Row, choices: list[str] | None) -> int | float | list[int]:
    given = row.values[task.label]
    if task.kind == "regression":
        try:
            number = float(given)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"{row.where}: label {given!r} is not a finite number; task '{task.name}' is regression")
        return number
    if task.kind == "multi_label":
        return _multi_hot(task, row, given)
    if task.among:
        parent = task.model_copy(update={"labels": task.among})
        return _multi_hot(parent, row, given)[task.among.index(task.labels[1])]
    if choices is not None:
        if not str(given).isdecimal() or int(given) >= len(choices):
            raise UserError(
                f"{row.where}: label {given!r} is not the index of one of the row's {len(choices)} choices (0 to {len(choices) - 1})"
            )
        return int(given)
    return _class_index(task, row, given)


def _class_index(task: Task, row: Row, given: Any) -> int:
    """A label name's index; where names are themselves numbers ("1" to "5" stars) a number is a name, otherwise an index."""
    name = str(given).strip()
    if name in task.labels:
        return task.labels.index(name)
    numbers_are_names = all(label.lstrip("-").isdecimal() for label in task.labels)
    if not numbers_are_names and isinstance(given, bool | int) and 0 <= int(given) < len(task.labels):
        return int(given)
    if not numbers_are_names and name.isdecimal() and int(name) < len(task.labels):
        return int(name)
    allowed = ", ".join(task.labels[:12]) + (", …" if len(task.labels) > 12 else "")
    raise UserError(
        f"{row.where}: label {given!r} is not in the label set of '{task.name}': {allowed}"
        + ("" if numbers_are_names else f" (or 0 to {len(task.labels) - 1})")
    )


def _multi_hot(task: Task, row: Row, given: Any) -> list[int]:
    items = given if isinstance(given, list) else [part.strip() for part in str(given).split("|") if part.strip()]
    if len(items) == len(task.labels) and all(item in (0, 1) for item in items):
        return [int(item) for item in items]
    indices = {_class_index(task, row, item) for item in items}
    return [int(i in indices) for i in range(len(task.labels))]


def stratified(labels: np.ndarray, count: int, *, seed: int) -> list[int]:
    """`count` seeded indices that keep the label shares: systematic sampling over rows sorted by label, shuffled within one.

    The same rule serves classes, multi-hot rows and numbers (which it spreads over their range). Ours.
    """
    draw = random.Random(seed)
    keys = [tuple(label) if labels.ndim == 2 else label for label in labels.tolist()]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], draw.random()))
    start = draw.random()
    picked = [order[int((start + i) * len(order) / count)] for i in range(count)]
    draw.shuffle(picked)
    return picked


@dataclass(frozen=True)
class Encoded:
    """Token ids of a split. A row is one sequence, or one a choice.

    ids, types   [rows][sequences][tokens]; `types` (segments of a pair) where the tokenizer has them
    """

    ids: list[list[list[int]]]
    types: list[list[list[int]]] | None
    labels: np.ndarray
    pad_id: int
    width: int  # sequences a row has room for: 1, or the task's num_choices

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row's longest sequence."""
        return [max(map(len, row)) for row in self.ids]

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Padded tensors: input_ids, attention_mask (and token_type_ids) [rows * width, tokens], labels, choice_mask [rows, width]."""
        rows = [self.ids[i] for i in indices]
        filled = [row + [row[0][:1]] * (self.width - len(row)) for row in rows]  # a missing choice is one masked token
        ids = [torch.tensor(sequence) for row in filled for sequence in row]
        out = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad_sequence([torch.ones_like(sequence) for sequence in ids], batch_first=True),
            "labels": torch.from_numpy(self.labels[list(indices)]),
        }
        if self.types is not None:
            types = [self.types[i] + [[0]] * (self.width - len(self.types[i])) for i in indices]
            out["token_type_ids"] = pad_sequence(
                [torch.tensor(sequence) for row in types for sequence in row], batch_first=True
            )
        if self.width > 1:
            out["choice_mask"] = torch.tensor([[i < len(row) for i in range(self.width)] for row in rows])
        return out


def encode(split: Split, tokenizer: Any, *, max_length: int, width: int = 1) -> Encoded:
    """A split's token ids, cut to `max_length` tokens (the longer text of a pair first)."""
    if split.choices is None:
        firsts, seconds = (
            [texts[0] for texts in split.texts],
            [texts[1] for texts in split.texts] if len(split.texts[0]) == 2 else None,
        )
        counts = [1] * len(split)
    else:
        firsts = [" ".join(texts) for texts, choices in zip(split.texts, split.choices, strict=True) for _ in choices]
        seconds = [choice for choices in split.choices for choice in choices]
        counts = [len(choices) for choices in split.choices]
    tokens = tokenizer(firsts, seconds, truncation=True, max_length=max_length, return_attention_mask=False)

    def by_row(flat: list[list[int]]) -> list[list[list[int]]]:
        ends = np.cumsum(counts)
        return [flat[end - count : end] for end, count in zip(ends, counts, strict=True)]

    types = by_row(tokens["token_type_ids"]) if "token_type_ids" in tokens else None
    return Encoded(by_row(tokens["input_ids"]), types, split.labels, tokenizer.pad_token_id, width)


def length_batches(lengths: Sequence[int], size: int, *, seed: int) -> list[list[int]]:
    """Shuffled batches of rows of like length: rows are shuffled, sorted within chunks of 16 batches, cut, and the batches shuffled."""
    draw = random.Random(seed)
    order = list(range(len(lengths)))
    draw.shuffle(order)
    chunks = [sorted(order[i : i + 16 * size], key=lambda row: lengths[row]) for i in range(0, len(order), 16 * size)]
    batches = [chunk[i : i + size] for chunk in chunks for i in range(0, len(chunk), size)]
    draw.shuffle(batches)
    return batches
