"""The default for texts to write: sums of sources are compared by the likelihood of the answers, then the best one is trained. Ours.

    the base alone      omega = 0             the best source     omega = (1, 0)          two sources     omega = (a, a), a = 1/sqrt(2)
    trained             omega_ls and copies of the sources' projections, from the best of these sums, by the loss of the answers

    likelihood = exp(-mean loss of the answers' tokens)       on the dev rows: in (0, 1], higher is better

The head is the base's own and stays as it is. So nothing is fitted but in `trained`, and no folds are needed: the dev rows choose its number of
steps, as they choose any checkpoint, and then the candidate. A dearer one must be better than all cheaper ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scalearn.methods.budget import affordable_steps
from scalearn.methods.candidate import AS_IT_IS, Candidate, with_chosen
from scalearn.methods.thawed import FEWEST_STEPS, rates, set_weights, thawed
from scalearn.methods.training import SeedTraining
from tasksel.display.progress import bar, say
from tasksel.training.loop import Diverged, FitResult, fit
from tasksel.training.predict import evaluate, mean_loss

if TYPE_CHECKING:
    from scalearn.methods.scalearn import ScaledSources

PATIENCE = 5  # epochs


@dataclass
class TextTrial:
    """The candidates of one seed on a generation target.

    >>> trial = TextTrial(method, training)  # doctest: +SKIP
    >>> model, done = trial.best(trial.compare())  # doctest: +SKIP
    """

    method: ScaledSources
    training: SeedTraining

    def __post_init__(self) -> None:
        self.begun = time.perf_counter()
        self.mix: Any = self.method.new_model(self.training)
        self.trained: tuple[Any, FitResult] | None = None

    def compare(self) -> list[Candidate]:
        """Every candidate with its likelihood, from cheap to dear; the best one is marked."""
        names = tuple(source.name for source in self.training.sources)
        candidates = []
        with bar(self.training.label, len(names) + 1) as advance:
            for count in range(len(names) + 1):
                clock, candidate = time.perf_counter(), Candidate(AS_IT_IS, names[:count])
                set_weights(self.mix, candidate.omega(len(names)))
                likelihood = self._likelihood(self.mix)
                candidates.append(replace(candidate, score=likelihood, seconds=time.perf_counter() - clock))
                advance(str(candidate))
        candidates += self._train(max(candidates[1:], key=lambda candidate: candidate.rank))
        return with_chosen(candidates)

    def _likelihood(self, model: Any) -> float:
        """exp(-mean loss) of the dev answers' tokens."""
        return math.exp(-mean_loss(model, self.training.target, self.training.encoded[1]))

    def _train(self, start: Candidate) -> Sequence[Candidate]:
        """The candidate that is trained from a sum of sources; none where the budget buys no steps, or training diverges."""
        training, (train, dev) = self.training, self.training.encoded
        self.mix = None  # a decoder fills the memory: one copy of it at a time
        model = thawed(self.method, training, start.omega(len(training.sources)))
        steps = affordable_steps(model, train, training.recipe)
        if steps < FEWEST_STEPS:
            return []
        changes = {"max_steps": steps, "patience": PATIENCE, "epochs": steps, "start": "solved", "select": "loss"}
        recipe = training.recipe.model_copy(update=changes)
        label, checkpoints = f"{training.label}: {replace(start, steps=steps)}", training.checkpoints
        options: dict[str, Any] = {"label": label, "groups": rates(model, recipe), "checkpoints": checkpoints}
        try:
            done = fit(model, training.target, train, dev, recipe, seed=training.seed, **options)
        except Diverged as error:
            say(f"{error}; auto goes on without training")
            return []
        self.trained = model, done
        seconds, score = done.seconds, self._likelihood(model)
        return [replace(start, name="trained", score=score, steps=done.steps, of_steps=steps, seconds=seconds)]

    def best(self, candidates: Sequence[Candidate]) -> tuple[Any, FitResult]:
        """The chosen candidate's model, with the task's metric on dev and what all of the trial took."""
        chosen = next(candidate for candidate in candidates if candidate.chosen)
        steps = self.trained[1].steps if self.trained else 0
        if chosen.steps and self.trained:
            model, done = self.trained
            return model, replace(done, seconds=time.perf_counter() - self.begun)
        self.trained = None
        mix = self.mix if self.mix is not None else self.method.new_model(self.training)
        set_weights(mix, chosen.omega(len(self.training.sources)))
        score = evaluate(mix, self.training.target, self.training.encoded[1])
        return mix, FitResult(score, 0, steps, time.perf_counter() - self.begun)
