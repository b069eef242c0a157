"""The steps of a comparison as a graph: what each needs, whoever does it and wherever.

    unit  ->  target adapter, ranking, sources        ranking  ->  every other source        target adapter  ->  a source that is the same training

A step's name (`str`) is unique in a plan, so that another process, which has an equal plan, knows a step by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scalearn.comparison.condition import EACH, FULL
from scalearn.comparison.experiment_config import ExperimentConfig, Size, Unit
from scalearn.comparison.work_store import SINGLE_ADAPTER

Kind = Literal["source", "target-adapter", "rank", "unit"]


@dataclass(frozen=True)
class Step:
    """One piece of work of a comparison.

    Attributes:
        target: the task that is trained on or ranked for. by: the selector of a ranking. unit: of the kind "unit".

    >>> str(Step("rank", "rte", 0, size=16, by="logme"))
    'rank sources for rte with 16 rows by logme, seed 0'
    """

    kind: Kind
    target: str
    seed: int
    size: Size = FULL
    by: str = ""
    unit: Unit | None = None

    def __str__(self) -> str:
        rows = "all rows" if self.size == FULL else f"{self.size} rows"
        if self.kind == "source":
            return f"source {self.target}, seed {self.seed}"
        if self.kind == "target-adapter":
            return f"target adapter of {self.target} with {rows}, seed {self.seed}"
        if self.kind == "rank":
            return f"rank sources for {self.target} with {rows} by {self.by}, seed {self.seed}"
        return str(self.unit)


def all_steps(experiment: ExperimentConfig, units: list[Unit]) -> list[Step]:
    """Every step of some units, each after what it needs: sources, target adapters, rankings, units."""
    seeds = dict.fromkeys(experiment.source_seed(unit.seed) for unit in units)
    needed = any(unit.condition.by for unit in units) or bool(experiment.map)
    sources = [Step("source", name, seed) for seed in seeds for name in experiment.sources.tasks if needed]
    adapters = [step for step in (target_adapter(experiment, unit) for unit in units) if step]
    rankings = [ranking(unit) for unit in units if unit.condition.ranked]
    return [*sources, *dict.fromkeys(adapters), *dict.fromkeys(rankings), *map(step_of, units)]


def step_of(unit: Unit) -> Step:
    """The step that computes a unit."""
    return Step("unit", unit.target, unit.seed, unit.size, unit=unit)


def ranking(unit: Unit) -> Step:
    """The step that ranks the sources of a unit."""
    return Step("rank", unit.target, unit.seed, unit.size, str(unit.condition.by))


def target_adapter(experiment: ExperimentConfig, unit: Unit) -> Step | None:
    """The step that trains the target adapter of a unit, if it uses one."""
    if unit.condition.method == SINGLE_ADAPTER:
        return Step("target-adapter", unit.target, unit.seed, unit.size)
    if unit.condition.include_target:
        return Step("target-adapter", unit.target, experiment.source_seed(unit.seed), unit.size)
    return None


def needs(experiment: ExperimentConfig, step: Step) -> Iterator[Step]:
    """The steps whose outcome a step uses; those that a plan does not hold are of no concern to it."""
    stage1 = experiment.source_seed(step.seed)
    if step.kind == "target-adapter":
        yield Step("source", step.target, step.seed)  # one training may serve both
    elif step.kind == "rank":
        yield from (Step("source", name, stage1) for name in experiment.others(step.target))
    elif step.unit:
        condition, adapter = step.unit.condition, target_adapter(experiment, step.unit)
        if adapter:
            yield adapter
        if condition.ranked:
            yield ranking(step.unit)  # which has waited for the sources
        elif condition.by:
            names = [str(condition.source)] if condition.by == EACH else experiment.others(step.target)
            yield from (Step("source", name, stage1) for name in names)
