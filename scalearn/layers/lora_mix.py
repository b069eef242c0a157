"""The mix of LoRAs on a base's Linears.

`add_lora_mix` puts a mix into the slot of every Linear that a source targets. It holds the sources' A and B as frozen buffers and omega as its only
parameter (or a buffer too, where no gradient learns it). The equation is `scalearn.layers.lora_scaling`'s.

    omega per module        scalar or vector, one in each slot
    omega shared            scalar: one for all slots; vector: one for the slots of one role (`attention.self.query`) in all layers, as their sizes differ
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from scalearn.layers.folded import FoldedMix
from scalearn.layers.lora_scaling import fold_loras, mix_loras
from scalearn.layers.lora_stacking import LoraStack
from scalearn.layers.scaling import Omega, Scaling
from tasksel.adapters.lora_folder import add_pairs
from tasksel.model.half_weights import computed_type, half_linear
from tasksel.model.linear_slot import linears_of
from tasksel.model.lora_config import LoraConfig, Target, module_config


class LoraMix(FoldedMix):
    """Frozen LoRAs of one Linear under an omega.

    Args:
        sources: stacked. omega: its weights [n, out] or [n, 1]; a source without a LoRA here has none of them.
    """

    PROJECTIONS: ClassVar[tuple[str, ...]] = ("down", "up")
    down: Tensor
    owner: Tensor
    present: Tensor

    def __init__(self, sources: LoraStack, omega: Omega) -> None:
        super().__init__(omega)
        self.count = sources.count
        self.register_buffer("down", sources.down.contiguous(), persistent=False)
        self.register_buffer("up", sources.up.contiguous(), persistent=False)
        self.register_buffer("present", sources.ranks.nonzero().flatten(), persistent=False)
        ranks = sources.ranks[sources.ranks > 0]
        self.register_buffer("owner", torch.repeat_interleave(torch.arange(len(ranks)), ranks), persistent=False)

    def fold(self) -> tuple[Tensor]:
        """B^T [R, out] under the current omega."""
        everywhere = len(self.present) == self.count
        return (fold_loras(self.up, self.omega(None if everywhere else self.present), self.owner),)

    def hidden(self, x: Tensor) -> Tensor:
        """x A^T [..., R]."""
        return half_linear(x, self.down)

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [..., out] for x [..., in]."""
        (weight,) = self.folded()
        return mix_loras(x, self.down, weight).to(x.dtype)

    def contribution(self, hidden: Tensor, source: int) -> Tensor:
        """What one source adds [..., out]; zeros where it has no LoRA."""
        rows = self.present[self.owner] == source
        (weight,) = self.folded()
        return hidden[..., rows] @ weight[rows]

    def weights(self) -> Tensor:
        """The weights that scale [n, out or 1]; zeros of a source that has no LoRA here."""
        omega = self.omega(self.present)
        return omega.new_zeros(self.count, omega.shape[1]).index_copy(0, self.present, omega)

    def has(self) -> Tensor:
        """Which sources have a LoRA here [n]."""
        return torch.isin(torch.arange(self.count, device=self.present.device), self.present)


def add_lora_mix(model: Any, name: str, layers: dict[str, LoraStack], scaling: Scaling, config: dict[str, Any]) -> None:
    """Adds adapter `name` to the model as a scaled mix of LoRAs and makes it active; only its omega is trainable.

    Args:
        layers: the sources' stacked LoRAs by the path of their module in the encoder.
        config: of their kind; what the stack does not say is not needed.

    >>> add_lora_mix(model, "rte", layers, SCALINGS["scalearn"], config)  # doctest: +SKIP
    """
    shared: dict[str, Omega] = {}
    contents: dict[str, nn.Module] = {}
    for path, stack in layers.items():
        width, key = stack.up.shape[1], path
        if scaling.shared:
            key = "" if scaling.per == "scalar" else f"{role(path)} {width}"
        if key not in shared:
            shared[key] = Omega(scaling, sources=stack.count, width=width)
        contents[path] = LoraMix(_in_the_bases_type(model, path, stack), shared[key])
    model.add_loras(name, _summed(model, layers), contents)
    model.set_active_adapters(name)


def role(path: str) -> str:
    """A module's path without its layer's number: the modules of one role in all layers.

    >>> role("encoder.layer.11.attention.self.query")
    'encoder.layer.*.attention.self.query'
    """
    return re.sub(r"\.\d+(?=\.)", ".*", path)


def _in_the_bases_type(model: Any, path: str, stack: LoraStack) -> LoraStack:
    """The stack as it is held, for a Linear that multiplies in float32 or in no float; else in the type of float that it multiplies in."""
    kind = computed_type(model.base_model.get_submodule(path))
    if kind == torch.float32 or not kind.is_floating_point:
        return stack
    return LoraStack(stack.down.to(kind), stack.up.to(kind), stack.ranks)


def _summed(model: Any, layers: dict[str, LoraStack]) -> LoraConfig:
    """The configuration of one LoRA of the summed ranks, whose scale is 1."""
    targets = [Target(path, len(stack.down), len(stack.down)) for path, stack in layers.items()]
    return module_config(targets, [path for path, _ in linears_of(model.base_model)])


def add_lora_copy(
    model: Any, name: str, layers: dict[str, LoraStack], config: dict[str, Any], *, source: int = 0
) -> None:
    """Adds adapter `name` as an ordinary copy of one of the stacked LoRAs, by its number; its scale is in B, so alpha is the rank.

    >>> add_lora_copy(model, "second", layers, config, source=1)  # doctest: +SKIP
    """
    pairs = {path: stack.pair(source) for path, stack in layers.items() if stack.ranks[source]}
    _add_plain(model, name, pairs)


def add_folded_loras(model: Any, name: str, mixed: Any, mixed_name: str, config: dict[str, Any]) -> None:
    """Adds adapter `name` to a model as ONE LoRA that equals a trained mix, or a trained LoRA, of another.

    >>> add_folded_loras(plain, "rte", trained, "rte", config)  # doctest: +SKIP
    """
    _add_plain(model, name, folded_pairs(mixed, mixed_name))


def _add_plain(model: Any, name: str, pairs: dict[str, tuple[Tensor, Tensor]]) -> None:
    linears = [path for path, _ in linears_of(model.base_model)]
    targets = [Target(path, len(a), len(a)) for path, (a, _) in pairs.items()]
    with torch.no_grad():
        add_pairs(model, name, pairs, module_config(targets, linears))
    model.set_active_adapters(name)


@torch.no_grad()
def folded_pairs(model: Any, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """A [R, in] and B [out, R] by path in the encoder, whose products B A are what adapter `name` adds to the base's weights; float32.

    >>> a, b = folded_pairs(result.model(), "rte")["encoder.layer.0.attention.self.query"]  # doctest: +SKIP
    """
    pairs, prefix = {}, f"{model.base_model_prefix}."
    for path, slot in model.slots():
        if name in slot.adapters:
            content = slot.adapters[name].eval()
            if isinstance(content, LoraMix):
                a, b = content.down, content.folded()[0].t()
            else:
                a, b = content.lora_A.weight, content.scale * content.lora_B.weight
            pairs[path.removeprefix(prefix)] = (a.float().cpu().clone(), b.float().cpu().clone())
    return pairs
