"""The solved start: a model's head is set to the closed form on its own features of the training rows, before any gradient step.

one forward pass -> features [n, d] -> strength by cross-validation -> last layer

Many rows are drawn from: the closed form of some thousand is as good, and costs a pass over those alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasksel.display.progress import say_once
from tasksel.errors import UserError
from tasksel.model.encoding import Encoded
from tasksel.tasks.load import stratified
from tasksel.tasks.task import Task
from tasksel.training.cross_validation import CrossValidated, cross_validated
from tasksel.training.features import pooled
from tasksel.training.solved_head import has_bias, last_inputs, set_last, standardise

MOST_ROWS = 4000


def solve_head(model: Any, task: Task, encoded: Encoded, *, seed: int) -> CrossValidated:
    """Sets the active head to the closed form on these rows, and gives what cross-validation says of it.

    Raises:
        UserError: features that are not finite.

    >>> solve_head(model, task, train, seed=0).score  # doctest: +SKIP
    0.71
    """
    if len(encoded) > MOST_ROWS:
        say_once(f"{task.name}: the head is solved on {MOST_ROWS:,} of {len(encoded):,} rows, drawn by the seed")
        encoded = encoded.take(sorted(stratified(encoded.labels, MOST_ROWS, seed=seed)))
    head = model.heads[model.active_head]
    features, _ = pooled(model, encoded, pooling=head.reads)
    if not np.isfinite(features).all():
        raise UserError(f"'{task.name}': the model's features are NaN or infinite; a source's adapter may be broken")
    standardise(head, features)
    options: dict[str, Any] = {"mask": choice_mask(encoded), "seed": seed, "intercept": has_bias(head)}
    solution = cross_validated(last_inputs(head, features), encoded.labels, task, **options)
    set_last(head, solution.layer)
    return solution


def choice_mask(encoded: Encoded) -> np.ndarray | None:
    """Which choices each row has [n, choices]; None of other kinds of tasks.

    >>> choice_mask(encoded)  # doctest: +SKIP
    """
    if encoded.width == 1:
        return None
    return np.array([[number < len(row) for number in range(encoded.width)] for row in encoded.ids])
