"""Logits, written texts and scores of a model, shared by the processes of a launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from tasksel.model.encoding import Encoded, encode_split
from tasksel.model.heads import loss_sum, masked
from tasksel.model.prompts import EncodedPrompts
from tasksel.processes import accelerator
from tasksel.tasks.load import Data
from tasksel.tasks.metrics import Limits, score, within
from tasksel.tasks.task import Task
from tasksel.training.recipe import Select

if TYPE_CHECKING:
    from tasksel.training.frozen_vectors import FrozenVectors

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "answer_mask")


def logits_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The active head's logits [b, outputs] for a batch of `Encoded.batch`; of generation [tokens of the answers, vocabulary]."""
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    return masked(model(**inputs).logits.float(), batch.get("choice_mask"))


@torch.no_grad()
def predict(model: Any, encoded: Encoded, *, batch: int = 64, kept: FrozenVectors | None = None) -> np.ndarray:
    """Logits [rows, outputs] of every row, in order, or the texts [rows] that are written; the processes of a launch share the work.

    Args:
        batch: rows of a forward pass. kept: what a frozen encoder made of these rows before.
    """
    model.eval()
    device = next(model.parameters()).device

    def logits(rows: list[int]) -> np.ndarray:
        tensors = {name: tensor.to(device) for name, tensor in encoded.batch(rows).items()}
        output = logits_of(model, tensors) if kept is None else kept.logits(model, encoded, rows, tensors)
        values: np.ndarray = output.cpu().numpy()
        return values

    def texts(rows: list[int]) -> np.ndarray:
        return written(model, encoded, rows, device)

    return _shared(encoded, texts if isinstance(encoded, EncodedPrompts) else logits, batch)


def written(model: Any, encoded: Any, rows: Sequence[int], device: Any) -> np.ndarray:
    """The texts [rows] that greedy decoding writes after some rows' prompts."""
    ids, mask = (tensor.to(device) for tensor in encoded.prompts(rows))
    ends = {"eos": encoded.tokenizer.eos_token_id, "pad": encoded.pad_id}
    tokens = model.language_model.generate(ids, mask, max_new_tokens=encoded.max_new_tokens, **ends)
    return np.array([encoded.text(row) for row in tokens], dtype=object)


@torch.no_grad()
def mean_loss(model: Any, task: Task, encoded: Encoded, *, batch: int = 64) -> float:
    """The mean loss of a task's rows, of generation of their answers' tokens."""
    model.eval()
    device = next(model.parameters()).device

    def losses(rows: list[int]) -> np.ndarray:
        tensors = {name: tensor.to(device) for name, tensor in encoded.batch(rows).items()}
        total = float(loss_sum(task.kind, logits_of(model, tensors), tensors["labels"]))
        return np.array([total, *[0.0] * (len(rows) - 1)])

    terms = max(1, encoded.loss_terms(range(len(encoded))))
    return float(_shared(encoded, losses, batch).sum()) / terms


def _shared(encoded: Encoded, outputs_of: Callable[[list[int]], np.ndarray], batch: int) -> np.ndarray:
    """What a function gives for each row, in order: it is called with rows of like length, and the processes of a launch share the calls."""
    order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])
    parts = [order[i : i + batch] for i in range(0, len(order), batch)]
    world = accelerator()
    outputs = [(part, outputs_of(part)) for part in parts[world.process_index :: world.num_processes]]
    if world.num_processes > 1:
        outputs = gather_object(outputs)
    rows = np.concatenate([np.array(part) for part, _ in outputs])
    values: np.ndarray = np.concatenate([values for _, values in outputs])
    return values[np.argsort(rows)]


def evaluate(
    model: Any, task: Task, encoded: Encoded, *, limits: Limits | None = None, kept: FrozenVectors | None = None
) -> float:
    """The task's metric of the model on encoded rows, of regression with its numbers kept within limits.

    Args:
        kept: what a frozen encoder made of these rows before.
    """
    return score(task.metric, within(predict(model, encoded, kept=kept), limits), encoded.labels)


def dev_score(
    model: Any, task: Task, dev: Encoded, select: Select, *, kept: FrozenVectors | None = None
) -> tuple[float, tuple[float, ...]]:
    """The task's metric on dev, and what checkpoints are compared by (`Recipe.select`); of both, larger is better.

    Args:
        kept: what a frozen encoder made of the dev rows before.
    """
    if select == "metric":
        value = evaluate(model, task, dev, kept=kept)
        return value, (value,)
    if isinstance(dev, EncodedPrompts):
        value, loss = evaluate(model, task, dev), mean_loss(model, task, dev)
        return value, (-loss,) if select == "loss" else (value, -loss)
    logits = predict(model, dev, kept=kept)
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
