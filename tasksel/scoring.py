"""What every way of choosing says of every source for every measured target, kept in `scores.jsonl`: what a judge judges.

A method that asks for much (a trained target adapter, an attribution) is run once; a scoring that was stopped goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasksel.embedding import Embedder
from tasksel.encoder import Base
from tasksel.errors import UserError
from tasksel.esm import Esm
from tasksel.judgement import FILE, Scores, read_scores
from tasksel.matrix import append_row, mend
from tasksel.progress import bar, say
from tasksel.ranking import TaskCandidate
from tasksel.selectors import ByEmbedding, Selector, get_selector, inputs_of, names, reciprocal_rank_fusion
from tasksel.subject import Candidate, Subject
from tasksel.task import Task

FREE = ("random", "oracle")  # a judge knows them exactly: nothing is to be computed


def named_methods(by: Sequence[str]) -> list[str]:
    """The methods that a command line names; "all" is every one.

    Raises:
        UserError: an unknown name (with the nearest one).
    """
    wanted = [name for one in by for name in (names() if one == "all" else [one])]
    for name in wanted:
        get_selector(name)
    return [name for name in dict.fromkeys(wanted) if name not in FREE]


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
        """One method's scores of every source but the target's own, with what they cost."""
        selector, mine, others = get_selector(by), self.target(target, seed), self.others(target)
        begun = time.perf_counter()
        found = selector.scores(mine, others)
        seconds, each, size = _cost(selector, mine, others, time.perf_counter() - begun)
        scores = {source.name: float(score) for source, score in zip(others, found, strict=True)}
        return Scores(by, target, seed, scores, round(seconds, 3), round(each, 3), size)


def _cost(selector: Selector, target: Subject, sources: Sequence[Subject], wall: float) -> tuple[float, float, int]:
    """Seconds for the target, mean seconds and mean bytes for a source.

    An embedding tells its own seconds, whenever it was made; a target's adapter counts where the method needs it. Other methods cost the
    seconds that they ran, and keep the source's adapter and head where they need them.
    """
    if isinstance(selector, ByEmbedding | Esm):
        embedder: Embedder = selector.embedder if isinstance(selector, ByEmbedding) else selector
        shown = target if inputs_of(embedder) == "target" else None
        theirs = [source.embedding(embedder, inputs=shown) for source in sources]
        each = sum(one.made["seconds"] for one in theirs) / len(theirs)
        size = round(sum(one.nbytes for one in theirs) / len(theirs))
        if isinstance(selector, Esm):
            return max(0.0, wall - each * len(theirs)), each, size
        mine = target.embedding(embedder, inputs=shown).made["seconds"]
        own = target.trained.seconds if embedder.needs == "adapter" else 0.0
        if shown:  # made anew for every target
            return mine + own + each * len(theirs), 0.0, size
        return mine + own, each, size
    size = round(sum(source.trained.nbytes for source in sources) / len(sources)) if selector.needs == "adapter" else 0
    return wall, 0.0, size


def missing(
    wanted: Iterable[str], targets: Iterable[str], seeds: Iterable[int], path: Path
) -> list[tuple[str, str, int]]:
    """The (method, target, seed) that `path` has no scores of yet, target by target, so that what is shared stays at hand."""
    file = path / FILE if path.is_dir() else path
    have = {one.key for one in read_scores(file)} if file.is_file() else set()
    seeds = list(seeds)
    wanted = list(wanted)
    return [key for target in targets for seed in seeds for by in wanted if (key := (by, target, seed)) not in have]


def score_all(bench: Bench, todo: Sequence[tuple[str, str, int]], path: Path) -> None:
    """Computes what is to do and appends it, a line each; a method that cannot rank a target is said and left out.

    A fused method ("a+b") is computed from its parts' scores.

    Raises:
        UserError: a target whose task is not known.
    """
    for _, target, seed in todo:
        bench.target(target, seed)
    mend(path)
    have = {one.key: one for one in read_scores(path)} if path.is_file() else {}
    with bar("score sources", len(todo)) as advance:
        for by, target, seed in todo:
            parts = [have.get((part, target, seed)) for part in by.split("+")]
            try:
                whole = [part for part in parts if part is not None]
                found = fuse(by, whole) if "+" in by and len(whole) == len(parts) else bench.score(by, target, seed)
            except UserError as error:
                say(f"{by} cannot rank sources for '{target}': {error}")
            else:
                have[found.key] = found
                append_row(path, found)
            advance(f"{by} for {target}")


def fuse(by: str, parts: Sequence[Scores]) -> Scores:
    """The reciprocal-rank fusion of several methods' scores for one target; it costs what they cost together."""
    sources = sorted(parts[0].scores)
    fused = reciprocal_rank_fusion([[part.scores[name] for name in sources] for part in parts])
    costs = (sum(part.seconds for part in parts), sum(part.source_seconds for part in parts))
    scores = dict(zip(sources, fused, strict=True))
    return Scores(by, parts[0].target, parts[0].seed, scores, *costs, sum(part.bytes for part in parts))
