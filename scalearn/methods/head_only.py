"""The head alone on the frozen base: no adapter, no source; every other method has the same head.

    logits = W_2 tanh(W_1 h_cls)        W_1, W_2 (with biases) train; h_cls the frozen base's first token

The baseline of linear probing, with the two-layer head that all methods here share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scalearn.methods.base import TransferMethod


@dataclass(frozen=True, kw_only=True)
class HeadOnly(TransferMethod):
    """Trains the head and nothing else. For a floor: what the base knows without any transfer.

    >>> transfer(task, [], method="head-only", base="minilm")  # doctest: +SKIP
    """

    trained_parts: ClassVar[tuple[str, ...]] = ()
    export_reason: ClassVar[str | None] = "learns no adapter"
