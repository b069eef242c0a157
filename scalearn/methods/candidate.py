"""One of the candidates that the method `auto` compares, as a seed's record keeps it, and the comparison in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task

AS_IT_IS = "as it is"  # a sum of sources under a head that no one fits


@dataclass(frozen=True)
class Candidate:
    """What was tried and how it cross-validated.

    Attributes:
        name: "closed form", of texts to write "as it is", or "trained". sources: that it adds up; none is the bare base.
        score: the task's metric by cross-validation; None with too few rows for folds. Of texts the likelihood (`scalearn.methods.auto_generation`). chosen: whether it is the result.
        steps, of_steps: gradient steps, and those that the learning rate's schedule has. seconds: that the trial took.
        margin: by how much the score must be above all cheaper ones'. folds: after how many it was given up, without a score; 0: it was not.

    >>> str(Candidate("closed form", ("mnli",)))
    'closed form on mnli'
    """

    name: str
    sources: tuple[str, ...]
    score: float | None = None
    chosen: bool = False
    steps: int = 0
    of_steps: int = 0
    seconds: float = 0.0
    margin: float = 0.0
    folds: int = 0

    def __str__(self) -> str:
        where = " + ".join(self.sources) if self.sources else "the base alone"
        if self.name == AS_IT_IS:
            return f"{where} as {'they are' if len(self.sources) > 1 else 'it is'}"
        return f"trained from {where}, {self.steps} steps" if self.steps else f"{self.name} on {where}"

    @property
    def rank(self) -> float:
        """The score; the least where there is none."""
        return -math.inf if self.score is None or math.isnan(self.score) else self.score

    def omega(self, sources: int) -> tuple[float, ...]:
        """The weights at which it starts, for this many sources in the slot: 1/sqrt(n) of those n that it adds up, and 0.

        >>> Candidate("closed form", ("mnli",)).omega(2)
        (1.0, 0.0)
        """
        used = len(self.sources)
        return (used**-0.5,) * used + (0.0,) * (sources - used) if used else (0.0,) * sources


def with_chosen(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates, from cheap to dear, the chosen one marked: the dearest that is above all cheaper ones by its margin, or else the first.

    >>> tried = [Candidate("closed form", (), 0.7), Candidate("trained", ("mnli",), 0.71, steps=40, margin=0.02)]
    >>> [one.chosen for one in with_chosen(tried)]
    [True, False]
    """
    best = 0
    for number, one in enumerate(candidates):
        if one.rank > candidates[best].rank + one.margin:
            best = number
    return [replace(one, chosen=number == best) for number, one in enumerate(candidates)]


def in_words(task: Task, candidates: Sequence[Candidate]) -> list[str]:
    """Two lines: what was chosen and by how much, and what the sources gave.

    >>> print(*in_words(task, candidates), sep="\\n")  # doctest: +SKIP
    reviews: chose closed form on mnli: accuracy 0.7150 by cross-validation, 0.0100 over closed form on mnli + qqp
    the sources gave +0.0450 over closed form on the base alone (0.6700)
    """
    chosen = next(one for one in candidates if one.chosen)
    if chosen.score is None:
        return [f"{task.name}: chose {chosen}: too few rows to cross-validate"]
    others = [one for one in candidates if not one.chosen and (one.name, one.sources) != (chosen.name, chosen.sources)]
    second = max(others, key=lambda one: one.rank)
    base = candidates[0]
    measure = f"{task.metric} {chosen.score:.4f} by cross-validation"
    if task.kind == GENERATION:
        measure = f"likelihood of an answer's token {chosen.score:.4f} on the dev rows"
    first = f"{task.name}: chose {chosen}: {measure}"
    if second.score is not None:
        first += _compared(chosen.score - second.score, second)
    given_up = next((one for one in candidates if one.folds), None)
    if given_up:
        first += f"; training was not ahead after {given_up.folds} folds and was given up"
    if chosen is base:
        return [first, "the sources gave nothing over the base alone by that score, so none is used"]
    return [first, f"the sources gave {chosen.score - (base.score or 0.0):+.4f} over {base} ({base.score:.4f})"]


def _compared(gain: float, second: Candidate) -> str:
    """By how much the chosen one is ahead of the next, or why it is chosen though it is behind."""
    if gain >= 0:
        return f", {gain:.4f} over {second}"
    return f"; {second} is {-gain:.4f} ahead, within its standard error of {second.margin:.4f}"
