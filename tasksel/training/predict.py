"""Logits and scores of a model, shared by the processes of a launch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from tasksel.model.encoding import Encoded, encode_split
from tasksel.model.heads import loss_sum, masked
from tasksel.processes import accelerator
from tasksel.tasks.load import Data
from tasksel.tasks.metrics import Limits, score, within
from tasksel.tasks.task import Task
from tasksel.training.recipe import Select


def logits_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The active head's logits [b, outputs] for a batch of `Encoded.batch`."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
    return masked(model(**inputs).logits.float(), batch.get("choice_mask"))


@torch.no_grad()
def predict(model: Any, encoded: Encoded, *, batch: int = 64) -> np.ndarray:
    """Logits [rows, outputs] of every row, in order; the processes of a launch share the work."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])
    parts = [order[i : i + batch] for i in range(0, len(order), batch)]
    world = accelerator()
    outputs = []
    for part in parts[world.process_index :: world.num_processes]:
        tensors = {name: tensor.to(device) for name, tensor in encoded.batch(part).items()}
        outputs.append((part, logits_of(model, tensors).cpu().numpy()))
    if world.num_processes > 1:
        outputs = gather_object(outputs)
    rows = np.concatenate([np.array(part) for part, _ in outputs])
    return np.concatenate([logits for _, logits in outputs])[np.argsort(rows)]


def evaluate(model: Any, task: Task, encoded: Encoded, *, limits: Limits | None = None) -> float:
    """The task's metric of the model on encoded rows, of regression with its numbers kept within limits."""
    return score(task.metric, within(predict(model, encoded), limits), encoded.labels)


def dev_score(model: Any, task: Task, dev: Encoded, select: Select) -> tuple[float, tuple[float, ...]]:
    """The task's metric on dev, and what checkpoints are compared by (`Recipe.select`); of both, larger is better."""
    if select == "metric":
        value = evaluate(model, task, dev)
        return value, (value,)
    logits = predict(model, dev)
    value = score(task.metric, logits, dev.labels)
    loss = float(loss_sum(task.kind, torch.from_numpy(logits), torch.as_tensor(dev.labels))) / len(dev)
    return value, (-loss,) if select == "loss" else (value, -loss)


def evaluate_all(
    model: Any, task: Task, data: Data, tokenizer: Any, *, max_length: int, limits: Limits | None = None
) -> dict[str, float]:
    """The task's metric on the public validation set, and as `metric/split` on every other split that is scored.

    Args:
        limits: that predicted numbers of regression are kept in.

    >>> evaluate_all(model, task, data, tokenizer, max_length=128)  # doctest: +SKIP
    {'accuracy': 0.84, 'accuracy/validation_mismatched': 0.85}
    """
    parts = {task.metric: data.test, **{f"{task.metric}/{name}": split for name, split in data.more.items()}}
    return {
        name: evaluate(model, task, encode_split(split, task, tokenizer, max_length=max_length), limits=limits)
        for name, split in parts.items()
    }
