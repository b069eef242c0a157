"""How to train: a row of values, stored beside everything that was trained by it."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from tasksel.bounds import Count, NotNegative, Positive, Share, Tokens, Wait, requirement
from tasksel.errors import UserError, unknown
from tasksel.storage.frozen import Frozen
from tasksel.training.precision import FULL, Precision, launched, mixed

# of the training loop, heads, token ids and metrics: raised when the same rows and recipe give other numbers
TRAINING_VERSION = 1
Select = Literal["metric", "loss", "metric-loss"]
Start = Literal["random", "solved"]
RecipePooling = Literal["first", "mean", "last", "base"]
# fields that are no part of the identity while they have these values, as all recipes of version 0.1 do
UNTIL_CHANGED: dict[str, Any] = {"pooling": "first", "start": "random", "head_lr": None, "budget": None}


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
            processes have work. On a GPU a transfer or a source whose recipe leaves it open takes what the card holds
            (`tasksel.training.device`).
        select: how checkpoints are compared on dev: by the task's "metric" (of equal ones the first is kept), by "loss", or by the metric
            and then the loss ("metric-loss": a few dev rows give many equal scores).
        pooling: what the head reads of a text's tokens, the "first", the "last" or their "mean"; or as the "base" was trained
            (`tasksel.training.base_pooling`). Of a decoder, whose first token sees no other, "first" is the last.
        start: the head's, "random" or "solved": the closed form on the training rows, which is then the first checkpoint that is compared.
            A generation's head is the base's own; "solved" compares the base as it is.
        head_lr: the head's own peak learning rate; by default `lr`.
        budget: seconds on a nominal machine that a method's gradient steps may take together (`scalearn.methods.budget`); None does not
            bound them.
        log_with: an accelerate tracker ("tensorboard", "wandb", …), which must be installed.
        precision: in which steps compute, "float32", "bf16" or "fp16"; None is that of the launch, or float32 (of a transfer or a source
            the fastest that suits the device: `tasksel.training.precision`).
    """

    lr: Positive = 3e-4
    epochs: Count = 30
    batch: Count = 32
    max_length: Tokens = 128
    warmup: Share = 0.06
    weight_decay: NotNegative = 0.0
    clip: Positive = 1.0
    patience: Wait | None = 5
    max_steps: Count | None = None
    micro_batch: Count = 16
    select: Select = "metric"
    pooling: RecipePooling = "first"
    start: Start = "random"
    head_lr: Positive | None = None
    budget: NotNegative | None = None
    log_with: str | None = None
    precision: Precision | None = None

    @model_serializer(mode="wrap")
    def _stored(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields; a precision only where it is not full, as in keys, so that what was stored before keeps its hash."""
        fields: dict[str, Any] = fields_of(self)
        return {name: value for name, value in fields.items() if name != "precision" or value not in (None, "float32")}

    @property
    def mixed(self) -> str:
        """The precision as accelerate calls it; "no" is float32."""
        return mixed(self.precision)

    def identity(self) -> dict[str, Any]:
        """What of a training's settings decides its numbers, for keys: all but `log_with`; its precision, or the launch's, where it is not full,
        and `TRAINING_VERSION` from 2 on. Fields that version 0.1 did not have count once they are changed.

        >>> sorted(Recipe().identity().keys() ^ Recipe.model_fields.keys())
        ['budget', 'head_lr', 'log_with', 'pooling', 'precision', 'start']
        """
        decisive = self.model_dump(mode="json", exclude={"log_with", "precision"})
        decisive = {name: value for name, value in decisive.items() if UNTIL_CHANGED.get(name, ...) != value}
        decisive |= {} if self.mixed == FULL else {"mixed_precision": self.mixed}
        return decisive if TRAINING_VERSION == 1 else {**decisive, "version": TRAINING_VERSION}

    def __init__(self, **fields: Any) -> None:
        """Checks every field.

        Raises:
            UserError: a number outside its range, or an unknown field; all of them, in one line.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UserError("; ".join(_complaint(item) for item in error.errors())) from error

    def check(self) -> None:
        """Checks every field again: a copy with changes (`model_copy`) is not checked when it is made.

        Raises:
            UserError: see the constructor.
        """
        Recipe(**dict(self))

    def as_launched(self) -> Self:
        """The recipe with its micro-batch fixed, and its precision, where it is open, that of the launch or float32: nothing of it depends on
        the device that trains by it.

        >>> Recipe().as_launched().precision
        'float32'
        """
        precision = self.precision or launched() or "float32"
        return self.model_copy(update={"micro_batch": self.micro_batch, "precision": precision})

    def steps(self, *rows: int) -> int:
        """The number of steps that this many rows give: those of one task, or of each of several."""
        whole = self.epochs * self.epoch_steps(*rows)
        return whole if self.max_steps is None else min(whole, self.max_steps)

    def epoch_steps(self, *rows: int) -> int:
        """The batches that these rows fill in an epoch; a batch holds rows of one task."""
        return sum(math.ceil(n / self.batch) for n in rows)


def _complaint(item: Any) -> str:
    """One of pydantic's complaints as a clause."""
    path = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        return f"recipe: {unknown('field', path, Recipe.model_fields)}"
    return f"recipe.{path}: {requirement(item)} (given {item['input']!r})"
