"""How many gradient steps a budget of seconds buys: counted on a nominal machine, so that one budget gives the same run everywhere. Ours.

    seconds of a step = 6 P B t / S        P encoder parameters beside the embeddings, B rows of a batch, t tokens of a row, S = 5e10 FLOP/s

6 P operations per token are the forward and backward pass (Kaplan et al. 2020, arXiv:2001.08361, 2 P and 4 P); S is about one core of a server's CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasksel.model.encoding import Encoded
from tasksel.training.recipe import Recipe

SPEED = 5e10
OUTSIDE = ("embeddings", "embed_tokens", "wte.", "wpe.", ".adapters.", "pooler")


def affordable_steps(model: Any, rows: Encoded, recipe: Recipe, *, trainings: int = 1) -> int:
    """The steps of each of several trainings that the recipe's budget buys together; the recipe's own most steps bound them too.

    Args:
        rows: of which the steps' batches are drawn.

    >>> affordable_steps(model, rows, Recipe(budget=60.0), trainings=6)  # doctest: +SKIP
    9
    """
    most = recipe.steps(len(rows))
    if recipe.budget is None:
        return most
    encoder = sum(p.numel() for name, p in model.base_model.named_parameters() if _in_a_layer(name))
    tokens = float(np.mean([length * rows.width for length in rows.lengths]))
    step = 6 * encoder * min(recipe.batch, len(rows)) * tokens / SPEED
    return min(most, int(recipe.budget / step / trainings))


def _in_a_layer(name: str) -> bool:
    return not any(part in name for part in OUTSIDE)
