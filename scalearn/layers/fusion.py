"""AdapterFusion (Pfeiffer et al., EACL 2021, arXiv:2005.00247): attention over the frozen sources, anew for every token.

    a_s = softmax over s of dropout((Q x + b_Q) . (K o_s + b_K))
    y   = residual + sum_s a_s * V o_s

    x token (d)   o_s a source's output without its residual (d)   Q, K, V [d, d]     trainable: L (3 d^2 + 2 d)

The layer is the `adapters` library's own (`Fuse`, with its default settings, as in the authors' runs), and so is the penalty that keeps V near
the identity: 0.01 * |V - 1|^2, added to the loss of every step. Differs from the library's use: the sources do not drop out, and what is stored
is our result folder's, not the library's saver's.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scalearn.layers.mix import add_copy
from tasksel.adapters.bottleneck import Bottlenecks

LAYER = ".adapter_fusion_layer."  # in the name of each of its parameters


def add_fusion(model: Any, name: str, layers: dict[str, Bottlenecks], config: dict[str, Any]) -> None:
    """Adds the stacked sources as ordinary adapters, a fusion `name` over them, and makes it active.

    >>> add_fusion(model, "rte", layers, config)  # doctest: +SKIP
    """
    count = len(next(iter(layers.values())).down)
    inner = [f"{name}-source-{number}" for number in range(count)]  # the model's own names: a source's may be any
    for number, adapter in enumerate(inner):
        add_copy(model, adapter, layers, config, source=number)
    model.add_adapter_fusion(inner, name=name, set_active=True)


def penalty(model: Any) -> Tensor:
    """The library's penalty on V, summed over layers; a scalar.

    >>> loss = loss + penalty(model)  # doctest: +SKIP
    """
    return model.get_fusion_regularization_loss()
