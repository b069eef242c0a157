"""A task embedding (named arrays and their provenance, one safetensors file) and the base class of embedders.

    embedding   = embedder.embed(task, data, base)              arrays by name, and their provenance
    score       = embedder.similarity(source's, target's)       larger is more similar

One method is one file in `tasksel/embeddings`: a frozen dataclass of settings with `arrays` and `similarity`; the rest is `Embedder`'s.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.bounds import check_fields
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.compatibility import check_length
from tasksel.storage.atomic import value_hash, write_bytes
from tasksel.storage.hashed import FORMAT, HASH
from tasksel.storage.user_path import user_path
from tasksel.tasks.load import Data
from tasksel.tasks.task import Task
from tasksel.training.checkpoints import Checkpoints

Needs = Literal["data", "adapter"]  # rows alone, or also a trained adapter
Inputs = Literal["own", "target"]  # whose rows a source is embedded from
NAMED = {"task", "method", "base", "seconds"}  # of the provenance, what every embedding has


@dataclass(frozen=True)
class TaskEmbedding:
    """One task as a method represents it on one base model: what similarities are computed from.

    Attributes:
        arrays: by name.
        provenance: task, fingerprints of data, base and adapter, method, key, settings, seed, version, seconds; and what else the
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
        """Writes the embedding as one safetensors file, atomically; its metadata are the provenance as JSON ("made"), a format and a hash."""
        metadata = {"made": json.dumps(self.provenance), "format": str(FORMAT)}
        write_bytes(user_path(path), save(self.arrays, metadata={**metadata, HASH: _hash(metadata, self.arrays)}))

    @classmethod
    def load(cls, path: Path) -> TaskEmbedding:
        """Reads an embedding.

        Raises:
            UserError: no such file, or one that is cut short, altered or not an embedding.
        """
        path = user_path(path)
        if not path.is_file():
            raise UserError(f"no file {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            provenance = json.loads(metadata["made"])
            if not provenance.keys() >= NAMED:
                raise KeyError(*sorted(NAMED - provenance.keys()))
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: not a whole task embedding ({type(error).__name__}); give a file that tasksel embed wrote, or embed again"
            ) from error
        stored = metadata.pop(HASH, None)
        of_version_0_1 = stored is None and metadata.keys() == {"made"}
        if not of_version_0_1 and stored != _hash(metadata, arrays):
            raise UserError(f"{path} is cut short or altered: embed that task again")
        return cls(arrays, provenance)

    def __repr__(self) -> str:
        what = "{task} by {method} on {base}".format(**self.provenance)
        return f"TaskEmbedding({what}, {self.nbytes} bytes, {self.provenance['seconds']:.1f} s)"


@dataclass(frozen=True)
class TaskInput:
    """What an embedder reads of a task.

    Attributes:
        task, data: the task and its rows; an embedder reads, or trains on, `data.train`, never `data.test`.
        base: the frozen base model.
        seed: of every draw.
        adapter: the task's trained adapter, where the embedder needs one; `trained` is the same, never None.
        recorded: what the method adds to the embedding's provenance; see `record`.
        checkpoints: for `fit`, if the method trains: what it goes on from where it is killed.
    """

    task: Task
    data: Data
    base: Base
    seed: int = 0
    adapter: AdapterCheckpoint | None = None
    recorded: dict[str, Any] = field(default_factory=dict, compare=False)
    checkpoints: Checkpoints | None = field(default=None, compare=False)

    @property
    def trained(self) -> AdapterCheckpoint:
        """The trained adapter.

        Raises:
            ValueError: the embedder does not declare that it needs one.
        """
        if self.adapter is None:
            raise ValueError('an embedder is given a trained adapter only where it declares needs = "adapter"')
        return self.adapter

    def record(self, **values: Any) -> None:
        """Adds what JSON can say to the embedding's provenance: `task_input.record(steps=25)`."""
        self.recorded.update(values)


@dataclass(frozen=True)
class Embedder(ABC):
    """A method that embeds tasks: a frozen dataclass whose fields are its settings.

    To write one, give it a `name`, `arrays` and `similarity`, and declare what differs from the defaults. `tasksel.testing.check_embedder`
    tests it, and has a longer example.

    Attributes:
        name: of the method.
        version: of its behaviour; who changes the numbers that `arrays` or the similarity gives raises it, and stored ones count no more.
        needs: "data" for a method that reads rows alone; "adapter" for one that reads each task's trained adapter as well.
        needs_head: whether it runs the adapter's head too; a source without one is left out of a ranking.
        similarity_settings: settings that change `similarity` alone: embeddings that differ in nothing else are the same, and stored once.

    >>> @dataclass(frozen=True)
    ... class RowCount(Embedder):
    ...     name = "row-count"
    ...
    ...     def arrays(self, task_input):
    ...         return {"rows": np.array([len(task_input.data.train)])}
    ...
    ...     def similarity(self, a, b):
    ...         must_match(a, b)
    ...         return -float(abs(a.arrays["rows"] - b.arrays["rows"])[0])
    >>> RowCount().key
    'row-count'
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = "data"
    needs_head: ClassVar[bool] = False
    similarity_settings: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuses a setting outside the range of its type (`tasksel.bounds`); one of your own begins with `super().__post_init__()`."""
        check_fields(self.name, self)

    @property
    def inputs(self) -> Inputs:
        """Whose rows a source is embedded from: its "own", or the "target"'s, with the source's model. A class attribute or a setting."""
        return "own"

    @property
    def key(self) -> str:
        """Method, settings and, from 2 on, version as one word, under which embeddings are stored."""
        settings = self.key_settings() | ({"version": self.version} if self.version > 1 else {})
        return f"{self.name}-{value_hash(settings)[:8]}" if settings else self.name

    def key_settings(self) -> dict[str, Any]:
        """The settings that decide the arrays."""
        return {name: value for name, value in asdict(self).items() if name not in self.similarity_settings}

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses a base on which it cannot embed these tasks, before any work; by default one that cannot take its `max_length`, if it has one.

        Raises:
            UserError: with what is allowed.
        """
        if hasattr(self, "max_length"):
            check_length(base, tasks, self.max_length, setting=f"max_length of '{self.name}'")

    def check_adapters(self, adapters: Mapping[str, AdapterCheckpoint]) -> None:  # noqa: B027 (most embedders take any)
        """Refuses adapters that it cannot compare with each other, before any work; by default none. Called where it needs adapters.

        Args:
            adapters: by source.

        Raises:
            UserError: which two, and why.
        """

    @abstractmethod
    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """The embedding's arrays by name, from the training rows (and the trained adapter); deterministic by `task_input.seed`."""

    @abstractmethod
    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The similarity of a source's embedding `a` to a target's, `b`; larger is more similar. Begins with `must_match(a, b)`."""

    def similarities(self, sources: Sequence[TaskEmbedding], target: TaskEmbedding) -> list[float]:
        """One similarity per source; by default each on its own. Override it where they depend on each other, as fused ranks do."""
        return [self.similarity(source, target) for source in sources]

    @final
    def embed(
        self,
        task: Task,
        data: Data,
        base: Base,
        *,
        seed: int = 0,
        trained: AdapterCheckpoint | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> TaskEmbedding:
        """The embedding of a task, with its provenance.

        Args:
            data: the task's rows; the test rows are not read.
            seed: of every draw.
            trained: the task's trained adapter, for a method that needs one.
            checkpoints: what a method that trains goes on from if it is killed (`tasksel.training.checkpoints`).

        Raises:
            UserError: no trained adapter where one is needed, and whatever the method refuses.

        >>> import tasksel as ts
        >>> task = ts.get_task("sentiment_films")  # doctest: +SKIP
        >>> ts.get_embedder("text").embed(task, ts.load_data(task), ts.load_base("minilm"))  # doctest: +SKIP
        """
        if self.needs == "adapter" and trained is None:
            raise UserError(f"{self.name} works from a trained adapter, and none of '{task.name}' is given (trained=…)")
        self.check_base(base, [task])
        adapter = trained if self.needs == "adapter" else None
        task_input = TaskInput(task, data, base, seed, adapter, checkpoints=checkpoints)
        start = time.perf_counter()
        arrays = self.arrays(task_input)
        return self._embedding(arrays, task_input, seconds=time.perf_counter() - start)

    def _embedding(self, arrays: dict[str, np.ndarray], task_input: TaskInput, *, seconds: float) -> TaskEmbedding:
        """The arrays with their provenance."""
        provenance = {
            "task": task_input.task.name,
            "data": task_input.data.fingerprint,
            "base": task_input.base.name,
            "base_fingerprint": task_input.base.fingerprint,
            "method": self.name,
            "key": self.key,
            "settings": asdict(self),
            "seed": task_input.seed,
            "adapter": task_input.adapter.fingerprint if task_input.adapter else None,
            "version": version("scalearn"),
            "seconds": seconds,
        }
        return TaskEmbedding(arrays, provenance | task_input.recorded)


def _hash(metadata: Mapping[str, str], arrays: dict[str, np.ndarray]) -> str:
    """16 hex digits of all else that an embedding's file holds: its metadata, and each array's name, type, shape and bytes."""
    described = [
        [name, str(array.dtype), list(array.shape), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]
        for name, array in sorted(arrays.items())
    ]
    return value_hash([metadata, described])


def must_match(a: TaskEmbedding, b: TaskEmbedding) -> None:
    """Refuses to compare embeddings of different bases, settings or lengths.

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
