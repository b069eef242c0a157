"""The base class of selectors: a selector scores sources for a target, and declares what it needs and what it costs.

    scores = selector.scores(target, sources)       one per source; larger means "will help more"

One selector is one class with `name`, `key` and `scores`; the rest has defaults. A row of `tasksel.selection.selectors.SELECTORS` registers its name.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tasksel.embeddings.base import Embedder, Needs
from tasksel.model.base import Base
from tasksel.selection.candidate import TaskOnBase
from tasksel.tasks.task import Task

NO_TASK = "no task data (add it again with its task: scalearn pool add … --task)"  # what a source lacks
NO_HEAD = "no head"
GroundTruth = Mapping[
    str, Mapping[str, float]
]  # target -> source -> the score that the target reached from that source
ScoreName = Literal["score", "similarity"]


@dataclass(frozen=True)
class SelectionCost:
    """What ranking sources for one target costs.

    Attributes:
        seconds: spent on the target.
        source_seconds: mean per source, spent once whatever the number of targets.
        bytes: mean per source of what must be kept of it.
    """

    seconds: float
    source_seconds: float = 0.0
    bytes: int = 0


class Selector(ABC):
    """Ranks sources for a target. Settings are its attributes (a frozen dataclass is best); it keeps no state.

    To write one, give it a `name`, a `key` and `scores`, and declare what differs from the defaults, by a class attribute or a property.
    `tasksel.testing.check_selector` tests it, and has a longer example.

    Attributes:
        version: of its behaviour; who changes the scores that it gives raises it, and stored rankings count no more.
        embedder: whose embeddings it compares, where it compares embeddings.

    >>> class ShortestName(Selector):
    ...     name = key = "shortest-name"
    ...
    ...     def scores(self, target, sources):
    ...         return [-float(len(source.name)) for source in sources]
    >>> ShortestName().needs  # rows alone; declare needs = "adapter" to read the sources' adapters
    'data'
    """

    version: ClassVar[int] = 1
    embedder: Embedder | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name, as stored with its scores."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Name and settings as one word, under which its results are stored."""

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
        """What its scores are called in tables: "similarity" where it compares embeddings."""
        return "score"

    def check_base(self, base: Base, tasks: Sequence[Task]) -> None:
        """Refuses a base on which it cannot score these tasks, before any work; by default what its embedder refuses, if it has one.

        Raises:
            UserError: with what is allowed.
        """
        if self.embedder is not None:
            self.embedder.check_base(base, tasks)

    def check_sources(self, sources: Sequence[TaskOnBase]) -> None:
        """Refuses sources that it cannot score together, before any work; by default what its embedder refuses of their adapters, if it reads them.

        Raises:
            UserError: which, and what to do.
        """
        if self.embedder is not None and self.embedder.needs == "adapter":
            trained = {source.name: source.candidate.trained for source in sources}
            self.embedder.check_adapters({name: adapter for name, adapter in trained.items() if adapter is not None})

    def lacks(self, source: TaskOnBase) -> str | None:
        """What a source would need to be scored and does not have ("no head"); None, the default, if nothing. A ranking leaves it out, and says so."""
        return None

    @abstractmethod
    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """One score per source, in their order, on any scale; larger is better."""

    def prepare(self, sources: Sequence[TaskOnBase]) -> None:  # noqa: B027 (most selectors need none)
        """Computes and stores what depends on the sources alone, whose seconds are no target's cost; by default nothing."""

    def cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase], seconds: float) -> SelectionCost:
        """What the scores of these sources (one or more) cost; by default the seconds that they took, and the bytes of the sources' adapters
        where it needs them.

        Args:
            seconds: of the call of `scores`.
        """
        if self.needs == "data":
            return SelectionCost(seconds)
        return SelectionCost(seconds, bytes=round(sum(source.trained.nbytes for source in sources) / len(sources)))

    def scores_with_cost(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> tuple[list[float], SelectionCost]:
        """`scores`, and what they cost."""
        self.prepare(sources)
        start = time.perf_counter()
        scores = self.scores(target, sources)
        return scores, self.cost(target, sources, time.perf_counter() - start)

    def with_ground_truth(self, ground_truth: GroundTruth) -> Selector:
        """The same selector; an oracle takes the ground truth from here."""
        return self
