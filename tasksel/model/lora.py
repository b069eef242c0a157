"""A LoRA on one Linear: a low-rank update of its weight, without the Linear itself, which the slot computes (Hu et al. 2022, arXiv:2106.09685).

    o = scale * B A dropout(x)        x [..., in]   o [..., out]   A [r, in]   B [out, r]

A starts as a Linear of torch does, B at zero, as in PEFT: a new LoRA changes nothing. Parameters have PEFT's names, `lora_A.weight` and `lora_B.weight`.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


class Lora(nn.Module):
    """One LoRA of one Linear.

    Args:
        inputs, outputs: the Linear's sizes. rank: r. scale: alpha / r, or alpha / sqrt(r). dropout: on x, while training.

    >>> Lora(8, 4, rank=2, scale=1.0)(torch.ones(1, 8)).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.lora_A = nn.Linear(inputs, rank, bias=False)
        self.lora_B = nn.Linear(rank, outputs, bias=False)
        self.scale = scale
        self.dropout = nn.Dropout(dropout)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [..., out] for x [..., in]; computed in the LoRA's own precision, given in that of x."""
        own: Tensor = self.lora_B(self.lora_A(self.dropout(x.to(self.lora_A.weight.dtype))))
        return (own * self.scale).to(x.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"
