"""Measures a transfer matrix: every (target, source, method, seed); one row of `matrix.jsonl` per finished unit.

    single-adapter      a new adapter on the target: the baseline without transfer
    sequential          the target trained on from the source's adapter, with a new head
    scalearn            that source alone under a ScaLearn layer

Units are independent: `jobs` processes or a cluster share them, the main one appends their rows, and a stopped measurement goes on.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scalearn.comparison.config import as_begun, check_lists, of_any_version
from scalearn.comparison.matrix_config import MatrixConfig, MatrixUnit, matrix_units
from scalearn.comparison.own_tasks import check_own_rows, configured_tasks
from scalearn.comparison.remote_worker import Remote
from scalearn.comparison.sharing import Sharing, Worker, check_engine
from scalearn.methods.identity import method_identity
from scalearn.methods.registry import METHODS, get_method
from tasksel.adapters.pool import AdapterPool
from tasksel.adapters.train import SOURCE_RECIPE, VERSION, train_source
from tasksel.display.progress import bar, say
from tasksel.errors import UserError
from tasksel.evaluation.transfer_matrix import FILE, SINGLE, MatrixRecord, TransferMatrix, read_matrix, read_whole_rows
from tasksel.model.base import base_at_hand, load_base
from tasksel.model.compatibility import check_length
from tasksel.model.encoding import encode_split, say_cut
from tasksel.processes import accelerator
from tasksel.storage.atomic import value_hash
from tasksel.storage.frozen import Frozen
from tasksel.storage.hashed import read_record, write_hashed
from tasksel.storage.identity import versioned
from tasksel.storage.jsonl import append_row, mend
from tasksel.storage.provenance import command, versions
from tasksel.storage.user_path import user_path
from tasksel.tasks.examples import Split
from tasksel.tasks.load import load_data
from tasksel.training.base_pooling import pooling_of
from tasksel.training.checkpoints import Checkpoints, resumable
from tasksel.training.exclusive import exclusive
from tasksel.training.loop import Diverged, fit
from tasksel.training.predict import evaluate


def measure_matrix(
    config: MatrixConfig, out: str | Path, *, jobs: int | None = None, on: str | None = None, per_gpu: int | None = None
) -> TransferMatrix:
    """Measures a transfer matrix, as `scalearn measure-matrix` does, and gives it; what is done already is skipped.

    Args:
        out: the folder of `matrix.jsonl`, its provenance and the sources' pool. jobs, on, per_gpu: who shares the runs, see `Plan.run`.

    Raises:
        UserError: see `MatrixMeasurement` and its `run`.

    >>> config = MatrixConfig.from_yaml("scripts/matrix_minilm.yaml")  # doctest: +SKIP
    >>> matrix = measure_matrix(config, "runs/matrix")  # doctest: +SKIP
    """
    measurement = MatrixMeasurement(config, user_path(out))
    measurement.run(jobs=jobs, on=on, per_gpu=per_gpu)
    return read_matrix(measurement.rows_file)


class MatrixProvenance(Frozen):
    """`provenance.json`: what is measured, and by what.

    Attributes:
        identity: what decides the numbers. adapters: each source's fingerprint.
        methods: of each method and of the sources, its identity and whole recipe, which decide numbers too; None in one of version 0.1.
    """

    config: dict[str, Any]
    identity: dict[str, Any]
    adapters: dict[str, str]
    versions: dict[str, str]
    machine: str
    command: str
    methods: dict[str, list[Any]] | None = None


class MatrixMeasurement:
    """A measurement in a folder: `pool/`, `matrix.jsonl`, `provenance.json`.

    Raises:
        UserError: an unknown task or method, an empty list or one with duplicates, a folder that holds a different measurement.

    >>> MatrixMeasurement(config, Path("runs/matrix")).todo()  # doctest: +SKIP
    """

    def __init__(self, config: MatrixConfig, out: Path) -> None:
        self.out = out
        begun = (out / "provenance.json").is_file()
        self.config = config = as_begun(config, self._stored.config) if begun else config
        check_lists(config, "sources.tasks", "targets.tasks", "targets.seeds", "methods")
        for name in (*config.methods, *config.lr):
            get_method(name)
        for name in config.methods:
            reason = get_method(name).pairwise_reason
            if reason:
                raise UserError(f"methods: '{name}' {reason}")
        tasks = configured_tasks(config)
        self.tasks = {name: tasks[name] for name in (*config.sources.tasks, *config.targets.tasks)}
        check_own_rows(config, self.tasks)
        self._check_base()
        self.rows_file = out / FILE
        self._claim()

    def _check_base(self) -> None:
        """Refuses a base that does not fit the recipes, where it is on this machine."""
        config, base = self.config, base_at_hand(self.config.base)
        recipes = {"the sources": config.sources.recipe.of(SOURCE_RECIPE), SINGLE: config.recipe_of(SINGLE)}
        recipes |= {name: config.recipe_of(name) for name in config.methods}
        for name, recipe in recipes.items():
            if base is not None:
                check_length(base, list(self.tasks.values()), recipe.max_length, setting=f"max_length of {name}")

    def _claim(self) -> None:
        """Refuses a folder that holds something else; `targets.seeds` may grow, and the data may have moved."""
        path = self.out / "provenance.json"
        if path.is_file():
            stored, identity, methods = self._stored, self._identity, self._methods
            before = of_any_version(stored.identity)
            differing = [key for key in identity if before.get(key) != identity[key]]
            if not differing and stored.methods is not None:
                differing = [f"the values of {key}" for key in methods if stored.methods.get(key) != methods[key]]
            if differing:
                raise UserError(
                    f"{self.out} holds a different measurement (it differs in {', '.join(differing)}): choose another --out, or delete it"
                )
        elif self.rows_file.exists():
            raise UserError(f"{self.rows_file} has no provenance.json beside it: choose another --out")

    @property
    def _stored(self) -> MatrixProvenance:
        return read_record(self.out / "provenance.json", MatrixProvenance, "of a measurement that this version reads")

    @functools.cached_property
    def _methods(self) -> dict[str, list[Any]]:
        """What decides the numbers beside the configuration: the methods' values and versions, and the recipes that it leaves as they are."""
        names = dict.fromkeys((SINGLE, *self.config.methods))
        used = {name: [method_identity(get_method(name)), self.config.recipe_of(name).identity()] for name in names}
        return {**used, "sources": versioned([self.config.sources.recipe.of(SOURCE_RECIPE).identity()], VERSION)}

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        """What decides the numbers: the configuration but for its seeds and the data's place, the base, every task's rows."""
        config = self.config.model_dump(
            mode="json", exclude={"data": True, "files": True, "name": True, "targets": {"seeds"}}
        )
        rows = {name: load_data(task).fingerprint for name, task in sorted(self.tasks.items())}
        precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        return {**config, "base": load_base(self.config.base).fingerprint, "rows": rows, "mixed_precision": precision}

    def todo(self) -> list[MatrixUnit]:
        """The units that have no row yet."""
        done = {(row.target, row.source, row.method, row.seed) for row in self._rows()}
        return [
            unit for unit in matrix_units(self.config) if (unit.target, unit.source, unit.method, unit.seed) not in done
        ]

    def _rows(self) -> list[MatrixRecord]:
        return read_whole_rows(self.rows_file)[0] if self.rows_file.is_file() else []

    def estimate(self, todo: list[MatrixUnit], jobs: int) -> float:
        """About how many seconds `todo` takes: by the median of a target's finished units, or by two timed steps if there are none."""
        measured: dict[str, list[float]] = {}
        for row in self._rows():
            measured.setdefault(row.target, []).append(row.seconds)
        seconds = {
            name: statistics.median(measured[name]) if name in measured else self._timed(name)
            for name in {unit.target for unit in todo}
        }
        return sum(seconds[unit.target] for unit in todo) / jobs

    @functools.cached_property
    def _trainer(self) -> _UnitTrainer:
        return _UnitTrainer(self.config, self.out)

    def _timed(self, target: str) -> float:
        """Seconds of a unit of this target, by two steps of a new adapter."""
        trainer = self._trainer
        task, recipe = self.tasks[target], self.config.recipe_of(SINGLE)
        train, _ = trainer.rows(target, self.config.targets.seeds[0])
        model = METHODS[SINGLE].build(trainer.base, task, {}, {}, seed=0)
        two_steps = recipe.model_copy(update={"epochs": 2, "max_steps": 2})
        return (
            fit(model, task, train, None, two_steps, seed=0, label=f"time {target}").seconds
            / 2
            * recipe.steps(len(train))
        )

    def run(self, *, jobs: int | None = None, on: str | None = None, per_gpu: int | None = None) -> None:
        """Trains the sources that the pool lacks, then measures the units that have no row; `jobs`, `on` and `per_gpu` as in `Plan.run`.

        Raises:
            UserError: bad data or sources; jobs below 1; a launch of several processes (here processes share units, not batches).
        """
        check_engine(jobs, on, per_gpu)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("a matrix shares its runs among --jobs processes: start it with --num_processes 1")
        with exclusive(self.rows_file):
            self._claim()  # another run may have been here before this one
            self._run(Sharing(jobs, on, per_gpu))

    def _run(self, sharing: Sharing) -> None:
        if cut := mend(self.rows_file):
            say(cut)
        sources, here = self.config.sources.tasks, self._worker.here()
        for name in sources:
            if name in self._pool:
                here(name)  # looks whether it is as the configuration says
        missing, todo = [name for name in sources if name not in self._pool], self.todo()
        total = len(matrix_units(self.config))
        if len(todo) < total:
            say(f"{total - len(todo)} of {total} runs are done already")
        if not todo:
            sharing = Sharing()
        with sharing.engine(self._worker, max(len(todo), len(missing))) as work:
            with bar("sources", len(missing)) as advance:
                for name in work(missing):
                    advance(name)
            self._record({name: self._pool[name].fingerprint for name in sources})
            with bar(self.config.name, len(todo)) as advance:
                for row in work(todo):
                    append_row(self.rows_file, row)
                    score = row.score if row.score is None else round(row.score, 3)
                    advance(f"{row.target} from {row.source or 'nothing'}: {score}")

    @property
    def _pool(self) -> AdapterPool:
        return AdapterPool(self.out / "pool", base=self.config.base)

    @functools.cached_property
    def _worker(self) -> Worker:
        """How a source is trained and a unit is measured."""
        settings = self.config.model_dump_json(), str(self.out.resolve())
        make = functools.partial(_piece_worker, *settings)
        return Worker(make, make, Remote(f"{__name__}:piece_by_name", settings, read_piece, self.out.resolve()))

    def _record(self, adapters: dict[str, str]) -> None:
        """Writes the provenance; refuses adapters other than those that the finished rows were measured with."""
        path = self.out / "provenance.json"
        before = self._stored.adapters if path.is_file() else adapters
        changed = next((name for name in adapters if before.get(name) != adapters[name]), None)
        if changed and self._rows():
            raise UserError(
                f"source '{changed}' in {self.out / 'pool'} is not the adapter that the rows in {self.rows_file} were measured with: choose another --out"
            )
        config = self.config.model_dump(mode="json")
        provenance: dict[str, Any] = {"config": config, "identity": self._identity, "adapters": adapters}
        provenance |= {
            "methods": self._methods,
            "versions": versions(),
            "machine": platform.machine(),
            "command": command(),
        }
        write_hashed(path, provenance)


class _UnitTrainer:
    """Trains and scores units in one process, which loads base, pool and rows once."""

    def __init__(self, config: MatrixConfig, out: Path) -> None:
        self.config, self.out = config, out
        self.base = load_base(config.base)
        self.pool = AdapterPool(out / "pool", base=config.base)
        self.tasks = configured_tasks(config)
        self.rows = functools.lru_cache(maxsize=32)(self._rows)
        self.test = functools.cache(self._test)

    def _length(self) -> int:
        return self.config.recipe_of(SINGLE).max_length

    def _encode(self, target: str, split: Split) -> Any:
        return encode_split(split, self.tasks[target], self.base.tokenizer, max_length=self._length())

    def _rows(self, target: str, seed: int) -> tuple[Any, Any]:
        data = load_data(self.tasks[target], rows=self.config.targets.rows, seed=seed)
        train, dev = self._encode(target, data.train), self._encode(target, data.dev)
        say_cut(train, target, self._length())
        return train, dev

    def _test(self, target: str) -> Any:
        test = load_data(self.tasks[target], rows=self.config.targets.rows).test
        cap = min(len(test), self.config.targets.test_rows or len(test))
        chosen = sorted(np.random.default_rng(0).permutation(len(test))[:cap].tolist())
        return self._encode(target, test.take(chosen))

    def measure(self, unit: MatrixUnit) -> MatrixRecord:
        """Trains and scores one unit, or goes on with it; a training that diverges has no score."""
        key = value_hash([self.config.model_dump(mode="json"), asdict(unit)])
        with resumable(self.out / f"unit-{key}", key) as checkpoints:
            return self._measure(unit, checkpoints)

    def _measure(self, unit: MatrixUnit, checkpoints: Checkpoints | None) -> MatrixRecord:
        start = time.perf_counter()
        task, method = self.tasks[unit.target], get_method(unit.method)
        layers, adapter_config = method.prepare([self.pool[unit.source]] if unit.source else [])
        recipe = self.config.recipe_of(unit.method)
        train, dev = self.rows(unit.target, unit.seed)
        pooling = pooling_of(recipe, self.base, task, train.joined(dev), seed=unit.seed)
        model = method.build(self.base, task, layers, adapter_config, seed=unit.seed, pooling=pooling)
        score, dev_score, steps = None, None, 0
        try:
            done = fit(model, task, train, dev, recipe, seed=unit.seed, label=str(unit), checkpoints=checkpoints)
            with accelerator(mixed=recipe.mixed).autocast():
                score = evaluate(model, task, self.test(unit.target))
            dev_score, steps = done.score, done.steps
        except Diverged as error:
            say(str(error))
        return MatrixRecord(
            target=unit.target,
            source=unit.source,
            method=unit.method,
            seed=unit.seed,
            metric=task.metric,
            score=score,
            dev=dev_score,
            steps=steps,
            seconds=round(time.perf_counter() - start, 2),
        )


Piece = str | MatrixUnit  # a source by its name, or a unit


def _piece_worker(config: str, out: str) -> Callable[[Piece], str | MatrixRecord]:
    """Returns the function that trains a source, whose name it gives, or measures a unit in this process."""
    measured = MatrixConfig.model_validate_json(config)
    units: list[_UnitTrainer] = []

    def do(piece: Piece) -> str | MatrixRecord:
        if isinstance(piece, str):
            part, pool = measured.sources, AdapterPool(Path(out) / "pool", base=measured.base)
            task = configured_tasks(measured)[piece]
            train_source(task, pool, rows=part.rows, seed=part.seed, recipe=part.recipe.of(SOURCE_RECIPE).as_launched())
            return piece
        if not units:
            units.append(_UnitTrainer(measured, Path(out)))  # with the pool as it is by now
        return units[0].measure(piece)

    return do


def piece_by_name(config: str, out: str) -> Callable[[str], str]:
    """Returns what does a piece on another machine, by its name."""
    do = _piece_worker(config, out)
    units = {str(unit): unit for unit in matrix_units(MatrixConfig.model_validate_json(config))}

    def by_name(name: str) -> str:
        outcome = do(units.get(name, name))
        return outcome if isinstance(outcome, str) else json.dumps(asdict(outcome))

    return by_name


def read_piece(piece: Piece, text: str) -> str | MatrixRecord:
    """The outcome of a piece, from what `piece_by_name` gave."""
    return text if isinstance(piece, str) else MatrixRecord(**json.loads(text))
