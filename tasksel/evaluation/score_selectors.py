"""Scores of every source for every measured target by every selector, computed once and appended to `scores.jsonl`.

Selectors that need a trained target adapter or attributions are expensive, so what is stored is not computed again; scoring that was stopped goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasksel.adapters.usual_lora import usual_lora
from tasksel.bounds import check_seed
from tasksel.display.progress import bar, say
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.errors import UserError
from tasksel.evaluation.score_records import FILE, Key, SelectorScores, read_scores
from tasksel.model.base import Base
from tasksel.model.lora_config import LoraConfig
from tasksel.selection.candidate import Candidate, TaskCandidate, TaskOnBase
from tasksel.selection.selectors import SELECTORS, get_selector
from tasksel.storage.jsonl import append_row, mend
from tasksel.tasks.task import Task
from tasksel.training.exclusive import exclusive

EXACT = ("random", "oracle")  # the leaderboard knows their rows exactly: nothing is to be computed


def selector_names(by: Sequence[str]) -> list[str]:
    """The names of the selectors that a command line asks for, without duplicates; "all" is every one, and a fusion's parts are sorted.

    Raises:
        UserError: an unknown name (with the nearest one).

    >>> selector_names(["text+leep", "leep+text", "random"])
    ['leep+text']
    """
    names = [name for word in by for name in (SELECTORS if word == "all" else [word])]
    return [name for name in dict.fromkeys(get_selector(name).name for name in names) if name not in EXACT]


@dataclass(frozen=True)
class ScoringSetup:
    """What scores are computed from.

    Attributes:
        sources: a pool's, or any candidates. targets: tasks by name. base: the base model.
        rows: training rows drawn of each target; None takes all. store: a folder for what is computed of the targets.
    """

    sources: Sequence[Candidate]
    targets: dict[str, Task]
    base: Base
    rows: int | None
    store: Path

    def target(self, name: str, seed: int) -> TaskOnBase:
        """A target under a seed, which draws its rows and seeds its adapter and embeddings.

        Raises:
            UserError: a target whose task is not known.
        """
        check_seed(seed)
        if name not in self.targets:
            raise UserError(f"target '{name}' of the matrix is not among the tasks: say where they lie (--data)")
        candidate = TaskCandidate(self.targets[name], self.rows, seed, folder=self.store / name)
        return TaskOnBase(candidate, self.base, lora=self._lora)

    @cached_property
    def _lora(self) -> LoraConfig | None:
        """What a target's adapter is where the sources are LoRAs."""
        return usual_lora(self.sources)

    def sources_for(self, target: str) -> list[TaskOnBase]:
        """Every source but the one of the target's own name."""
        return [TaskOnBase(source, self.base, cache_dir=self.store) for source in self.sources if source.name != target]

    def score(self, by: str, target: str, seed: int) -> SelectorScores:
        """One selector's scores of every source but the target's own, with what they cost.

        Raises:
            UserError: no other source, a score that is not a number, and whatever the selector refuses.
        """
        selector, sources = get_selector(by), self.sources_for(target)
        if not sources:
            raise UserError("there is no source but its own")
        selector.check_sources(sources)
        values, cost = selector.scores_with_cost(self.target(target, seed), sources)
        scores = {source.name: float(value) for source, value in zip(sources, values, strict=True)}
        for name, score in scores.items():
            if not math.isfinite(score):
                raise UserError(f"the score of '{name}' is {score}, which is not a finite number")
        return SelectorScores(
            by, target, seed, scores, round(cost.seconds, 3), round(cost.source_seconds, 3), cost.bytes
        )


def missing_scores(selectors: Iterable[str], targets: Iterable[str], seeds: Iterable[int], path: Path) -> list[Key]:
    """The (selector, target, seed) that `path` has no scores of, target by target, so that selectors share what they compute of a target."""
    stored, seeds, selectors = read_scores(path), list(seeds), list(selectors)
    return [
        key for target in targets for seed in seeds for by in selectors if (key := (by, target, seed)) not in stored
    ]


def append_scores(setup: ScoringSetup, keys: Sequence[Key], path: Path) -> None:
    """Computes the missing scores and appends them, one line per key; a selector that cannot rank a target is left out with a warning.

    Raises:
        UserError: a target whose task is not known.
    """
    for _, target, seed in keys:
        setup.target(target, seed)
    with exclusive(path):
        if complaint := mend(path):
            say(complaint)
        stored = read_scores(path)
        _append_scores(setup, [key for key in keys if key not in stored], stored, path)


def _append_scores(setup: ScoringSetup, keys: Sequence[Key], stored: dict[Key, SelectorScores], path: Path) -> None:
    with bar("score sources", len(keys)) as advance:
        for by, target, seed in keys:
            try:
                scores = _scores(setup, by, target, seed, stored)
            except UserError as error:
                say(f"{by} cannot rank sources for '{target}': {error}")
            else:
                stored[scores.key] = scores
                append_row(path, scores)
            advance(f"{by} for {target}")


def _scores(
    setup: ScoringSetup, by: str, target: str, seed: int, stored: Mapping[Key, SelectorScores]
) -> SelectorScores:
    """A selector's scores; those of a fusion ("a+b") are fused from its parts', which are computed where they are not stored."""
    if "+" not in by:
        return setup.score(by, target, seed)
    return fuse(by, [stored.get((part, target, seed)) or setup.score(part, target, seed) for part in by.split("+")])


def available_scores(selectors: Iterable[str], stored: Mapping[Key, SelectorScores]) -> list[SelectorScores]:
    """These selectors' scores among the stored ones; a fusion that is not stored is computed where all its parts are."""
    ranked = dict.fromkeys((target, seed) for _, target, seed in stored)
    available = []
    for by in selectors:
        for target, seed in ranked:
            parts = [stored[key] for part in by.split("+") if (key := (part, target, seed)) in stored]
            if (by, target, seed) in stored:
                available.append(stored[by, target, seed])
            elif len(parts) == len(by.split("+")):
                available.append(fuse(by, parts))
    return available


def fuse(by: str, parts: Sequence[SelectorScores]) -> SelectorScores:
    """The reciprocal-rank fusion of several selectors' scores for one target; it costs what they cost together.

    Raises:
        UserError: parts that score different sources.

    >>> parts = [SelectorScores(by, "rte", 0, {"mnli": 2.0, "cola": 1.0}, 1.0, 0.0, 8) for by in ("leep", "text")]
    >>> fused = fuse("leep+text", parts)
    >>> max(fused.scores, key=fused.scores.get), fused.seconds, fused.bytes
    ('mnli', 2.0, 16)
    """
    sources = sorted(parts[0].scores)
    for part in parts:
        if odd := sorted(part.scores.keys() ^ parts[0].scores.keys()):
            raise UserError(
                f"'{parts[0].by}' and '{part.by}' have not scored the same sources for '{part.target}' ('{odd[0]}'): "
                f"remove their lines from {FILE}, and they are computed again"
            )
    fused = reciprocal_rank_fusion([[part.scores[name] for name in sources] for part in parts])
    costs = (sum(part.seconds for part in parts), sum(part.source_seconds for part in parts))
    scores = dict(zip(sources, fused, strict=True))
    return SelectorScores(by, parts[0].target, parts[0].seed, scores, *costs, sum(part.bytes for part in parts))
