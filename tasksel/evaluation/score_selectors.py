"""What every way of choosing says of every source for every measured target, kept in `scores.jsonl`: what a judge judges.

A method that asks for much (a trained target adapter, an attribution) is run once; a scoring that was stopped goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasksel.display.progress import bar, say
from tasksel.embeddings.base import Embedder
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.errors import UserError
from tasksel.evaluation.score_records import FILE, Key, Scores, read_scores
from tasksel.model.base import Base
from tasksel.selection.candidate import Candidate, Subject, TaskCandidate
from tasksel.selection.esm import Esm
from tasksel.selection.selectors import ByEmbedding, Selector, get_selector, inputs_of, names
from tasksel.selection.source_features import FeatureSelector
from tasksel.storage.jsonl import append_row, mend
from tasksel.tasks.task import Task

FREE = ("random", "oracle")  # a judge knows them exactly: nothing is to be computed


def named_methods(by: Sequence[str]) -> list[str]:
    """The methods that a command line names, each once; "all" is every one. The parts of a fused one stand in name order.

    Raises:
        UserError: an unknown name (with the nearest one).
    """
    wanted = [name for one in by for name in (names() if one == "all" else [one])]
    return [name for name in dict.fromkeys(get_selector(name).name for name in wanted) if name not in FREE]


@dataclass(frozen=True)
class Bench:
    """What scores are computed from: the sources, the targets' tasks with their draw of rows, and a folder to keep things in."""

    sources: Sequence[Candidate]
    targets: dict[str, Task]
    base: Base
    rows: int | None
    store: Path

    def target(self, name: str, seed: int) -> Subject:
        """A target under a seed: its rows, its adapter and its embeddings are that seed's.

        Raises:
            UserError: a target whose task is not known.
        """
        if name not in self.targets:
            raise UserError(f"target '{name}' of the matrix is not among the tasks: say where they lie (--data)")
        return Subject(TaskCandidate(self.targets[name], self.rows, seed, folder=self.store / name), self.base)

    def others(self, target: str) -> list[Subject]:
        """Every source but the target's own."""
        return [Subject(source, self.base) for source in self.sources if source.name != target]

    def score(self, by: str, target: str, seed: int) -> Scores:
        """One method's scores of every source but the target's own, with what they cost.

        Raises:
            UserError: no other source, a score that is not a number, and whatever the method refuses.
        """
        selector, mine, others = get_selector(by), self.target(target, seed), self.others(target)
        if not others:
            raise UserError("there is no source but its own")
        if isinstance(selector, Esm):  # its maps are not the target's cost, whenever they are made
            for source in others:
                source.embedding(selector)
        begun = time.perf_counter()
        found = selector.scores(mine, others)
        seconds, each, size = _cost(selector, mine, others, time.perf_counter() - begun)
        scores = {source.name: float(score) for source, score in zip(others, found, strict=True)}
        for name, score in scores.items():
            if not math.isfinite(score):
                raise UserError(f"the score of '{name}' is {score}, which is no number")
        return Scores(by, target, seed, scores, round(seconds, 3), round(each, 3), size)


def _cost(selector: Selector, target: Subject, sources: Sequence[Subject], wall: float) -> tuple[float, float, int]:
    """Seconds for the target, mean seconds and mean bytes for a source.

    An embedding tells its own seconds, whenever it was made; a target's adapter counts where the method needs it. Other methods cost the
    seconds that they ran (a measure of features at least those of the sources' runs), and keep the source's adapter and head where they need them.
    """
    if isinstance(selector, ByEmbedding | Esm):
        embedder: Embedder = selector.embedder if isinstance(selector, ByEmbedding) else selector
        shown = target if inputs_of(embedder) == "target" else None
        theirs = [source.embedding(embedder, inputs=shown) for source in sources]
        each = sum(one.made["seconds"] for one in theirs) / len(theirs)
        size = round(sum(one.nbytes for one in theirs) / len(theirs))
        if isinstance(selector, Esm):
            return wall, each, size
        mine = target.embedding(embedder, inputs=shown).made["seconds"]
        own = target.trained.seconds if embedder.needs == "adapter" else 0.0
        if shown:  # made anew for every target
            return mine + own + each * len(theirs), 0.0, size
        return mine + own, each, size
    if isinstance(selector, FeatureSelector):  # another measure may have run the sources already
        wall = max(wall, selector.run_seconds(target, sources))
    size = round(sum(source.trained.nbytes for source in sources) / len(sources)) if selector.needs == "adapter" else 0
    return wall, 0.0, size


def missing(wanted: Iterable[str], targets: Iterable[str], seeds: Iterable[int], path: Path) -> list[Key]:
    """The (method, target, seed) that `path` has no scores of yet, target by target, so that what is shared stays at hand."""
    have, seeds, wanted = read_scores(path), list(seeds), list(wanted)
    return [key for target in targets for seed in seeds for by in wanted if (key := (by, target, seed)) not in have]


def score_all(bench: Bench, todo: Sequence[Key], path: Path) -> None:
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


def _scored(bench: Bench, by: str, target: str, seed: int, have: Mapping[Key, Scores]) -> Scores:
    """A method's scores; a fused one's ("a+b") are made of its parts', which are computed where they are not there yet."""
    if "+" not in by:
        return bench.score(by, target, seed)
    return fuse(by, [have.get((part, target, seed)) or bench.score(part, target, seed) for part in by.split("+")])


def at_hand(wanted: Iterable[str], have: Mapping[Key, Scores]) -> list[Scores]:
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


def fuse(by: str, parts: Sequence[Scores]) -> Scores:
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
    return Scores(by, parts[0].target, parts[0].seed, scores, *costs, sum(part.bytes for part in parts))
