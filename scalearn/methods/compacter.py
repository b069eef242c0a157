"""Compacter++: one new adapter of Kronecker products per target, no sources (Mahabadi et al. 2021, arXiv:2106.04647).

    W = sum_i A_i (x) (s_i t_i)        i = 1 … 4; A_i [4, 4] shared by all layers, s_i t_i of rank 1: 3 L (d + r) + 64

The adapter is computed as the `adapters` library does. Ours: where Compacter's width r, hidden / 32, is no multiple of its PHM dimension (4), the next one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scalearn.layers.kinds import Layers
from scalearn.methods.base import TransferMethod
from tasksel.adapters.bottleneck import reduction_factor
from tasksel.model.adapter_config import resolve_config


@dataclass(frozen=True, kw_only=True)
class Compacter(TransferMethod):
    """Trains a new `compacter++` adapter. For an adapter without sources that is as small as an omega.

    >>> transfer(task, [], method="compacter++", base="minilm")  # doctest: +SKIP
    """

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """A new Compacter."""
        config, hidden = resolve_config("compacter++"), model.config.hidden_size
        width = -(-max(1, int(hidden // config["reduction_factor"])) // config["phm_dim"]) * config["phm_dim"]
        model.add_adapter(name, {**config, "reduction_factor": reduction_factor(width, hidden)})
        model.set_active_adapters(name)
