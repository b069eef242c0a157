"""A task embedding, and what makes one: named arrays and all that decided them, in one safetensors file.

    embedding   = embedder.embed(task, data, base)              arrays by name, and their provenance
    score       = embedder.similarity(source's, target's)       larger is nearer

One method is one file in `tasksel/embedders`: a frozen dataclass of settings with `arrays` and `similarity`; the rest is `Embedder`'s.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.storage.atomic import PARTIAL, value_hash
from tasksel.tasks.load import Data
from tasksel.tasks.task import Task

Needs = Literal["data", "adapter"]  # rows alone, or also a trained adapter
Inputs = Literal["own", "target"]  # whose rows a source is embedded from


@dataclass(frozen=True)
class TaskEmbedding:
    """What a task looks like to a method, on one base model.

    Attributes:
        arrays: by name.
        provenance: what made them: task, fingerprints of data, base and adapter, method, key, settings, seed, version, seconds; and what else the
            method records (numbers of bits, steps).

    >>> embedding = TaskEmbedding({"vector": np.ones(3)}, {"task": "rte", "method": "text", "base": "minilm", "seconds": 0.5})
    >>> embedding
    TaskEmbedding(rte by text on minilm, 24 bytes, 0.5 s)
    """

    arrays: dict[str, np.ndarray]
    provenance: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def save(self, path: Path) -> None:
        """Writes the embedding as one safetensors file, atomically; its provenance is the JSON of the metadata "made"."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{path.name}-{os.getpid()}")
        partial.write_bytes(save(self.arrays, metadata={"made": json.dumps(self.provenance)}))
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
                provenance = json.loads((file.metadata() or {})["made"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                return cls(arrays, provenance)
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise UserError(
                f"{path}: not a whole task embedding ({type(error).__name__}); give a file that tasksel embed wrote, or embed again"
            ) from error

    def __repr__(self) -> str:
        what = "{task} by {method} on {base}".format(**self.provenance)
        return f"TaskEmbedding({what}, {self.nbytes} bytes, {self.provenance['seconds']:.1f} s)"


@dataclass(frozen=True)
class TaskInput:
    """What an embedder is shown of a task.

    Attributes:
        task, data: the task and its rows; an embedder reads, or trains on, `data.train`, never `data.test`.
        base: the frozen base model.
        seed: of every draw.
        adapter: the task's trained adapter, where the embedder needs one; `trained` is the same, never None.
        recorded: what the method adds to the embedding's provenance; see `record`.
    """

    task: Task
    data: Data
    base: Base
    seed: int = 0
    adapter: AdapterCheckpoint | None = None
    recorded: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def trained(self) -> AdapterCheckpoint:
        """The trained adapter.

        Raises:
            ValueError: the embedder does not declare that it needs one.
        """
        if self.adapter is None:
            raise ValueError('an embedder is shown a trained adapter only where it declares needs = "adapter"')
        return self.adapter

    def record(self, **values: Any) -> None:
        """Adds what JSON can say to the embedding's provenance: `shown.record(steps=25)`."""
        self.recorded.update(values)


@dataclass(frozen=True)
class Embedder(ABC):
    """A method that embeds tasks: a frozen dataclass whose fields are its settings.

    To write one, give it a `name`, `arrays` and `similarity`, and declare what differs from the defaults. `tasksel.testing.check_embedder` has a
    whole one as its example, and checks it.

    Attributes:
        name: of the method.
        needs: "data" for a method that works from rows alone; "adapter" for one that is shown each task's trained adapter as well.
        similarity_settings: settings that change `similarity` alone: embeddings that differ in nothing else are the same, and stored once.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs] = "data"
    similarity_settings: ClassVar[tuple[str, ...]] = ()

    @property
    def inputs(self) -> Inputs:
        """Whose rows a source is embedded from: its "own", or the "target"'s, with the source's model. A class attribute or a setting."""
        return "own"

    @property
    def key(self) -> str:
        """Method and settings as one word: what is stored under it was made by just these."""
        settings = self.key_settings()
        return f"{self.name}-{value_hash(settings)[:8]}" if settings else self.name

    def key_settings(self) -> dict[str, Any]:
        """The settings that decide the arrays."""
        return {name: value for name, value in asdict(self).items() if name not in self.similarity_settings}

    @abstractmethod
    def arrays(self, shown: TaskInput) -> dict[str, np.ndarray]:
        """The embedding's arrays by name, from the training rows (and the trained adapter); deterministic by `shown.seed`."""

    @abstractmethod
    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """How near a source's embedding `a` lies to a target's, `b`; larger is nearer. Begins with `must_match(a, b)`."""

    def similarities(self, sources: Sequence[TaskEmbedding], target: TaskEmbedding) -> list[float]:
        """One similarity per source; by default each on its own. Override it where they depend on each other, as fused ranks do."""
        return [self.similarity(source, target) for source in sources]

    @final
    def embed(
        self, task: Task, data: Data, base: Base, *, seed: int = 0, trained: AdapterCheckpoint | None = None
    ) -> TaskEmbedding:
        """The embedding of a task, with its provenance.

        Args:
            data: the task's rows; the test rows are not looked at.
            seed: of every draw.
            trained: the task's trained adapter, for a method that needs one.

        Raises:
            UserError: no trained adapter where one is needed, and whatever the method refuses.

        Example (needs the packaged MiniLM):
            task = ts.get_task("sentiment_films")
            embedding = ts.get_embedder("text").embed(task, ts.load(task), ts.load_base("minilm"))
        """
        if self.needs == "adapter" and trained is None:
            raise UserError(f"{self.name} works from a trained adapter, and none of '{task.name}' is given (trained=…)")
        shown = TaskInput(task, data, base, seed, trained if self.needs == "adapter" else None)
        begun = time.perf_counter()
        arrays = self.arrays(shown)
        return self._embedding(arrays, shown, seconds=time.perf_counter() - begun)

    def _embedding(self, arrays: dict[str, np.ndarray], shown: TaskInput, *, seconds: float) -> TaskEmbedding:
        """Arrays with all that made them."""
        provenance = {
            "task": shown.task.name,
            "data": shown.data.fingerprint,
            "base": shown.base.name,
            "base_fingerprint": shown.base.fingerprint,
            "method": self.name,
            "key": self.key,
            "settings": asdict(self),
            "seed": shown.seed,
            "adapter": shown.adapter.fingerprint if shown.adapter else None,
            "version": version("scalearn"),
            "seconds": seconds,
        }
        return TaskEmbedding(arrays, provenance | shown.recorded)


def must_match(a: TaskEmbedding, b: TaskEmbedding) -> None:
    """Refuses to compare what was not made alike.

    Raises:
        UserError: embeddings of different bases, settings, lengths (`bits`, where a method records them) or arrays.
    """
    for what in ("base_fingerprint", "bits", "key"):
        if a.provenance.get(what) != b.provenance.get(what):
            raise _unlike(a, b, what, a.provenance.get(what), b.provenance.get(what))
    if a.arrays.keys() != b.arrays.keys():
        raise _unlike(a, b, "their arrays", ", ".join(sorted(a.arrays)), ", ".join(sorted(b.arrays)))


def _unlike(a: TaskEmbedding, b: TaskEmbedding, what: str, first: object, second: object) -> UserError:
    names = f"'{a.provenance['task']}' and '{b.provenance['task']}'"
    return UserError(f"the embeddings of {names} differ in {what} ({first}, {second}): embed both alike")
