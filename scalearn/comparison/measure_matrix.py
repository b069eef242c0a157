"""The truth about transfer: every (target, source, seed), measured; one row of `matrix.jsonl` a finished run.

    single-adapter      a fresh adapter on the target: no transfer
    sequential          the target trained on from the source's adapter, with a new head
    scalearn            that source alone under a ScaLearn layer

Runs are independent: `jobs` processes share them, the main one appends their rows, and a stopped measurement goes on.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scalearn.comparison.config import check_lists
from scalearn.comparison.matrix_config import MatrixConfig, MatrixUnit, matrix_units
from scalearn.comparison.workers import workers
from scalearn.methods import METHODS, get_method
from tasksel.adapters.pool import AdapterPool
from tasksel.adapters.train import SOURCE_RECIPE, train_source
from tasksel.display.progress import bar, say
from tasksel.errors import UserError
from tasksel.evaluation.transfer_matrix import FILE, SINGLE, MatrixRecord, TransferMatrix, read_matrix, read_whole_rows
from tasksel.model.base import load_base
from tasksel.processes import accelerator
from tasksel.storage.atomic import read_json, write_json
from tasksel.storage.jsonl import append_row, mend
from tasksel.storage.provenance import command, versions
from tasksel.tasks.examples import Split
from tasksel.tasks.load import load_data
from tasksel.tasks.registry import find_tasks
from tasksel.training.loop import Diverged, fit
from tasksel.training.predict import encode_split, evaluate


def measure_matrix(config: MatrixConfig, out: str | Path, *, jobs: int = 1) -> TransferMatrix:
    """Measures a transfer matrix, as `scalearn matrix` does, and gives it; what is done already is skipped.

    Args:
        out: the folder of `matrix.jsonl`, its provenance and the sources' pool. jobs: processes that share the runs.

    Raises:
        UserError: see `MatrixMeasurement` and its `run`.

    >>> config = MatrixConfig.from_yaml("scripts/matrix_minilm.yaml")  # doctest: +SKIP
    >>> matrix = measure_matrix(config, "runs/matrix")  # doctest: +SKIP
    """
    measurement = MatrixMeasurement(config, Path(out))
    measurement.run(jobs=jobs)
    return read_matrix(measurement.rows_file)


class MatrixMeasurement:
    """A measurement in a folder: `pool/`, `matrix.jsonl`, `provenance.json`.

    Raises:
        UserError: an unknown task or method, a list given twice, a folder that holds a different measurement.
    """

    def __init__(self, config: MatrixConfig, out: Path) -> None:
        self.config, self.out = config, out
        check_lists(config, "sources.tasks", "targets.tasks", "targets.seeds", "methods")
        for name in (*config.methods, *config.lr):
            get_method(name)
        for name in config.methods:
            reason = METHODS[name].pairwise_reason
            if reason:
                raise UserError(f"methods: '{name}' {reason}")
        found = find_tasks(config.data)
        self.tasks = {name: found[name] for name in (*config.sources.tasks, *config.targets.tasks)}
        self.rows_file = out / FILE
        self._claim()

    def _claim(self) -> None:
        """Refuses a folder that holds something else; `targets.seeds` may grow, and the data may have moved."""
        path = self.out / "provenance.json"
        if path.is_file():
            old, mine = read_json(path), self._identity
            differing = [key for key in mine if old.get("identity", {}).get(key) != mine[key]]
            if differing:
                raise UserError(
                    f"{self.out} holds a different measurement (it differs in {', '.join(differing)}): choose another --out, or delete it"
                )
        elif self.rows_file.exists():
            raise UserError(f"{self.rows_file} has no provenance.json beside it: choose another --out")

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        """What decides the numbers: the configuration but for its seeds and the data's place, the base, every task's rows."""
        told = self.config.model_dump(mode="json", exclude={"data": True, "name": True, "targets": {"seeds"}})
        rows = {name: load_data(task).fingerprint for name, task in sorted(self.tasks.items())}
        precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        return {**told, "base": load_base(self.config.base).fingerprint, "rows": rows, "mixed_precision": precision}

    def todo(self) -> list[MatrixUnit]:
        """The runs that no row tells of yet."""
        done = {(row.target, row.source, row.method, row.seed) for row in self._rows()}
        return [
            unit for unit in matrix_units(self.config) if (unit.target, unit.source, unit.method, unit.seed) not in done
        ]

    def _rows(self) -> list[MatrixRecord]:
        return read_whole_rows(self.rows_file)[0] if self.rows_file.is_file() else []

    def estimate(self, todo: list[MatrixUnit], jobs: int) -> float:
        """About how many seconds `todo` takes: medians of a target's finished runs, or two timed steps where there are none."""
        seen: dict[str, list[float]] = {}
        for row in self._rows():
            seen.setdefault(row.target, []).append(row.seconds)
        each = {
            name: statistics.median(seen[name]) if name in seen else self._timed(name)
            for name in {unit.target for unit in todo}
        }
        return sum(each[unit.target] for unit in todo) / jobs

    @functools.cached_property
    def _bench(self) -> _Bench:
        return _Bench(self.config, self.out)

    def _timed(self, target: str) -> float:
        """Seconds of a run on this target, from two steps of a fresh adapter."""
        bench, part = self._bench, self.config.targets
        task, recipe = self.tasks[target], self.config.recipe_of(SINGLE)
        train, _ = bench.rows(target, part.seeds[0])
        model = METHODS[SINGLE].build(bench.base, task, {}, {}, seed=0)
        two = recipe.model_copy(update={"epochs": 2, "max_steps": 2})
        return fit(model, task, train, None, two, seed=0, label=f"time {target}").seconds / 2 * recipe.steps(len(train))

    def run(self, *, jobs: int = 1) -> None:
        """Trains the sources that the pool lacks, then measures what is to do with `jobs` processes.

        Raises:
            UserError: bad data or sources; jobs below 1; a launch of several processes (the runs are what is shared here).
        """
        if jobs < 1:
            raise UserError(f"--jobs {jobs}: give 1 or more")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("a matrix shares its runs among --jobs processes: start it with --num_processes 1")
        self._record(self._train_sources())
        if cut := mend(self.rows_file):
            say(cut)
        todo = self.todo()
        total = len(matrix_units(self.config))
        if len(todo) < total:
            say(f"{total - len(todo)} of {total} runs are done already")
        bench = functools.partial(_measuring, self.config.model_dump_json(), str(self.out))
        with bar(self.config.name, len(todo)) as advance, workers(bench, jobs) as measure:
            for row in measure(todo):
                append_row(self.rows_file, row)
                advance(
                    f"{row.target} from {row.source or 'nothing'}: {row.score if row.score is None else round(row.score, 3)}"
                )

    def _record(self, adapters: dict[str, str]) -> None:
        """Writes down what is measured; refuses adapters that are not those that finished rows were measured with."""
        path = self.out / "provenance.json"
        before = read_json(path)["adapters"] if path.is_file() else adapters
        other = next((name for name in adapters if before.get(name) != adapters[name]), None)
        if other and self._rows():
            raise UserError(
                f"source '{other}' in {self.out / 'pool'} is not the adapter that the rows in {self.rows_file} were measured with: choose another --out"
            )
        config = self.config.model_dump(mode="json")
        made: dict[str, Any] = {
            "config": config,
            "identity": self._identity,
            "adapters": adapters,
            "versions": versions(),
        }
        made["machine"] = platform.machine()
        write_json(self.out / "provenance.json", {**made, "command": command()})

    def _train_sources(self) -> dict[str, str]:
        """Trains what the pool lacks; gives each adapter's fingerprint."""
        part, pool = self.config.sources, AdapterPool(self.out / "pool", base=self.config.base)
        with bar("sources", len(part.tasks)) as advance:
            for name in part.tasks:
                recipe = part.recipe.of(SOURCE_RECIPE)
                train_source(self.tasks[name], pool, rows=part.rows, seed=part.seed, recipe=recipe)
                advance(name)
        return {name: pool[name].fingerprint for name in part.tasks}


class _Bench:
    """What one process needs to measure a unit, each thing loaded once."""

    def __init__(self, config: MatrixConfig, out: Path) -> None:
        self.config = config
        self.base = load_base(config.base)
        self.pool = AdapterPool(out / "pool", base=config.base)
        self.tasks = find_tasks(config.data)
        self.rows = functools.lru_cache(maxsize=32)(self._rows)
        self.test = functools.cache(self._test)

    def _length(self) -> int:
        return self.config.recipe_of(SINGLE).max_length

    def _encode(self, target: str, split: Split) -> Any:
        return encode_split(split, self.tasks[target], self.base.tokenizer, max_length=self._length())

    def _rows(self, target: str, seed: int) -> tuple[Any, Any]:
        data = load_data(self.tasks[target], rows=self.config.targets.rows, seed=seed)
        return self._encode(target, data.train), self._encode(target, data.dev)

    def _test(self, target: str) -> Any:
        test = load_data(self.tasks[target], rows=self.config.targets.rows).test
        cap = min(len(test), self.config.targets.test_rows or len(test))
        chosen = sorted(np.random.default_rng(0).permutation(len(test))[:cap].tolist())
        return self._encode(target, test.take(chosen))

    def measure(self, unit: MatrixUnit) -> MatrixRecord:
        """Trains and scores one unit; a run that diverges has no score."""
        begun = time.perf_counter()
        task, method = self.tasks[unit.target], METHODS[unit.method]
        layers, adapter_config = method.prepare([self.pool[unit.source]] if unit.source else [])
        model = method.build(self.base, task, layers, adapter_config, seed=unit.seed)
        recipe = self.config.recipe_of(unit.method)
        train, dev = self.rows(unit.target, unit.seed)
        score, found, steps = None, None, 0
        try:
            run = fit(model, task, train, dev, recipe, seed=unit.seed, label=str(unit))
            with accelerator().autocast():
                score = evaluate(model, task, self.test(unit.target))
            found, steps = run.score, run.steps
        except Diverged as error:
            say(str(error))
        seconds = time.perf_counter() - begun
        told: dict[str, Any] = {
            "metric": task.metric,
            "score": score,
            "dev": found,
            "steps": steps,
            "seconds": round(seconds, 2),
        }
        return MatrixRecord(target=unit.target, source=unit.source, method=unit.method, seed=unit.seed, **told)


def _measuring(config: str, out: str) -> Callable[[MatrixUnit], MatrixRecord]:
    """What measures a unit, with a bench of its own."""
    return _Bench(MatrixConfig.model_validate_json(config), Path(out)).measure
