"""The default: candidates from cheap to dear, compared by cross-validation on the same folds of train and dev; the best is the result. Ours.

    closed form on the base       omega = 0            y = residual
    closed form on the best       omega = (1, 0)       y = residual + o_1
    closed form on the mix        omega = (a, a)       y = residual + a o_1 + a o_2        a = 1/sqrt(2): the sum keeps its size
    trained                       omega_ls, a scalar per layer and source, copies of the sources' projections, and the head, by gradient steps
                                  from the best of these mixes

    score     the task's metric over all rows, each by a model that was fitted without its fold
    margin    of `trained`: a standard error of its score less the best closed form's, over draws of the rows

A dearer candidate must be better than all cheaper ones by its margin, so the result is never below the closed form on the base by that score. The
margin is the one-standard-error rule (Breiman et al. 1984, 3.4.3): a training that is ahead by less may be behind on new rows. Training is
given up after the first fold, from the second on, after which it is not ahead on the rows so far (racing, Maron and Moore 1994). The winner is
fitted again on all rows. `Recipe.budget` bounds the gradient steps (`scalearn.methods.budget`); they are counted, not timed, so that a run can be
repeated. Texts to write have no head to solve: `scalearn.methods.auto_generation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from scalearn.layers.scaling import LEARNED_FROM_ONE, Scaling
from scalearn.methods.auto_generation import TextTrial
from scalearn.methods.base import SOLVED
from scalearn.methods.budget import affordable_steps
from scalearn.methods.candidate import Candidate, in_words, with_chosen
from scalearn.methods.scalearn import ScaledSources
from scalearn.methods.thawed import FEWEST_STEPS, rates, set_weights, thawed
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.display.progress import bar, say
from tasksel.model.encoding import Encoded
from tasksel.tasks.bootstrap import resampled
from tasksel.tasks.metrics import label_range, score, within
from tasksel.tasks.prompts import GENERATION
from tasksel.training.cross_validation import CrossValidated, Folds, folds
from tasksel.training.features import pooled
from tasksel.training.loop import Diverged, FitResult, fit
from tasksel.training.predict import predict
from tasksel.training.recipe import Recipe
from tasksel.training.solved_start import most_rows, solve_on

# batches of 8: more steps in the same budget
AUTO_RECIPE = Recipe(lr=1e-3, head_lr=3e-4, batch=8, max_steps=300, budget=120.0, epochs=1000, **SOLVED)
FOLDS_FIRST = 2  # folds before training may be given up: one says too little


@dataclass(frozen=True, kw_only=True)
class Auto(ScaledSources):
    """Tries the closed form on the base, on the best source and on two, then trains the better mix, and keeps what cross-validates best.

    >>> transfer(task, sources[:2], method="auto")  # doctest: +SKIP
    """

    version: ClassVar[int] = 2
    scaling: Scaling = LEARNED_FROM_ONE
    most: int | None = 2

    def train(self, training: SeedTraining) -> TrainedModel:
        """Compares the candidates, says which is the best, and fits it on all rows."""
        if training.target.kind == GENERATION:
            texts = TextTrial(self, training)
            return self._finished(training, *texts.best(candidates := texts.compare()), candidates)
        begun = time.perf_counter()
        model, trial = self.new_model(training), _Trial(self, training)
        candidates = with_chosen(trial.compare(model))
        best = next(one for one in candidates if one.chosen)
        model = trial.fit_again(model, best)
        done = FitResult(best.score, 0, trial.steps, time.perf_counter() - begun)
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
        tried = [Candidate("closed form", names[:count]) for count in range(len(names) + 1)]
        steps = affordable_steps(model, self.rows, self.training.recipe, trainings=len(self.parts) + 1)
        dear = bool(self.parts) and steps >= FEWEST_STEPS
        logits = []
        with bar(self.training.label, len(tried) + dear * len(self.parts)) as advance:
            for number, candidate in enumerate(tried):
                begun = time.perf_counter()
                solution = self._solve(model, candidate.omega(len(names)))
                tried[number] = replace(candidate, score=solution.score, seconds=time.perf_counter() - begun)
                logits.append(solution.logits)
                advance(str(tried[number]))
            if not dear:
                return tried
            mix = max(tried[1:], key=lambda candidate: candidate.rank)
            best = max(range(len(tried)), key=lambda number: tried[number].rank)
            start = Candidate("trained", mix.sources, steps=steps, of_steps=steps)
            try:
                return [*tried, self._trained(start, logits[best], advance)]
            except Diverged as error:
                say(f"{error}; auto goes on without training")
                return tried

    def _solve(self, model: Any, omega: tuple[float, ...]) -> CrossValidated:
        """Sets omega and solves the head on all rows."""
        set_weights(model, omega)
        head = model.heads[model.active_head]
        features, _ = pooled(model, self.rows, pooling=head.reads)
        return solve_on(head, features, self.task, self.rows, seed=self.training.seed, parts=self.parts)

    def _trained(self, start: Candidate, rival: np.ndarray, advance: Callable[[str], None]) -> Candidate:
        """Trains without each fold in turn, scores all rows, and sets the margin over a rival; without a score if it is given up.

        Args:
            rival: logits of all rows by the best closed form [n, outputs]; numbers within the labels' range.
        """
        begun, logits = time.perf_counter(), np.zeros((len(self.rows), self.task.outputs))
        limits = label_range(self.task.kind, self.rows.labels)
        scored = np.zeros(0, dtype=np.int64)
        for number, (kept, held) in enumerate(self.parts, 1):
            model = self._thawed(start)
            self._steps(model, self.rows.take(kept.tolist()), start)
            logits[held] = within(predict(model, self.rows.take(held.tolist())), limits)
            advance("")
            scored = np.concatenate([scored, held])
            if FOLDS_FIRST <= number < len(self.parts) and self._score(logits, scored) <= self._score(rival, scored):
                return replace(start, folds=number, seconds=time.perf_counter() - begun)
        return replace(
            start,
            score=self._score(logits),
            margin=self._standard_error(logits, rival),
            seconds=time.perf_counter() - begun,
        )

    def _score(self, logits: np.ndarray, rows: Any = slice(None)) -> float:
        """The task's metric on some rows."""
        return score(self.task.metric, logits[rows], self.rows.labels[rows])

    def _standard_error(self, logits: np.ndarray, rival: np.ndarray) -> float:
        """Of the difference between two models' scores on the same rows, by the bootstrap; 0 where the metric has no meaning on any draw."""
        draws = resampled(self.task.metric, [logits, rival], self.rows.labels)
        differences = draws[:, 0] - draws[:, 1]
        defined = differences[~np.isnan(differences)]
        return float(np.std(defined)) if len(defined) else 0.0

    def _thawed(self, start: Candidate) -> Any:
        """A new model at the candidate's omega, whose projections train."""
        return thawed(self.method, self.training, start.omega(len(self.training.sources)))

    def _steps(self, model: Any, rows: Encoded, start: Candidate) -> None:
        """Gradient steps on some rows, from a candidate's omega and the head that is solved on them."""
        training = self.training
        changes = {"max_steps": start.steps, "patience": None, "epochs": start.steps, "start": "solved"}
        recipe = training.recipe.model_copy(update=changes)
        options: dict[str, Any] = {
            "label": f"{training.label}: {start}",
            "groups": rates(model, recipe),
            "checkpoints": training.checkpoints,
        }
        done = fit(model, self.task, rows, None, recipe, seed=training.seed, **options)
        self.steps += done.steps

    def fit_again(self, model: Any, best: Candidate) -> Any:
        """The winner's model, fitted on all rows."""
        if best.steps:
            model = self._thawed(best)
            self._steps(model, self.rows, best)
        else:
            self._solve(model, best.omega(len(self.training.sources)))
        return model
