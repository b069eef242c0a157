"""How to train: a row of values, stored beside everything that was trained by it."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

from tasksel.errors import UserError
from tasksel.storage.frozen import Frozen

# of the training loop, heads, token ids and metrics: raised when the same rows and recipe give other numbers
TRAINING_VERSION = 1
Select = Literal["metric", "loss", "metric-loss"]


class Recipe(Frozen):
    """How to train; a recipe is part of the key of what is trained by it.

    >>> Recipe(lr=1e-3, epochs=2, batch=8).steps(20)  # 3 batches of at most 8 rows in each epoch
    6

    Attributes:
        lr: peak learning rate of AdamW.
        epochs: passes over train; the schedule ends with the last.
        batch: rows per step, over all processes together.
        max_length: tokens to which a sequence is cut.
        warmup: share of the steps over which lr rises from 0.
        weight_decay: AdamW's.
        clip: largest norm of the gradient.
        patience: epochs without a better dev score before training stops; None never stops early.
        max_steps: an upper bound on steps.
        micro_batch: rows per forward pass. It decides the dropout masks, the number of processes does not; batch / micro_batch
            processes have work.
        select: how checkpoints are compared on dev: by the task's "metric" (of equal ones the first is kept), by "loss", or by the metric
            and then the loss ("metric-loss": a few dev rows give many equal scores).
        log_with: an accelerate tracker ("tensorboard", "wandb", …), which must be installed.
    """

    lr: float = 3e-4
    epochs: int = 30
    batch: int = 32
    max_length: int = 128
    warmup: float = 0.06
    weight_decay: float = 0.0
    clip: float = 1.0
    patience: int | None = 5
    max_steps: int | None = None
    micro_batch: int = 16
    select: Select = "metric"
    log_with: str | None = None

    def identity(self) -> dict[str, Any]:
        """What of a training's settings decides its numbers, for keys: all but `log_with`; the launch's precision where it is not full, and
        `TRAINING_VERSION` from 2 on.

        >>> sorted(Recipe().identity().keys() ^ Recipe.model_fields.keys())
        ['log_with']
        """
        decisive = self.model_dump(mode="json", exclude={"log_with"})
        precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        decisive |= {} if precision == "no" else {"mixed_precision": precision}
        return decisive if TRAINING_VERSION == 1 else {**decisive, "version": TRAINING_VERSION}

    def check(self) -> None:
        """Refuses what trains nothing.

        Raises:
            UserError: a number of epochs, steps or rows below 1.
        """
        for name in ("epochs", "batch", "micro_batch", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"recipe.{name} is {value}; give 1 or more")

    def steps(self, *rows: int) -> int:
        """The number of steps that this many rows give: those of one task, or of each of several."""
        whole = self.epochs * self.epoch_steps(*rows)
        return whole if self.max_steps is None else min(whole, self.max_steps)

    def epoch_steps(self, *rows: int) -> int:
        """The batches that these rows fill in an epoch; a batch holds rows of one task."""
        return sum(math.ceil(n / self.batch) for n in rows)
