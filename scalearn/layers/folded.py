"""What every mix of frozen sources has: an omega, projections that can be thawed, and a folded weight that is kept in eval mode.

    y = … + sum_s omega_s * o_s        folded once per training step, in eval mode once until omega changes

The mix of bottlenecks is `scalearn.layers.mix.ScaledMix`, that of LoRAs `scalearn.layers.lora_mix.LoraMix`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scalearn.layers.scaling import Omega


class FoldedMix(nn.Module, ABC):
    """Frozen sources under an omega.

    Args:
        omega: the weights of the sources, which several mixes may share.

    Attributes:
        PROJECTIONS: names of the buffers that hold the sources' projections.
    """

    PROJECTIONS: ClassVar[tuple[str, ...]]
    up: Tensor

    def __init__(self, omega: Omega) -> None:
        super().__init__()
        self.omega = omega
        self._kept: tuple[int, Tensor, tuple[Tensor, ...]] | None = None

    @abstractmethod
    def fold(self) -> tuple[Tensor, ...]:
        """What omega scales, folded under the current one."""

    @abstractmethod
    def hidden(self, x: Tensor) -> Tensor:
        """The sources' hidden states side by side [b, t, r of all] for tokens x [b, t, d]."""

    @abstractmethod
    def contribution(self, hidden: Tensor, source: int) -> Tensor:
        """What one source adds [b, t, d], from the hidden state of all."""

    @abstractmethod
    def weights(self) -> Tensor:
        """The weights that scale [n, d or 1], one row per source; a source that is not in this slot has zeros."""

    @abstractmethod
    def has(self) -> Tensor:
        """Which sources are in this slot [n]."""

    def thaw(self) -> None:
        """Makes the projections trainable: copies of the sources' own, which stay as they are; in float32 at least, as 16 bits lose small steps."""
        for name in self.PROJECTIONS:
            values = getattr(self, name)
            delattr(self, name)
            kind = torch.promote_types(values.dtype, torch.float32)
            self.register_parameter(name, nn.Parameter(values.to(kind, copy=True)))

    @property
    def thawed(self) -> bool:
        """Whether the projections train."""
        return isinstance(self.up, nn.Parameter)

    def folded(self) -> tuple[Tensor, ...]:
        """What `fold` gives under the current omega."""
        if self.training or self.thawed or (torch.is_grad_enabled() and self.omega.weight.requires_grad):
            return self.fold()
        omega = self.omega.weight
        if omega.is_inference():  # such a tensor counts no changes
            return self.fold()
        # a change in place counts up the version (an optimizer, a load); another storage has another address (.to, .data)
        if self._kept is None or self._kept[0] != omega._version or self._kept[1].data_ptr() != omega.data_ptr():
            self._kept = (omega._version, omega.detach(), tuple(part.detach() for part in self.fold()))
        return self._kept[2]


def mixes(model: Any, adapter: str) -> Iterator[tuple[str, FoldedMix]]:
    """The mixes of this adapter with the paths of their slots, from the first layer to the last.

    >>> [path for path, _ in mixes(model, "rte")]  # doctest: +SKIP
    """
    return ((path, slot.adapters[adapter]) for path, slot in model.slots() if adapter in slot.adapters)


def thaw_mix(model: Any, name: str) -> None:
    """Makes the projections of a mix trainable, in all layers.

    >>> thaw_mix(model, "rte")  # doctest: +SKIP
    """
    for _, mix in mixes(model, name):
        mix.thaw()


def omega_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The omegas that are buffers, by name: not learned by gradient, but part of a trained state.

    >>> omega_buffers(torch.nn.Linear(2, 2))
    {}
    """
    return {name: buffer for name, buffer in model.named_buffers() if name.endswith(".omega.weight")}


def set_omega(model: nn.Module, values: Sequence[float]) -> None:
    """Sets the one scalar per source [n] of a mix whose omega no gradient learns.

    >>> set_omega(model, [0.5, 1.0])  # doctest: +SKIP
    """
    with torch.no_grad():
        for omega in omega_buffers(model).values():
            omega.copy_(torch.tensor(values, dtype=omega.dtype)[:, None])
