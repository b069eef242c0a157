"""Full fine-tuning: the head and every weight of the base train; no adapter, no source (Devlin et al. 2019, arXiv:1810.04805).

    theta <- theta - lr * grad(loss)        every weight of the encoder, L (12 d^2 + 13 d) in the layers and the embeddings

The pooler is not in use and has no gradient: it stays frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scalearn.methods.base import TransferMethod


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(TransferMethod):
    """Trains the whole base. For an upper reference without sources, at the cost of one base per target.

    >>> transfer(task, [], method="full", base="minilm")  # doctest: +SKIP
    """

    export_reason: ClassVar[str | None] = "changes the base itself"

    def trains(self, parameter: str) -> bool:
        """Everything but the pooler."""
        return "pooler" not in parameter
