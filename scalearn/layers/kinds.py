"""What the transfer methods need of a kind of sources: one row for bottlenecks, one for LoRAs.

    stack       sources -> their projections by slot path, and the adapter configuration that they share
    add_mix     the stacked sources under an omega, as an adapter of a model
    add_copy    one of the stacked sources as an ordinary adapter
    add_folded  ONE ordinary adapter that equals a trained mix

The configuration says the kind (`tasksel.adapters.kind.kind_of`), so that a method calls `kind_of(config).add_mix(…)` and knows of none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from scalearn.layers.lora_mix import add_folded_loras, add_lora_copy, add_lora_mix
from scalearn.layers.lora_stacking import LoraStack, stack_loras
from scalearn.layers.mix import add_copy, add_folded, add_mix
from scalearn.layers.stacking import stack
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.adapters.kind import KINDS, Kind
from tasksel.adapters.kind import kind_of as name_of
from tasksel.adapters.pool import Source
from tasksel.errors import UserError

Layers = dict[str, Any]
"""Stacked sources by the path of their slot: `Bottlenecks`, or `LoraStack`."""


@dataclass(frozen=True)
class SourceKind:
    """How sources of one kind are stacked, mixed, copied and folded.

    Attributes:
        stacked: the class of one slot's stacked sources, a dataclass of tensors.

    >>> kind_of({"architecture": "lora"}).stacked.__name__
    'LoraStack'
    """

    stacked: type[Bottlenecks] | type[LoraStack]
    stack: Callable[[Sequence[Source]], tuple[Layers, dict[str, Any]]]
    add_mix: Callable[..., None]
    add_copy: Callable[..., None]
    add_folded: Callable[..., None]

    def to_tensors(self, layers: Layers) -> dict[str, Tensor]:
        """The stacked sources as tensors by path and name, as a result's file holds them."""
        names = [field.name for field in fields(self.stacked)]
        return {f"{path}/{name}": getattr(part, name).contiguous() for path, part in layers.items() for name in names}

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> Layers:
        """The stacked sources that `to_tensors` wrote."""
        names = [field.name for field in fields(self.stacked)]
        paths = dict.fromkeys(key.rpartition("/")[0] for key in tensors)
        return {path: self.stacked(*(tensors[f"{path}/{name}"] for name in names)) for path in paths}


SOURCE_KINDS: dict[Kind, SourceKind] = {
    "bottleneck": SourceKind(Bottlenecks, stack, add_mix, add_copy, add_folded),
    "lora": SourceKind(LoraStack, stack_loras, add_lora_mix, add_lora_copy, add_folded_loras),
}


def kind_of(config: Mapping[str, Any]) -> SourceKind:
    """The kind of sources that share an adapter configuration."""
    return SOURCE_KINDS[name_of(config)]


def stack_sources(sources: Sequence[Source]) -> tuple[Layers, dict[str, Any]]:
    """The projections of several sources by slot path, and the adapter configuration that they share; both empty without sources.

    >>> layers, adapter_config = stack_sources(pool.select(["mnli", "qnli"]))  # doctest: +SKIP

    Raises:
        UserError: sources of two kinds, or whatever their kind cannot stack, by name; a file that was altered or lost.
    """
    if not sources:
        return {}, {}
    first = sources[0]
    for other in sources[1:]:
        if other.kind != first.kind:
            raise UserError(
                f"source '{first.name}' is of {KINDS[first.kind]}, '{other.name}' of {KINDS[other.kind]}: they cannot be mixed; choose sources alike"
            )
    return SOURCE_KINDS[first.kind].stack(sources)


def add_only_copy(model: Any, name: str, layers: Layers, config: dict[str, Any]) -> None:
    """Adds the one stacked source (n = 1) as the ordinary adapter `name`, and makes it active.

    >>> add_only_copy(model, "rte", layers, config)  # doctest: +SKIP

    Raises:
        ValueError: several stacked sources.
    """
    count = next(iter(layers.values())).count
    if count != 1:
        raise ValueError(f"{count} stacked sources for one adapter: merge them first")
    kind_of(config).add_copy(model, name, layers, config)
    model.set_active_adapters(name)
