"""What a frozen encoder makes of the dev rows, kept from one evaluation to the next.

    logits = head(h)        h [b, d] the pooled vectors of a batch

Where heads alone train, h is the same in every epoch, since an evaluation drops nothing: after the first one the heads alone run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from tasksel.model.encoding import Encoded
from tasksel.model.heads import masked
from tasksel.model.task_model import TaskModel
from tasksel.training.predict import logits_of


class FrozenVectors:
    """Logits of batches by a model whose encoder does not change; of a batch that was seen before, by its head alone.

    >>> kept = FrozenVectors()  # doctest: +SKIP
    >>> predict(model, dev, kept=kept)  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._vectors: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def logits(self, model: Any, encoded: Encoded, rows: list[int], batch: dict[str, Tensor]) -> Tensor:
        """The active head's logits [b, outputs] of some rows, whose tensors are in `batch`."""
        head, key = model.heads[model.active_head], (id(encoded), tuple(rows))
        if key in self._vectors:
            return masked(head(self._vectors[key]).float(), batch.get("choice_mask"))
        read: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _head, inputs: read.append(*inputs))
        try:
            logits = logits_of(model, batch)
        finally:
            hook.remove()
        (self._vectors[key],) = read
        return logits


def heads_alone_train(model: Any, groups: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an optimizer's groups hold parameters of a model's heads and no other, and its heads are on pooled vectors."""
    if not isinstance(model, TaskModel) or hasattr(model, "lm_head"):
        return False
    heads = {id(parameter) for parameter in model.heads.parameters()}
    return all(id(parameter) in heads for group in groups for parameter in group["params"])
