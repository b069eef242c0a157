"""Parses a task's rows: whole into memory, or some thousands at a time into files of the cache.

Both give the same splits. Where a row is bad, the rows are read whole, since an error counts and shows all that are bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from tasksel.errors import UserError
from tasksel.tasks.draws import held_out_rows
from tasksel.tasks.examples import Split, say_left_out, split_of, to_split
from tasksel.tasks.files import Row
from tasksel.tasks.labels import are_multi_hot
from tasksel.tasks.row_cache import open_split, write_splits
from tasksel.tasks.row_sources import FileSource
from tasksel.tasks.splits import all_hidden, count_twins, labelled, say_hidden, scored_rows
from tasksel.tasks.task import Task

ROWS = 4_096  # that are in memory at a time
Reader = Callable[[], Iterator[Row]]


def parse(task: Task, readers: Mapping[str, Reader]) -> dict[str, Split]:
    """Every split in memory.

    Raises:
        UserError: see `tasksel.tasks.load.load_data`.
    """
    rows = {split: list(read()) for split, read in readers.items()}
    if isinstance(task.source, FileSource):
        rows = {
            split: placed if split == "train" else scored_rows(task, split, placed) for split, placed in rows.items()
        }
    hot = are_multi_hot(task, chain.from_iterable(rows.values()))
    return {split: to_split(task, placed, multi_hot=hot) for split, placed in rows.items()}


def parse_into(folder: Path, task: Task, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Writes every split into `folder`, as `<split>.arrow`; returns what a card says of them.

    Raises:
        UserError: see `tasksel.tasks.load.load_data`.
        UnicodeEncodeError, OSError: see `write_splits`.
    """
    try:
        hot = are_multi_hot(task, chain.from_iterable(_scored(task, split, read) for split, read in readers.items()))
        splits = {split: _stream(folder, task, split, read, hot) for split, read in readers.items()}
    except UserError:
        parsed = parse(task, readers)  # which says what is bad, and else gives the rows
        splits = {
            name: {"rows": write_splits(_file(folder, name), _pieces(split)), "hidden": 0, "left_out": 0}
            for name, split in parsed.items()
        }
    twins, scored = _twins(folder, splits) if isinstance(task.source, FileSource) else (0, 0)
    return {"splits": splits, "twins": twins, "scored": scored}


def say_of(task: Task, card: Mapping[str, Any]) -> None:
    """Says which rows were left out when a card's rows were parsed."""
    for name, split in card["splits"].items():
        say_left_out(task, split["left_out"], split["rows"])
        say_hidden(task, name, split["hidden"], split["hidden"] + split["rows"])


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.arrow"


def _scored(task: Task, split: str, read: Reader) -> Iterator[Row]:
    """The rows of a split that have a label, where its labels may be lists of 0 and 1; else none, as nobody needs to look at them."""
    if not isinstance(task.label, str) or not (task.among or task.kind == "multi_label"):
        return
    for rows in _by_thousands(read):
        yield from rows if split == "train" or not isinstance(task.source, FileSource) else labelled(task, rows)


def _by_thousands(read: Reader) -> Iterator[list[Row]]:
    rows = read()
    while some := list(islice(rows, ROWS)):
        yield some


def _stream(folder: Path, task: Task, split: str, read: Reader, hot: bool) -> dict[str, int]:
    """Writes a split as its rows are read."""
    counts = {"hidden": 0, "left_out": 0}
    with_hidden = split != "train" and isinstance(task.source, FileSource)
    hidden_labels = task.kind == "regression" and with_hidden

    def pieces() -> Iterator[Split]:
        nonlocal hidden_labels
        for rows in _by_thousands(read):
            kept = labelled(task, rows) if with_hidden else rows
            counts["hidden"] += len(rows) - len(kept)
            piece, left_out = split_of(task, kept, multi_hot=hot)
            counts["left_out"] += left_out
            hidden_labels = hidden_labels and all_hidden(task, np.unique(piece.labels).tolist())
            yield piece

    count = write_splits(_file(folder, split), pieces())
    if not count or hidden_labels:
        raise UserError(f"no {split} row of '{task.name}' has a label")
    return {"rows": count, **counts}


def _pieces(split: Split) -> Iterator[Split]:
    return (split.take(range(start, min(start + ROWS, len(split)))) for start in range(0, len(split), ROWS))


def _twins(folder: Path, splits: Mapping[str, Any]) -> tuple[int, int]:
    """How many texts that are scored stand in train too, and how many are scored."""
    if "train" not in splits:
        return 0, 0
    train = open_split(_file(folder, "train"))
    if "validation" in splits:
        scored = open_split(_file(folder, "validation"))
    else:
        learned, test = held_out_rows(train.labels)
        train, scored = train.take(learned), train.take(test)
    return count_twins(train, scored), len(scored)
