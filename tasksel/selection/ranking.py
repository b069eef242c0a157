"""A ranking of sources for a target: names in order, scores, provenance.

`rank` asks a selector (`tasksel.selection.selectors`) for one score per source and sorts by them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasksel.adapters.usual_lora import usual_lora
from tasksel.bounds import check_count, check_seed
from tasksel.display.progress import say
from tasksel.embeddings.base import Embedder
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.selection.base import ScoreName, Selector
from tasksel.selection.candidate import Candidate, TaskCandidate, TaskOnBase
from tasksel.selection.own import without_own
from tasksel.selection.selectors import as_selector
from tasksel.tasks.task import Task


@dataclass(frozen=True)
class Ranking:
    """Sources in order, best first.

    Attributes:
        target: name of the target. names, scores: of the sources.
        provenance: selector (`by`) and its key, base, rows, seed, seconds.
        score_name: what the scores are called, "score" or "similarity".

    >>> Ranking("rte", ("mnli", "cola"), (0.71, 0.62)).top(1)
    ['mnli']
    """

    target: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    score_name: ScoreName = "score"

    def top(self, k: int) -> list[str]:
        """The names of the k best sources.

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
    by: str | Embedder | Selector = "auto",
    base: str | Base | None = None,
    rows: int | None = None,
    seed: int = 0,
    include_target: bool = False,
    cache_dir: Path | None = None,
) -> Ranking:
    """Ranks sources for a target, best first; use it to choose what to transfer from.

    A source that lacks what the selector needs (a head, rows of its own) is left out, which is said.

    Args:
        sources: a pool, or any tasks; only selectors that read the sources' adapters need trained ones.
        by: a selector's name (`SELECTORS`), several joined by "+" to fuse them, an embedder or a selector. "auto" shortlists by connectivity
            and re-ranks by what the sources' models make of the target's rows.
        base: the base model; by default the pool's own.
        rows: at most so many training rows of the target and of bare tasks.
        seed: of their draw, and of their embeddings.
        include_target: keep a source of the target's own rows.
        cache_dir: keeps what is computed of the target, of bare tasks, and of a pool that may not be written to, for the next time.

    Raises:
        UserError: no sources, none that has what the selector needs, an unknown selector.

    >>> ts.rank(ts.get_task("entail_travel"), ts.find_tasks(), by="vocabulary", rows=100).top(3)  # doctest: +SKIP
    """
    check_seed(seed), check_count(rows, "rows", least=2)
    selector, model = as_selector(by), _base_of(sources, base)

    def candidate(task: Task) -> TaskCandidate:
        return TaskCandidate(task, rows, seed, folder=cache_dir and cache_dir / task.name)

    every: list[Candidate] = [candidate(source) if isinstance(source, Task) else source for source in sources]
    candidates = every if include_target else without_own(target, every)
    if not candidates:
        hint = "" if include_target else " (a source of its own rows does not count)"
        raise UserError(f"no sources to rank for '{target.name}'{hint}")
    selector.check_base(model, [target, *(source.task for source in candidates if source.task)])
    ranked = _rankable(selector, [TaskOnBase(source, model, cache_dir=cache_dir) for source in candidates])
    names, start = [source.name for source in ranked], time.perf_counter()
    lora = usual_lora(candidates) if selector.target_needs == "adapter" else None
    scores = selector.scores(TaskOnBase(candidate(target), model, cache_dir=cache_dir, lora=lora), ranked)
    made_by = {"by": selector.name, "key": selector.key, "base": model.name, "base_fingerprint": model.fingerprint}
    provenance = {**made_by, "rows": rows, "seed": seed, "seconds": time.perf_counter() - start}
    return ranking_from_scores(target.name, names, scores, provenance, selector.score_name)


def _rankable(selector: Selector, sources: list[TaskOnBase]) -> list[TaskOnBase]:
    """The sources that have what the selector needs; all, where none has, so that the selector says what is missing.

    Raises:
        UserError: sources that it cannot score together.
    """
    lacking = {source.name: lack for source in sources if (lack := selector.lacks(source))}
    if 0 < len(lacking) < len(sources):
        say(f"left out by {selector.name}: {'; '.join(f'{name}, which has {lack}' for name, lack in lacking.items())}")
        sources = [source for source in sources if source.name not in lacking]
    selector.check_sources(sources)
    return sources


def _base_of(sources: object, base: str | Base | None) -> Base:
    """The base model: as chosen, else the pool's own, else "minilm"."""
    chosen: str | Base = base if base is not None else getattr(sources, "base", "minilm")
    return load_base(chosen) if isinstance(chosen, str) else chosen


def ranking_from_scores(
    target: str, names: Sequence[str], scores: Sequence[float], provenance: dict[str, Any], score_name: ScoreName
) -> Ranking:
    """Sorts sources by their scores, best first; equal ones by name.

    Raises:
        UserError: a score that is not a number.

    >>> ranking_from_scores("rte", ["cola", "mnli"], [0.2, 0.9], {"by": "text"}, "similarity").names
    ('mnli', 'cola')
    """
    for name, score in zip(names, scores, strict=True):
        if math.isnan(score):
            raise UserError(f"the score of '{name}' for '{target}' by {provenance['by']} is not a number: no ranking")
    order = sorted(range(len(names)), key=lambda i: (-scores[i], names[i]))
    best_first = tuple(names[i] for i in order), tuple(float(scores[i]) for i in order)
    return Ranking(target, *best_first, provenance, score_name)
