"""What a recipe leaves open and the device decides: the precision of the steps, and on a GPU the rows of a forward pass.

    bytes of a row   sequences * layers * t * (34 h + 5 a t) * 2     (+ 12 t * vocabulary where an lm_head trains)

t tokens   h hidden size   a attention heads

The activations of a transformer layer at 16 bits are t (34 h + 5 a t) bytes a sequence (Korthikanti et al. 2022, arXiv:2205.05198, equation 1),
twice that in float32. A micro-batch is the batch, halved until its rows take at most half of the card's memory: the whole memory, not what is free
now, so that one kind of card always gives one number. What is chosen is said, recorded and part of the key, as if it had been asked for.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from tasksel.display.progress import say
from tasksel.model.base import Base
from tasksel.processes import accelerator
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.precision import Precision, fastest, is_launched, launched
from tasksel.training.recipe import Recipe

SHARE = 0.5  # of a card's memory for activations; the rest is for weights, optimizer and the allocator's gaps
LOGIT_BYTES = 12  # a logit, its softmax and its gradient, in float32
OPTIONS = {"precision": "precision", "micro_batch": "recipe.micro-batch"}


def for_device(
    recipe: Recipe, base: Base, task: Task, *, precision: Precision | None = None, begun: Recipe | None = None
) -> Recipe:
    """The recipe with what it leaves open: as the training that it goes on with was begun, as the launch says, or by the device.

    Args:
        precision: what was asked for in place of the recipe's own; None leaves that.
        begun: the recipe by which the same folder or entry was begun, perhaps on another device.

    >>> for_device(Recipe(), load_base("minilm"), task).micro_batch  # on an H200: a whole batch  # doctest: +SKIP
    32
    """
    recipe = recipe.model_copy(update={"precision": precision}) if precision else recipe
    chosen: dict[str, Any] = {}
    card = None if begun else _card()
    if recipe.precision is None:
        chosen["precision"] = begun.precision if begun else launched() if is_launched() else fastest()
    if begun and "micro_batch" not in recipe.model_fields_set:
        chosen["micro_batch"] = begun.micro_batch
    elif card and "micro_batch" not in recipe.model_fields_set:
        chosen["micro_batch"] = rows_that_fit(recipe, base, task, memory=card[1])
    if card and chosen:
        name, fixed = card[0], " ".join(f"--{OPTIONS[field]}" for field in chosen)
        say(
            f"on {name}: {', '.join(f'{OPTIONS[field]} {value}' for field, value in chosen.items())} ({fixed} choose otherwise)"
        )
    return recipe.model_copy(update=chosen)


def rows_that_fit(recipe: Recipe, base: Base, task: Task, *, memory: int) -> int:
    """The rows of a forward pass: the batch, halved until their activations take at most half of a memory of so many bytes."""
    config, tokens = base.config, recipe.max_length
    layer = tokens * (34 * config.hidden_size + 5 * config.num_attention_heads * tokens) * 2
    row = (task.num_choices or 1) * config.num_hidden_layers * layer
    row += LOGIT_BYTES * tokens * config.vocab_size if task.kind == GENERATION else 0
    rows = recipe.batch
    while rows > 1 and rows * row > SHARE * memory:
        rows = math.ceil(rows / 2)
    return rows


def _card() -> tuple[str, int] | None:
    """The GPU that one process trains on, by name, and its bytes; None on a CPU, or where several processes share the micro-batches."""
    world = accelerator()
    if world.device.type != "cuda" or world.num_processes > 1:
        return None
    properties = torch.cuda.get_device_properties(world.device)
    return properties.name, properties.total_memory
