"""Selectors that read nothing but a task's name, kind or size: random, largest first, same kind, and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tasksel.errors import UserError, unknown
from tasksel.selection.base import Selector, Truth
from tasksel.selection.candidate import TaskOnBase
from tasksel.storage.atomic import value_hash


@dataclass(frozen=True)
class Plain(Selector):
    """A baseline that looks at no model: `score` of a target and a source, each source on its own.

    Attributes:
        label: its name.
        score: of (target, source).
    """

    label: str
    score: Callable[[TaskOnBase, TaskOnBase], float]

    @property
    def name(self) -> str:
        """Its label."""
        return self.label

    @property
    def key(self) -> str:
        """Its label: it has no settings."""
        return self.label

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The score of each source alone."""
        return [self.score(target, source) for source in sources]


def size(target: TaskOnBase, source: TaskOnBase) -> float:
    """The rows that the source was trained on, train and dev (Lin: data size)."""
    return float(len(source.data.train) + len(source.data.dev))


def kind(target: TaskOnBase, source: TaskOnBase) -> float:
    """1 for a source of the target's kind of task, another half if it also has as many outputs (the half is ours)."""
    alike = source.task.kind == target.task.kind
    return float(alike) + 0.5 * float(alike and source.task.outputs == target.task.outputs)


@dataclass(frozen=True)
class Random(Selector):
    """A random order, drawn from the target's seed. An evaluation takes the mean over all orders instead (`tasksel.evaluation.ranking_metrics`)."""

    name: ClassVar[str] = "random"
    key: ClassVar[str] = "random"

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """One draw in [0, 1) per source, by its place."""
        draws = np.random.default_rng([target.seed, *target.name.encode()]).random(len(sources))
        return [float(draw) for draw in draws]


@dataclass(frozen=True)
class Oracle(Selector):
    """The measured truth: `truth[target][source]` is the score that the target reached from that source."""

    truth: Truth = field(default_factory=dict)
    name: ClassVar[str] = "oracle"

    @property
    def key(self) -> str:
        """Names the truth."""
        return f"oracle-{value_hash(self.truth)[:8]}"

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The measured scores.

        Raises:
            UserError: a target or source that was not measured.
        """
        if not self.truth:
            raise UserError("the oracle needs a measured matrix: scalearn matrix CONFIG makes one (--matrix)")
        if target.name not in self.truth:
            raise unknown("measured target", target.name, self.truth)
        measured = self.truth[target.name]
        missing = next((source.name for source in sources if source.name not in measured), None)
        if missing:
            raise unknown(f"measured source for '{target.name}'", missing, measured)
        return [measured[source.name] for source in sources]

    def with_truth(self, truth: Truth) -> Selector:
        """An oracle of these measurements."""
        return Oracle(truth)
