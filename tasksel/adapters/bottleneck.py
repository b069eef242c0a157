"""The projections of bottleneck adapters: one reader for all who mix or compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bottlenecks:
    """The projections of n sources in one layer: down [n, r, d], down_bias [n, r], up [n, r, d], up_bias [n, d]."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor

    @classmethod
    def stack(cls, parts: Sequence[Bottlenecks]) -> Bottlenecks:
        """Several sources' projections as one."""
        return cls(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("down", "down_bias", "up", "up_bias"))
        )


def reduction_factor(width: int, hidden: int) -> float:
    """The factor of which the library makes this bottleneck width.

    It computes int(hidden // reduction_factor), which for hidden / width may come out one short.
    """
    factor = hidden / width
    return factor if int(hidden // factor) == width else hidden / (width + 0.5)


def unfoldable(config: dict[str, Any]) -> str | None:
    """Why an adapter cannot be folded with others into one bottleneck, or None if it can."""
    reasons = {
        "ln_before": "it has a layer norm before the bottleneck",
        "ln_after": "it has a layer norm after the bottleneck",
        "use_gating": "it is gated",
        "phm_layer": "its projections are PHM layers (Compacter)",
        "is_parallel": "it is a parallel adapter",
        "cross_adapter": "it sits in cross-attention",
        "inv_adapter": "it has an invertible adapter beside it",
    }
    if "non_linearity" not in config or "reduction_factor" not in config:
        return f"it is not a bottleneck adapter (architecture: {config.get('architecture')})"
    for key, reason in reasons.items():
        if config.get(key):
            return f"{reason} ({key}={config[key]})"
    if not isinstance(config.get("scaling", 1.0), int | float):
        return f"its scaling is '{config['scaling']}', not a number"
    if not isinstance(config["reduction_factor"], int | float):
        return "its width differs by layer (reduction_factor is a mapping)"
    return None
