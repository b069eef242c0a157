"""A task as selectors see it: its rows on a base, and, computed when first asked for, its embedding and adapter."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.train import train_adapter
from tasksel.display.progress import say
from tasksel.embeddings.base import Embedder, TaskEmbedding
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.processes import main_writes
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.task import Task


class Candidate(Protocol):
    """What can be ranked: a named task with a draw of its rows, and a folder for what is computed of it.

    A pool's `Source` is one, and so is `TaskCandidate`.
    """

    @property
    def name(self) -> str: ...
    @property
    def task(self) -> Task | None: ...
    @property
    def rows(self) -> int | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def data(self) -> str | None:
        """The fingerprint of those rows, where it is known."""

    @property
    def folder(self) -> Path | None: ...
    @property
    def trained(self) -> AdapterCheckpoint | None:
        """Its trained adapter; None where there is none yet."""


class TaskOnBase:
    """A candidate on a base model: what selectors read of a target or a source.

    Rows, adapter and embeddings are loaded or computed when first asked for; adapter and embeddings are kept in the candidate's folder,
    where it has one.
    """

    def __init__(self, candidate: Candidate, base: Base) -> None:
        self.candidate, self.base = candidate, base
        self._unkept: dict[Path | None, TaskEmbedding] = {}

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def seed(self) -> int:
        """The seed that drew its rows."""
        return self.candidate.seed

    @property
    def folder(self) -> Path | None:
        """Where what is computed of it is kept."""
        return self.candidate.folder

    @property
    def task(self) -> Task:
        """Its task.

        Raises:
            UserError: an adapter that was added without its task.
        """
        if self.candidate.task is None:
            raise UserError(
                f"source '{self.name}' has no task data, so it cannot be compared by what its rows need: "
                "add it again with its task (scalearn pool add … --task)"
            )
        return self.candidate.task

    @cached_property
    def data(self) -> Data:
        """Its rows."""
        return load_data(self.task, rows=self.candidate.rows, seed=self.seed)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of its rows, without loading them where it is known."""
        return self.candidate.data or self.data.fingerprint

    @cached_property
    def trained(self) -> AdapterCheckpoint:
        """Its trained adapter and head; trained on its rows where there is none.

        Raises:
            UserError: there is none, and no folder to keep one in.
        """
        if self.candidate.trained is not None:
            return self.candidate.trained
        if self.folder is None:
            raise UserError(f"'{self.name}' has no trained adapter, and no folder to keep one in: give cache_dir")
        return train_adapter(self.task, self.data, self.base, self.folder / "trained", seed=self.seed)

    def embedding(self, embedder: Embedder, *, target: TaskOnBase | None = None) -> TaskEmbedding:
        """Its embedding: read where one of the same rows, base, adapter, settings and version is stored; computed (and stored) otherwise.

        Args:
            target: the target of a ranking, whose rows are embedded instead of its own where the embedder declares it (`Embedder.inputs`).
        """
        rows_of = target if target is not None and embedder.inputs == "target" else self
        trained = self.trained if embedder.needs == "adapter" else None
        path = None
        if self.folder:
            path = self.folder / "embeddings" / f"{embedder.key}-seed{self.seed}-{rows_of.fingerprint}.safetensors"
        if path and path.is_file():
            stored = TaskEmbedding.load(path)
            computed_from = [stored.provenance.get(what) for what in ("base_fingerprint", "adapter", "version")]
            if computed_from == [self.base.fingerprint, trained and trained.fingerprint, version("scalearn")]:
                return stored
        if path in self._unkept:
            return self._unkept[path]
        embedding = embedder.embed(rows_of.task, rows_of.data, self.base, seed=self.seed, trained=trained)
        if path:
            main_writes(_keep, embedding, path)
            if not os.access(path.parent, os.W_OK):
                self._unkept[path] = embedding
        return embedding


def _keep(embedding: TaskEmbedding, path: Path) -> None:
    """Stores an embedding, unless its place cannot be written (a pool that others share)."""
    try:
        embedding.save(path)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        _say_once(f"{path.parent.parent.parent} cannot be written: what is computed of its sources is not kept")


@lru_cache
def _say_once(message: str) -> None:
    say(message)


@dataclass(frozen=True)
class TaskCandidate:
    """A task as a candidate, whether or not an adapter has been trained on it.

    Attributes:
        task: it. rows: training rows drawn; None takes all. seed: of that draw, and of what is trained and embedded.
        data: the fingerprint of the rows, where it is known. folder: keeps adapter and embeddings. trained: its adapter, if there is one.
    """

    task: Task
    rows: int | None = None
    seed: int = 0
    data: str | None = None
    folder: Path | None = None
    trained: AdapterCheckpoint | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name
