"""What a model makes of texts: its last hidden states, pooled over tokens, for every row; the processes of a launch share the work."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from tasksel.model.encoding import Encoded
from tasksel.model.pooling import Reads, pool
from tasksel.processes import accelerator

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def pooled(model: Any, encoded: Encoded, *, pooling: Reads, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The last hidden states, pooled over tokens, and the active head's logits; float32, in the order of the rows.

    Args:
        model: runs with its active adapter and head; without a head Z is 0.
        pooling: the first token, the mean over a sequence's tokens, or the output of the base's pooler.
        batch: rows of a forward pass.

    Returns:
        hidden [n, d], or [n, choices, d] of rows of several sequences; logits [n, Z]

    >>> hidden, logits = pooled(model, encoded, pooling="mean")  # doctest: +SKIP
    """
    hidden, logits = pooled_by(model, encoded, (pooling,), batch=batch)
    return hidden[pooling], logits


@torch.no_grad()
def pooled_by(
    model: Any, encoded: Encoded, poolings: tuple[Reads, ...], *, batch: int = 64
) -> tuple[dict[Reads, np.ndarray], np.ndarray]:
    """`pooled` by several poolings, from one pass.

    >>> features, _ = pooled_by(model, encoded, ("first", "mean"))  # doctest: +SKIP
    """
    world = accelerator()
    model.to(world.device).eval()
    order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])  # little padding
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    states: list[Any] = []
    hook = model.base_model.register_forward_hook(lambda module, inputs, output: states.append(output))
    outputs = []
    try:
        for rows in parts[world.process_index :: world.num_processes]:
            tensors = encoded.batch(rows)
            inputs = {name: tensors[name].to(world.device) for name in INPUTS if name in tensors}
            output, state = model(**inputs), states.pop()
            vectors = [_vectors(state, inputs["attention_mask"], how).float().cpu().numpy() for how in poolings]
            logits = output.logits.float().cpu().numpy() if model.active_head else np.empty((len(rows), 0), np.float32)
            outputs.append((rows, vectors, logits))
    finally:
        hook.remove()
    if world.num_processes > 1:
        outputs = gather_object(outputs)
    back = np.argsort(np.concatenate([rows for rows, _, _ in outputs]))
    hidden = {}
    for number, how in enumerate(poolings):
        flat = np.concatenate([vectors[number] for _, vectors, _ in outputs])
        rows_of = flat if encoded.width == 1 else flat.reshape(-1, encoded.width, flat.shape[-1])
        hidden[how] = rows_of[back]
    return hidden, np.concatenate([logits for _, _, logits in outputs])[back]


def _vectors(output: Any, mask: Tensor, how: Reads) -> Tensor:
    """One vector [b, d] of each sequence from an encoder's output."""
    vectors: Tensor = output.pooler_output if how == "pooler" else pool(output[0], mask, how)
    return vectors
