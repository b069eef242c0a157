"""A task as selectors see it: its rows on a base, and, computed when first asked for, its embedding and adapter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.train import train_adapter
from tasksel.display.progress import say
from tasksel.embeddings.base import Embedder, TaskEmbedding
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.lora_config import LoraConfig
from tasksel.processes import main_writes
from tasksel.storage.atomic import value_hash
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.stored_rows import cache_root
from tasksel.tasks.task import Task
from tasksel.training.checkpoints import resumable


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
    where it has one. Embeddings of a candidate whose folder may not be written to, as in a shared pool, are kept in `cache_dir`, by default
    in `embeddings` below SCALEARN_CACHE (`~/.cache/scalearn`). Where it has no adapter yet, one is trained: a LoRA of the configuration `lora`, so that
    it can be compared with LoRAs, or a bottleneck.
    """

    def __init__(
        self, candidate: Candidate, base: Base, *, cache_dir: Path | None = None, lora: LoraConfig | None = None
    ) -> None:
        self.candidate, self.base, self._cache_dir, self._lora = candidate, base, cache_dir, lora

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

    @property
    def has_head(self) -> bool:
        """Whether its adapter has a head; one that is still to be trained will have one."""
        return self.candidate.trained is None or self.candidate.trained.has_head

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
        return train_adapter(self.task, self.data, self.base, self.folder / "trained", seed=self.seed, lora=self._lora)

    def embedding(self, embedder: Embedder, *, target: TaskOnBase | None = None) -> TaskEmbedding:
        """Its embedding: read where one of the same rows, base, adapter, settings and version is stored; computed (and stored) otherwise.

        Args:
            target: the target of a ranking, whose rows are embedded instead of its own where the embedder declares it (`Embedder.inputs`).
        """
        rows_of = target if target is not None and embedder.inputs == "target" else self
        trained = self.trained if embedder.needs == "adapter" else None
        file = f"{embedder.key}-seed{self.seed}-{rows_of.fingerprint}.safetensors"
        paths = [folder / file for folder in self.kept_in("embeddings")]
        for path in filter(Path.is_file, paths):
            stored = TaskEmbedding.load(path)
            computed_from = [stored.provenance.get(what) for what in ("base_fingerprint", "adapter", "version")]
            if computed_from == [self.base.fingerprint, trained and trained.fingerprint, version("scalearn")]:
                return stored
        key = value_hash([file, self.base.fingerprint, trained and trained.fingerprint, version("scalearn")])
        with resumable(paths[-1] if paths else None, key) as checkpoints:
            options: dict[str, Any] = {"seed": self.seed, "trained": trained, "checkpoints": checkpoints}
            embedding = embedder.embed(rows_of.task, rows_of.data, self.base, **options)
            if paths:
                main_writes(embedding.save, paths[-1])
        return embedding

    def kept_in(self, name: str) -> list[Path]:
        """The folders of that name where what is computed of it is read, and, the last of them, kept; none where it has no folder."""
        if self.folder is None:
            return []
        own = self.folder / name
        if is_writable(own):
            return [own]
        elsewhere = self._cache_dir or cache_root() / "embeddings"
        say_read_only(self.folder.parent, elsewhere)
        return [own, elsewhere / f"{self.name}-{value_hash(str(self.folder.resolve()))}" / name]


def is_writable(folder: Path) -> bool:
    """Whether files can be written into a folder, or it can be made.

    >>> is_writable(Path("embeddings"))  # doctest: +SKIP
    True
    """
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return os.access(there, os.W_OK | os.X_OK)


@cache
def say_read_only(folder: Path, elsewhere: Path) -> None:
    """Says once where what is computed goes instead of a folder that may not be written to.

    >>> say_read_only(Path("/shared/pool"), Path("embeddings"))  # doctest: +SKIP
    """
    say(f"{folder} may not be written to: what is computed of its sources is kept in {elsewhere}")


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
