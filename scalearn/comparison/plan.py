"""The steps of an experiment: finished ones are skipped, each other begins when what it needs is done, and a stopped run goes on.

    sources  ->  target adapters, rankings  ->  units     what needs what: `steps`; in which order: `schedule`; who does it: `workers`, `ray_engine`

A run's folder holds experiment.json, rows.jsonl, rankings.jsonl, map.json and the report; the work itself is kept in the store (by default
in the same folder), which several runs may share.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import product
from pathlib import Path

import torch
from pydantic import ValidationError

from scalearn.comparison.config import as_begun, of_any_version
from scalearn.comparison.experiment_config import ExperimentConfig, Unit, check_experiment, units
from scalearn.comparison.own_tasks import configured_tasks
from scalearn.comparison.records import (
    EXPERIMENT_FILE,
    RANKINGS_FILE,
    ROWS_FILE,
    RankingRecord,
    RunFolder,
    UnitRecord,
    read_lines,
    read_provenance,
)
from scalearn.comparison.steps import Step, all_steps, needs, target_adapter
from scalearn.comparison.work_store import WorkStore
from scalearn.comparison.workers import workers
from scalearn.methods.registry import get_method
from tasksel.bounds import check_jobs
from tasksel.display.progress import bar, say
from tasksel.errors import UserError
from tasksel.model.base import base_at_hand, load_base
from tasksel.model.compatibility import check_length
from tasksel.model.stored_base import is_gone
from tasksel.processes import accelerator, is_main, main_writes
from tasksel.storage.atomic import is_unused, value_hash
from tasksel.storage.hashed import write_hashed
from tasksel.storage.jsonl import append_line, write_lines
from tasksel.storage.provenance import command, versions
from tasksel.storage.user_path import user_path
from tasksel.tasks.task import Task
from tasksel.training.exclusive import exclusive


class Plan:
    """The steps of an experiment in a run folder; printing it lists them, done or to do.

    Args:
        store: where the work is kept; by default `out/store`.

    Raises:
        UserError: what would fail later and can be seen now: an unknown task, method or selector, a size that the data cannot give, k
            larger than the number of sources or too small for a method, a folder that holds a different run.

    >>> plan = Plan(Experiment.from_yaml("quickstart"), "runs/quickstart")  # doctest: +SKIP
    >>> print(plan)  # doctest: +SKIP
    >>> run = plan.run(jobs=2)  # doctest: +SKIP
    """

    def __init__(self, experiment: ExperimentConfig, out: str | Path, *, store: str | Path | None = None) -> None:
        self.out = user_path(out)
        begun = (self.out / EXPERIMENT_FILE).is_file()
        self.experiment = as_begun(experiment, read_provenance(self.out)["experiment"]) if begun else experiment
        experiment = self.experiment
        self.store = user_path(store) if store else self.out / "store"
        tasks = configured_tasks(experiment)
        check_experiment(
            experiment, {name: tasks[name] for name in (*experiment.sources.tasks, *experiment.targets.tasks)}
        )
        for method, target in product(experiment.methods, experiment.targets.tasks):
            get_method(method).check_task(tasks[target])
        self._check_base([tasks[name] for name in (*experiment.sources.tasks, *experiment.targets.tasks)])
        self.work_store = WorkStore(experiment, self.store)
        self._claim()

    def __repr__(self) -> str:
        return f"Plan({self.experiment.name!r}, {str(self.out)!r}, {len(self.steps())} steps)"

    def __str__(self) -> str:
        """The steps, numbered, done or to do, as `scalearn compare --plan` lists them."""
        steps = [(step, self.done(step)) for step in self.steps()]
        lines = [f"{number:>4}  {'done ' if done else 'to do'}  {step}" for number, (step, done) in enumerate(steps, 1)]
        return "\n".join([*lines, f"{len(steps)} steps, {sum(done for _, done in steps)} done"])

    def _check_base(self, tasks: Sequence[Task]) -> None:
        """Refuses a base that does not fit the recipes or the selectors, where it is on this machine."""
        experiment, base = self.experiment, base_at_hand(self.experiment.base)
        if base is None:
            return
        check_length(base, tasks, experiment.source_recipe.max_length, setting="max_length of the sources' recipe")
        for name, size in product(experiment.methods, experiment.targets.sizes):
            recipe = experiment.recipe_of(get_method(name), size)
            check_length(base, tasks, recipe.max_length, setting=f"max_length of the recipe of '{name}'")
        ranked = {str(unit.condition.by) for unit in self.units if unit.condition.ranked}
        for by in sorted(ranked | ({experiment.map} - {""})):
            experiment.rank.selector(by).check_base(base, tasks)

    def _claim(self) -> None:
        """Refuses a folder that holds something else."""
        path = self.out / EXPERIMENT_FILE
        if path.is_file():
            try:
                old = ExperimentConfig.model_validate(of_any_version(read_provenance(self.out)["experiment"]))
            except ValidationError as error:
                raise UserError(f"{path} is not of this version: choose another --out") from error
            differing = [key for key, value in self.experiment if getattr(old, key) != value]
            if differing == ["base"] and self._same_base(old.base):
                differing = []
            if differing:
                raise UserError(
                    f"{self.out} holds a different run (it differs in {', '.join(differing)}): choose another --out, or delete it"
                )
        elif not is_unused(self.out, but=self.store):
            raise UserError(f"{self.out} is not empty and holds no run: choose another --out")

    def _same_base(self, earlier: str) -> bool:
        """Whether the base of the run in the folder, which may have been moved, has the weights of this one's."""
        rows = read_lines(self.out / ROWS_FILE, UnitRecord)
        if rows:
            return {row.base["fingerprint"] for row in rows} == {self.work_store.base.fingerprint}
        return not is_gone(earlier) and load_base(earlier).fingerprint == self.work_store.base.fingerprint

    @cached_property
    def units(self) -> list[Unit]:
        """Every unit of the experiment."""
        return units(self.experiment)

    def steps(self) -> list[Step]:
        """Every step, each after what it needs."""
        return all_steps(self.experiment, self.units)

    def done(self, step: Step) -> bool:
        """Whether a step's outcome is in the store."""
        if not self.store.is_dir():
            return False  # no data is loaded to compute keys that cannot be there
        if step.kind == "unit":
            assert step.unit
            return self.work_store.stored(step.unit) is not None
        if step.kind == "source":
            return self.work_store.has_source(step.target, step.seed)
        if step.kind == "rank":
            return self.work_store.ranking_path(step.target, step.size, step.by, step.seed).is_file()
        present = self.work_store.has_target_adapter(step.target, step.size, step.seed)
        return present or not self._is_needed(step)

    def _is_needed(self, step: Step) -> bool:
        """Whether an unfinished unit needs a target adapter: a store may keep the records of finished ones without it."""
        return any(self.work_store.stored(unit) is None for unit in self._users.get(step, ()))

    @cached_property
    def _users(self) -> dict[Step, list[Unit]]:
        """The units that need each target adapter."""
        users: dict[Step, list[Unit]] = {}
        for unit in self.units:
            if adapter := target_adapter(self.experiment, unit):
                users.setdefault(adapter, []).append(unit)
        return users

    def do(self, step: Step) -> UnitRecord | None:
        """Does a step; a unit gives its record."""
        if step.kind == "source":
            self.work_store.ensure_source(step.target, step.seed)
        elif step.kind == "target-adapter":
            self.work_store.try_target_adapter(step.target, step.size, step.seed)
        elif step.kind == "rank":
            self.work_store.ranking(step.target, step.size, step.by, step.seed)
        else:
            assert step.unit
            return self.work_store.compute(step.unit)
        return None

    def run(self, *, jobs: int = 1) -> RunFolder:
        """Does the steps that are not done and gives the run folder; every process of a launch calls it.

        Args:
            jobs: processes that share the steps.

        Raises:
            UserError: a base that cannot be loaded; jobs below 1, or several in a launch of several processes.
        """
        check_jobs(jobs)
        if jobs > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                "either --jobs or a launch of several processes shares the work: start it with --num_processes 1"
            )
        # a base that cannot be loaded is refused here, before anything is written
        say(f"{self.experiment.name} on {self.work_store.base}")
        with exclusive(self.out / EXPERIMENT_FILE):
            self._claim()  # another run may have been here before this one
            self._run(jobs)
        return RunFolder(self.out)

    def _run(self, jobs: int) -> None:
        todo = [step for step in self.steps() if not self.done(step)]
        total = len(self.steps())
        if len(todo) < total:
            say(f"{total - len(todo)} of {total} steps are done already")
        main_writes(self._record)
        with bar(self.experiment.name, len(todo)) as advance, workers(self._worker(jobs), jobs) as work:
            for step, row, seconds in work(todo, needs=partial(needs, self.experiment)):
                if row is not None and is_main():
                    append_line(self.out / ROWS_FILE, row)
                score = "" if row is None or row.score is None else f"  {100 * row.score:.1f}"
                say(f"{step}  {seconds:.0f} s{score}")
                advance(str(step))
        if self.experiment.map and not (self.out / "map.json").is_file():
            task_map = self.work_store.task_map()
            main_writes(write_hashed, self.out / "map.json", task_map)
        main_writes(self._record)

    def _worker(self, jobs: int) -> Callable[[], Callable[[Step], Done]]:
        """Returns the function that does a step: by this plan, or, in another process, by an equal one."""
        if jobs == 1:
            return lambda: partial(_timed, self)
        return partial(_worker_of_equal_plan, self.experiment.model_dump_json(), str(self.out), str(self.store))

    def rows(self) -> list[UnitRecord]:
        """The records of the finished units, in the plan's order."""
        return [record for record in map(self.work_store.stored, self.units) if record is not None]

    def rankings(self) -> list[RankingRecord]:
        """The finished rankings, in the plan's order."""
        steps = [step for step in self.steps() if step.kind == "rank" and self.done(step)]
        return [self.work_store.ranking(step.target, step.size, step.by, step.seed) for step in steps]

    def _record(self) -> None:
        """Writes the configuration with its provenance, every finished row and every ranking."""
        config = self.experiment.model_dump(mode="json")
        provenance = {"experiment": config, "key": value_hash(config), "plan": [str(unit) for unit in self.units]}
        provenance |= {"store": os.path.relpath(self.store, self.out), "versions": versions(), "command": command()}
        provenance["machine"] = {
            "processor": platform.machine(),
            "device": _device(),
            "threads": torch.get_num_threads(),
        }
        write_hashed(self.out / EXPERIMENT_FILE, provenance)
        write_lines(self.out / ROWS_FILE, self.rows())
        write_lines(self.out / RANKINGS_FILE, self.rankings())


def _device() -> str:
    """The device that computes: "cpu", or the name of a GPU."""
    device = accelerator().device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


Done = tuple[Step, UnitRecord | None, float]


def _timed(plan: Plan, step: Step) -> Done:
    start = time.perf_counter()
    row = plan.do(step)
    return step, row, time.perf_counter() - start


def _worker_of_equal_plan(experiment: str, out: str, store: str) -> Callable[[Step], Done]:
    """Returns the function that does a step in another process, by a plan made there."""
    return partial(_timed, Plan(ExperimentConfig.model_validate_json(experiment), Path(out), store=Path(store)))
