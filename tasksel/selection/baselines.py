"""Selectors that run no model: random, largest source first, same kind of task, and the oracle of measured scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tasksel.errors import UserError, unknown
from tasksel.selection.base import NO_TASK, GroundTruth, Selector
from tasksel.selection.candidate import TaskOnBase
from tasksel.storage.atomic import value_hash


@dataclass(frozen=True)
class TaskBaseline(Selector):
    """A baseline that compares two tasks without a model, each source on its own.

    Attributes:
        label: its name.
        score: of (target, source), larger is better.

    >>> TaskBaseline("size", source_size).name
    'size'
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

    def lacks(self, source: TaskOnBase) -> str | None:
        """Its task."""
        return NO_TASK if source.candidate.task is None else None

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The score of each source alone."""
        return [self.score(target, source) for source in sources]


def source_size(target: TaskOnBase, source: TaskOnBase) -> float:
    """The rows that the source was trained on, train and dev (Lin: data size)."""
    return float(len(source.data.train) + len(source.data.dev))


def same_kind(target: TaskOnBase, source: TaskOnBase) -> float:
    """1 for a source of the target's kind of task, and another 0.5 if it also has as many outputs (the 0.5 is ours)."""
    same = source.task.kind == target.task.kind
    return float(same) + 0.5 * float(same and source.task.outputs == target.task.outputs)


@dataclass(frozen=True)
class Random(Selector):
    """A random order, drawn from the target's seed and name. An evaluation takes the mean over all orders instead (`tasksel.evaluation.ranking_metrics`)."""

    name: ClassVar[str] = "random"
    key: ClassVar[str] = "random"

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """One draw in [0, 1) per source, by its place."""
        draws = np.random.default_rng([target.seed, *target.name.encode()]).random(len(sources))
        return [float(draw) for draw in draws]


@dataclass(frozen=True)
class Oracle(Selector):
    """Ranks by the ground truth: `ground_truth[target][source]` is the score that the target reached from that source.

    >>> Oracle({"rte": {"mnli": 0.7, "cola": 0.5}}).name
    'oracle'
    """

    ground_truth: GroundTruth = field(default_factory=dict)
    name: ClassVar[str] = "oracle"

    @property
    def key(self) -> str:
        """Names the ground truth by its hash."""
        return f"oracle-{value_hash(self.ground_truth)[:8]}"

    def scores(self, target: TaskOnBase, sources: Sequence[TaskOnBase]) -> list[float]:
        """The measured scores.

        Raises:
            UserError: a target or source that was not measured.
        """
        if not self.ground_truth:
            raise UserError(
                "the oracle needs a measured matrix: scalearn measure-matrix CONFIG measures one (--matrix)"
            )
        if target.name not in self.ground_truth:
            raise unknown("measured target", target.name, self.ground_truth)
        measured = self.ground_truth[target.name]
        missing = next((source.name for source in sources if source.name not in measured), None)
        if missing:
            raise unknown(f"measured source for '{target.name}'", missing, measured)
        return [measured[source.name] for source in sources]

    def with_ground_truth(self, ground_truth: GroundTruth) -> Selector:
        """An oracle of these measurements."""
        return Oracle(ground_truth)
