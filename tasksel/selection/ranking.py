"""A ranking of sources for a target: names in order, their scores, and their provenance.

`rank` asks a selector (`tasksel.selection.selectors`) for one score per source and sorts by them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasksel.embeddings.base import Embedder
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.selection.base import ScoreName, Selector
from tasksel.selection.candidate import Candidate, TaskCandidate, TaskOnBase
from tasksel.selection.selectors import as_selector
from tasksel.tasks.task import Task


@dataclass(frozen=True)
class Ranking:
    """Sources in order, best first.

    Attributes:
        target: its name. names, scores: of the sources.
        provenance: what made it: selector (`by`) and its key, base, rows, seed, seconds.
        score_name: what the scores are, the head of their column.

    >>> Ranking("rte", ("mnli", "cola"), (0.71, 0.62)).top(1)
    ['mnli']
    """

    target: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    score_name: ScoreName = "score"

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
        return replace(self, names=self.names[part], scores=self.scores[part])

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return iter(zip(self.names, self.scores, strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        width = max([len("source"), *map(len, self.names)])
        head = f"sources for {self.target}" + (f" by {self.provenance['by']}" if "by" in self.provenance else "")
        rows = [
            f"{place:>4}  {name:<{width}}  {score:.4f}"
            for place, (name, score) in enumerate(zip(self.names, self.scores, strict=True), 1)
        ]
        return "\n".join([head, f"rank  {'source':<{width}}  {self.score_name}", *rows])

    __repr__ = __str__


def rank(
    target: Task,
    sources: Iterable[Candidate | Task],
    *,
    by: str | Embedder | Selector = "connectivity",
    base: str | Base | None = None,
    rows: int | None = None,
    seed: int = 0,
    include_target: bool = False,
    cache_dir: Path | None = None,
) -> Ranking:
    """Ranks sources for a target.

    Args:
        sources: a pool, or any tasks (for which nothing has to be trained, but by selectors that read the sources' adapters).
        by: a selector's name (`tasksel.selection.selectors.SELECTORS`), several joined by "+" to fuse them, an embedder or a selector.
        base: the base model; by default the pool's own.
        rows, seed: the draw of the target's training rows (and of bare tasks'), and the seed of the embedding.
        include_target: keep a source of the target's own name.
        cache_dir: a folder for what is computed of the target (and of bare tasks), so that it is computed once.

    Raises:
        UserError: no sources, a source without what the selector needs, an unknown selector.

    Example (needs the packaged MiniLM):
        ranking = ts.rank(ts.get_task("entail_travel"), ts.find_tasks(), by="vocabulary", rows=100)
        ranking.top(3)
    """
    selector = as_selector(by)
    chosen_base: str | Base = base if base is not None else getattr(sources, "base", "minilm")
    model = load_base(chosen_base) if isinstance(chosen_base, str) else chosen_base

    def bare(task: Task) -> TaskCandidate:
        return TaskCandidate(task, rows, seed, folder=cache_dir and cache_dir / task.name)

    candidates = [bare(source) if isinstance(source, Task) else source for source in sources]
    candidates = [source for source in candidates if include_target or source.name != target.name]
    if not candidates:
        hint = "" if include_target else " (a source of its own name does not count)"
        raise UserError(f"no sources to rank for '{target.name}'{hint}")
    begun = time.perf_counter()
    scores = selector.scores(TaskOnBase(bare(target), model), [TaskOnBase(source, model) for source in candidates])
    provenance = {
        "by": selector.name,
        "key": selector.key,
        "base": model.name,
        "base_fingerprint": model.fingerprint,
        "rows": rows,
        "seed": seed,
        "seconds": time.perf_counter() - begun,
    }
    names = [source.name for source in candidates]
    return in_order(target.name, names, scores, provenance, selector.score_name)


def in_order(
    target: str, names: Sequence[str], scores: Sequence[float], provenance: dict[str, Any], score_name: ScoreName
) -> Ranking:
    """The ranking that scores make; equal ones stand in name order.

    Raises:
        UserError: a score that is not a number.
    """
    for name, score in zip(names, scores, strict=True):
        if math.isnan(score):
            raise UserError(f"the score of '{name}' for '{target}' by {provenance['by']} is not a number: no ranking")
    order = sorted(range(len(names)), key=lambda i: (-scores[i], names[i]))
    best_first = tuple(names[i] for i in order), tuple(float(scores[i]) for i in order)
    return Ranking(target, *best_first, provenance, score_name)
