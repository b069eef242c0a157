"""A task embedding: named arrays, and all that made them, in one safetensors file.

An `Embedder` turns a task on a base into a `TaskEmbedding`. One method is one file in `tasksel/embedders`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tasksel.data import Data
from tasksel.encoder import Base
from tasksel.errors import UserError
from tasksel.storage import PARTIAL
from tasksel.task import Task


@dataclass(frozen=True)
class TaskEmbedding:
    """Arrays by name with `made`: task, data and base fingerprints, method, settings, seed, seconds."""

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
        try:
            with safe_open(path, framework="numpy") as file:
                made = json.loads((file.metadata() or {})["made"])
                return cls({name: file.get_tensor(name) for name in file.keys()}, made)  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path}: not a whole task embedding ({type(error).__name__}); delete it and embed again"
            ) from error

    def __repr__(self) -> str:
        return f"TaskEmbedding({self.made['task']} by {self.made['method']} on {self.made['base']}, {self.nbytes} bytes, {self.made['seconds']:.1f} s)"


class Embedder(Protocol):
    """A method that embeds tasks. Its settings are its attributes; `key` names method and settings together."""

    @property
    def name(self) -> str:
        """The method."""

    @property
    def key(self) -> str:
        """Method and settings as one word: what is stored under it was made by just these."""

    def embed(self, task: Task, data: Data, base: Base, *, seed: int = 0) -> TaskEmbedding:
        """The embedding of a task, from its training rows."""

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """How near two embeddings of this method are; larger is nearer."""
