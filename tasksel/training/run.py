"""What a training run takes and gives: its parts, its options, its result.

p_i = n_i^(1/T) / sum_j n_j^(1/T)      which of several parts a step trains: n_i its training rows, T a temperature
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
from torch import Tensor

from tasksel.errors import UserError
from tasksel.model.encoding import Encoded
from tasksel.tasks.task import Task
from tasksel.training.checkpoints import Checkpoints

TEMPERATURE = 10.0  # HyperFormer's joint runs (Mahabadi et al. 2021, arXiv:2106.04489)


class Diverged(UserError):
    """The loss stopped being a number."""


@dataclass(frozen=True)
class Part:
    """One task of a training run: its training rows, and the dev rows on which checkpoints are compared, if it has any.

    The model has a head of the task's name, where a run has several parts.
    """

    task: Task
    train: Encoded
    dev: Encoded | None

    def identity(self) -> list[Any]:
        """What tells one part's rows from another's, cheaply: the task, and the rows' lengths, on which the batches depend."""
        lengths = hashlib.sha256(np.asarray(self.train.lengths, dtype=np.int64).tobytes()).hexdigest()[:16]
        return [self.task.name, self.task.kind, self.task.metric, lengths, 0 if self.dev is None else len(self.dev)]


@dataclass
class FitResult:
    """The result of a training run.

    Attributes:
        score: the best dev score, a mean over the parts that have dev rows; None without any.
        epoch: the epoch of that checkpoint, from 1; 0 is a solved start.
        steps, seconds: of the whole run, with what was done before it was killed.
        history: one row per epoch: its number, steps, loss and dev score.
        scores: the parts' own dev scores at that epoch, by task.
    """

    score: float | None
    epoch: int | None
    steps: int
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)


class Stateful(Protocol):
    """What remembers something from step to step, beside the model: it is stored in a checkpoint and read back (torch's two names)."""

    def state_dict(self) -> dict[str, Tensor]:
        """What it remembers, as tensors by name."""

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        """Takes up what was remembered."""


class FitOptions(TypedDict, total=False):
    """What a training run may be given beside its rows, recipe and seed.

    Attributes:
        label: the run's name, for the progress bar and a tracker; by default its tasks' names.
        groups: AdamW parameter groups; by default all trainable parameters with the recipe's lr.
        penalty: added to the mean loss of each step (an L1 term).
        on_step: called after each step with its number; True ends training.
        stateful: what `on_step` or `penalty` remembers, where they do.
        rescue: where the last finite state is written if the loss becomes NaN.
        checkpoints: where the run keeps what it has reached, to go on from there if it is killed (`tasksel.training.checkpoints`).
    """

    label: str
    groups: list[dict[str, Any]] | None
    penalty: Callable[[], Tensor] | None
    on_step: Callable[[int], bool] | None
    stateful: Stateful | None
    rescue: Path | None
    checkpoints: Checkpoints | None


def sampling_shares(rows: Sequence[int], temperature: float) -> list[float]:
    """The share of the steps that each of several tasks has, by its training rows: p_i proportional to n_i^(1/T).

    >>> sampling_shares([100, 400], 1.0), sampling_shares([100, 400], 2.0), sampling_shares([100, 400], math.inf)
    ([0.2, 0.8], [0.3333333333333333, 0.6666666666666666], [0.5, 0.5])

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}: give a number above 0 (1 for shares in proportion to rows)")
    largest = max(rows)
    weights = [(n / largest) ** (1 / temperature) for n in rows]
    return [weight / sum(weights) for weight in weights]
