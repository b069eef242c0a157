"""The default: candidates from cheap to dear, compared by cross-validation on the same folds of train and dev; the best is the result. Ours.

    closed form on the base       omega = 0            y = residual
    closed form on the best       omega = (1, 0)       y = residual + o_1
    closed form on the mix        omega = (a, a)       y = residual + a o_1 + a o_2        a = 1/sqrt(2): the sum keeps its size
    trained                       omega_ls, a scalar per layer and source, copies of the sources' projections, and the head, by gradient steps
                                  from the best of these mixes

    score     the task's metric over all rows, each by a model that was fitted without its fold

A dearer candidate must be better than all cheaper ones, so the result is never below the closed form on the base by that score. The winner is fitted
again on all rows. `Recipe.budget` bounds the gradient steps (`scalearn.methods.budget`); they are counted, not timed, so that a run can be
repeated. Texts to write have no head to solve: `scalearn.methods.auto_generation`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalearn.layers.scaling import LEARNED_FROM_ONE, Scaling
from scalearn.methods.auto_generation import TextTrial
from scalearn.methods.base import SOLVED
from scalearn.methods.budget import affordable_steps
from scalearn.methods.candidate import Candidate, in_words
from scalearn.methods.scalearn import ScaledSources
from scalearn.methods.thawed import FEWEST_STEPS, rates, set_weights, thawed
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.display.progress import bar, say
from tasksel.model.encoding import Encoded
from tasksel.tasks.metrics import label_range, score, within
from tasksel.tasks.prompts import GENERATION
from tasksel.training.cross_validation import Folds, folds
from tasksel.training.features import pooled
from tasksel.training.loop import Diverged, FitResult, fit
from tasksel.training.predict import predict
from tasksel.training.recipe import Recipe
from tasksel.training.solved_start import most_rows, solve_on

# batches of 8: more steps in the same budget
AUTO_RECIPE = Recipe(lr=1e-3, head_lr=3e-4, batch=8, max_steps=300, budget=120.0, epochs=1000, **SOLVED)
CHECKPOINTS = 3  # numbers of steps that are compared


@dataclass(frozen=True, kw_only=True)
class Auto(ScaledSources):
    """Tries the closed form on the base, on the best source and on two, then trains the better mix, and keeps what cross-validates best.

    >>> transfer(task, sources[:2], method="auto")  # doctest: +SKIP
    """

    scaling: Scaling = LEARNED_FROM_ONE
    most: int | None = 2

    def train(self, training: SeedTraining) -> TrainedModel:
        """Compares the candidates, says which is the best, and fits it on all rows."""
        if training.target.kind == GENERATION:
            texts = TextTrial(self, training)
            return self._finished(training, *texts.best(candidates := texts.compare()), candidates)
        begun = time.perf_counter()
        model, trial = self.new_model(training), _Trial(self, training)
        candidates = trial.compare(model)
        best = max(range(len(candidates)), key=lambda number: (candidates[number].rank, -number))
        candidates = [replace(one, chosen=number == best) for number, one in enumerate(candidates)]
        model = trial.fit_again(model, candidates[best])
        done = FitResult(candidates[best].score, 0, trial.steps, time.perf_counter() - begun)
        return self._finished(training, model, done, candidates)

    def _finished(
        self, training: SeedTraining, model: Any, done: FitResult, candidates: list[Candidate]
    ) -> TrainedModel:
        """The trained model with its candidates; says which was chosen, and what the sources gave."""
        for line in in_words(training.target, candidates):
            say(line)
        return replace(training.finished(model, done), candidates=tuple(candidates))


class _Trial:
    """The candidates of one seed: its rows and folds, and the gradient steps that were taken so far."""

    def __init__(self, method: Auto, training: SeedTraining) -> None:
        self.method, self.training, self.task = method, training, training.target
        train, dev = training.encoded
        self.rows: Encoded = most_rows(train.joined(dev), self.task, seed=training.seed)
        self.parts: Folds = folds(self.rows.labels, self.task.kind, seed=training.seed)
        self.steps = 0

    def compare(self, model: Any) -> list[Candidate]:
        """Every candidate with its cross-validated score; the model changes."""
        names = tuple(source.name for source in self.training.sources)
        closed = [Candidate("closed form", names[:count]) for count in range(len(names) + 1)]
        steps = affordable_steps(model, self.rows, self.training.recipe, trainings=len(self.parts) + 1)
        dear = bool(self.parts) and steps >= FEWEST_STEPS
        with bar(self.training.label, len(closed) + dear * len(self.parts)) as advance:
            for number, candidate in enumerate(closed):
                begun = time.perf_counter()
                value = self._solve(model, candidate.omega(len(names)))
                closed[number] = replace(candidate, score=value, seconds=time.perf_counter() - begun)
                advance(str(closed[number]))
            if not dear:
                return closed
            mixes = closed[1:]
            start = max(mixes, key=lambda candidate: candidate.rank)
            try:
                return [*closed, *self._trained(replace(start, name="trained"), steps, advance)]
            except Diverged as error:
                say(f"{error}; auto goes on without training")
                return closed

    def _solve(self, model: Any, omega: tuple[float, ...]) -> float | None:
        """Sets omega and solves the head on all rows; the cross-validated score."""
        set_weights(model, omega)
        head = model.heads[model.active_head]
        features, _ = pooled(model, self.rows, pooling=head.reads)
        return solve_on(head, features, self.task, self.rows, seed=self.training.seed, parts=self.parts).score

    def _trained(self, start: Candidate, steps: int, advance: Any) -> Iterator[Candidate]:
        """Trains without each fold in turn, and scores all rows at a few numbers of steps."""
        begun, stops = time.perf_counter(), _checkpoints(steps)
        logits = {stop: np.zeros((len(self.rows), self.task.outputs)) for stop in stops}
        for kept, held in self.parts:
            model = self._thawed(start)
            scored = _Scored(model, self.rows.take(held.tolist()), stops)
            self._steps(model, self.rows.take(kept.tolist()), steps, start, on_step=scored.note, stateful=scored)
            for stop in stops:
                logits[stop][held] = scored.logits[stop]
            advance("")
        seconds = time.perf_counter() - begun
        for stop in stops:
            numbers = within(logits[stop], label_range(self.task.kind, self.rows.labels))
            value = score(self.task.metric, numbers, self.rows.labels)
            yield replace(start, score=value, steps=stop, of_steps=steps, seconds=seconds / len(stops))

    def _thawed(self, start: Candidate) -> Any:
        """A new model at the candidate's omega, whose projections train."""
        return thawed(self.method, self.training, start.omega(len(self.training.sources)))

    def _steps(self, model: Any, rows: Encoded, steps: int, start: Candidate, **hooks: Any) -> None:
        """Gradient steps on some rows, from a candidate's omega and the head that is solved on them."""
        training = self.training
        changes = {"max_steps": steps, "patience": None, "epochs": steps, "start": "solved"}
        recipe = training.recipe.model_copy(update=changes)
        options: dict[str, Any] = {
            "label": f"{training.label}: {replace(start, steps=steps)}",
            "groups": rates(model, recipe),
            "checkpoints": training.checkpoints,
            **hooks,
        }
        done = fit(model, self.task, rows, None, recipe, seed=training.seed, **options)
        self.steps += done.steps

    def fit_again(self, model: Any, best: Candidate) -> Any:
        """The winner's model, fitted on all rows."""
        if best.steps:
            model = self._thawed(best)
            self._steps(model, self.rows, best.of_steps, best, on_step=lambda step: step >= best.steps)
        else:
            self._solve(model, best.omega(len(self.training.sources)))
        return model


class _Scored:
    """The logits of the rows that a training leaves out, after some of its steps."""

    def __init__(self, model: Any, rows: Encoded, stops: Sequence[int]) -> None:
        self.model, self.rows, self.stops = model, rows, stops
        self.logits: dict[int, np.ndarray] = {}

    def note(self, step: int) -> bool:
        """Called after each step; never ends the training."""
        if step in self.stops:
            self.logits[step] = predict(self.model, self.rows)
        return False

    def state_dict(self) -> dict[str, Tensor]:
        """The logits by step."""
        return {str(step): torch.from_numpy(logits) for step, logits in self.logits.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes up those of a training that was killed."""
        self.logits = {int(step): logits.numpy() for step, logits in state.items()}


def _checkpoints(steps: int) -> list[int]:
    """The numbers of steps that are compared, up to all of them.

    >>> _checkpoints(30)
    [10, 20, 30]
    """
    return sorted({max(1, round(steps * part / CHECKPOINTS)) for part in range(1, CHECKPOINTS + 1)})
