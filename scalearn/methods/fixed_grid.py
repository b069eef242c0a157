"""Fixed weights for a pair of sources, the best on a grid: no omega is learned (after a probe of Frohmann et al., arXiv:2310.01217).

    y = residual + a * o_1 + b * o_2        the same (a, b) in every layer

The head is trained anew for each (a, b), from the same start and by the same order of rows; the pair with the best dev score is kept, the first
of several that are equal. Ours: the grid, {0, 0.5, 1} x {0, 0.5, 1} without (0, 0), which would be the head alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from scalearn.layers.folded import set_omega
from scalearn.layers.scaling import SET, Scaling
from scalearn.methods.scalearn import ScaledSources
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.training.loop import FitResult
from tasksel.training.state import load_trained, trained_state

CELLS = [cell for cell in product((0.0, 0.5, 1.0), repeat=2) if any(cell)]


@dataclass(frozen=True, kw_only=True)
class FixedGrid(ScaledSources):
    """Evaluates eight pairs of weights for the first two sources. To see whether learned weights miss a simple optimum.

    >>> transfer(task, sources[:2], method="fixed-grid")  # doctest: +SKIP
    """

    scaling: Scaling = SET
    least: int = 2
    most: int | None = 2

    def train(self, training: SeedTraining) -> TrainedModel:
        """Trains the head for every cell; steps and seconds count all of them."""
        model = self.new_model(training)
        return training.finished(model, *best_of_grid(model, training.fit))


def best_of_grid(model: Any, train: Callable[[Any], FitResult]) -> tuple[FitResult, list[dict[str, float]]]:
    """Trains the model's head for every cell and leaves the model with the best cell and its head.

    Args:
        model: a mix of two sources with an omega that is set. train: trains its head.

    Returns:
        The best cell's fit, with the steps and seconds of all, and every cell as {"a", "b", "dev"}.

    >>> done, cells = best_of_grid(model, training.fit)  # doctest: +SKIP
    """
    start, cells, fits, states = trained_state(model), [], [], []
    for cell in CELLS:
        load_trained(model, start)
        set_omega(model, cell)
        fits.append(train(model))
        states.append(trained_state(model))
        cells.append({"a": cell[0], "b": cell[1], "dev": fits[-1].score or 0.0})
    best = max(range(len(CELLS)), key=lambda number: (cells[number]["dev"], -number))
    load_trained(model, states[best])
    set_omega(model, CELLS[best])
    steps, seconds = sum(fit.steps for fit in fits), sum(fit.seconds for fit in fits)
    return replace(fits[best], steps=steps, seconds=seconds), cells
