"""Every selector by name: one score per source for a target; larger means "will help more".

embeddings      similarity of the source's embedding to the target's        (tasksel.embeddings)
features        how well the source's model explains the target's labels    (tasksel.selection.source_features, tasksel.selection.esm)
auto            a shortlist by embeddings, re-ranked by features            (tasksel.selection.auto)
baselines       random, size, kind, oracle                                  (tasksel.selection.baselines)
a+b             the reciprocal-rank fusion of any of them:  sum over selectors of 1 / (60 + rank)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, ClassVar

from tasksel.display.progress import bar
from tasksel.embeddings.base import Embedder, Needs
from tasksel.embeddings.embedders import EMBEDDERS, check_settings
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.errors import UserError, unknown
from tasksel.model.base import Base
from tasksel.selection.auto import Auto
from tasksel.selection.base import NO_HEAD, NO_TASK, GroundTruth, ScoreName, SelectionCost, Selector
from tasksel.selection.baselines import Oracle, Random, TaskBaseline, same_kind, source_size
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.esm import Esm
from tasksel.selection.source_features import FeatureSelector
from tasksel.storage.user_files import parse_yaml
from tasksel.tasks.task import Task
from tasksel.training.solved_start import MOST_ROWS


@dataclass(frozen=True)
class EmbeddingSelector(Selector):
    """Ranks by an embedder's similarity. Where the embedder's `inputs` is "target", every source is embedded from the target's rows.

    Attributes:
        embedder: with its settings.
        alias: the name of a variant, as "rows-max"; by default the embedder's own name.
    """

    embedder: Embedder = field()  # without a default, unlike the base class's
    alias: str | None = None
    score_name: ClassVar[ScoreName] = "similarity"

    @property
    def name(self) -> str:
        """The variant's name, or the embedder's own."""
        return self.alias or self.embedder.name

    @property
    def key(self) -> str:
        """The embedder's."""
        return self.embedder.key

    @property
    def needs(self) -> Needs:
        """The embedder's."""
        return self.embedder.needs

    @property
    def target_needs(self) -> Needs:
        """The embedder's: the target is embedded as the sources are."""
        return self.embedder.needs

    def lacks(self, source: TaskOnBase) -> str | None:
        """Rows of its own, or a head, where the embedder needs them."""
        if self.embedder.inputs == "own" and source.candidate.task is None:
            return NO_TASK
        return NO_HEAD if self.embedder.needs_head and not source.has_head else None

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The similarity of each source's embedding to the target's."""
        target_embedding = target.embedding(self.embedder, target=target)
        embeddings = []
        with bar("embed sources", len(sources)) as advance:
            for source in sources:
                embeddings.append(source.embedding(self.embedder, target=target))
                advance(source.name)
        return self.embedder.similarities(embeddings, target_embedding)

    def cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase], seconds: float) -> SelectionCost:
        """The seconds recorded in the embeddings, whenever they were computed; training the target's adapter counts where one is needed.

        Sources that are embedded from the target's rows are embedded again for every target, so they are the target's cost.
        """
        embeddings = [source.embedding(self.embedder, target=target) for source in sources]
        per_source = sum(embedding.provenance["seconds"] for embedding in embeddings) / len(embeddings)
        size = round(sum(embedding.nbytes for embedding in embeddings) / len(embeddings))
        seconds = target.embedding(self.embedder, target=target).provenance["seconds"]
        seconds += target.trained.seconds if self.target_needs == "adapter" else 0.0
        if self.embedder.inputs == "target":
            return SelectionCost(seconds + per_source * len(embeddings), 0.0, size)
        return SelectionCost(seconds, per_source, size)


@dataclass(frozen=True)
class Fused(Selector):
    """Reciprocal-rank fusion of several selectors; their order does not matter.

    >>> get_selector("text+leep").parts[1].name
    'leep'
    """

    parts: tuple[Selector, ...]

    @property
    def name(self) -> str:
        """The names of the parts, sorted and joined by "+"."""
        return "+".join(sorted(part.name for part in self.parts))

    @property
    def key(self) -> str:
        """The parts' keys, sorted."""
        return "+".join(sorted(part.key for part in self.parts))

    @property
    def needs(self) -> Needs:
        """An adapter, if one of the parts does."""
        return "adapter" if any(part.needs == "adapter" for part in self.parts) else "data"

    @property
    def target_needs(self) -> Needs:
        """An adapter, if one of the parts does."""
        return "adapter" if any(part.target_needs == "adapter" for part in self.parts) else "data"

    def lacks(self, source: TaskOnBase) -> str | None:
        """What one of the parts needs."""
        return next(filter(None, (part.lacks(source) for part in self.parts)), None)

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The fused scores."""
        return reciprocal_rank_fusion([part.scores(target, sources) for part in self.parts])

    def scores_with_cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> tuple[list[float], SelectionCost]:
        """The fused scores; they cost what the parts cost together."""
        scores, costs = zip(*(part.scores_with_cost(target, sources) for part in self.parts), strict=True)
        seconds, source_seconds = sum(cost.seconds for cost in costs), sum(cost.source_seconds for cost in costs)
        total = SelectionCost(seconds, source_seconds, sum(cost.bytes for cost in costs))
        return reciprocal_rank_fusion(scores), total

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses what one of the parts refuses."""
        for part in self.parts:
            part.check_base(base, tasks)

    def check_sources(self, sources: Sequence[TaskOnBase]) -> None:
        """Refuses what one of the parts refuses."""
        for part in self.parts:
            part.check_sources(sources)

    def with_ground_truth(self, ground_truth: GroundTruth) -> Selector:
        """The fusion of the parts, oracles among them with this ground truth."""
        return Fused(tuple(part.with_ground_truth(ground_truth) for part in self.parts))


def _embedding_selector(name: str, make: Callable[..., Embedder]) -> Callable[..., Selector]:
    """A constructor of the selector that ranks by an embedder; it takes the embedder's settings."""

    @wraps(make, assigned=(), updated=())  # keeps the signature, by which settings are checked
    def selector(**settings: Any) -> Selector:
        return EmbeddingSelector(make(**settings), name)

    return selector


SELECTORS: Mapping[str, Callable[..., Selector]] = {
    **{name: _embedding_selector(name, make) for name, make in EMBEDDERS.items()},
    **{name: partial(FeatureSelector, name) for name in ("logme", "leep", "nce", "knn", "probe")},
    "closed-form": partial(FeatureSelector, "closed-form", rows=MOST_ROWS, pooling="base"),
    "esm": Esm,
    "auto": Auto,
    "random": Random,
    "size": partial(TaskBaseline, "size", source_size),
    "kind": partial(TaskBaseline, "kind", same_kind),
    "oracle": Oracle,
}
"""Constructors of selectors by name; each takes its settings by keyword.

>>> sorted(SELECTORS)[:3]
['conductance', 'conductance-absolute', 'conductance-target']
"""


def get_selector(name: str, **settings: Any) -> Selector:
    """The selector of that name; "a+b" fuses selectors (without settings).

    Args:
        name: one of `SELECTORS`, or several joined by "+".
        settings: of the selector, by keyword.

    Raises:
        UserError: unknown name or setting (with the nearest one).

    >>> get_selector("logme", rows=200)
    FeatureSelector(measure='logme', rows=200, max_length=64, pooling='first')
    >>> get_selector("vocabulary+text").name
    'text+vocabulary'
    """
    if "+" in name and not all(name.split("+")):
        raise UserError(f"'{name}': needs a name on both sides of each +, as in text+vocabulary")
    if "+" in name:
        if settings:
            raise UserError(
                f"settings {', '.join(settings)}: '{name}' fuses several selectors and takes no settings; rank by one of them"
            )
        return Fused(tuple(get_selector(part) for part in name.split("+")))
    if name not in SELECTORS:
        raise unknown("selector", name, SELECTORS)
    check_settings(name, SELECTORS[name], settings)
    return SELECTORS[name](**settings)


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """Settings from "name=value" words, each value read as YAML reads it.

    Raises:
        UserError: a word of another form.

    >>> parse_settings(["max_steps=40", "co-train=true"])
    {'max_steps': 40, 'co_train': True}
    """
    for word in words:
        if not re.fullmatch(r"[\w-]+=.+", word):
            raise UserError(f"setting '{word}': give name=value, for example --set max_steps=40")
    pairs = (word.split("=", 1) for word in words)
    return {name.replace("-", "_"): parse_yaml(value, f"setting '{name}'") for name, value in pairs}


def as_selector(by: str | Embedder | Selector) -> Selector:
    """A selector by name, an embedder as a selector, or the selector itself."""
    if isinstance(by, str):
        return get_selector(by)
    return by if isinstance(by, Selector) else EmbeddingSelector(by)
