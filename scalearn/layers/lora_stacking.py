"""Stacks several LoRAs for each Linear that one of them targets; ranks, alphas and targets may differ.

    down = [A_1; …; A_n]        up = [scale_1 B_1^T; …; scale_n B_n^T]        ranks [n]: 0 where a source lacks the module

What 16 bits hold without loss, such as LoRAs that were saved in bf16, is held so: twenty of rank 16 on all Linears of an 8B base are 1.7 GB.
LoRAs on the base's pooler are left out: no head here reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tasksel.adapters.lora_folder import StoredLora
from tasksel.adapters.pool import Source
from tasksel.errors import UserError
from tasksel.model.half_weights import narrowed
from tasksel.model.lora_config import ARCHITECTURE, Target

POOLER = "pooler"


@dataclass(frozen=True)
class LoraStack:
    """The LoRAs of n sources on one Linear: down [R, in], up [R, out] with each source's scale in it, ranks [n] whose sum is R.

    >>> LoraStack(torch.zeros(3, 8), torch.zeros(3, 4), torch.tensor([2, 0, 1])).owner.tolist()
    [0, 0, 2]
    """

    down: Tensor
    up: Tensor
    ranks: Tensor

    @property
    def count(self) -> int:
        """n, the number of sources, those that lack the module among them."""
        return len(self.ranks)

    @property
    def owner(self) -> Tensor:
        """The source of each row [R]."""
        return torch.repeat_interleave(torch.arange(len(self.ranks)), self.ranks)

    def pair(self, source: int) -> tuple[Tensor, Tensor]:
        """A [r, in] and scale * B [out, r] of one source."""
        rows = self.owner == source
        return self.down[rows], self.up[rows].t()


def stack_loras(sources: Sequence[Source]) -> tuple[dict[str, LoraStack], dict[str, Any]]:
    """The LoRAs of several sources by the path of their module in the encoder, and the configuration of their kind.

    >>> layers, adapter_config = stack_loras(pool.select(["mnli", "qnli"]))  # doctest: +SKIP

    Raises:
        UserError: sources of different bases, or that differ in a module's size, by name; a file that was altered or lost.
    """
    first = sources[0]
    for other in sources[1:]:
        bases = first.card.base["fingerprint"], other.card.base["fingerprint"]
        if bases[0] != bases[1]:
            raise UserError(
                f"sources '{first.name}' and '{other.name}' differ in base {bases}: they cannot be mixed; choose sources alike"
            )
    parts = [scaled(source.lora()) for source in sources]
    paths = sorted({path for part in parts for path in part if not path.startswith(POOLER)}, key=_by_layer)
    if not paths:
        raise UserError(
            f"source '{first.name}' has LoRAs on the base's pooler alone, which no head reads: choose another source"
        )
    return {path: _stacked([part.get(path) for part in parts]) for path in paths}, {"architecture": ARCHITECTURE}


def scaled(lora: StoredLora) -> dict[str, tuple[Tensor, Tensor]]:
    """A [r, in] and scale * B^T [r, out] of a stored LoRA by path.

    >>> scaled(source.lora())["encoder.layer.0.attention.self.query"]  # doctest: +SKIP
    """
    config = lora.config.lora
    return {
        path: (a, config.scale(Target(path, len(a), config.alpha(path))) * b.t()) for path, (a, b) in lora.pairs.items()
    }


def _stacked(parts: Sequence[tuple[Tensor, Tensor] | None]) -> LoraStack:
    present = [part for part in parts if part is not None]
    return LoraStack(
        narrowed(torch.cat([down for down, _ in present]).contiguous()),
        narrowed(torch.cat([up for _, up in present]).contiguous()),
        torch.tensor([0 if part is None else len(part[0]) for part in parts]),
    )


def _by_layer(path: str) -> list[tuple[int, str]]:
    """Sorts layer 10 behind layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]
