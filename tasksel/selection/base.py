"""What a selector is: it scores sources for a target, says what it needs for that, and what it costs.

    scores = selector.scores(target, sources)       one per source; larger means "will help more"

One method is one class with `name`, `key` and `scores`; the rest has defaults. A row of `tasksel.selection.selectors.SELECTORS` makes it known by name.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasksel.embeddings.base import Embedder, Needs
from tasksel.selection.candidate import TaskOnBase

Truth = Mapping[str, Mapping[str, float]]  # target -> source -> the score that the target reached from that source
ScoreName = Literal["score", "similarity"]


@dataclass(frozen=True)
class SelectionCost:
    """What ranking sources for one target costs.

    Attributes:
        seconds: for the target.
        source_seconds: mean per source, spent once whatever the number of targets.
        bytes: mean per source of what must be kept of it.
    """

    seconds: float
    source_seconds: float = 0.0
    bytes: int = 0


class Selector(ABC):
    """Ranks sources for a target. Settings are its attributes (a frozen dataclass is best); it keeps no state.

    To write one, give it a `name`, a `key` and `scores`, and declare what differs from the defaults, by a class attribute or a property.
    `tasksel.testing.check_selector` has a whole one as its example, and checks it.

    Attributes:
        embedder: whose embeddings it compares, where it compares embeddings.
    """

    embedder: Embedder | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The method."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Method and settings as one word."""

    @property
    def needs(self) -> Needs:
        """What it reads of the sources: "data", their rows alone, or "adapter", a trained adapter of each as well."""
        return "data"

    @property
    def target_needs(self) -> Needs:
        """What it reads of the target. Where it is "adapter", one is trained for every new target, which is its largest cost."""
        return "data"

    @property
    def score_name(self) -> ScoreName:
        """What its scores are called in a table."""
        return "score"

    @abstractmethod
    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """One score per source, in their order; larger is better."""

    def prepare(self, sources: Sequence[TaskOnBase]) -> None:  # noqa: B027 (most selectors need none)
        """Computes and stores what is the sources' alone, which no target is charged for; by default nothing."""

    def cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase], seconds: float) -> SelectionCost:
        """What the scores of these sources (one or more) cost; by default the seconds that they took, and the sources' adapters where it needs them.

        Args:
            seconds: of the call of `scores`.
        """
        if self.needs == "data":
            return SelectionCost(seconds)
        return SelectionCost(seconds, bytes=round(sum(source.trained.nbytes for source in sources) / len(sources)))

    def scores_with_cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> tuple[list[float], SelectionCost]:
        """`scores`, and what they cost."""
        self.prepare(sources)
        begun = time.perf_counter()
        scores = self.scores(target, sources)
        return scores, self.cost(target, sources, time.perf_counter() - begun)

    def with_truth(self, truth: Truth) -> Selector:
        """The same method, with what was measured where it is an oracle."""
        return self
