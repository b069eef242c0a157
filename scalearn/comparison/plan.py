"""An experiment as steps in waves: what is done is skipped, the rest is shared among processes, and a stopped run goes on.

    sources  ->  own sources  ->  rankings  ->  units         each wave needs the ones before it; steps of a wave are independent

A run's folder holds experiment.json, rows.jsonl, rankings.jsonl, map.json and the report; the work itself lies in the store (by default in
the same folder), which several runs may share.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError

from scalearn.comparison.condition import FULL
from scalearn.comparison.experiment import Experiment, Size, Unit, check, units
from scalearn.comparison.records import EXPERIMENT, RANKINGS, ROWS, RankingRecord, UnitRecord
from scalearn.comparison.work_store import OWN, WorkStore
from scalearn.comparison.workers import workers
from tasksel.display.progress import bar, say
from tasksel.errors import UserError
from tasksel.processes import accelerator, is_main, main_writes
from tasksel.storage.atomic import read_json, value_hash, write_json
from tasksel.storage.jsonl import append_line, write_lines
from tasksel.storage.provenance import command, versions
from tasksel.tasks.registry import find_tasks

WAVES = ("source", "own", "rank", "unit")


@dataclass(frozen=True)
class Step:
    """One piece of work of a wave, by what names it."""

    wave: Literal["source", "own", "rank", "unit"]
    target: str
    seed: int
    size: Size = FULL
    by: str = ""
    unit: Unit | None = None

    def __str__(self) -> str:
        rows = "all rows" if self.size == FULL else f"{self.size} rows"
        if self.wave == "source":
            return f"source {self.target}, seed {self.seed}"
        if self.wave == "own":
            return f"own source of {self.target} with {rows}, seed {self.seed}"
        if self.wave == "rank":
            return f"rank sources for {self.target} with {rows} by {self.by}, seed {self.seed}"
        return str(self.unit)


class Plan:
    """The steps of an experiment in a run folder.

    Args:
        store: where the work is kept; by default `out/store`.

    Raises:
        UserError: anything that would fail later and can be seen now: an unknown task, method or way of choosing, a size that the data
            cannot give, k larger than the sources or too small for a method, a folder that holds a different run.
    """

    def __init__(self, experiment: Experiment, out: Path, *, store: Path | None = None) -> None:
        self.experiment, self.out = experiment, out
        self.store = store or out / "store"
        found = find_tasks(experiment.data)
        check(experiment, {name: found[name] for name in (*experiment.sources.tasks, *experiment.targets.tasks)})
        self.workshop = WorkStore(experiment, self.store)
        self._claim()

    def _claim(self) -> None:
        """Refuses a folder that holds something else."""
        path = self.out / EXPERIMENT
        if path.is_file():
            try:
                old = Experiment.model_validate(read_json(path)["experiment"])
            except (ValidationError, KeyError) as error:
                raise UserError(f"{path} is not of this version: choose another --out") from error
            differing = [key for key, value in self.experiment if getattr(old, key) != value]
            if differing:
                raise UserError(
                    f"{self.out} holds a different run (it differs in {', '.join(differing)}): choose another --out, or delete it"
                )
        elif self.out.is_file() or (self.out.is_dir() and any(self._strange())):
            raise UserError(f"{self.out} is not empty and holds no run: choose another --out")

    def _strange(self) -> Iterator[Path]:
        """What lies in the folder and is not the store."""
        return (path for path in self.out.iterdir() if path.resolve() != self.store.resolve())

    @cached_property
    def units(self) -> list[Unit]:
        """Every unit."""
        return units(self.experiment)

    def steps(self) -> list[Step]:
        """Every step, wave by wave."""
        experiment, found = self.experiment, self.units
        seeds = dict.fromkeys(experiment.source_seed(unit.seed) for unit in found)
        needed = any(unit.condition.by for unit in found) or bool(experiment.map)
        sources = [Step("source", name, seed) for seed in seeds for name in experiment.sources.tasks if needed]
        own = [step for step in map(self._own, found) if step]
        ranked = [
            Step("rank", unit.target, unit.seed, unit.size, str(unit.condition.by))
            for unit in found
            if unit.condition.ranked
        ]
        work = [Step("unit", unit.target, unit.seed, unit.size, unit=unit) for unit in found]
        return [*sources, *dict.fromkeys(own), *dict.fromkeys(ranked), *work]

    def done(self, step: Step) -> bool:
        """Whether a step's outcome is in the store."""
        if not self.store.is_dir():
            return False  # nothing is loaded to name what cannot be there
        if step.wave == "unit":
            assert step.unit
            return self.workshop.stored(step.unit) is not None
        if step.wave == "source":
            return self.workshop.has_source(step.target, step.seed)
        if step.wave == "rank":
            return self.workshop.ranking_path(step.target, step.size, step.by, step.seed).is_file()
        return self.workshop.has_own(step.target, step.size, step.seed) or not self._is_asked_for(step)

    def _is_asked_for(self, step: Step) -> bool:
        """Whether an unfinished unit stands on an own source: rows may be there without the adapter that they tell of."""
        return any(self.workshop.stored(unit) is None for unit in self.units if self._own(unit) == step)

    def _own(self, unit: Unit) -> Step | None:
        """The own source that a unit stands on."""
        if unit.condition.method == OWN:
            return Step("own", unit.target, unit.seed, unit.size)
        if unit.condition.include_target:
            return Step("own", unit.target, self.experiment.source_seed(unit.seed), unit.size)
        return None

    def do(self, step: Step) -> UnitRecord | None:
        """Does a step; a unit gives its row."""
        shop = self.workshop
        if step.wave == "source":
            shop.make_source(step.target, step.seed)
        elif step.wave == "own":
            shop.try_own_source(step.target, step.size, step.seed)
        elif step.wave == "rank":
            shop.ranking(step.target, step.size, step.by, step.seed)
        else:
            assert step.unit
            return shop.make(step.unit)
        return None

    def run(self, *, jobs: int = 1) -> None:
        """Does what is still to do; every process of a launch calls it.

        Raises:
            UserError: a base that cannot be loaded; jobs below 1, or several in a launch of several processes.
        """
        if jobs < 1:
            raise UserError(f"--jobs {jobs}: give 1 or more")
        if jobs > 1 and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                "either --jobs or a launch of several processes shares the work: start it with --num_processes 1"
            )
        # here a base that cannot be loaded is refused, before anything is written
        say(f"{self.experiment.name} on {self.workshop.base}")
        todo = [step for step in self.steps() if not self.done(step)]
        total = len(self.steps())
        if len(todo) < total:
            say(f"{total - len(todo)} of {total} steps are done already")
        main_writes(self._record)
        with bar(self.experiment.name, len(todo)) as advance, workers(self._worker(jobs), jobs) as work:
            for wave in WAVES:
                for step, row, seconds in work([step for step in todo if step.wave == wave]):
                    if row is not None and is_main():
                        append_line(self.out / ROWS, row)
                    score = "" if row is None or row.score is None else f"  {100 * row.score:.1f}"
                    say(f"{step}  {seconds:.0f} s{score}")
                    advance(str(step))
        if self.experiment.map and not (self.out / "map.json").is_file():
            told = self.workshop.task_map()
            main_writes(write_json, self.out / "map.json", told)
        main_writes(self._record)

    def _worker(self, jobs: int) -> Callable[[], Callable[[Step], Done]]:
        """Gives what does a step: by this plan, or, with several jobs, by one like it."""
        if jobs == 1:
            return lambda: partial(_timed, self)
        return partial(_elsewhere, self.experiment.model_dump_json(), str(self.out), str(self.store))

    def rows(self) -> list[UnitRecord]:
        """The rows of the units that are finished, in the plan's order."""
        return [row for row in map(self.workshop.stored, self.units) if row is not None]

    def rankings(self) -> list[RankingRecord]:
        """The rankings that are there, in the plan's order."""
        steps = [step for step in self.steps() if step.wave == "rank" and self.done(step)]
        return [self.workshop.ranking(step.target, step.size, step.by, step.seed) for step in steps]

    def _record(self) -> None:
        """Writes down what is run, and every finished row."""
        told = self.experiment.model_dump(mode="json")
        made = {"experiment": told, "key": value_hash(told), "plan": [str(unit) for unit in self.units]}
        made |= {"store": os.path.relpath(self.store, self.out), "versions": versions(), "command": command()}
        made["machine"] = {
            "processor": platform.machine(),
            "device": _device(),
            "threads": torch.get_num_threads(),
        }
        write_json(self.out / EXPERIMENT, made)
        write_lines(self.out / ROWS, self.rows())
        write_lines(self.out / RANKINGS, self.rankings())


def _device() -> str:
    """What computes: "cpu", or a GPU by its name."""
    device = accelerator().device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


Done = tuple[Step, UnitRecord | None, float]


def _timed(plan: Plan, step: Step) -> Done:
    begun = time.perf_counter()
    row = plan.do(step)
    return step, row, time.perf_counter() - begun


def _elsewhere(experiment: str, out: str, store: str) -> Callable[[Step], Done]:
    """What does a step in another process: with a plan of its own."""
    return partial(_timed, Plan(Experiment.model_validate_json(experiment), Path(out), store=Path(store)))
