"""Selectors that read nothing but a task's name, kind or size: random, largest first, same kind, and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tasksel.embeddings.base import Needs
from tasksel.errors import UserError, unknown
from tasksel.selection.candidate import Subject
from tasksel.storage.atomic import value_hash


@dataclass(frozen=True)
class Plain:
    """A method that looks at no model: `score` of a target and a source."""

    name: str
    score: Callable[[Subject, Subject], float]
    needs: ClassVar[Needs] = "data"

    @property
    def key(self) -> str:
        """It has no settings."""
        return self.name

    def scores(self, target: Subject, sources: Sequence[Subject]) -> list[float]:
        """The score of each source alone."""
        return [self.score(target, source) for source in sources]


def size(target: Subject, source: Subject) -> float:
    """The rows that the source was trained on, train and dev (Lin: data size)."""
    return float(len(source.data.train) + len(source.data.dev))


def kind(target: Subject, source: Subject) -> float:
    """1 for a source of the target's kind of task, another half if it also has as many outputs (the half is ours)."""
    alike = source.task.kind == target.task.kind
    return float(alike) + 0.5 * float(alike and source.task.outputs == target.task.outputs)


@dataclass(frozen=True)
class Random:
    """A random order, drawn from the target's seed. A judge averages over many orders instead (`tasksel.evaluation.ranking_metrics`)."""

    name: ClassVar[str] = "random"
    key: ClassVar[str] = "random"
    needs: ClassVar[Needs] = "data"

    def scores(self, target: Subject, sources: Sequence[Subject]) -> list[float]:
        """A draw in [0, 1) a source."""
        drawn = np.random.default_rng([target.seed, *target.name.encode()]).random(len(sources))
        return [float(score) for score in drawn]


@dataclass(frozen=True)
class Oracle:
    """The measured truth: `truth[target][source]` is the score that the target reached from that source."""

    truth: dict[str, dict[str, float]] = field(default_factory=dict)
    name: ClassVar[str] = "oracle"
    needs: ClassVar[Needs] = "data"

    @property
    def key(self) -> str:
        """Names the truth."""
        return f"oracle-{value_hash(self.truth)[:8]}"

    def scores(self, target: Subject, sources: Sequence[Subject]) -> list[float]:
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
