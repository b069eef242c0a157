"""Every way of choosing sources, by name: a score a source for a target; larger means "will help more".

embeddings      how near the source's embedding lies to the target's        (tasksel.embeddings)
features        how well the source's model explains the target's labels    (tasksel.selection.source_features, tasksel.selection.esm)
plain           random, size, kind, oracle                                  (here: nothing is embedded)
a+b             the reciprocal-rank fusion of any of them:  sum over methods of 1 / (60 + rank)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import yaml

from tasksel.display.progress import bar
from tasksel.embeddings import EMBEDDERS, check_settings, get_embedder
from tasksel.embeddings.base import Embedder, Needs
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.errors import UserError, unknown
from tasksel.selection.baselines import Oracle, Plain, Random, kind, size
from tasksel.selection.candidate import Subject
from tasksel.selection.esm import Esm
from tasksel.selection.source_features import FeatureSelector


class Selector(Protocol):
    """A way of choosing. `needs` is "adapter" where sources (and, for embeddings, the target) must have a trained one."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str:
        """Method and settings as one word."""

    @property
    def needs(self) -> Needs: ...
    def scores(self, target: Subject, sources: Sequence[Subject]) -> list[float]:
        """A score a source; larger is better."""


@dataclass(frozen=True)
class ByEmbedding:
    """Ranks by an embedder's similarity. An embedder whose `inputs` is "target" sees the target's rows for every source."""

    embedder: Embedder
    called: str | None = None

    @property
    def name(self) -> str:
        """The name it was asked for by, or the embedder's own."""
        return self.called or self.embedder.name

    @property
    def key(self) -> str:
        """The embedder's."""
        return self.embedder.key

    @property
    def needs(self) -> Needs:
        """The embedder's."""
        return self.embedder.needs

    def scores(self, target: Subject, sources: Sequence[Subject]) -> list[float]:
        """The similarity of each source's embedding to the target's."""
        shown = target if inputs_of(self.embedder) == "target" else None
        mine = target.embedding(self.embedder, inputs=shown)
        theirs = []
        with bar("embed sources", len(sources)) as advance:
            for source in sources:
                theirs.append(source.embedding(self.embedder, inputs=shown))
                advance(source.name)
        pooled = getattr(self.embedder, "similarities", None)
        if pooled is not None:
            return list(pooled(theirs, mine))
        return [self.embedder.similarity(embedding, mine) for embedding in theirs]


def inputs_of(embedder: Embedder) -> str:
    """Whose rows an embedder sees when it embeds a source: the source's "own", or the "target"'s."""
    return str(getattr(embedder, "inputs", "own"))


@dataclass(frozen=True)
class Fused:
    """Reciprocal-rank fusion of several methods; their order does not matter."""

    parts: tuple[Selector, ...]

    @property
    def name(self) -> str:
        """The parts' names, sorted, joined by "+"."""
        return "+".join(sorted(part.name for part in self.parts))

    @property
    def key(self) -> str:
        """The parts' keys, sorted."""
        return "+".join(sorted(part.key for part in self.parts))

    @property
    def needs(self) -> Needs:
        """An adapter, if one of the parts does."""
        return "adapter" if any(part.needs == "adapter" for part in self.parts) else "data"

    def scores(self, target: Subject, sources: Sequence[Subject]) -> list[float]:
        """The fused scores."""
        return reciprocal_rank_fusion([part.scores(target, sources) for part in self.parts])


def with_truth(selector: Selector, truth: dict[str, dict[str, float]]) -> Selector:
    """The same method, its oracle (alone or in a fusion) told what was measured."""
    if isinstance(selector, Fused):
        return Fused(tuple(with_truth(part, truth) for part in selector.parts))
    return Oracle(truth) if isinstance(selector, Oracle) else selector


SELECTORS: dict[str, Callable[..., Selector]] = {
    **{name: partial(FeatureSelector, name) for name in ("logme", "leep", "nce", "knn", "probe")},
    "esm": Esm,
    "random": Random,
    "size": partial(Plain, "size", size),
    "kind": partial(Plain, "kind", kind),
    "oracle": Oracle,
}


def names() -> list[str]:
    """Every method by name."""
    return [*EMBEDDERS, *SELECTORS]


def get_selector(name: str, **settings: Any) -> Selector:
    """The method of that name; "a+b" fuses methods (without settings).

    Raises:
        UserError: unknown name or setting (with the nearest one).
    """
    if "+" in name and not all(name.split("+")):
        raise UserError(f"'{name}': a name stands on both sides of a +, as in text+vocabulary")
    if "+" in name:
        if settings:
            raise UserError(
                f"settings {', '.join(settings)}: '{name}' fuses several ways and takes none; rank by one of them"
            )
        return Fused(tuple(get_selector(part) for part in name.split("+")))
    if name in EMBEDDERS:
        return ByEmbedding(get_embedder(name, **settings), name)
    if name not in SELECTORS:
        raise unknown("way of choosing", name, names())
    check_settings(name, SELECTORS[name], settings)
    return SELECTORS[name](**settings)


def given_settings(told: Sequence[str]) -> dict[str, Any]:
    """Settings from "name=value" words, each value read as YAML reads it.

    Raises:
        UserError: a word of another form.

    >>> given_settings(["max_steps=40", "co-train=true"])
    {'max_steps': 40, 'co_train': True}
    """
    for word in told:
        if not re.fullmatch(r"[\w-]+=.+", word):
            raise UserError(f"setting '{word}': give name=value, for example --set max_steps=40")
    pairs = (word.split("=", 1) for word in told)
    return {name.replace("-", "_"): yaml.safe_load(value) for name, value in pairs}


def as_selector(by: str | Embedder | Selector) -> Selector:
    """A method by name, an embedder as a selector, or the selector itself."""
    if isinstance(by, str):
        return get_selector(by)
    return ByEmbedding(by) if hasattr(by, "embed") and not hasattr(by, "scores") else cast(Selector, by)
