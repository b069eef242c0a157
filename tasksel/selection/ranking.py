"""A ranking of sources for a target: names in order, their scores, and what made them.

`rank` asks a way of choosing (`tasksel.selection.selectors`) for the sources' scores and sorts by them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasksel.embeddings.base import Embedder
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.selection.candidate import Candidate, Subject, TaskCandidate
from tasksel.selection.selectors import Selector, as_selector
from tasksel.tasks.task import Task


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
    by: str | Embedder | Selector = "connectivity",
    base: str | Base | None = None,
    rows: int | None = None,
    seed: int = 0,
    own: bool = False,
    store: Path | None = None,
) -> Ranking:
    """Ranks sources for a target.

    Args:
        sources: a pool, or any tasks (for which nothing has to be trained, but for the methods that compare adapters).
        by: a method's name (`tasksel.selection.selectors.SELECTORS`), several joined by "+" to fuse them, an embedder or a selector.
        base: the base model; by default the pool's own.
        rows, seed: the draw of the target's training rows (and of bare tasks'), and the seed of the embedding.
        own: keep a source of the target's own name.
        store: a folder for what is computed of the target (and of bare tasks), so that it is not made twice.

    Raises:
        UserError: no sources, a source without what the method needs, an unknown method.
    """
    selector = as_selector(by)
    named: str | Base = base if base is not None else getattr(sources, "base", "minilm")
    model = load_base(named) if isinstance(named, str) else named
    candidates = [
        TaskCandidate(source, rows, seed, folder=store and store / source.name) if isinstance(source, Task) else source
        for source in sources
    ]
    candidates = [source for source in candidates if own or source.name != target.name]
    if not candidates:
        raise UserError(
            f"no sources to rank for '{target.name}'" + ("" if own else " (a source of its own name does not count)")
        )
    mine = Subject(TaskCandidate(target, rows, seed, folder=store and store / target.name), model)
    begun = time.perf_counter()
    near = selector.scores(mine, [Subject(source, model) for source in candidates])
    made = {
        "by": selector.name,
        "key": selector.key,
        "base": model.name,
        "base_fingerprint": model.fingerprint,
        "rows": rows,
        "seed": seed,
        "seconds": time.perf_counter() - begun,
    }
    return in_order(target.name, [source.name for source in candidates], near, made)


def in_order(target: str, names: Sequence[str], scores: Sequence[float], made: dict[str, Any]) -> Ranking:
    """The ranking that scores make; equal ones stand in name order.

    Raises:
        UserError: a score that is not a number.
    """
    for name, score in zip(names, scores, strict=True):
        if math.isnan(score):
            raise UserError(f"the score of '{name}' for '{target}' by {made['by']} is not a number: no ranking")
    order = sorted(range(len(names)), key=lambda i: (-scores[i], names[i]))
    return Ranking(target, tuple(names[i] for i in order), tuple(float(scores[i]) for i in order), made)
