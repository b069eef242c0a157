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
from tasksel.model.head import Head
from tasksel.tasks.load import stratified
from tasksel.tasks.task import Task
from tasksel.training.cross_validation import CrossValidated, Folds, cross_validated
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
    head, rows = model.heads[model.active_head], most_rows(encoded, task, seed=seed)
    features, _ = pooled(model, rows, pooling=head.reads)
    return solve_on(head, features, task, rows, seed=seed)


def most_rows(encoded: Encoded, task: Task, *, seed: int) -> Encoded:
    """The rows that a head is solved on: all, or a stratified draw of `MOST_ROWS`, which is said.

    >>> len(most_rows(encoded, task, seed=0))  # doctest: +SKIP
    4000
    """
    if len(encoded) <= MOST_ROWS:
        return encoded
    say_once(f"{task.name}: the head is solved on {MOST_ROWS:,} of {len(encoded):,} rows, drawn by the seed")
    return encoded.take(sorted(stratified(encoded.labels, MOST_ROWS, seed=seed)))


def solve_on(
    head: Head, features: np.ndarray, task: Task, rows: Encoded, *, seed: int, parts: Folds | None = None
) -> CrossValidated:
    """Sets a head to the closed form on features of the rows.

    Args:
        features: [n, d] or [n, choices, d]. parts: the folds, where several candidates are compared on the same ones.

    Raises:
        UserError: features that are not finite.

    >>> solve_on(head, features, task, rows, seed=0).score  # doctest: +SKIP
    0.71
    """
    if not np.isfinite(features).all():
        raise UserError(f"'{task.name}': the model's features are NaN or infinite; a source's adapter may be broken")
    standardise(head, features)
    options: dict[str, Any] = {"mask": choice_mask(rows), "seed": seed, "intercept": has_bias(head), "parts": parts}
    solution = cross_validated(last_inputs(head, features), rows.labels, task, **options)
    set_last(head, solution.layer)
    return solution


def choice_mask(encoded: Encoded) -> np.ndarray | None:
    """Which choices each row has [n, choices]; None of other kinds of tasks.

    >>> choice_mask(encoded)  # doctest: +SKIP
    """
    if encoded.width == 1:
        return None
    return np.array([[number < len(row) for number in range(encoded.width)] for row in encoded.ids])
