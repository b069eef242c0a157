"""The card of a source: its base, task, rows, recipe, scores, versions, and a hash of every file."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from tasksel.bounds import check_name
from tasksel.errors import UserError
from tasksel.model.pooling import Pooling
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_record
from tasksel.tasks.task import Task
from tasksel.training.recipe import Recipe

FILE = "card.json"


class Card(Frozen):
    """One source's card.

    Attributes:
        adapter: the adapter's name inside its files. base: name and fingerprint of the model it was trained on.
        name, key: the entry's name when it was stored, and a hash of all that decided its weights. files: sha256 by file name.
        data: fingerprint of the rows. rows: the cap that they were drawn under, by `seed`.
        epoch: of the checkpoint that was kept. seconds, steps: of training.
        peak_memory: bytes, the most held while training (`tasksel.training.memory`).
        parameters: trainable parameters of the "transfer" (the adapter) and of the "head".
        pooling: what its head reads of a text's tokens; None without a head, and in a card of version 0.1 (`Source.pooling`).
    """

    adapter: str
    base: dict[str, str]
    task: Task | None = None
    data: str | None = None
    rows: int | None = None
    seed: int = 0
    name: str
    key: str
    recipe: Recipe | None = None
    scores: dict[str, Score] = Field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    epoch: int | None = None
    peak_memory: int | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    pooling: Pooling | None = None
    origin: str = "trained here"
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]


def read_card(path: Path) -> Card:
    """A source's card.

    Raises:
        UserError: no such file, broken JSON, wrong fields, or a file that was altered.
    """
    return read_record(path, Card, "a source's card")


def entry_name(name: str) -> str:
    """The name, if it can name an entry.

    Raises:
        UserError: a name that is no plain folder name.
    """
    if not re.fullmatch(r"[\w+-][\w.+-]*", name):
        plain = re.sub(r"[^\w+-]+", "_", name).strip("_-") or "mine"
        raise UserError(
            f"{name!r} cannot name a pool entry: use letters, digits, '_', '-', '+' and '.' only (--name {plain})"
        )
    return check_name(name, "source")
