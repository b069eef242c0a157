"""The mix in ONE adapter slot.

`add_mix` adds a plain `seq_bn` adapter of the summed width, then puts the mix in each slot in its place. It holds the sources' projections as
frozen buffers and omega as its only parameter (or a buffer too, where no gradient learns it). Residual and layer norm are the slot's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from scalearn.layers.folded import FoldedMix
from scalearn.layers.scaling import Omega, Scaling, fold, hidden_state, mix
from tasksel.adapters.bottleneck import Bottlenecks, slot_config
from tasksel.model.adapter import Adapter
from tasksel.model.slot import Slot


class ScaledMix(FoldedMix):
    """Frozen bottlenecks under an omega, in place of one adapter.

    Args:
        adapter: one of the summed width, whose activation and place are kept. sources: stacked. omega: its weights [n, d] or [n, 1].
    """

    PROJECTIONS: ClassVar[tuple[str, ...]] = ("down", "down_bias", "up", "up_bias")
    down: Tensor
    down_bias: Tensor
    up_bias: Tensor

    def __init__(self, adapter: Adapter, sources: Bottlenecks, omega: Omega) -> None:
        super().__init__(omega)
        self.reads_branch = adapter.reads_branch
        self.non_linearity: Callable[[Tensor], Tensor] = adapter.non_linearity
        self.register_buffer("down", sources.down.flatten(0, 1).contiguous(), persistent=False)
        self.register_buffer("down_bias", sources.down_bias.flatten().contiguous(), persistent=False)
        self.register_buffer("up", sources.up.contiguous(), persistent=False)
        self.register_buffer("up_bias", sources.up_bias.contiguous(), persistent=False)

    def fold(self) -> tuple[Tensor, Tensor]:
        """The up-projection [n*r, d] and bias [d] under the current omega."""
        return fold(self.up, self.up_bias, self.omega())

    def hidden(self, x: Tensor) -> Tensor:
        """The bottlenecks' hidden state [b, t, n*r] for tokens x [b, t, d]."""
        return hidden_state(x, self.down, self.down_bias, self.non_linearity)

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [b, t, d] for tokens x [b, t, d]."""
        weight, bias = self.folded()
        return mix(x, self.down, self.down_bias, weight, bias, self.non_linearity)

    def contribution(self, hidden: Tensor, source: int) -> Tensor:
        """What one source adds [b, t, d], omega_s * o_s, from the hidden state [b, t, n*r]."""
        r = self.up.shape[1]
        output = hidden[..., source * r : (source + 1) * r] @ self.up[source] + self.up_bias[source]
        return self.omega()[source] * output

    def weights(self) -> Tensor:
        """The weights that scale [n, d or 1]."""
        return self.omega()

    def has(self) -> Tensor:
        """Every source [n]: each has a bottleneck in every layer."""
        return torch.ones(len(self.up), dtype=torch.bool, device=self.up.device)


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


def add_folded(model: Any, name: str, mixed: Any, mixed_name: str, config: dict[str, Any]) -> None:
    """Adds adapter `name` to `model` as ONE ordinary adapter of the summed width that equals a trained mix of `mixed`.

    >>> add_folded(plain, "rte", trained, "rte", config)  # doctest: +SKIP
    """
    width = next(bottleneck_layers(mixed, mixed_name))[1].adapters[mixed_name].down.shape[0]
    model.add_adapter(name, slot_config(width, model.config.hidden_size, config))
    model.set_active_adapters(name)
    fold_into(model, name, mixed, mixed_name)


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
