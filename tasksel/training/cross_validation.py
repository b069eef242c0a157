"""How strongly a solved head may fit its rows: chosen by the task's metric on rows that it was not solved on.

for C in STRENGTHS   logits of each row by the head that was solved on the other folds      (`out_of_fold`)
keep                 the C, and for F1 the bias, with the best metric over all rows; of equal ones the smallest C
solve                on all rows with that C
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasksel.display.progress import say_once
from tasksel.tasks.kinds import CLASSES, Kind
from tasksel.tasks.metrics import label_range, score, within
from tasksel.tasks.task import Task
from tasksel.training.closed_form import LastLayer, check_rows, solve
from tasksel.training.thresholds import candidates

STRENGTHS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
WITHOUT_FOLDS = 1e-2  # C where there are too few rows to compare
FOLDS = 5
Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class CrossValidated:
    """A last layer that was chosen by cross-validation, and what that says of it.

    Attributes:
        layer: solved on all rows. strength: its C.
        score: the task's metric over all rows, each by a head that was solved without it; None with too few rows for folds.
        logits: those rows' [n, outputs], numbers within the labels' range; empty without folds.
    """

    layer: LastLayer
    strength: float
    score: float | None
    logits: np.ndarray


def cross_validated(
    features: np.ndarray,
    labels: np.ndarray,
    task: Task,
    *,
    mask: np.ndarray | None = None,
    seed: int = 0,
    parts: Folds | None = None,
    intercept: bool = True,
) -> CrossValidated:
    """Solves a task's last layer, its strength (and F1's bias) chosen by cross-validation.

    Args:
        features, labels, mask, intercept: as in `tasksel.training.closed_form.solve`.
        seed: of the folds.
        parts: the folds, where several candidates are to be compared on the same ones.

    Raises:
        UserError: see `tasksel.training.closed_form.check_rows`.

    >>> cross_validated(features, labels, task).score  # doctest: +SKIP
    0.71
    """
    check_rows(features, labels)  # all of them, so that a row is named by its number here and not in a fold
    parts = folds(labels, task.kind, seed=seed) if parts is None else parts
    options: dict[str, Any] = {"outputs": task.outputs, "mask": mask, "intercept": intercept}
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    for strength in STRENGTHS if parts else ():
        logits = out_of_fold(features, labels, task, parts, strength=strength, mask=mask, intercept=intercept)
        for bias in candidates(task.metric, task.kind, logits, labels) if intercept else [np.zeros(logits.shape[1])]:
            value = score(task.metric, logits - bias, labels)
            if best is None or value > best[0] + 1e-12:
                best = value, strength, bias, logits - bias
    if best is None:
        layer = solve(features, labels, task.kind, strength=WITHOUT_FOLDS, **options)
        return CrossValidated(layer, WITHOUT_FOLDS, None, np.zeros((0, task.outputs)))
    value, strength, bias, logits = best
    layer = solve(features, labels, task.kind, strength=strength, **options)
    shifted = layer.bias if task.kind == "multiple_choice" else layer.bias - bias
    return CrossValidated(LastLayer(layer.weight, shifted), strength, value, logits)


def folds(labels: np.ndarray, kind: Kind, *, most: int = FOLDS, seed: int = 0) -> Folds:
    """Rows to solve on and rows to score, for each fold; classes are spread over the folds.

    Fewer rows than folds give as many folds as rows; a single row gives none. Both are said, and classes with fewer rows than there are folds.

    >>> [len(scored) for _, scored in folds(np.array([0, 1, 0, 1, 0, 1]), "single_sentence_classification", most=3)]
    [2, 2, 2]
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    count = min(most, len(labels))
    _say_few(labels, kind, count, most)
    if count < 2:
        return []
    if kind not in CLASSES or np.bincount(labels.astype(int)).max() < count:
        return list(KFold(count, shuffle=True, random_state=seed).split(labels))
    with warnings.catch_warnings():  # a class rarer than the folds lies in some of them only, as it must
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(StratifiedKFold(count, shuffle=True, random_state=seed).split(labels, labels.astype(int)))


def _say_few(labels: np.ndarray, kind: Kind, count: int, most: int) -> None:
    """Says what is too rare for the folds."""
    if count < 2:
        say_once(
            f"{len(labels)} row{'s' * (len(labels) != 1)}: too few for cross-validation, so the head's strength is not chosen"
        )
    elif count < most:
        say_once(f"{len(labels)} rows: cross-validated in {count} folds instead of {most}")
    elif kind in CLASSES and np.unique(labels, return_counts=True)[1].min() < count:
        say_once(f"a class with fewer rows than the {count} folds of cross-validation is missing from some of them")


def out_of_fold(
    features: np.ndarray,
    labels: np.ndarray,
    task: Task,
    parts: Folds,
    *,
    strength: float,
    mask: np.ndarray | None = None,
    intercept: bool = True,
) -> np.ndarray:
    """Each row's logits by the head that was solved without it: [n, outputs], of multiple choice [n, choices].

    Numbers are kept within the range of those that the head was solved on, as predictions are.

    >>> out_of_fold(features, labels, task, folds(labels, task.kind), strength=0.01).shape  # doctest: +SKIP
    (200, 3)
    """
    logits = np.zeros((len(labels), task.outputs))
    options: dict[str, Any] = {"outputs": task.outputs, "strength": strength, "intercept": intercept}
    for train, held in parts:
        part = None if mask is None else mask[train]
        layer = solve(features[train], labels[train], task.kind, mask=part, **options)
        logits[held] = within(layer.logits(features[held]), label_range(task.kind, labels[train]))
    return logits if mask is None else np.where(mask, logits, -np.inf)
