"""A task embedding: named arrays, and all that made them, in one safetensors file.

An `Embedder` turns a task on a base into a `TaskEmbedding`. One method is one file in `tasksel/embedders`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tasksel.adapters.checkpoint import Trained
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.storage.atomic import PARTIAL
from tasksel.tasks.load import Data
from tasksel.tasks.task import Task

Needs = Literal["data", "adapter"]


@dataclass(frozen=True)
class TaskEmbedding:
    """Arrays by name with `made`: task, data and base fingerprints, method, settings, seed, version, seconds."""

    arrays: dict[str, np.ndarray]
    made: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def save(self, path: Path) -> None:
        """Writes the embedding as one safetensors file, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{path.name}-{os.getpid()}")
        partial.write_bytes(save(self.arrays, metadata={"made": json.dumps(self.made)}))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> TaskEmbedding:
        """Reads an embedding.

        Raises:
            UserError: no such file, or one that is cut short or not an embedding.
        """
        if not path.is_file():
            raise UserError(f"no file {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                made = json.loads((file.metadata() or {})["made"])
                return cls({name: file.get_tensor(name) for name in file.keys()}, made)  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path}: not a whole task embedding ({type(error).__name__}); give a file that tasksel embed wrote, or embed again"
            ) from error

    def __repr__(self) -> str:
        return f"TaskEmbedding({self.made['task']} by {self.made['method']} on {self.made['base']}, {self.nbytes} bytes, {self.made['seconds']:.1f} s)"


def adapter_of(embedder: Embedder, task: Task, trained: Trained | None) -> Trained:
    """The adapter that an embedder was given.

    Raises:
        UserError: none.
    """
    if trained is None:
        raise UserError(f"{embedder.name} works from a trained adapter, and none of '{task.name}' is given (trained=…)")
    return trained


def made_of(
    embedder: Embedder, task: Task, data: Data, base: Base, *, settings: dict[str, Any], seed: int, seconds: float,
    trained: Trained | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """What an embedding says of itself; `more` is the method's own."""
    made: dict[str, Any] = {
        "task": task.name,
        "data": data.fingerprint,
        "base": base.name,
        "base_fingerprint": base.fingerprint,
    }
    made |= {"method": embedder.name, "key": embedder.key, "settings": settings, "seed": seed}
    made |= {"adapter": trained.fingerprint if trained else None, "version": version("scalearn"), "seconds": seconds}
    return {**made, **more}


def must_match(a: TaskEmbedding, b: TaskEmbedding) -> None:
    """Refuses to compare what was not made alike.

    Raises:
        UserError: embeddings of different bases, settings, lengths (`bits`, where a method tells them) or arrays.
    """
    for what in ("base_fingerprint", "bits", "key"):
        if a.made.get(what) != b.made.get(what):
            raise _unlike(a, b, what, a.made.get(what), b.made.get(what))
    if a.arrays.keys() != b.arrays.keys():
        raise _unlike(a, b, "their arrays", ", ".join(sorted(a.arrays)), ", ".join(sorted(b.arrays)))


def _unlike(a: TaskEmbedding, b: TaskEmbedding, what: str, mine: object, theirs: object) -> UserError:
    return UserError(
        f"the embeddings of '{a.made['task']}' and '{b.made['task']}' differ in {what} ({mine}, {theirs}): embed both alike"
    )


class Embedder(Protocol):
    """A method that embeds tasks. Its settings are its attributes; `key` names method and settings together.

    `needs` is "data" for a method that works from rows alone, "adapter" for one that is given the task's trained adapter.
    """

    @property
    def name(self) -> str:
        """The method."""

    @property
    def key(self) -> str:
        """Method and settings as one word: what is stored under it was made by just these."""

    @property
    def needs(self) -> Needs:
        """What it works from."""

    def embed(
        self, task: Task, data: Data, base: Base, *, seed: int = 0, trained: Trained | None = None
    ) -> TaskEmbedding:
        """The embedding of a task, from its training rows; `trained` is given where the method needs it."""

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """How near a source's embedding `a` lies to a target's, `b`; larger is nearer."""


class PoolEmbedder(Embedder, Protocol):
    """An embedder whose scores of sources depend on each other (ranks of components that are fused, say)."""

    def similarities(self, sources: Sequence[TaskEmbedding], target: TaskEmbedding) -> list[float]:
        """A score a source; larger is nearer."""
