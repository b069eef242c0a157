"""The head alone on the frozen base: no adapter, no source; every other method has the same head.

    logits = W_2 tanh(W_1 h_cls)        W_1, W_2 (with biases) train; h_cls the frozen base's first token

The baseline of linear probing, with the two-layer head that all methods here share. Of a generation task the lm_head trains, apart from the word
embeddings, which stay as they are where the base ties both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from scalearn.layers.kinds import Layers
from scalearn.methods.base import TransferMethod
from tasksel.model.base import Base
from tasksel.model.pooling import Pooling
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class HeadOnly(TransferMethod):
    """Trains the head and nothing else. For a floor: what the base knows without any transfer.

    >>> transfer(task, [], method="head-only", base="minilm")  # doctest: +SKIP
    """

    trained_parts: ClassVar[tuple[str, ...]] = ()
    export_reason: ClassVar[str | None] = "learns no adapter"

    def build(
        self,
        base: Base,
        task: Task,
        layers: Layers,
        adapter_config: dict[str, Any],
        *,
        seed: int,
        pooling: Pooling = "first",
    ) -> Any:
        """The base and a head, which alone is trainable."""
        model = super().build(base, task, layers, adapter_config, seed=seed, pooling=pooling)
        if task.kind == GENERATION:
            model.untie_lm_head()
            model.lm_head.requires_grad_(True)
        return model
