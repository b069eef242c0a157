"""Watches a training for a loss or gradient that is not finite, which must never touch a parameter.

    EveryStep    reads both back at each step: what a CPU does for nothing, and fp16's loss scaler does anyway
    OnDevice     a GPU keeps the account, so that no step waits for it: from the first such step on, its AdamW leaves every parameter as it is

On a GPU the account is read every 50 steps, and before each evaluation; what comes to light then is counted from the step at which it happened,
with the parameters as they were before it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator

OVERFLOWS = 20  # in a row: fp16's scaler overflows a few times while it settles
EVERY = 50  # steps
SHOWN_EVERY = 0.5  # seconds: a number that changes faster cannot be read


class Watch(Protocol):
    """What the training loop asks.

    Attributes:
        overflows: steps in a row that were not finite; part of a training's state.
    """

    overflows: int

    def value(self, loss: Tensor) -> Any:
        """A loss as what the loop adds up: a number, or one that still lies on the device."""
        ...

    def diverged(self, norm: Any, loss: Any) -> bool:
        """Whether the step that has this gradient's norm and this loss must not be made."""
        ...

    def late(self, step: int | None = None) -> int:
        """How many of the steps so far were not made, which are the last ones; of a numbered step only where it is its turn to look."""
        ...

    def shown(self, loss: Any) -> float:
        """The loss as a number for a progress bar."""
        ...


def watch(world: Accelerator, optimizer: torch.optim.Optimizer) -> Watch:
    """The watch that suits the device.

    Args:
        optimizer: AdamW, fused where it is on a GPU.
    """
    alone, fp16 = world.num_processes == 1, world.mixed_precision == "fp16"
    if fused(world) and not fp16:
        return OnDevice(optimizer, world.device, alone=alone)
    return EveryStep(alone=alone, allowed=OVERFLOWS if fp16 else 0)


def fused(world: Accelerator) -> dict[str, Any]:
    """AdamW's option on a GPU, where one kernel makes the step, or leaves it out; a CPU keeps the operations that its stored numbers came from."""
    return {"fused": True} if world.device.type == "cuda" else {}


class EveryStep:
    """Reads loss and gradient back at each step.

    Args:
        alone: a single process; of several each has a loss of its own, so that they go by the gradient, which they share.
        allowed: steps in a row that may overflow.

    >>> EveryStep(alone=True, allowed=0).diverged(torch.tensor(1.0), math.nan)
    True
    """

    def __init__(self, *, alone: bool, allowed: int) -> None:
        self.alone, self.allowed, self.overflows = alone, allowed, 0

    def value(self, loss: Tensor) -> float:
        """The number."""
        return float(loss)

    def diverged(self, norm: Any, loss: float) -> bool:
        """Whether too many steps in a row, this one among them, were not finite."""
        finite = bool(torch.isfinite(norm)) if isinstance(norm, Tensor) else math.isfinite(norm)
        finite = finite and (not self.alone or math.isfinite(loss))
        self.overflows = 0 if finite else self.overflows + 1
        return self.overflows > self.allowed

    def late(self, step: int | None = None) -> int:
        """0: a step is refused before it is made."""
        return 0

    def shown(self, loss: float) -> float:
        """The number itself."""
        return loss


class OnDevice:
    """Keeps the account on the device: nothing here waits for it but `late` and, twice a second, `shown`.

    Args:
        optimizer: a fused AdamW, which makes no step while its `found_inf` is 1.

    >>> OnDevice(optimizer, torch.device("cuda"), alone=True).late()  # doctest: +SKIP
    0
    """

    def __init__(self, optimizer: Any, device: torch.device, *, alone: bool) -> None:
        self.alone, self.overflows = alone, 0
        self.poison = torch.zeros((), device=device)  # NaN from the first value on that is not finite: 0 * inf is NaN
        self.found = torch.zeros((), device=device)  # 1 from then on
        self.steps = torch.zeros((), device=device)  # that were not made
        self.number, self.read_at = math.nan, -math.inf
        optimizer.found_inf = self.found

    def value(self, loss: Tensor) -> Tensor:
        """The loss where it lies."""
        return loss

    @torch.no_grad()
    def diverged(self, norm: Tensor, loss: Tensor) -> bool:
        """False: the step is enqueued, and the device itself leaves it out."""
        self.poison += 0.0 * (norm + loss if self.alone else norm)
        self.found.copy_(self.poison != self.poison)
        self.steps += self.found
        return False

    def late(self, step: int | None = None) -> int:
        """Waits for the device: always, or every 50 steps."""
        return int(self.steps) if step is None or step % EVERY == 0 else 0

    def shown(self, loss: Tensor) -> float:
        """The latest loss, or one that is less than half a second old."""
        now = time.monotonic()
        if now - self.read_at >= SHOWN_EVERY:
            self.number, self.read_at = float(loss), now
        return self.number
