"""Learned scaling of frozen LoRAs: one GEMM pair per Linear, however many sources.

    y = W x + sum_s omega_s * up_s^T A_s x               up_s = scale_s * B_s^T, scale_s = alpha/r, with rsLoRA alpha/sqrt(r)

which is a single LoRA:

    A = [A_1; …; A_m]                                    [R, in]      one GEMM for all sources
    weight = omega_owner * up                            [R, out]     once per step, not once per token
    y = W x + (x A^T) weight

    m sources that have this module   r_s rank of source s   R = sum_s r_s   owner [R]: the source of each row

omega is a scalar or one number per output channel [ours]: over LoRAs, vectors are not in arXiv:2310.01217. Exact for differing ranks and targets.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasksel.model.half_weights import half_linear


def fold_loras(up: Tensor, omega: Tensor, owner: Tensor) -> Tensor:
    """Scales each row of the up-projections by its source's omega: the B^T [R, out] of the one LoRA that equals their sum, in the wider type of both.

    Args:
        up: [R, out]. omega: [m, out] or [m, 1]. owner: [R], which row of omega each row of up has.

    >>> fold_loras(torch.ones(3, 2), torch.tensor([[1.0], [4.0]]), torch.tensor([0, 1, 1])).tolist()
    [[1.0, 1.0], [4.0, 4.0], [4.0, 4.0]]
    """
    return up * omega.index_select(0, owner)


def mix_loras(x: Tensor, down: Tensor, weight: Tensor) -> Tensor:
    """The sum of the scaled LoRAs [..., out] for x [..., in], down [R, in], which may be narrower than x, and weight [R, out] of `fold_loras`."""
    hidden = half_linear(x, down)
    return F.linear(hidden, weight.t().to(hidden.dtype))


def loop_loras(x: Tensor, down: Tensor, up: Tensor, omega: Tensor, owner: Tensor) -> Tensor:
    """The definition of the mix, source by source, which `mix_loras` must equal. For tests and benchmarks."""
    parts = [
        omega[source] * F.linear(F.linear(x, down[owner == source]), up[owner == source].t())
        for source in range(len(omega))
    ]
    return sum(parts[1:], parts[0])
