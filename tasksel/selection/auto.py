"""The default selector: retrieve by connectivity, then re-rank by what each shortlisted source's model makes of the target's rows.

    1. connectivity  bit patterns of the tasks' rows, no adapter and no pass per source; the `shortlist` most similar sources go on.
                     A pool up to that size goes on whole, and nothing is embedded.
    2. classes       LogME of the source's features, pooled as the base is
       other kinds   the closed form's cross-validated score on them

    score            of re-ranked sources that of stage 2; of the others  (the lowest of those) - 2 + similarity,  similarity at most 1,
                     so that they follow in the order of stage 1; without a re-ranked source the similarity itself

Nothing is lost without a word: a source that connectivity cannot embed (it was added without its task; the base is of an architecture that is not
known to it) passes the shortlist beside the others; tasks without adapters, and targets whose labels are all alike or texts, are ranked by connectivity
alone, there what it cannot embed behind the others.

Stage 2 is one pass per source over at most `rows` rows, tokenized once, and kept by content beside the target. The sources' layers are not shared: adapters
sit in every layer, so that the embedding layer's output alone is the same, which is 0.7 % of a pass (MiniLM, 200 rows: 9 ms of 1.3 s; a new
model 45 ms); those that leave out the lowest layers are rare, and no architecture's pass begins in its middle. Two stages: as in information retrieval, with LogME for the second (You et al. 2021). Ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from tasksel.bounds import Count, Tokens, check_fields
from tasksel.display.progress import bar, say
from tasksel.embeddings.base import Embedder, Needs, TaskEmbedding
from tasksel.embeddings.embedders import get_embedder
from tasksel.errors import UserError, unknown
from tasksel.model.base import Base
from tasksel.model.compatibility import check_length
from tasksel.selection.base import NO_TASK, SelectionCost, Selector
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.source_features import FeatureSelector, Measure, PoolingChoice, pooling_on, training_rows
from tasksel.storage.atomic import value_hash
from tasksel.tasks.kinds import CLASSES
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task


@dataclass(frozen=True)
class Auto(Selector):
    """Shortlists by connectivity, then re-ranks by LogME or, where the target has no classes, by the closed form's cross-validated score.

    Attributes:
        shortlist: how many sources are re-ranked.
        retriever: the embedder that shortlists, one that needs no adapters.
        pooling: a row's features for that: as the "base" says (its "first" token where it says nothing), "first", "last", or "mean".
        rows: at most so many of the target's training rows for that, a stratified draw by its seed.
        max_length: tokens per text for that.

    Use it where nothing speaks for another selector: it is the default of `rank`.

    >>> Auto(shortlist=8).name, Auto().target_needs
    ('auto', 'data')
    """

    name: ClassVar[str] = "auto"
    needs: ClassVar[Needs] = "adapter"  # of the sources that have one; the target needs none
    shortlist: Count = 16
    retriever: str = "connectivity"
    pooling: PoolingChoice = "base"
    rows: Count = 500
    max_length: Tokens = 64

    def __post_init__(self) -> None:
        if self.pooling not in get_args(PoolingChoice):
            raise unknown("pooling", self.pooling, get_args(PoolingChoice))
        check_fields(self.name, self)
        if self._retriever.needs == "adapter" or self._retriever.inputs == "target":
            raise UserError(
                f"retriever '{self.retriever}' needs adapters or passes of the sources: choose connectivity or text"
            )

    @property
    def key(self) -> str:
        """Its settings."""
        return f"auto-{value_hash([self.shortlist, self._retriever.key, self.pooling, self.rows, self.max_length])[:8]}"

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses a base that cannot take `max_length` tokens."""
        check_length(base, tasks, self.max_length, setting="max_length of 'auto'")

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The score of each source (see the head of the file); what was done is said in one line.

        Raises:
            UserError: a source with NaN in its adapter; one that is not re-ranked and that connectivity cannot embed.
        """
        first = self._first_stage(target, sources)
        reranker = self._reranker(target.task)
        second = reranker.scores(target, [sources[place] for place in first.chosen]) if first.chosen else []
        reranked = dict(zip(first.chosen, second, strict=True))
        floor = min(reranked.values(), default=2.0) - 2
        tokens = {"first": "first tokens", "mean": "mean tokens", "last": "last tokens"}[
            pooling_on(target.base, self.pooling)
        ]
        say(f"auto: {first.summary(f'{reranker.name} on {tokens}')}")
        return [
            reranked[place] if place in reranked else floor + first.similarities[place] for place in range(len(sources))
        ]

    def prepare(self, sources: Sequence[TaskOnBase]) -> None:
        """Computes the embeddings that a shortlist takes: they are not the target's cost."""
        for place in self._to_embed(sources):
            _embedding_or_reason(sources[place], self._retriever)

    def cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase], seconds: float) -> SelectionCost:
        """At least the seconds of the shortlist's passes and of the target's embedding, whenever they were computed; a source costs its own
        embedding, and keeps it and its adapter."""
        first = self._first_stage(target, sources)
        chosen = [sources[place] for place in first.chosen]
        spent = self._reranker(target.task).run_seconds(target, chosen) if chosen else 0.0
        compared = [_embedding_or_reason(sources[place], self._retriever) for place in first.similarities]
        embeddings = [one for one in compared if isinstance(one, TaskEmbedding)]
        if embeddings:
            spent += target.embedding(self._retriever).provenance["seconds"]
        kept = sum(one.nbytes for one in embeddings) + sum(one.trained.nbytes for one in sources if _has_adapter(one))
        per_source = sum(one.provenance["seconds"] for one in embeddings) / len(sources)
        return SelectionCost(max(seconds, spent), per_source, round(kept / len(sources)))

    @property
    def _retriever(self) -> Embedder:
        """The first stage's embedder."""
        return get_embedder(self.retriever)

    def _reranker(self, task: Task) -> FeatureSelector:
        """The second stage's selector for a target."""
        measure: Measure = "logme" if task.kind in CLASSES else "closed-form"
        return FeatureSelector(measure, rows=self.rows, max_length=self.max_length, pooling=self.pooling)

    def _to_embed(self, sources: Sequence[TaskOnBase]) -> list[int]:
        """The places of the sources that are compared by connectivity: those without adapters, and all where they are too many to pass."""
        compared = [place for place, source in enumerate(sources) if source.candidate.task is not None]
        trained = [place for place in compared if _has_adapter(sources[place])]
        return compared if len(trained) > self.shortlist else [place for place in compared if place not in trained]

    def _first_stage(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> _FirstStage:
        """Which sources go on, and the similarities that say so."""
        alike = _labels_alike(target)
        trained = [] if alike else [place for place, source in enumerate(sources) if _has_adapter(source)]
        to_embed = list(range(len(sources))) if alike else self._to_embed(sources)
        similarities, reasons = _similarities(self._retriever, target, sources, to_embed)
        for place, reason in reasons.items():
            if place not in trained and not (alike and similarities):
                raise UserError(self._none_ranked(sources[place].name, reason, alike))
        if alike:  # what is not embedded has no other score: it comes last
            similarities |= dict.fromkeys(reasons, min(similarities.values()) - 2)
        retrieved = [place for place in trained if place in similarities]
        retrieved.sort(key=lambda place: (-similarities[place], sources[place].name))
        passed = [place for place in trained if place not in similarities]
        names = {sources[place].name: reason for place, reason in reasons.items()}
        if retrieved:  # a pool that passes whole without being embedded is no shortlist
            names |= {sources[place].name: NO_TASK for place in passed if sources[place].candidate.task is None}
        bare = len(sources) - len(trained)
        retrieved = retrieved[: self.shortlist]
        return _FirstStage(self.retriever, len(sources), bare, retrieved, passed, similarities, names, alike)

    def _none_ranked(self, source: str, reason: str, alike: str | None) -> str:
        """Why there is no ranking, and what to do."""
        if alike:
            return f"auto ranks by {self.retriever} alone, as {alike}, and it can embed no source ('{source}': {reason}); name sources, or take --sources all"
        return f"auto ranks '{source}' by {self.retriever}, which cannot: {reason}"


@dataclass(frozen=True)
class _FirstStage:
    """What the first stage gives the second.

    Attributes:
        retriever: its embedder's name. sources, bare: how many there are, and how many of them have no adapter.
        retrieved, passed: places of those that go on, by their similarity and without one. similarities: by place.
        not_embedded: why, by name. alike: what makes the target's labels useless, if anything does.
    """

    retriever: str
    sources: int
    bare: int
    retrieved: list[int]
    passed: list[int]
    similarities: dict[int, float]
    not_embedded: dict[str, str]
    alike: str | None

    @property
    def chosen(self) -> list[int]:
        """The places of all that go on, in order."""
        return sorted([*self.retrieved, *self.passed])

    def summary(self, by: str) -> str:
        """What is done, in one line."""
        if self.alike:
            return f"{_count(self.sources)} ranked by {self.retriever} alone: {self.alike}{self._behind()}"
        if not self.chosen:
            return f"{_count(self.sources)} without adapters, ranked by {self.retriever} alone"
        parts = [_count(self.sources)]
        if self.retrieved:
            parts.append(f"{len(self.retrieved)} shortlisted by {self.retriever}")
        if self.not_embedded:
            name, reason = next(iter(self.not_embedded.items()))
            parts.append(f"{len(self.not_embedded)} kept that {self.retriever} cannot embed ('{name}': {reason})")
        whole = len(self.chosen) == self.sources
        parts.append(f"{'all ' if whole and self.sources > 1 else ''}ranked by {by}")
        if self.bare:
            parts.append(f"{self.bare} without adapters after them by {self.retriever}")
        return ", ".join(parts)

    def _behind(self) -> str:
        """The sources that come last, as they could not be embedded."""
        if not self.not_embedded:
            return ""
        name, reason = next(iter(self.not_embedded.items()))
        return f"; {len(self.not_embedded)} behind the others, which it cannot embed ('{name}': {reason})"


def _count(sources: int) -> str:
    return f"{sources} source{'s' * (sources != 1)}"


def _has_adapter(source: TaskOnBase) -> bool:
    """Whether there is one already: `TaskOnBase.trained` would train it."""
    return source.candidate.trained is not None


def _labels_alike(target: TaskOnBase) -> str | None:
    """What makes a target's labels say nothing of its sources; None where they differ."""
    if target.task.kind == GENERATION:
        return f"the rows of '{target.name}' have texts for labels"
    labels = training_rows(target.data).labels
    if len(labels) < 2:
        return f"'{target.name}' has one training row"
    if target.task.kind == "multiple_choice" or len(np.unique(labels, axis=0)) > 1:  # choices differ under like indices
        return None
    return f"all {len(labels)} labels of '{target.name}' are alike"


def _embedding_or_reason(source: TaskOnBase, embedder: Embedder) -> TaskEmbedding | str:
    """A task's embedding, or why it has none."""
    if source.candidate.task is None:
        return NO_TASK
    try:
        return source.embedding(embedder)
    except UserError as error:
        return str(error)


def _similarities(
    embedder: Embedder, target: TaskOnBase, sources: Sequence[TaskOnBase], places: Sequence[int]
) -> tuple[dict[int, float], dict[int, str]]:
    """The similarity of each of these sources to the target, by place, and why others have none."""
    similarities: dict[int, float] = {}
    if not places:
        return similarities, {}
    own = _embedding_or_reason(target, embedder)
    if isinstance(own, str):
        return similarities, dict.fromkeys(places, own)
    reasons = {}
    with bar("embed sources", len(places)) as advance:
        for place in places:
            embedding = _embedding_or_reason(sources[place], embedder)
            if isinstance(embedding, str):
                reasons[place] = embedding
            else:
                similarities[place] = embedder.similarity(embedding, own)
            advance(sources[place].name)
    return similarities, reasons
