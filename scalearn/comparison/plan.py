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
from scalearn.comparison.remote_steps import StepsByName, read_step
from scalearn.comparison.remote_worker import Remote
from scalearn.comparison.shard import Shard
from scalearn.comparison.sharing import Sharing, Worker, check_engine
from scalearn.comparison.steps import Step, all_steps, needs, step_of, target_adapter
from scalearn.comparison.work_store import WorkStore
from scalearn.methods.registry import get_method
from tasksel.display.progress import bar, say
from tasksel.errors import UserError
from tasksel.model.base import base_at_hand, load_base
from tasksel.model.compatibility import check_length
from tasksel.model.stored_base import is_gone
from tasksel.processes import accelerator, is_main, main_writes
from tasksel.storage.atomic import is_unused, value_hash
from tasksel.storage.hashed import write_hashed
from tasksel.storage.jsonl import append_line, write_lines
from tasksel.storage.locks import is_taken
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

    def run(
        self, *, jobs: int | None = None, on: str | None = None, per_gpu: int | None = None, shard: str | None = None
    ) -> RunFolder:
        """Does the steps that are not done and gives the run folder; every process of a launch calls it.

        Args:
            jobs: processes that share the steps; by default 1, and with `on` as many as the cluster takes.
            on: a Ray cluster that does the steps: "ray", "auto", "HOST:PORT", "ray://HOST:PORT" (see `ray_cluster`); its machines share the
                store's folder. per_gpu: of its workers that share a GPU; by default 1.
            shard: "I/N", the I-th of N commands that share the steps by the store alone (see `shard`).

        Raises:
            UserError: a base that cannot be loaded; jobs below 1, or several in a launch of several processes; a cluster that does not fit;
                another N than the run has.
        """
        check_engine(jobs, on, per_gpu, shard)
        part = Shard.parse(shard) if shard is not None else None
        # a base that cannot be loaded is refused here, before anything is written
        say(f"{self.experiment.name} on {self.work_store.base}")
        with exclusive(self.out / (f"shard-{part.number}" if part else EXPERIMENT_FILE)):
            self._begin(part)
            self._run(Sharing(jobs, on, per_gpu), part)
        return RunFolder(self.out)

    def _begin(self, shard: Shard | None) -> None:
        """Makes the folder this run's."""
        if shard is None:
            self._claim()  # another run may have been here before this one
            return
        with exclusive(self.out / EXPERIMENT_FILE):  # which the other shards write too
            self._claim()
            self._write_experiment()
            shard.claim(self.out)

    def _run(self, sharing: Sharing, shard: Shard | None) -> None:
        steps = self.steps() if shard is None else self._steps_of(shard)
        todo = [step for step in steps if not self.done(step)]
        if len(todo) < len(steps):
            say(f"{len(steps) - len(todo)} of {len(steps)} steps are done already")
        self._record(shard)
        if todo:
            self._do_all(todo, sharing, shard)
        whole = shard is None or all(self.done(step_of(unit)) for unit in self.units)
        if whole and self.experiment.map and not (self.out / "map.json").is_file():
            task_map = self.work_store.task_map()
            main_writes(write_hashed, self.out / "map.json", task_map)
        self._record(None if whole else shard)

    def _steps_of(self, shard: Shard) -> list[Step]:
        steps = self.steps()
        sources = [step for step in steps if step.kind == "source" and self.experiment.map]
        return shard.steps(steps, shard.units(self.units), partial(needs, self.experiment), also=sources)

    def _do_all(self, todo: Sequence[Step], sharing: Sharing, shard: Shard | None) -> None:
        """Does steps, and appends a row for each unit as it ends."""
        rows = shard.rows_file(self.out) if shard else self.out / ROWS_FILE
        order = {"needs": partial(needs, self.experiment), "is_taken": self._is_taken if shard else None}
        with bar(self.experiment.name, len(todo)) as advance, sharing.engine(self._worker(), len(todo)) as work:
            for step, row, seconds in work(todo, **order):
                if row is not None and is_main():
                    self._check_row(step, row)
                    append_line(rows, row)
                score = "" if row is None or row.score is None else f"  {100 * row.score:.1f}"
                say(f"{step}  {seconds:.0f} s{score}")
                advance(str(step))

    def _is_taken(self, step: Step) -> bool:
        """Whether another command does a step that several need."""
        store, size, seed = self.work_store, step.size, step.seed
        if step.kind == "unit":
            return False
        if step.kind == "rank":
            return is_taken(store.ranking_path(step.target, size, step.by, seed))
        pool = store.pool(seed) if step.kind == "source" else store.target_adapter_pool(step.target, size, seed)
        return is_taken(pool.folder / step.target)

    def _check_row(self, step: Step, row: UnitRecord) -> None:
        """Refuses a row of another machine that computed something else under this unit's name."""
        assert step.unit
        if row.key != self.work_store.key(step.unit):
            raise UserError(
                f"'{step}': a worker's rows, base or settings are not those of this machine (its key is {row.key}, here it is "
                f"{self.work_store.key(step.unit)}): give paths that are the same files on every machine"
            )

    def _worker(self) -> Worker:
        """How a step is done: by this plan, or, in another process, by an equal one."""
        settings = self.experiment.model_dump_json(), str(self.out.resolve()), str(self.store.resolve())
        remote = Remote(f"{__name__}:step_by_name", settings, read_step, self.store.resolve())
        return Worker(lambda: partial(_timed, self), partial(_worker_of_equal_plan, *settings), remote)

    def rows(self) -> list[UnitRecord]:
        """The records of the finished units, in the plan's order."""
        return self._stored(self.units)

    def _stored(self, units: Sequence[Unit]) -> list[UnitRecord]:
        return [record for record in map(self.work_store.stored, units) if record is not None]

    def rankings(self) -> list[RankingRecord]:
        """The finished rankings, in the plan's order."""
        steps = [step for step in self.steps() if step.kind == "rank" and self.done(step)]
        return [self.work_store.ranking(step.target, step.size, step.by, step.seed) for step in steps]

    def _record(self, shard: Shard | None) -> None:
        """Writes the configuration, every finished row and every ranking; of a shard, its rows and every ranking."""
        if shard is None:
            main_writes(self._write_whole)
            return
        write_lines(shard.rows_file(self.out), self._stored(shard.units(self.units)))
        with exclusive(self.out / RANKINGS_FILE):
            write_lines(self.out / RANKINGS_FILE, self.rankings())

    def _write_whole(self) -> None:
        self._write_experiment()
        write_lines(self.out / ROWS_FILE, self.rows())
        write_lines(self.out / RANKINGS_FILE, self.rankings())

    def _write_experiment(self) -> None:
        """Writes the configuration with its provenance."""
        config = self.experiment.model_dump(mode="json")
        provenance = {"experiment": config, "key": value_hash(config), "plan": [str(unit) for unit in self.units]}
        provenance |= {"store": os.path.relpath(self.store, self.out), "versions": versions(), "command": command()}
        provenance["machine"] = {
            "processor": platform.machine(),
            "device": _device(),
            "threads": torch.get_num_threads(),
        }
        write_hashed(self.out / EXPERIMENT_FILE, provenance)


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


def step_by_name(experiment: str, out: str, store: str) -> StepsByName:
    """What does a step on another machine, by its name and a plan made there."""
    plan = Plan(ExperimentConfig.model_validate_json(experiment), Path(out), store=Path(store))
    return StepsByName(plan.steps(), partial(needs, plan.experiment), plan.done, plan.do)
