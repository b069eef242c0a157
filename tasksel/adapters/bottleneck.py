"""An adapter's projections: which adapters are plain bottlenecks, their weights by slot, and the library's width.

    o = up f(down x + down_bias) + up_bias        times the adapter's own scaling, which is read into `up` and `up_bias`

    n sources   r bottleneck width   d hidden size   f activation

A plain bottleneck is a `seq_bn` adapter or one like it: no layer norm, gate, PHM layer or invertible part, and beside no cross-attention.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tasksel.errors import UserError
from tasksel.model.adapter_config import outside_the_slot, resolve_config

REASONS = {
    "ln_before": "it has a layer norm before the bottleneck",
    "ln_after": "it has a layer norm after the bottleneck",
    "use_gating": "it is gated",
    "phm_layer": "its projections are PHM layers (Compacter)",
}


@dataclass(frozen=True)
class Bottlenecks:
    """The projections of n sources in one layer: down [n, r, d], down_bias [n, r], up [n, r, d], up_bias [n, d].

    >>> source = Bottlenecks(torch.zeros(1, 2, 8), torch.zeros(1, 2), torch.zeros(1, 2, 8), torch.zeros(1, 8))
    >>> Bottlenecks.stack([source, source]).down.shape
    torch.Size([2, 2, 8])
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor

    @property
    def count(self) -> int:
        """n, the number of sources."""
        return len(self.down)

    @classmethod
    def stack(cls, parts: Sequence[Bottlenecks]) -> Bottlenecks:
        """Several sources' projections as one."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def read_bottlenecks(weights: Path, adapter: str, config: dict[str, Any], *, owner: str) -> dict[str, Bottlenecks]:
    """One adapter's projections (n = 1) by the module path of their slot, from a file in the library's format.

    Args:
        weights: a safetensors file.
        adapter: the adapter's name in it.
        config: the adapter's configuration.
        owner: whose adapter it is, for a message.

    Raises:
        UserError: an adapter of a form that cannot be folded (named); a weight that is not part of a plain bottleneck.
    """
    problem = unfoldable(config)
    if problem:
        raise UserError(f"{owner} cannot be mixed: {problem}")
    slots: dict[str, dict[str, Tensor]] = {}
    pattern = rf"(.+)\.adapters\.{re.escape(adapter)}\.(adapter_down\.0|adapter_up)\.(weight|bias)"
    for key, tensor in load_file(weights).items():
        match = re.fullmatch(pattern, key)
        if match is None:
            raise UserError(f"{owner} cannot be mixed: its weight '{key}' is not part of a plain bottleneck")
        slots.setdefault(match[1], {})[f"{match[2].split('.')[0]}.{match[3]}"] = tensor
    scale = float(config.get("scaling", 1.0))
    return {
        path: Bottlenecks(
            t["adapter_down.weight"][None],
            t["adapter_down.bias"][None],
            scale * t["adapter_up.weight"].t()[None],
            scale * t["adapter_up.bias"][None],
        )
        for path, t in slots.items()
    }


def unfoldable(config: dict[str, Any]) -> str | None:
    """Why an adapter cannot be folded with others into one bottleneck, or None if it can.

    >>> unfoldable({"non_linearity": "relu", "reduction_factor": 16, "use_gating": True})
    'it is gated (use_gating=True)'
    """
    if problem := outside_the_slot(config):
        return problem
    for key, reason in REASONS.items():
        if config.get(key):
            return f"{reason} ({key}={config[key]})"
    if not isinstance(config.get("scaling", 1.0), int | float):
        return f"its scaling is '{config['scaling']}', not a number"
    if not isinstance(config["reduction_factor"], int | float):
        return "its width differs by layer (reduction_factor is a mapping)"
    return None


def reduction_factor(width: int, hidden: int) -> float:
    """The reduction factor from which the library computes this bottleneck width.

    It computes int(hidden // reduction_factor), which for hidden / width may be one too few.

    >>> reduction_factor(48, 768)
    16.0
    """
    factor = hidden / width
    return factor if int(hidden // factor) == width else hidden / (width + 0.5)


def slot_config(width: int, hidden: int, config: dict[str, Any]) -> dict[str, Any]:
    """An ordinary adapter's configuration of exactly this bottleneck width, with the sources' activation and position.

    The sources' own scaling is folded into their projections already; their dropout and the seed of their initial weights are not part of a mix.
    """
    fixed = {
        "reduction_factor": reduction_factor(width, hidden),
        "scaling": 1.0,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "init_weights_seed": None,
    }
    return resolve_config({**config, **fixed})
