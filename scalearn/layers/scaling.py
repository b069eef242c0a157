"""Learned scaling of frozen adapter outputs (ScaLearn, Frohmann et al., Findings of ACL 2024, arXiv:2310.01217).

    o_s = up_s(f(down_s(x)))                         a source's output without its residual
    y   = residual + sum_s dropout(omega_s) * o_s    elementwise; no softmax, nothing sums to one

which, for one activation f, is a single bottleneck:

    hidden = f(x @ Down^T + bias)                    [b, t, n*r]   one GEMM for all sources
    weight = omega * Up                              [n*r, d]      once per step, not once per token
    y      = residual + hidden @ weight + sum_s omega_s * up_bias_s

    n sources   r bottleneck width   d hidden size   b batch   t tokens   L layers

Differs from the authors' code: the n outputs [n, b, t, d] are never stored; omega scales the up-projection instead of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasksel.storage.identity import LATER

INIT_STD = 0.001  # the authors' setting `scalearn_2_avg_d03`: omega ~ Normal(2/n, 0.001)
Normalise = Literal["none", "mean", "softmax"]


@dataclass(frozen=True)
class Scaling:
    """The form of omega, as a row of values.

    Attributes:
        per: omega_s is a vector over the hidden size, or one scalar.
        shared: one omega for all layers (the ++ forms), or one per layer.
        dropout: on omega itself; a dropped entry is dropped for the whole batch and the rest rescaled by 1/(1-p).
        normalise: "none"; "mean" divides omega by its sum over sources; "softmax" takes a softmax over sources.
        learned_by: "gradient"; "search", which evaluates values of a buffer; "nothing": the buffer stays as it is set.
        start: what each omega_s starts at; None starts a learned omega at 2/n, as the authors do, and any other at 1/n.

    >>> SCALINGS["scalearn-uniform++"].per, SCALINGS["scalearn-uniform++"].shared
    ('scalar', True)
    """

    per: Literal["vector", "scalar"]
    shared: bool
    dropout: float
    normalise: Normalise = "none"
    learned_by: Literal["gradient", "search", "nothing"] = "gradient"
    start: float | None = field(default=None, metadata={LATER: True})

    def parameters(self, *, sources: int, layers: int, width: int) -> int:
        """The number of trainable parameters: L n d, L n, n d or n; 0 if omega is only set.

        >>> SCALINGS["scalearn"].parameters(sources=8, layers=12, width=768)
        73728
        """
        if self.learned_by == "nothing":
            return 0
        return (1 if self.shared else layers) * sources * (width if self.per == "vector" else 1)


SCALINGS = {
    "scalearn": Scaling("vector", False, 0.3),
    "scalearn-uniform": Scaling("scalar", False, 0.3),
    "scalearn++": Scaling("vector", True, 0.3),
    "scalearn-uniform++": Scaling("scalar", True, 0.0),
    # the authors' ablations: scalearn_2_avg_d00_MEAN and _SOFTMAX
    "scalearn-mean": Scaling("vector", False, 0.0, "mean"),
    "scalearn-softmax": Scaling("vector", False, 0.0, "softmax"),
}
"""The forms of omega that are learned, by the name of their transfer method."""
# ours: one scalar per source, 1/n until another is set or searched
SET = Scaling("scalar", True, 0.0, learned_by="nothing")
SEARCHED = Scaling("scalar", True, 0.0, learned_by="search")
LEARNED_FROM_ONE = Scaling("scalar", False, 0.0, start=1.0)  # ours: from each source as it is, a scalar per layer
ADDED = Scaling("scalar", True, 0.0, learned_by="nothing", start=1.0)  # ours: each source as it is


def normalised(omega: Tensor, how: Normalise) -> Tensor:
    """The weights [..., n, d or 1] that scale: omega itself, omega divided by its sum over sources, or a softmax over sources.

    >>> normalised(torch.tensor([[1.0], [3.0]]), "mean").flatten().tolist()
    [0.25, 0.75]
    """
    if how == "mean":
        return omega / omega.sum(-2, keepdim=True)
    return omega.softmax(-2) if how == "softmax" else omega


class Omega(nn.Module):
    """The scaling weights [n, d] or [n, 1]. Layers share them by holding the same module.

    Learned by gradient they are a parameter that starts at Normal(2/n, 0.001); otherwise a buffer that starts at 1/n.

    >>> Omega(SCALINGS["scalearn"], sources=3, width=8).weight.shape
    torch.Size([3, 8])
    """

    weight: Tensor

    def __init__(self, scaling: Scaling, *, sources: int, width: int) -> None:
        super().__init__()
        self.scaling = scaling
        weight = torch.empty(sources, width if scaling.per == "vector" else 1)
        if scaling.learned_by == "gradient":
            start = 2.0 / sources if scaling.start is None else scaling.start
            self.weight = nn.Parameter(weight.normal_(start, INIT_STD))
        else:
            self.register_buffer("weight", weight.fill_(1.0 / sources if scaling.start is None else scaling.start))

    def forward(self, present: Tensor | None = None) -> Tensor:
        """The weights that scale this step: with dropout while training, then normalised if the scaling says so.

        That order is the authors'; their two ablations drop nothing.

        Args:
            present: the numbers of the sources that a slot has, where it lacks some; the others' weights are left out.
        """
        weight = self.weight if present is None else self.weight[present]
        return normalised(F.dropout(weight, self.scaling.dropout, self.training), self.scaling.normalise)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.scaling}"


def fold(up: Tensor, up_bias: Tensor, omega: Tensor) -> tuple[Tensor, Tensor]:
    """Scales the up-projections of all sources: weight and bias of the one bottleneck that equals their sum.

    Args:
        up: [n, r, d], up_bias: [n, d], omega: [n, d] or [n, 1].

    Returns:
        weight [n*r, d] and bias [d].

    >>> weight, bias = fold(torch.ones(2, 1, 3), torch.ones(2, 3), torch.tensor([[1.0], [4.0]]))
    >>> weight.tolist(), bias.tolist()
    ([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0]], [5.0, 5.0, 5.0])
    """
    n, r, d = up.shape
    return (up * omega[:, None, :]).view(n * r, d), (omega * up_bias).sum(0)


def hidden_state(x: Tensor, down: Tensor, down_bias: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """The hidden state of n bottlenecks [b, t, n*r] from x [b, t, d], down [n*r, d] and down_bias [n*r]."""
    return f(F.linear(x, down, down_bias))


def mix(
    x: Tensor, down: Tensor, down_bias: Tensor, weight: Tensor, bias: Tensor, f: Callable[[Tensor], Tensor]
) -> Tensor:
    """The fused mix of n frozen bottlenecks: the sum of the scaled outputs, without the residual [b, t, d].

    Args:
        x: [b, t, d]. down: [n*r, d], down_bias: [n*r]. weight, bias: from `fold`. f: the activation.
    """
    return F.linear(hidden_state(x, down, down_bias, f), weight.t(), bias)


def loop(
    x: Tensor,
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    omega: Tensor,
    f: Callable[[Tensor], Tensor],
) -> Tensor:
    """The definition of the mix, source by source, which `mix` must equal. For tests and benchmarks.

    Args:
        down: [n, r, d], down_bias: [n, r], up: [n, r, d], up_bias: [n, d], omega: [n, d] or [n, 1].
    """
    outputs = torch.stack(
        [F.linear(f(F.linear(x, down[s], down_bias[s])), up[s].t(), up_bias[s]) for s in range(len(omega))]
    )
    return (omega[:, None, None, :] * outputs).sum(0)
