"""A bottleneck adapter as the `adapters` library computes it, without its residual, which the slot adds.

    o = scaling * dropout( up f(down x) )            x, o [b, t, d]   r bottleneck width   f activation

With `ln_before` x is normed first, with `ln_after` o is; a gate multiplies o by the mean over tokens of sigmoid(gate x).
Names of parameters, shapes and the order in which initial weights are drawn are the library's, so that files and seeds agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from tasksel.errors import unknown
from tasksel.model.phm import PHMLinear

INIT_STD = 0.02
LEAKY = "leakyrelu"  # an activation that the `adapters` library adds to those of `transformers`
ACTIVATIONS = (LEAKY, *ACT2FN)


class Activation(nn.Module):
    """An activation by the library's name: those of transformers, and leakyrelu.

    Raises:
        UserError: an unknown name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name.lower() not in ACTIVATIONS:
            raise unknown("activation", name, ACTIVATIONS)
        self.f = F.leaky_relu if name.lower() == LEAKY else ACT2FN[name.lower()]

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


class Adapter(nn.Module):
    """One adapter of one layer.

    Args:
        hidden: d. config: the library's configuration of a bottleneck adapter. layer: its number, where widths differ by layer.
    """

    def __init__(self, hidden: int, config: Mapping[str, Any], *, layer: int = 0) -> None:
        super().__init__()
        factor = config["reduction_factor"]
        if isinstance(factor, Mapping):
            factor = factor.get(str(layer), factor.get("default"))
        width = max(1, int(hidden // factor))
        self.reads_branch = not config.get("original_ln_before", True)
        before = [nn.LayerNorm(hidden)] if config.get("ln_before") else []
        if before:
            self.adapter_norm_before = before[0]  # a second name for it, as in the library's files
        self.non_linearity = Activation(config["non_linearity"])
        project = partial(PHMLinear, config=config) if config.get("phm_layer") else nn.Linear
        self.adapter_down = nn.Sequential(*before, project(hidden, width), self.non_linearity)
        self.adapter_up = project(width, hidden)
        scaling = config.get("scaling", 1.0)
        sizes = {"learned": 1, "channel": hidden}
        self.scaling = nn.Parameter(torch.ones(sizes[scaling])) if isinstance(scaling, str) else float(scaling)
        self.adapter_norm_after = nn.LayerNorm(hidden) if config.get("ln_after") else None
        self.gate = nn.Linear(hidden, 1) if config.get("use_gating") else None
        self.dropout = nn.Dropout(config.get("dropout", 0.0))
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.normal_(linear.weight, std=INIT_STD)
                nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [b, t, d]."""
        output: Tensor = self.adapter_up(self.adapter_down(x))
        if isinstance(self.scaling, Tensor) or self.scaling != 1.0:  # times one is a pass over [b, t, d] for nothing
            output = output * self.scaling
        output = self.dropout(output)
        if self.gate is not None:
            output = output * torch.sigmoid(self.gate(x)).mean(1, keepdim=True)
        return output if self.adapter_norm_after is None else self.adapter_norm_after(output)
