"""What every selector says of every source for every measured target, kept in `scores.jsonl`: what an evaluation goes by.

A selector that asks for much (a trained target adapter, an attribution) is run once; a scoring that was stopped goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasksel.display.progress import bar, say
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.errors import UserError
from tasksel.evaluation.score_records import FILE, Key, SelectorScores, read_scores
from tasksel.model.base import Base
from tasksel.selection.candidate import Candidate, TaskCandidate, TaskOnBase
from tasksel.selection.selectors import SELECTORS, get_selector
from tasksel.storage.jsonl import append_row, mend
from tasksel.tasks.task import Task

FREE = ("random", "oracle")  # a judge knows them exactly: nothing is to be computed


def named_methods(by: Sequence[str]) -> list[str]:
    """The methods that a command line names, each once; "all" is every one. The parts of a fused one stand in name order.

    Raises:
        UserError: an unknown name (with the nearest one).
    """
    wanted = [name for one in by for name in (SELECTORS if one == "all" else [one])]
    return [name for name in dict.fromkeys(get_selector(name).name for name in wanted) if name not in FREE]


@dataclass(frozen=True)
class ScoringSetup:
    """What scores are computed from: the sources, the targets' tasks with their draw of rows, and a folder to keep things in."""

    sources: Sequence[Candidate]
    targets: dict[str, Task]
    base: Base
    rows: int | None
    store: Path

    def target(self, name: str, seed: int) -> TaskOnBase:
        """A target under a seed: its rows, its adapter and its embeddings are that seed's.

        Raises:
            UserError: a target whose task is not known.
        """
        if name not in self.targets:
            raise UserError(f"target '{name}' of the matrix is not among the tasks: say where they lie (--data)")
        return TaskOnBase(TaskCandidate(self.targets[name], self.rows, seed, folder=self.store / name), self.base)

    def others(self, target: str) -> list[TaskOnBase]:
        """Every source but the target's own."""
        return [TaskOnBase(source, self.base) for source in self.sources if source.name != target]

    def score(self, by: str, target: str, seed: int) -> SelectorScores:
        """One method's scores of every source but the target's own, with what they cost.

        Raises:
            UserError: no other source, a score that is not a number, and whatever the method refuses.
        """
        selector, others = get_selector(by), self.others(target)
        if not others:
            raise UserError("there is no source but its own")
        values, cost = selector.scores_with_cost(self.target(target, seed), others)
        scores = {source.name: float(value) for source, value in zip(others, values, strict=True)}
        for name, score in scores.items():
            if not math.isfinite(score):
                raise UserError(f"the score of '{name}' is {score}, which is no number")
        return SelectorScores(
            by, target, seed, scores, round(cost.seconds, 3), round(cost.source_seconds, 3), cost.bytes
        )


def missing(wanted: Iterable[str], targets: Iterable[str], seeds: Iterable[int], path: Path) -> list[Key]:
    """The (method, target, seed) that `path` has no scores of yet, target by target, so that what is shared stays at hand."""
    have, seeds, wanted = read_scores(path), list(seeds), list(wanted)
    return [key for target in targets for seed in seeds for by in wanted if (key := (by, target, seed)) not in have]


def score_all(bench: ScoringSetup, todo: Sequence[Key], path: Path) -> None:
    """Computes what is to do and appends it, a line each; a method that cannot rank a target is said and left out.

    Raises:
        UserError: a target whose task is not known.
    """
    for _, target, seed in todo:
        bench.target(target, seed)
    if cut := mend(path):
        say(cut)
    have = read_scores(path)
    with bar("score sources", len(todo)) as advance:
        for by, target, seed in todo:
            try:
                found = _scored(bench, by, target, seed, have)
            except UserError as error:
                say(f"{by} cannot rank sources for '{target}': {error}")
            else:
                have[found.key] = found
                append_row(path, found)
            advance(f"{by} for {target}")


def _scored(bench: ScoringSetup, by: str, target: str, seed: int, have: Mapping[Key, SelectorScores]) -> SelectorScores:
    """A method's scores; a fused one's ("a+b") are made of its parts', which are computed where they are not there yet."""
    if "+" not in by:
        return bench.score(by, target, seed)
    return fuse(by, [have.get((part, target, seed)) or bench.score(part, target, seed) for part in by.split("+")])


def at_hand(wanted: Iterable[str], have: Mapping[Key, SelectorScores]) -> list[SelectorScores]:
    """The wanted methods' scores among those at hand; a fused method that is not there is made where all its parts are."""
    ranked = dict.fromkeys((target, seed) for _, target, seed in have)
    found = []
    for by in wanted:
        for target, seed in ranked:
            parts = [have[key] for part in by.split("+") if (key := (part, target, seed)) in have]
            if (by, target, seed) in have:
                found.append(have[by, target, seed])
            elif len(parts) == len(by.split("+")):
                found.append(fuse(by, parts))
    return found


def fuse(by: str, parts: Sequence[SelectorScores]) -> SelectorScores:
    """The reciprocal-rank fusion of several methods' scores for one target; it costs what they cost together.

    Raises:
        UserError: parts that score different sources.
    """
    sources = sorted(parts[0].scores)
    for part in parts:
        if odd := sorted(part.scores.keys() ^ parts[0].scores.keys()):
            raise UserError(
                f"'{parts[0].by}' and '{part.by}' have not scored the same sources for '{part.target}' ('{odd[0]}'): "
                f"remove their lines from {FILE}, and they are computed anew"
            )
    fused = reciprocal_rank_fusion([[part.scores[name] for name in sources] for part in parts])
    costs = (sum(part.seconds for part in parts), sum(part.source_seconds for part in parts))
    scores = dict(zip(sources, fused, strict=True))
    return SelectorScores(by, parts[0].target, parts[0].seed, scores, *costs, sum(part.bytes for part in parts))
