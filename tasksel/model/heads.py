"""The head of each kind of task, and its loss from logits.

classes, choices    cross-entropy (a choice that a row does not have gets no probability)
texts               cross-entropy of each token of the answer; the head is the base's own lm_head
numbers             squared error
several labels      binary cross-entropy, mean over labels
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tasksel.model.language_head import CAUSAL_LM
from tasksel.model.pooling import Pooling
from tasksel.tasks.task import Kind, Task


def masked(logits: Tensor, choice_mask: Tensor | None) -> Tensor:
    """Logits [b, c] with minus infinity where a row has no such choice."""
    return logits if choice_mask is None else logits.masked_fill(~choice_mask, float("-inf"))


def loss_sum(kind: Kind, logits: Tensor, labels: Tensor) -> Tensor:
    """The task's loss summed over rows (of generation over the answers' tokens), so that shards of a batch add up to the whole.

    Args:
        logits: [b, outputs]; of generation [tokens, vocabulary]
        labels: [b] indices or numbers, [b, labels] multi-hot, [tokens]

    >>> import torch
    >>> loss_sum("regression", torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]))
    tensor(5.)
    """
    if kind == "regression":
        return F.mse_loss(logits[:, 0], labels, reduction="sum")
    if kind == "multi_label":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[1]
    return F.cross_entropy(logits, labels, reduction="sum")


def add_head(model: Any, task: Task, *, name: str, pooling: Pooling = "first") -> None:
    """Gives the model a trainable head for the task's kind and makes it the active one.

    Two layers (dense, tanh, output), the default of the `adapters` library, as in the authors' runs.

    Args:
        pooling: what it reads of the tokens; a decoder's is its last token where the first is asked.
    """
    if task.kind == "generation":
        model.add_head(name, {"head_type": CAUSAL_LM})
        return
    config: dict[str, Any] = {"layers": 2, "activation_function": "tanh", "use_pooler": False, "dropout_prob": None}
    if task.kind == "multiple_choice":
        config |= {"head_type": "multiple_choice", "num_choices": task.outputs, "label2id": None}
    else:
        label2id = {label: number for number, label in enumerate(task.labels)} if task.labels else None
        kind = "multilabel_classification" if task.kind == "multi_label" else "classification"
        config |= {"head_type": kind, "num_labels": task.outputs, "label2id": label2id, "bias": True}
    pooling = model.readable(pooling)
    model.add_head(name, config if pooling == "first" else {**config, "pooling": pooling})
