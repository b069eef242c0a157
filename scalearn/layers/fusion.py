"""AdapterFusion (Pfeiffer et al., EACL 2021, arXiv:2005.00247): attention over the frozen sources, anew for every token.

    a_s = softmax over s of dropout((Q x + b_Q) . (K o_s + b_K))
    o   = sum_s a_s * V o_s

    x token (d)   o_s a source's output without its residual (d)   Q, K, V [d, d]     trainable: L (3 d^2 + 2 d)

As in the `adapters` library with its default settings (and in the authors' runs): V starts at the identity plus 1e-6, and a penalty keeps it near:
0.01 * |V - 1|^2, added to the loss of every step. Computed without that library; parameters have its names, and outputs agree within 1e-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scalearn.layers.mix import add_copy
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.model.adapter import INIT_STD

LAYER = ".adapter_fusion_layer."  # in the name of each of its parameters
PENALTY = 0.01
DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout")  # the second is DistilBERT's


class Fuse(nn.Module):
    """Attention over the outputs of several adapters of one slot.

    Args:
        sources: the adapters, registered elsewhere. hidden: d. dropout: on the attention scores.
    """

    def __init__(self, sources: Sequence[nn.Module], hidden: int, dropout: float) -> None:
        super().__init__()
        self._sources = tuple(sources)
        self.reads_branch = any(getattr(source, "reads_branch", False) for source in sources)
        self.dropout = nn.Dropout(dropout)
        self.query, self.key = self._linear(hidden, bias=True), self._linear(hidden, bias=True)
        self.value = self._linear(hidden, bias=False)
        with torch.no_grad():
            self.value.weight.fill_(1e-6).fill_diagonal_(1.0)

    @staticmethod
    def _linear(hidden: int, *, bias: bool) -> nn.Linear:
        linear = nn.Linear(hidden, hidden, bias=bias)
        nn.init.normal_(linear.weight, std=INIT_STD)
        if bias:
            nn.init.zeros_(linear.bias)
        return linear

    def forward(self, x: Tensor) -> Tensor:
        """What the slot adds [b, t, d] for tokens x [b, t, d]."""
        outputs = torch.stack([source(x) for source in self._sources], 2)  # [b, t, n, d]
        scores = (self.query(x).unsqueeze(2) @ self.key(outputs).transpose(-2, -1)).squeeze(2)  # [b, t, n]
        shares = self.dropout(scores).softmax(-1)
        fused: Tensor = (shares.unsqueeze(2) @ self.value(outputs)).squeeze(2)
        return fused


def add_fusion(model: Any, name: str, layers: dict[str, Bottlenecks], config: dict[str, Any]) -> None:
    """Adds the stacked sources as ordinary adapters, a fusion `name` over them, and makes it active.

    >>> add_fusion(model, "rte", layers, config)  # doctest: +SKIP
    """
    count = len(next(iter(layers.values())).down)
    inner = [f"{name}-source-{number}" for number in range(count)]  # the model's own names: a source's may be any
    for number, adapter in enumerate(inner):
        add_copy(model, adapter, layers, config, source=number)
    dropout = next((getattr(model.config, key) for key in DROPOUTS if hasattr(model.config, key)), 0.0)
    for _, slot in model.slots():
        sources = [slot.adapters[adapter] for adapter in inner if adapter in slot.adapters]
        if sources:
            slot.fusions[name] = Fuse(sources, model.config.hidden_size, dropout).train(model.training)
    model.fusions[name] = inner
    model.set_active_adapters(name)


def penalty(model: Any) -> Tensor:
    """0.01 * |V - 1|^2 summed over the layers whose V is trained; a scalar.

    >>> loss = loss + penalty(model)  # doctest: +SKIP
    """
    values = [
        layer.value.weight for layer in model.modules() if isinstance(layer, Fuse) and layer.value.weight.requires_grad
    ]
    total = torch.zeros((), device=model.device)
    for value in values:
        total = total + PENALTY * (torch.eye(len(value), device=value.device) - value).pow(2).sum()
    return total
