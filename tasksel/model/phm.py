"""Projections that are sums of Kronecker products (Compacter, Mahabadi et al. 2021, arXiv:2106.04647).

    W = sum_i A_i (x) (s_i t_i)        i = 1 … n; A_i [n, n] shared by all layers; s_i [in/n, 1], t_i [1, out/n]
    y = x W + b                        x [b, t, in], y [b, t, out]

Parameters, their names and initial draws are the `adapters` library's (`W_left`, `W_right`, `b`; `shared_parameters.NAME.phm_rule`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class PHMLinear(nn.Module):
    """A projection of Kronecker products.

    Args:
        inputs, outputs: widths, multiples of n. config: the library's, with phm_dim (n) and phm_rank.
    """

    def __init__(self, inputs: int, outputs: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        n, rank = config["phm_dim"], config["phm_rank"]
        self.W_left = nn.Parameter(torch.empty(n, inputs // n, rank))
        self.W_right = nn.Parameter(torch.empty(n, rank, outputs // n))
        self.b = nn.Parameter(torch.zeros(outputs))
        for left, right in zip(self.W_left.data, self.W_right.data, strict=True):
            nn.init.xavier_normal_(left)
            nn.init.xavier_normal_(right)
        self._shared: tuple[nn.ParameterDict, ...] = ()

    def share(self, shared: nn.ParameterDict) -> None:
        """Sets what holds the A_i [n, n, n] (`phm_rule`), registered elsewhere."""
        self._shared = (shared,)

    def forward(self, x: Tensor) -> Tensor:
        """Projects x [b, t, in] to [b, t, out]."""
        low_rank = torch.bmm(self.W_left, self.W_right)  # [n, in/n, out/n]
        weight = torch.einsum("ipq,ijk->pjqk", self._shared[0]["phm_rule"], low_rank).reshape(x.shape[-1], -1)
        return x @ weight + self.b


def new_rule(config: Mapping[str, Any]) -> nn.ParameterDict:
    """The A_i that all layers share, drawn at random."""
    n = config["phm_dim"]
    return nn.ParameterDict({"phm_rule": nn.Parameter(torch.empty(n, n, n).normal_(std=config["phm_init_range"]))})
