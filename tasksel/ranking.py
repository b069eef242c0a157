"""A ranking of sources for a target: names in order, their scores, and what made them.

`rank` embeds the target and each source (or reads what is already stored beside it) and sorts by similarity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tasksel.data import Data, load
from tasksel.embedders import get_embedder
from tasksel.embedding import Embedder, TaskEmbedding
from tasksel.encoder import Base, load_base
from tasksel.errors import UserError
from tasksel.progress import bar, is_main
from tasksel.task import Task
from tasksel.training import accelerator


class Candidate(Protocol):
    """What can be ranked: a named task with the rows that were drawn from it, and a folder for what is computed of it."""

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


@dataclass(frozen=True)
class TaskCandidate:
    """A bare task as a candidate: nothing of it needs to have been trained."""

    task: Task
    rows: int | None = None
    seed: int = 0
    data: str | None = None
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


@dataclass(frozen=True)
class Ranking:
    """Sources in order, best first.

    >>> Ranking("rte", ("mnli", "cola"), (0.71, 0.62)).top(1)
    ['mnli']
    """

    target: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    made: dict[str, Any] = field(default_factory=dict)

    def top(self, k: int) -> list[str]:
        """The k best names.

        Raises:
            UserError: k is below 1 or larger than the ranking.
        """
        if not 1 <= k <= len(self.names):
            raise UserError(
                f"top k={k}, but {len(self.names)} sources are ranked for '{self.target}': choose 1 to {len(self.names)}"
            )
        return list(self.names[:k])

    def __getitem__(self, part: slice) -> Ranking:
        return Ranking(self.target, self.names[part], self.scores[part], self.made)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return iter(zip(self.names, self.scores, strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        width = max([len("source"), *map(len, self.names)])
        head = f"sources for {self.target}" + (f" by {self.made['by']}" if "by" in self.made else "")
        rows = [
            f"{place:>4}  {name:<{width}}  {score:.4f}"
            for place, (name, score) in enumerate(zip(self.names, self.scores, strict=True), 1)
        ]
        return "\n".join([head, f"rank  {'source':<{width}}  similarity", *rows])

    __repr__ = __str__


def rank(
    target: Task,
    sources: Iterable[Candidate | Task],
    *,
    by: str | Embedder = "connectivity",
    base: str | Base | None = None,
    rows: int | None = None,
    seed: int = 0,
    own: bool = False,
    store: Path | None = None,
) -> Ranking:
    """Ranks sources by how near their embeddings lie to the target's.

    Args:
        sources: a pool, or any tasks (for which nothing has to be trained).
        by: an embedder or its name.
        base: the base model; by default the pool's own.
        rows, seed: the draw of the target's training rows (and of bare tasks'), and the seed of the embedding.
        own: keep a source of the target's own name.
        store: a folder for the target's embedding, so that it is not made twice.

    Raises:
        UserError: no sources, a source without task data, an unknown embedder.
    """
    embedder = get_embedder(by) if isinstance(by, str) else by
    named: str | Base = base if base is not None else getattr(sources, "base", "minilm")
    model = load_base(named) if isinstance(named, str) else named
    candidates = [TaskCandidate(source, rows, seed) if isinstance(source, Task) else source for source in sources]
    candidates = [source for source in candidates if own or source.name != target.name]
    if not candidates:
        raise UserError(
            f"no sources to rank for '{target.name}'" + ("" if own else " (a source of its own name does not count)")
        )
    mine = embedding_of(TaskCandidate(target, rows, seed, folder=store and store / target.name), embedder, model)
    with bar("embed sources", len(candidates)) as advance:
        near = []
        for source in candidates:
            near.append(embedder.similarity(mine, embedding_of(source, embedder, model)))
            advance(source.name)
    order = sorted(range(len(near)), key=lambda i: (-near[i], candidates[i].name))
    made = {
        "by": embedder.name,
        "key": embedder.key,
        "base": model.name,
        "base_fingerprint": model.fingerprint,
        "rows": rows,
        "seed": seed,
    }
    made["seconds"] = mine.made["seconds"]
    return Ranking(target.name, tuple(candidates[i].name for i in order), tuple(near[i] for i in order), made)


def embedding_of(source: Candidate, embedder: Embedder, base: Base) -> TaskEmbedding:
    """A candidate's embedding: read from its folder if it was made from the same rows, base and settings; made (and stored) otherwise."""
    if source.task is None:
        raise UserError(
            f"source '{source.name}' has no task data, so '{embedder.name}' cannot embed it: add it again with its task (scalearn pool add … --task)"
        )
    data: Data | None = None
    fingerprint = source.data
    if fingerprint is None:
        data = load(source.task, rows=source.rows, seed=source.seed)
        fingerprint = data.fingerprint
    path = (
        source.folder and source.folder / "embeddings" / f"{embedder.key}-seed{source.seed}-{fingerprint}.safetensors"
    )
    if path and path.is_file():
        stored = TaskEmbedding.load(path)
        if stored.made["base_fingerprint"] == base.fingerprint:
            return stored
    made = embedder.embed(
        source.task, data or load(source.task, rows=source.rows, seed=source.seed), base, seed=source.seed
    )
    if path:
        if is_main():
            made.save(path)
        accelerator().wait_for_everyone()
    return made
