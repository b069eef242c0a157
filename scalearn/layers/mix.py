"""The mix in ONE ordinary adapter slot of the `adapters` library.

`add_mix` adds a plain `seq_bn` adapter of the summed width, then puts a subclass of the library's `Adapter` in each layer's slot. It holds
the sources' projections as frozen buffers and omega as its only parameter (or a buffer too, where no gradient learns it). Residual, layer
norm, composition and activation stay the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.modeling import Adapter
from torch import Tensor, nn

from scalearn.layers.scaling import Omega, Scaling, fold, mix
from tasksel.adapters.bottleneck import Bottlenecks, slot_config


class ScaledMix(Adapter):
    """Frozen bottlenecks under an omega, in place of one adapter of the library.

    Differs from the library's `Adapter`: the up-projection is folded from the sources in each training step; in eval mode the folded
    weight is kept until omega changes.

    Args:
        slot: the library's adapter of the summed width, whose settings are kept. sources: stacked. omega: its weights [n, d] or [n, 1].
    """

    def __init__(self, slot: Adapter, sources: Bottlenecks, omega: Omega) -> None:
        nn.Module.__init__(self)
        for flag in (
            "name",
            "input_size",
            "add_layer_norm_before",
            "add_layer_norm_after",
            "adapter_residual_before_ln",
            "use_gating",
        ):
            setattr(self, flag, getattr(slot, flag))
        for flag in ("residual_before_ln", "original_ln_before", "original_ln_after", "down_sample"):
            setattr(self, flag, getattr(slot, flag))
        self.non_linearity: Callable[[Tensor], Tensor] = slot.non_linearity
        self.omega = omega
        self.register_buffer("down", sources.down.flatten(0, 1).contiguous(), persistent=False)
        self.register_buffer("down_bias", sources.down_bias.flatten().contiguous(), persistent=False)
        self.register_buffer("up", sources.up.contiguous(), persistent=False)
        self.register_buffer("up_bias", sources.up_bias.contiguous(), persistent=False)
        self._kept: tuple[int, Tensor, Tensor, Tensor] | None = None

    def folded(self) -> tuple[Tensor, Tensor]:
        """The up-projection [n*r, d] and bias [d] under the current omega."""
        if self.training or (torch.is_grad_enabled() and self.omega.weight.requires_grad):
            return fold(self.up, self.up_bias, self.omega())
        omega = self.omega.weight
        if omega.is_inference():  # such a tensor counts no changes
            return fold(self.up, self.up_bias, self.omega())
        # a change in place counts up the version (an optimizer, a load); another storage has another address (.to, .data)
        if self._kept is None or self._kept[0] != omega._version or self._kept[1].data_ptr() != omega.data_ptr():
            weight, bias = fold(self.up, self.up_bias, self.omega())
            self._kept = (omega._version, omega.detach(), weight.detach(), bias.detach())
        return self._kept[2], self._kept[3]

    def forward(self, x: Tensor, residual_input: Tensor, output_gating: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Output, hidden state of the bottleneck, output without residual, as the library's adapter returns them."""
        weight, bias = self.folded()
        return mix(x, residual_input, self.down, self.down_bias, weight, bias, self.non_linearity)


def bottleneck_layers(model: nn.Module, adapter: str) -> Iterator[tuple[str, BottleneckLayer]]:
    """The layers that hold this adapter, with their module paths, from the first to the last.

    >>> [path for path, _ in bottleneck_layers(model, "rte")]  # doctest: +SKIP
    """
    for path, module in model.named_modules():
        if isinstance(module, BottleneckLayer) and adapter in module.adapters:
            yield path, module


def add_mix(model: Any, name: str, layers: dict[str, Bottlenecks], scaling: Scaling, config: dict[str, Any]) -> None:
    """Adds adapter `name` to the model as a scaled mix and makes it active; only its omega is trainable.

    Args:
        layers: the sources' stacked projections by the module path of their slot.
        config: the sources' adapter configuration (activation and position).

    >>> add_mix(model, "rte", layers, SCALINGS["scalearn"], config)  # doctest: +SKIP
    """
    n, r, hidden = next(iter(layers.values())).down.shape
    model.add_adapter(name, config=slot_config(n * r, hidden, config))
    shared = Omega(scaling, sources=n, width=hidden) if scaling.shared else None
    for path, layer in bottleneck_layers(model, name):
        layer.adapters[name] = ScaledMix(
            layer.adapters[name], layers[path], shared or Omega(scaling, sources=n, width=hidden)
        )
    model.set_active_adapters(name)


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
    model.add_adapter(name, config=slot_config(r, hidden, config))
    with torch.no_grad():
        for path, layer in bottleneck_layers(model, name):
            stacked, adapter = layers[path], layer.adapters[name]
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
        for path, layer in bottleneck_layers(model, name):
            source, adapter = slots[path].adapters[mixed_name].eval(), layer.adapters[name]
            weight, bias = source.folded()
            adapter.adapter_down[0].weight.copy_(source.down)
            adapter.adapter_down[0].bias.copy_(source.down_bias)
            adapter.adapter_up.weight.copy_(weight.t())
            adapter.adapter_up.bias.copy_(bias)
