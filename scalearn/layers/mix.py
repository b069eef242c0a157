"""The mix in ONE adapter slot.

`add_mix` adds a plain `seq_bn` adapter of the summed width, then puts the mix in each slot in its place. It holds the sources' projections as
frozen buffers and omega as its only parameter (or a buffer too, where no gradient learns it). Residual and layer norm are the slot's. `thaw_mix`
lets copies of the projections train too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scalearn.layers.scaling import Omega, Scaling, fold, hidden_state, mix
from tasksel.adapters.bottleneck import Bottlenecks, slot_config
from tasksel.model.adapter import Adapter
from tasksel.model.slot import Slot

PROJECTIONS = ("down", "down_bias", "up", "up_bias")


class ScaledMix(nn.Module):
    """Frozen bottlenecks under an omega, in place of one adapter.

    The up-projection is folded from the sources in each training step; in eval mode the folded weight is kept until omega changes.

    Args:
        adapter: one of the summed width, whose activation and place are kept. sources: stacked. omega: its weights [n, d] or [n, 1].
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor

    def __init__(self, adapter: Adapter, sources: Bottlenecks, omega: Omega) -> None:
        super().__init__()
        self.reads_branch = adapter.reads_branch
        self.non_linearity: Callable[[Tensor], Tensor] = adapter.non_linearity
        self.omega = omega
        self.register_buffer("down", sources.down.flatten(0, 1).contiguous(), persistent=False)
        self.register_buffer("down_bias", sources.down_bias.flatten().contiguous(), persistent=False)
        self.register_buffer("up", sources.up.contiguous(), persistent=False)
        self.register_buffer("up_bias", sources.up_bias.contiguous(), persistent=False)
        self._kept: tuple[int, Tensor, Tensor, Tensor] | None = None

    def thaw(self) -> None:
        """Makes the projections trainable: copies of the sources' own, which stay as they are."""
        for name in PROJECTIONS:
            values = getattr(self, name)
            delattr(self, name)
            self.register_parameter(name, nn.Parameter(values.clone()))

    @property
    def thawed(self) -> bool:
        """Whether the projections train."""
        return isinstance(self.up, nn.Parameter)

    def folded(self) -> tuple[Tensor, Tensor]:
        """The up-projection [n*r, d] and bias [d] under the current omega."""
        if self.training or self.thawed or (torch.is_grad_enabled() and self.omega.weight.requires_grad):
            return fold(self.up, self.up_bias, self.omega())
        omega = self.omega.weight
        if omega.is_inference():  # such a tensor counts no changes
            return fold(self.up, self.up_bias, self.omega())
        # a change in place counts up the version (an optimizer, a load); another storage has another address (.to, .data)
        if self._kept is None or self._kept[0] != omega._version or self._kept[1].data_ptr() != omega.data_ptr():
            weight, bias = fold(self.up, self.up_bias, self.omega())
            self._kept = (omega._version, omega.detach(), weight.detach(), bias.detach())
        return self._kept[2], self._kept[3]

    def hidden(self, x: Tensor) -> Tensor:
        """The bottlenecks' hidden state [b, t, n*r] for tokens x [b, t, d]."""
        return hidden_state(x, self.down, self.down_bias, self.non_linearity)

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [b, t, d] for tokens x [b, t, d]."""
        weight, bias = self.folded()
        return mix(x, self.down, self.down_bias, weight, bias, self.non_linearity)


def bottleneck_layers(model: Any, adapter: str) -> Iterator[tuple[str, Slot]]:
    """The slots that hold this adapter, with their module paths, from the first layer to the last.

    >>> [path for path, _ in bottleneck_layers(model, "rte")]  # doctest: +SKIP
    """
    return ((path, slot) for path, slot in model.slots() if adapter in slot.adapters)


def add_mix(model: Any, name: str, layers: dict[str, Bottlenecks], scaling: Scaling, config: dict[str, Any]) -> None:
    """Adds adapter `name` to the model as a scaled mix and makes it active; only its omega is trainable.

    Args:
        layers: the sources' stacked projections by the module path of their slot.
        config: the sources' adapter configuration (activation and position).

    >>> add_mix(model, "rte", layers, SCALINGS["scalearn"], config)  # doctest: +SKIP
    """
    n, r, hidden = next(iter(layers.values())).down.shape
    model.add_adapter(name, slot_config(n * r, hidden, config))
    shared = Omega(scaling, sources=n, width=hidden) if scaling.shared else None
    for path, slot in bottleneck_layers(model, name):
        slot.adapters[name] = ScaledMix(
            slot.adapters[name], layers[path], shared or Omega(scaling, sources=n, width=hidden)
        )
    model.set_active_adapters(name)


def thaw_mix(model: Any, name: str) -> None:
    """Makes the projections of a mix trainable, in all layers.

    >>> thaw_mix(model, "rte")  # doctest: +SKIP
    """
    for _, slot in bottleneck_layers(model, name):
        slot.adapters[name].thaw()


def set_omega(model: nn.Module, values: Sequence[float]) -> None:
    """Sets the one scalar per source [n] of a mix whose omega no gradient learns.

    >>> set_omega(model, [0.5, 1.0])  # doctest: +SKIP
    """
    with torch.no_grad():
        for omega in omega_buffers(model).values():
            omega.copy_(torch.tensor(values, dtype=omega.dtype)[:, None])


def omega_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The omegas that are buffers, by name: not learned by gradient, but part of a trained state.

    >>> omega_buffers(torch.nn.Linear(2, 2))
    {}
    """
    return {name: buffer for name, buffer in model.named_buffers() if name.endswith(".omega.weight")}


def add_copy(model: Any, name: str, layers: dict[str, Bottlenecks], config: dict[str, Any], *, source: int = 0) -> None:
    """Adds adapter `name` as an ordinary copy of one of the stacked sources, by its number.

    >>> add_copy(model, "second", layers, config, source=1)  # doctest: +SKIP
    """
    _, r, hidden = next(iter(layers.values())).down.shape
    model.add_adapter(name, slot_config(r, hidden, config))
    with torch.no_grad():
        for path, slot in bottleneck_layers(model, name):
            stacked, adapter = layers[path], slot.adapters[name]
            adapter.adapter_down[0].weight.copy_(stacked.down[source])
            adapter.adapter_down[0].bias.copy_(stacked.down_bias[source])
            adapter.adapter_up.weight.copy_(stacked.up[source].t())
            adapter.adapter_up.bias.copy_(stacked.up_bias[source])


def add_only_copy(model: Any, name: str, layers: dict[str, Bottlenecks], config: dict[str, Any]) -> None:
    """Adds the one stacked source (n = 1) as the ordinary adapter `name`, and makes it active.

    >>> add_only_copy(model, "rte", layers, config)  # doctest: +SKIP

    Raises:
        ValueError: several stacked sources.
    """
    count = len(next(iter(layers.values())).down)
    if count != 1:
        raise ValueError(f"{count} stacked sources for one adapter: merge them first")
    add_copy(model, name, layers, config)
    model.set_active_adapters(name)


def fold_into(model: Any, name: str, mixed: Any, mixed_name: str) -> None:
    """Writes a trained mix of `mixed` into the ordinary adapter `name` of `model` (added with the same width).

    >>> fold_into(plain, "rte", trained, "rte")  # doctest: +SKIP
    """
    slots = dict(bottleneck_layers(mixed, mixed_name))
    with torch.no_grad():
        for path, slot in bottleneck_layers(model, name):
            source, adapter = slots[path].adapters[mixed_name].eval(), slot.adapters[name]
            weight, bias = source.folded()
            adapter.adapter_down[0].weight.copy_(source.down)
            adapter.adapter_down[0].bias.copy_(source.down_bias)
            adapter.adapter_up.weight.copy_(weight.t())
            adapter.adapter_up.bias.copy_(bias)
