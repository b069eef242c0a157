"""Mixing weights searched without gradients, after LoraHub (Huang et al. 2023, arXiv:2307.13269).

    y = residual + sum_s omega_s * o_s                    one scalar per source, the same in every layer
    minimise   mean loss on the training rows + 0.05 * mean |omega_s|        over  |omega_s| <= 1.5, from 0, in at most 40 evaluations

Differs from LoraHub: it mixes the sources' OUTPUTS, not their weights; there is a head to be trained, so the head is trained under the average
(omega_s = 1/n), then omega is searched with the head fixed, then the head is trained on under the best one; the loss is of all training rows
(LoraHub has a handful); the search is CMA-ES (`cma`), not nevergrad's choice of optimiser, and its first spread, 0.5, is ours. The average is the
first of them: the best is never worse than it by this measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from scalearn.layers.folded import set_omega
from scalearn.layers.scaling import SEARCHED, Scaling
from scalearn.methods.scalearn import ScaledSources
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.errors import UserError
from tasksel.model.encoding import Encoded
from tasksel.model.heads import loss_sum
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.loop import FitResult
from tasksel.training.predict import mean_loss, predict

BOUND, PENALTY, EVALUATIONS = 1.5, 0.05, 40  # LoraHub's
SPREAD = 0.5


@dataclass(frozen=True, kw_only=True)
class Search(ScaledSources):
    """Searches one weight per source without gradients of omega, in at most 40 passes over the training rows.

    >>> transfer(task, sources, method="search")  # doctest: +SKIP
    """

    scaling: Scaling = SEARCHED
    least: int = 2

    def check_installed(self) -> None:
        """Needs the package cma."""
        need_cma()

    def train(self, training: SeedTraining) -> TrainedModel:
        """Head, omega, head; steps count both trainings, seconds all three parts."""
        model, (rows, _) = self.new_model(training), training.encoded
        count, seed = len(training.sources), training.seed
        return training.finished(model, searched(model, training.target, rows, training.fit, count=count, seed=seed))


def need_cma() -> Any:
    """The `cma` package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import cma
    except ImportError as error:
        raise UserError("method 'search' needs the package cma: pip install \"scalearn[search]\"") from error
    return cma


def minimise(objective: Callable[[Sequence[float]], float], count: int, *, seed: int) -> list[float]:
    """The best omega [count] by CMA-ES; whole generations only: 31 of the 40 evaluations for 8 sources, 37 for 2.

    >>> best = minimise(lambda omega: (omega[0] - 1) ** 2 + omega[1] ** 2, 2, seed=0)
    >>> abs(best[0] - 1) + abs(best[1]) < 0.5
    True
    """
    draw = np.random.default_rng(seed)
    settings = {
        "bounds": [-BOUND, BOUND],
        "verbose": -9,
        "seed": np.nan,  # leave numpy's global generator alone: the draws come from ours
        "randn": lambda *shape: draw.standard_normal(shape),
    }
    search = need_cma().CMAEvolutionStrategy([0.0] * count, SPREAD, settings)
    best = [1.0 / count] * count
    lowest, evaluations_left = objective(best), EVALUATIONS - 1
    while evaluations_left >= search.popsize:
        generation = [[float(value) for value in point] for point in search.ask()]
        values = [objective(omega) for omega in generation]
        search.tell(generation, values)
        evaluations_left -= len(generation)
        if min(values) < lowest:
            lowest, best = min(values), generation[values.index(min(values))]
    return best


def training_loss(model: Any, task: Task, rows: Encoded) -> float:
    """The mean loss of the training rows."""
    if task.kind == GENERATION:
        return mean_loss(model, task, rows)
    logits = torch.from_numpy(predict(model, rows))
    return float(loss_sum(task.kind, logits, torch.as_tensor(rows.labels))) / len(rows)


def searched(
    model: Any, task: Task, rows: Encoded, train: Callable[[Any], FitResult], *, count: int, seed: int
) -> FitResult:
    """Trains the head, searches omega, trains the head again: leaves the model with the best omega and the head trained under it.

    Every process of a launch evaluates the main one's omegas; the logits are those of all processes together.

    Args:
        model: a mix of `count` sources with an omega that is searched. rows: the training rows. train: trains the head.

    Returns:
        The second fit, with the steps of both and the seconds of all three parts.

    >>> searched(model, task, rows, training.fit, count=4, seed=0)  # doctest: +SKIP
    """

    def agreed(omega: Sequence[float]) -> Sequence[float]:
        """The main process's omega, for all: two machines may differ in the last digit."""
        return list(broadcast_object_list([list(omega)])[0])

    def objective(omega: Sequence[float]) -> float:
        """Mean loss on the training rows + 0.05 * mean |omega|."""
        omega = agreed(omega)
        set_omega(model, omega)
        return training_loss(model, task, rows) + PENALTY * float(np.abs(omega).mean())

    first, start = train(model), time.perf_counter()
    set_omega(model, agreed(minimise(objective, count, seed=seed)))
    search_seconds = time.perf_counter() - start
    second = train(model)
    return replace(second, steps=first.steps + second.steps, seconds=first.seconds + search_seconds + second.seconds)
