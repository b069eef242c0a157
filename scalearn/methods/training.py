"""The input and the output of a training procedure: one seed's training on one target.

method.train(SeedTraining) -> TrainedModel        all procedures share `fit`, the one training loop
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scalearn.layers.kinds import Layers
from scalearn.methods.budget import affordable_steps
from scalearn.methods.candidate import Candidate
from tasksel.adapters.pool import Source
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.encoding import Encoded, encode_split, say_cut
from tasksel.model.pooling import Pooling
from tasksel.processes import accelerator
from tasksel.tasks.load import Data
from tasksel.tasks.task import Task
from tasksel.training.base_pooling import pooling_of
from tasksel.training.checkpoints import Checkpoints
from tasksel.training.loop import FitResult, fit
from tasksel.training.memory import PeakMemory
from tasksel.training.recipe import Recipe
from tasksel.training.solved_start import solve_head


@dataclass(frozen=True)
class TrainedModel:
    """One seed's trained model.

    Attributes:
        fit: dev score, epoch, steps and seconds; of several trainings, the kept one's, with the steps and seconds of all.
        peak_memory: bytes, the most held while training (`tasksel.training.memory`). grid: every cell of a grid, with its dev score.
        candidates: those that `auto` compared.
    """

    model: Any
    fit: FitResult
    peak_memory: int | None
    grid: tuple[dict[str, float], ...] | None = None
    candidates: tuple[Candidate, ...] | None = None


@dataclass(frozen=True)
class SeedTraining:
    """One seed's training on a target.

    Attributes:
        data: the target's rows, drawn by the seed. sources: those that the method uses.
        layers, adapter_config: from `TransferMethod.prepare`; empty if the method uses no adapters.
        label: of the progress bar. rescue: where the last finite state is written if the loss becomes NaN.
        store: where trainings that several targets share are kept; None keeps nothing.
        checkpoints: what the seed goes on from if it is killed; every run of the loop is given them.

    >>> training.finished(model, training.fit(model))  # doctest: +SKIP
    """

    target: Task
    data: Data
    base: Base
    recipe: Recipe
    seed: int
    sources: Sequence[Source]
    layers: Layers
    adapter_config: dict[str, Any]
    label: str
    rescue: Path
    store: Path | None = None
    checkpoints: Checkpoints | None = None
    peak: PeakMemory = field(default_factory=lambda: PeakMemory(accelerator().device), repr=False)

    @cached_property
    def encoded(self) -> tuple[Encoded, Encoded]:
        """The target's training and dev rows as token ids."""
        tokenizer, length = self.base.tokenizer, self.recipe.max_length
        train, dev = (
            encode_split(split, self.target, tokenizer, max_length=length) for split in (self.data.train, self.data.dev)
        )
        say_cut(train, self.target.name, length)
        return train, dev

    @cached_property
    def pooling(self) -> Pooling:
        """How the head reads a text's tokens."""
        train, dev = self.encoded
        return pooling_of(self.recipe, self.base, self.target, train.joined(dev), seed=self.seed)

    def fit(self, model: Any, **options: Any) -> FitResult:
        """Trains the model on the target's rows, and leaves it with its best checkpoint on dev; a model of which nothing trains is scored as it is.

        Args:
            options: other arguments of `tasksel.training.loop.fit`, such as a penalty.

        Raises:
            Diverged: the loss became NaN.
        """
        train, dev = self.encoded
        return fit(
            model,
            self.target,
            train,
            dev,
            self._within_budget(model),
            seed=self.seed,
            label=self.label,
            rescue=self.rescue,
            checkpoints=self.checkpoints,
            **options,
        )

    def _within_budget(self, model: Any) -> Recipe:
        """The recipe with the steps that its budget buys.

        Raises:
            UserError: a budget that buys none.
        """
        if self.recipe.budget is None:
            return self.recipe
        steps = affordable_steps(model, self.encoded[0], self.recipe)
        if not steps:
            raise UserError(f"budget {self.recipe.budget:g}: buys no step of training; give more, or use closed-form")
        return self.recipe.model_copy(update={"max_steps": steps})

    def solve(self, model: Any) -> FitResult:
        """Sets the model's head to the closed form on all of the target's rows, train and dev; the score is the cross-validated one.

        Raises:
            UserError: features that are not finite.
        """
        begun = time.perf_counter()
        train, dev = self.encoded
        solution = solve_head(model, self.target, train.joined(dev), seed=self.seed)
        return FitResult(solution.score, 0, 0, time.perf_counter() - begun)

    def finished(self, model: Any, done: FitResult, grid: Sequence[dict[str, float]] | None = None) -> TrainedModel:
        """The trained model, with the most memory that was held since this training began."""
        return TrainedModel(model, done, self.peak.bytes(), tuple(grid) if grid else None)
