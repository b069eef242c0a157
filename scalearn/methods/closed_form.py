"""Heads that are solved instead of trained: on the mix of the sources, on the bare base, and no head at all. Ours, as what a gain is told over.

    closed-form        x = pooled tokens of the base with  residual + sum_s o_s     in its slots: each source as it is, omega_s = 1
    closed-form-base   x = pooled tokens of the bare base
    majority           no x: the class most rows have, the mean of numbers, the labels that more than half have; under F1 always the label

    logits = W u(x) + b        W, b solved on all of the target's rows, train and dev (`tasksel.training.solved_start`); no gradient step

Milliseconds after one forward pass over the target's rows. The dev score is the cross-validated one.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from scalearn.layers.scaling import ADDED, Scaling
from scalearn.methods.base import SOLVED
from scalearn.methods.head_only import HeadOnly
from scalearn.methods.scalearn import ScaledSources
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.tasks.metrics import score
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.loop import FitResult
from tasksel.training.recipe import Recipe

FREQUENT = 8  # target texts that are tried as a constant guess
SOLVED_RECIPE = Recipe(**SOLVED)  # of which length and pooling count alone


@dataclass(frozen=True, kw_only=True)
class ClosedForm(ScaledSources):
    """Adds the sources up as they are, and solves the head. The best start, and with few rows often the best end; one source or two.

    >>> transfer(task, sources[:1], method="closed-form")  # doctest: +SKIP
    """

    scaling: Scaling = ADDED
    solves_head: ClassVar[bool] = True

    def train(self, training: SeedTraining) -> TrainedModel:
        """Solves the head on train and dev."""
        model = self.new_model(training)
        return training.finished(model, training.solve(model))


@dataclass(frozen=True, kw_only=True)
class ClosedFormBase(HeadOnly):
    """Solves the head on the bare base. What sources give is what they add to this.

    >>> transfer(task, [], method="closed-form-base", base="minilm")  # doctest: +SKIP
    """

    solves_head: ClassVar[bool] = True

    def train(self, training: SeedTraining) -> TrainedModel:
        """Solves the head on train and dev."""
        model = self.new_model(training)
        return training.finished(model, training.solve(model))


@dataclass(frozen=True, kw_only=True)
class Majority(HeadOnly):
    """Guesses the same for every row. The floor of every metric.

    >>> transfer(task, [], method="majority", base="minilm")  # doctest: +SKIP
    """

    solves_head: ClassVar[bool] = True
    export_reason: ClassVar[str | None] = "reads no text"

    def train(self, training: SeedTraining) -> TrainedModel:
        """Sets the head to a constant, the best of train and dev by the task's metric."""
        begun = time.perf_counter()
        model = self.new_model(training)
        labels = np.concatenate([training.data.train.labels, training.data.dev.labels])
        constant, value = best_constant(training.target, labels)
        last = list(model.heads[model.active_head].children())[-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.from_numpy(constant) if len(last.bias) == len(constant) else torch.zeros(1))
        return training.finished(model, FitResult(value, 0, 0, time.perf_counter() - begun))


def best_constant(task: Task, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """The logits [outputs] that, given for every row, have the best metric on these labels, and that metric; of generation a target text [1].

    >>> best_constant(task, np.array([0, 1, 1]))[0].argmax()  # doctest: +SKIP
    1
    """
    if task.kind == GENERATION:
        texts = [text for text, _ in Counter(labels.tolist()).most_common(FREQUENT)]
        values = [score(task.metric, np.full(len(labels), text, dtype=object), labels) for text in texts]
        return np.array([texts[int(np.argmax(values))]], dtype=object), max(values)
    if task.kind == "regression":
        guesses = [np.array([labels.mean()])]
    elif task.kind == "multi_label":
        share = labels.mean(0)
        guesses = [np.where(share > bound, 1.0, -1.0) for bound in (0.5, 0.25, 0.1, 0.0, -1.0)]
    elif task.kind == "multiple_choice":
        guesses = [np.zeros(task.outputs)]
    else:
        guesses = list(np.eye(task.outputs))
    scores = [score(task.metric, np.tile(guess, (len(labels), 1)), labels) for guess in guesses]
    best = int(np.argmax(scores))
    return guesses[best], scores[best]
