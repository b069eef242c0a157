"""A configuration becomes a plan of independent steps; done ones are skipped, the rest run.

    sources -> pool/<task>          one adapter each
    targets -> rankings/<target>.json        each target's sources, best first
    targets x methods -> results/<target>/<method>/seed-<s>     one stored unit a seed
    report.md                       from what is stored

Each target is ranked once, on the rows that its first seed draws (ours).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from scalearn.card import command, versions
from scalearn.combine import METHODS, SOURCE_RECIPE, get_method
from scalearn.config import RecipeChange, Sources, Targets, check_lists
from scalearn.pool import AdapterPool
from scalearn.report import Row, report_rows, write_report
from scalearn.source import source_key, train_source
from scalearn.transfer import transfer
from tasksel.catalog import find_tasks
from tasksel.data import load
from tasksel.errors import UserError
from tasksel.progress import bar, is_main, say
from tasksel.ranking import Ranking, rank
from tasksel.selectors import get_selector
from tasksel.storage import read_json, value_hash, write_json
from tasksel.task import Frozen, Task
from tasksel.training import Recipe, accelerator


class Choice(Frozen):
    """Which sources a target gets: the top k by a way of choosing ("a+b" fuses two) with these settings; `own` allows a source of its own name."""

    by: str = "connectivity"
    top: int = 4
    own: bool = False
    settings: dict[str, int | float | bool | str] = Field(default_factory=dict)


class Experiment(Frozen):
    """One configuration file. `data` is a folder of task folders, "hub", or None for the built-in suite."""

    name: str
    base: str = "minilm"
    data: str | None = None
    sources: Sources
    targets: Targets
    rank: Choice = Choice()
    methods: tuple[str, ...] = ("scalearn", "head-only", "single-adapter")
    recipe: RecipeChange = RecipeChange()


@dataclass(frozen=True)
class Step:
    """One unit of work: finished and stored, or still to do."""

    name: str
    done: bool
    run: Callable[[], Any]


class Plan:
    """The steps of an experiment in a run folder.

    Raises:
        UserError: anything that would fail later and can be seen now: an unknown task, method or way of choosing, k larger than the pool
            or too small for a method, a folder that holds a different run.
    """

    def __init__(self, experiment: Experiment, out: Path) -> None:
        self.experiment, self.out = experiment, out
        check_lists(experiment, "sources.tasks", "targets.tasks", "targets.seeds", "methods")
        found = find_tasks(experiment.data)
        self.sources = [found[name] for name in experiment.sources.tasks]
        self.targets = [found[name] for name in experiment.targets.tasks]
        self.methods = [get_method(name) for name in experiment.methods]
        get_selector(experiment.rank.by, **experiment.rank.settings)
        if "oracle" in experiment.rank.by.split("+"):
            raise UserError("rank.by: the oracle knows measured transfers, and a run has none: choose another way")
        for target in self.targets:
            others = [task for task in self.sources if experiment.rank.own or task.name != target.name]
            if not 1 <= experiment.rank.top <= len(others):
                raise UserError(
                    f"rank.top is {experiment.rank.top}, but there are {len(others)} sources for '{target.name}': choose 1 to {len(others)}"
                )
        for method in self.methods:
            if method.least > experiment.rank.top:
                raise UserError(
                    f"methods: '{method.name}' needs at least {method.least} sources, and rank.top is {experiment.rank.top}: raise it, or leave the method out"
                )
        self._claim()
        self.pool = AdapterPool(out / "pool", base=experiment.base)

    def _claim(self) -> None:
        """Refuses a folder that holds something else."""
        path = self.out / "experiment.json"
        if path.is_file():
            try:
                old = Experiment.model_validate(read_json(path)["experiment"])
            except (ValidationError, KeyError) as error:
                raise UserError(f"{path} is not of this version: choose another --out") from error
            differing = [key for key, value in self.experiment if getattr(old, key) != value]
            if differing:
                raise UserError(
                    f"{self.out} holds a different run (it differs in {', '.join(differing)}): "
                    "choose another --out, or delete it"
                )
        elif self.out.is_file() or (self.out.is_dir() and any(self.out.iterdir())):
            raise UserError(f"{self.out} is not empty and holds no run: choose another --out")

    def steps(self) -> list[Step]:
        """Every step in order, with what is done already."""
        recipe = self.experiment.sources.recipe.of(SOURCE_RECIPE)
        steps = [
            Step(f"source {task.name}", self._source_done(task, recipe), partial(self._source, task, recipe))
            for task in self.sources
        ]
        for target in self.targets:
            steps.append(
                Step(f"rank sources for {target.name}", self._ranking(target).is_file(), partial(self._rank, target))
            )
            for method in self.methods:
                for seed in self.experiment.targets.seeds:
                    done = (self.result(target, method.name) / f"seed-{seed}" / "seed.json").is_file()
                    run = partial(self._transfer, target, method.name, seed)
                    steps.append(Step(f"{target.name} by {method.name}, seed {seed}", done, run))
        return steps

    def _source_done(self, task: Task, recipe: Recipe) -> bool:
        if task.name not in self.pool:
            return False
        part = self.experiment.sources
        return self.pool[task.name].card.key == source_key(
            task, load(task, rows=part.rows, seed=part.seed), self.pool, recipe, part.seed
        )

    def _source(self, task: Task, recipe: Recipe) -> None:
        train_source(
            task, self.pool, rows=self.experiment.sources.rows, seed=self.experiment.sources.seed, recipe=recipe
        )

    def _ranking(self, target: Task) -> Path:
        return self.out / "rankings" / f"{target.name}.json"

    def _rank(self, target: Task) -> None:
        choice, part = self.experiment.rank, self.experiment.targets
        ranking = rank(
            target,
            self.pool,
            by=get_selector(choice.by, **choice.settings),
            rows=part.rows,
            seed=part.seeds[0],
            own=choice.own,
            store=self.out / "targets",
        )
        if is_main():
            write_json(
                self._ranking(target),
                {"target": target.name, "names": ranking.names, "scores": ranking.scores, "made": ranking.made},
            )
        accelerator().wait_for_everyone()

    def result(self, target: Task, method: str) -> Path:
        """Where the result of a target by a method lies."""
        return self.out / "results" / target.name / method

    def _transfer(self, target: Task, method: str, seed: int) -> None:
        told = read_json(self._ranking(target))
        ranking = Ranking(told["target"], tuple(told["names"]), tuple(told["scores"]), told["made"])
        recipe = self.experiment.recipe.of(METHODS[method].recipe)
        top = self.experiment.rank.top
        sources = self.pool.select(ranking.top(top))
        transfer(
            target,
            sources,
            method=method,
            seeds=[seed],
            rows=self.experiment.targets.rows,
            recipe=recipe,
            base=self.pool.base,
            out=self.result(target, method),
            similarities=ranking.scores[:top],
        )

    def run(self) -> list[Row]:
        """Runs what is still to do and writes the report; every process of a launch calls it."""
        steps = self.steps()
        accelerator().wait_for_everyone()  # all have looked before one writes
        if is_main():
            made = {
                "experiment": self.experiment.model_dump(mode="json"),
                "key": value_hash(self.experiment.model_dump(mode="json")),
            }
            write_json(
                self.out / "experiment.json",
                {**made, "versions": versions(), "command": command()},
            )
        accelerator().wait_for_everyone()
        if any(step.done for step in steps):
            say(f"{sum(step.done for step in steps)} of {len(steps)} steps are done already")
        with bar(self.experiment.name, len(steps)) as advance:
            for number, step in enumerate(steps, 1):
                begun = time.perf_counter()
                if not step.done:
                    step.run()
                    say(f"{number:>4}/{len(steps)}  {step.name}  {time.perf_counter() - begun:.0f} s")
                advance(step.name)
        if is_main():
            write_report(self.out)
        return report_rows(self.out)
