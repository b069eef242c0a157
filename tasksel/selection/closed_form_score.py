"""The closed form's cross-validated score: how well a head that is solved on a source's features does on the target's rows that it was not solved on.

    u       = f((x - mu) / sigma)            what a two-layer head's last layer reads of features x [n, d] or [n, choices, d]
    score   = the task's metric over all rows, each by the layer that the other folds were solved with, at its best strength

It is what the method `closed-form` would reach from that source (`tasksel.training.cross_validation`), for every kind of task, and on the same folds
for every source. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from tasksel.errors import UserError
from tasksel.model.encoding import Encoded
from tasksel.model.head import Head
from tasksel.tasks.task import Task
from tasksel.training.cross_validation import Folds, cross_validated, folds
from tasksel.training.solved_head import last_inputs, standardise
from tasksel.training.solved_start import choice_mask

TWO_LAYERS = {"head_type": "classification", "num_labels": 1, "layers": 2, "activation_function": "tanh"}


@dataclass(frozen=True)
class ClosedFormScore:
    """The score of any source's features on one target's rows.

    Attributes:
        task: the target. labels: of its rows, as `Encoded` has them. mask: of multiple choice, which choices a row has. parts: the folds.
    """

    task: Task
    labels: np.ndarray
    mask: np.ndarray | None
    parts: Folds

    @classmethod
    def of(cls, task: Task, encoded: Encoded, *, seed: int) -> ClosedFormScore:
        """With folds that the seed draws.

        Raises:
            UserError: a single row.

        >>> ClosedFormScore.of(task, encoded, seed=0)(features)  # doctest: +SKIP
        0.71
        """
        parts = folds(encoded.labels, task.kind, seed=seed)
        if not parts:
            raise UserError(f"{len(encoded)} row of '{task.name}': at least 2 are needed to cross-validate")
        return cls(task, encoded.labels, choice_mask(encoded), parts)

    def __call__(self, features: np.ndarray) -> float:
        """The score of features [n, d], or [n, choices, d] of multiple choice; larger is better.

        Raises:
            UserError: features that are not finite.
        """
        inputs = head_inputs(features)
        solved = cross_validated(inputs, self.labels, self.task, mask=self.mask, parts=self.parts)
        assert solved.score is not None  # there are folds
        return solved.score


def head_inputs(features: np.ndarray) -> np.ndarray:
    """What the last layer of a two-layer head reads of these features, once its first layer standardises them; of their shape.

    >>> head_inputs(np.array([[1.0, 5.0], [3.0, 5.0]])).round(2).tolist()
    [[-0.97, 0.0], [0.97, 0.0]]
    """
    with torch.random.fork_rng(devices=[]):  # a head begins at random, and here it must not move what others draw
        head = Head(TWO_LAYERS, SimpleNamespace(hidden_size=features.shape[-1]))
    standardise(head, features)
    return last_inputs(head, features)
