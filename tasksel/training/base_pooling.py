"""The pooling of a recipe that says "base": how the base was trained to be read; where it does not say, what the closed form does better with.

    pooling = base.pooling ("last" of a decoder), or of "first" and "mean" the one with the larger cross-validated score on the bare base's features

The choice reads the target's training rows, train and dev; of equal scores the first token stays. Ours.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from tasksel.display.progress import say
from tasksel.model.base import Base
from tasksel.model.decoders import readable
from tasksel.model.encoding import Encoded
from tasksel.model.heads import add_head
from tasksel.model.names import module_name
from tasksel.model.pooling import Pooling
from tasksel.tasks.task import Task
from tasksel.training.features import pooled_by
from tasksel.training.recipe import Recipe
from tasksel.training.solved_start import most_rows, solve_on


def pooling_of(recipe: Recipe, base: Base, task: Task, encoded: Encoded, *, seed: int) -> Pooling:
    """How a training by this recipe reads a text's tokens.

    Args:
        encoded: the task's training rows, train and dev.

    >>> pooling_of(Recipe(pooling="base"), load_base("minilm"), task, encoded, seed=0)  # doctest: +SKIP
    'mean'
    """
    if recipe.pooling != "base":
        return readable(recipe.pooling, base.config)
    if base.pooling is not None:
        return base.pooling
    model, rows = base.model(), most_rows(encoded, task, seed=seed)
    add_head(model, task, name=module_name(task.name))
    head: Any = model.heads[module_name(task.name)]
    ways: tuple[Pooling, ...] = ("first", "mean")
    features, _ = pooled_by(model, rows, ways)
    scores = [solve_on(head, features[how], task, rows, seed=seed).score or 0.0 for how in ways]
    best = cast(Pooling, ways[int(np.argmax(scores))])
    compared = ", ".join(f"{how} {score:.4f}" for how, score in zip(ways, scores, strict=True))
    say(f"{base.name} does not say how its tokens are pooled: {best} ({task.metric} of the closed form: {compared})")
    return best
