"""Where a comparison's work is computed and kept: each piece has a key of all that decides it, is stored whole, and is computed once.

    store/sources/<base>-<settings>/seed-<s>/<task>      sources: one pool per stage-1 seed
    store/own/<base>-<task>-<size>/<key>/<task>          a target adapter, trained on the rows that the target has
    store/rankings/<key>.json, store/units/<key>.json    the rankings that choose sources, and the finished units (`unit_files`)
    store/results/<key>/                                 a unit's trained model, where models are kept
    store/targets/, store/joint/                         embeddings of targets; joint trainings that targets share

The unit "single-adapter" is the target adapter: one training serves both. Runs that name the same store share all of it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from scalearn.comparison.condition import EACH, FULL, Condition
from scalearn.comparison.experiment_config import ExperimentConfig, Size, Unit
from scalearn.comparison.own_tasks import configured_tasks
from scalearn.comparison.records import NO_ROW, RankingRecord, UnitRecord
from scalearn.comparison.unit_files import UnitFiles
from scalearn.methods.identity import method_identity
from scalearn.methods.registry import METHODS, get_method
from scalearn.results.result import SeedRecord, TransferResult
from scalearn.results.transfer import transfer
from tasksel.adapters.pool import AdapterPool, Source
from tasksel.adapters.train import source_key, train_source
from tasksel.display.progress import say
from tasksel.model.base import Base, describe, load_base
from tasksel.processes import is_main, main_writes
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.identity import selector_identity
from tasksel.selection.ranking import rank
from tasksel.storage.atomic import temporary_folder, value_hash
from tasksel.storage.hashed import read_record, write_hashed
from tasksel.storage.locks import short_name
from tasksel.storage.provenance import versions
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.task import Task
from tasksel.training.exclusive import exclusive
from tasksel.training.loop import Diverged

SINGLE_ADAPTER = "single-adapter"  # the method that trains the target adapter


@lru_cache(maxsize=128)
def _loaded(task: str, rows: int | None, seed: int) -> Data:
    """The rows of a task, which comes as JSON: what is cached needs a hash."""
    return load_data(Task.model_validate_json(task), rows=rows, seed=seed)


class WorkStore:
    """The work of one experiment in a store: what has a key is computed when it is asked for and not there.

    >>> WorkStore(experiment, Path("runs/store")).key(unit)  # doctest: +SKIP
    """

    def __init__(self, experiment: ExperimentConfig, store: Path) -> None:
        self.experiment, self.store = experiment, store
        self.tasks, self.units = configured_tasks(experiment), UnitFiles(store)
        self._keys: dict[tuple[Any, ...], str] = {}  # each reads rows, and a plan asks for it again and again

    @property
    def base(self) -> Base:
        """The base model, loaded when it is first needed: a plan is listed without it, where there is no network too."""
        return load_base(self.experiment.base)

    # data and keys

    def target(self, name: str, size: Size) -> Task:
        """A target with the rows that a size draws from it."""
        return self.experiment.drawn(self.tasks[name], size)

    def rows(self, size: Size) -> int | None:
        """The cap on a target's training rows."""
        return self.experiment.targets.rows if size == FULL else None

    def data(self, name: str, size: Size, seed: int) -> Data:
        """A target's rows at a size, drawn by a seed."""
        return _loaded(self.target(name, size).model_dump_json(), self.rows(size), seed)

    def pool(self, seed: int) -> AdapterPool:
        """The pool of the sources of a stage-1 seed."""
        part = self.experiment.sources
        recipe = self.experiment.source_recipe.identity()
        drawn = self.experiment.drawn(self.tasks[part.tasks[0]], FULL).draw.model_dump()
        decisive = [self.base.fingerprint, part.rows, recipe, drawn]
        settings = value_hash(decisive if part.lora is None else [*decisive, part.lora.model_dump(mode="json")])[:8]
        kept = sorted((self.store / "sources").glob(f"*-{settings}"))  # the base may have been renamed
        place = self.store / "sources" / short_name("", self._base_name, f"-{settings}")
        return AdapterPool((kept[0] if kept else place) / f"seed-{seed}", base=self.experiment.base)

    @property
    def _base_name(self) -> str:
        return re.sub(r"[^\w-]+", "_", Path(self.base.name).name)

    def source_key(self, name: str, seed: int) -> str:
        """The key of a source, trained or not."""
        if (name, seed) not in self._keys:
            part, task = self.experiment.sources, self.target(name, FULL)
            data = _loaded(task.model_dump_json(), part.rows, seed)
            self._keys[name, seed] = source_key(task, data, self.base, self.experiment.source_recipe, seed, part.lora)
        return self._keys[name, seed]

    def target_adapter_key(self, name: str, size: Size, seed: int) -> str:
        """The key of a target adapter, trained or not."""
        if (name, size, seed) not in self._keys:
            recipe, task = self.experiment.recipe_of(METHODS[SINGLE_ADAPTER], size), self.target(name, size)
            data, lora = self.data(name, size, seed), self.experiment.sources.lora
            self._keys[name, size, seed] = source_key(task, data, self.base, recipe, seed, lora)
        return self._keys[name, size, seed]

    def _choice_key(self, unit: Unit) -> list[Any] | None:
        """What decides which sources a unit has, and what they are; None without sources."""
        condition = unit.condition
        if condition.by is None:
            return None
        seed = self.experiment.source_seed(unit.seed)
        names = [condition.source] if condition.source else self.experiment.others(unit.target)
        sources = [(name, self.source_key(name, seed)) for name in names]
        by = selector_identity(condition.by) if condition.ranked else condition.by
        key = [by, self._settings(condition.by), condition.others, sources]
        return [*key, self.target_adapter_key(unit.target, unit.size, seed)] if condition.include_target else key

    def _settings(self, by: str) -> dict[str, Any]:
        return self.experiment.rank.settings if by in self.experiment.rank.by else {}

    def key(self, unit: Unit) -> str:
        """16 hex digits of all that decides a unit's numbers."""
        if (unit,) not in self._keys:
            self._keys[(unit,)] = value_hash(self._decisive(unit))
        return self._keys[(unit,)]

    def _decisive(self, unit: Unit) -> list[Any]:
        task = self.target(unit.target, unit.size)
        method = get_method(unit.condition.method)
        recipe, named = self.experiment.recipe_of(method, unit.size).identity(), method_identity(method)
        lora = self.experiment.sources.lora if unit.condition.method == SINGLE_ADAPTER else None
        return [
            [task.name, task.kind, task.labels, task.metric, self.data(unit.target, unit.size, unit.seed).fingerprint],
            [self.base.fingerprint, self.experiment.protocol, named, str(unit.size), unit.seed, recipe],
            *([self._choice_key(unit), lora.model_dump(mode="json")] if lora else [self._choice_key(unit)]),
        ]

    def unit_path(self, unit: Unit) -> Path:
        """The file of a unit's record, before it is packed."""
        return self.units.path(self.key(unit))

    def stored(self, unit: Unit) -> UnitRecord | None:
        """A unit's record, if it is finished and, where models are kept, its model is there."""
        if not self.units.are_there():
            return None  # no data is loaded to compute keys that cannot be there
        record = self.units.read(self.key(unit))
        if record is None or record.score is None or not self.keeps(unit.condition.method):
            return record
        return record if (self.store / "results" / record.key / "result.json").is_file() else None

    def keeps(self, method: str) -> bool:
        """Whether a unit's trained model is kept beside its record; a target adapter is in its pool."""
        return self.experiment.keep and method != SINGLE_ADAPTER

    # sources

    def has_source(self, name: str, seed: int) -> bool:
        """Whether the pool has this source with the same key."""
        pool = self.pool(seed)
        return name in pool and pool[name].card.key == self.source_key(name, seed)

    def ensure_source(self, name: str, seed: int) -> None:
        """Trains a source, unless it is there."""
        part = self.experiment.sources
        recipe = self.experiment.source_recipe
        train_source(self.target(name, FULL), self.pool(seed), rows=part.rows, seed=seed, recipe=recipe, lora=part.lora)

    def target_adapter(self, name: str, size: Size, seed: int) -> Source:
        """The target adapter, trained if it is not there; a source of the pool, if that is the same training."""
        for pool, key in self._target_adapter_places(name, size, seed):
            if name in pool and pool[name].card.key == key:
                return pool[name]
        recipe = self.experiment.recipe_of(METHODS[SINGLE_ADAPTER], size)
        task, lora = self.target(name, size), self.experiment.sources.lora
        place = self.target_adapter_pool(name, size, seed)
        return train_source(task, place, rows=self.rows(size), seed=seed, recipe=recipe, lora=lora)

    def target_adapter_pool(self, name: str, size: Size, seed: int) -> AdapterPool:
        """The pool of a target adapter alone."""
        *_, (pool, _) = self._target_adapter_places(name, size, seed)
        return pool

    def _target_adapter_places(self, name: str, size: Size, seed: int) -> Iterator[tuple[AdapterPool, str]]:
        """The pools that may hold a target adapter, with its key: that of the sources, if it is the same training; one for it alone."""
        key, base = self.target_adapter_key(name, size, seed), self.experiment.base
        if name in self.experiment.sources.tasks and self.experiment.source_seed(seed) == seed:
            yield self.pool(seed), key
        kept = sorted((self.store / "own").glob(f"*-{name}-{size}/{key}"))  # the base may have been renamed
        place = self.store / "own" / short_name("", f"{self._base_name}-{name}-{size}") / key
        yield AdapterPool(kept[0] if kept else place, base=base), key

    def try_target_adapter(self, name: str, size: Size, seed: int) -> None:
        """Trains the target adapter if it is not there; if that diverges, the unit that needs it has no score."""
        try:
            self.target_adapter(name, size, seed)
        except Diverged as error:
            say(str(error))

    def has_target_adapter(self, name: str, size: Size, seed: int) -> bool:
        """Whether the target adapter is there."""
        return any(
            name in pool and pool[name].card.key == key for pool, key in self._target_adapter_places(name, size, seed)
        )

    # rankings

    def ranking_path(self, target: str, size: Size, by: str, seed: int) -> Path:
        """The file of a ranking."""
        stage1 = self.experiment.source_seed(seed)
        sources = [(name, self.source_key(name, stage1)) for name in self.experiment.others(target)]
        data = self.data(target, size, seed).fingerprint
        key = value_hash(
            [target, data, self.base.fingerprint, selector_identity(by), self._settings(by), seed, sources]
        )
        return self.store / "rankings" / f"{key}.json"

    def ranking(self, target: str, size: Size, by: str, seed: int) -> RankingRecord:
        """The ranking of the sources for a target, computed if it is not there."""
        path = self.ranking_path(target, size, by, seed)
        if not path.is_file():
            with exclusive(path):
                if not path.is_file():
                    self._rank(path, target, size, by, seed)
        return read_record(path, RankingRecord, NO_ROW)

    def _rank(self, path: Path, target: str, size: Size, by: str, seed: int) -> None:
        pool = self.pool(self.experiment.source_seed(seed))
        candidates = pool.select(self.experiment.others(target))
        ranking = rank(
            self.target(target, size),
            candidates,
            by=self.experiment.rank.selector(by),
            base=self.base,
            rows=self.rows(size),
            seed=seed,
            include_target=True,  # it is none of these candidates
            cache_dir=self.store / "targets" / short_name("", self._base_name, f"-{size}"),
        )
        record = RankingRecord(
            key=path.stem, target=target, size=size, seed=seed, by=by,
            names=ranking.names, scores=ranking.scores, seconds=ranking.provenance["seconds"],
        )  # fmt: skip
        main_writes(write_hashed, path, record.model_dump(mode="json"))

    # units

    def chosen(self, unit: Unit) -> tuple[list[Source], tuple[float, ...] | None]:
        """A unit's sources, and their similarities to the target if a ranking alone chose them; negative ones count as 0 (ours)."""
        condition = unit.condition
        if condition.by is None:
            return [], None
        stage1 = self.experiment.source_seed(unit.seed)
        names, similarities = self._names(unit, condition)
        sources = self.pool(stage1).select(names)
        if condition.include_target:
            return [*sources, self.target_adapter(unit.target, unit.size, stage1)], None
        return sources, similarities

    def _names(self, unit: Unit, condition: Condition) -> tuple[Sequence[str], tuple[float, ...] | None]:
        if condition.by == EACH:
            return [str(condition.source)], None
        if not condition.ranked:
            return self.experiment.others(unit.target), None
        ranking = self.ranking(unit.target, unit.size, str(condition.by), unit.seed)
        return ranking.names[: condition.others], tuple(max(0.0, score) for score in ranking.scores[: condition.others])

    def compute(self, unit: Unit) -> UnitRecord:
        """A unit's record, computed and stored unless another run has done so meanwhile; a training that diverges has no score."""
        path = self.unit_path(unit)
        with exclusive(path):
            return self.stored(unit) or self._compute(unit, path)

    def _compute(self, unit: Unit, path: Path) -> UnitRecord:
        single = unit.condition.method == SINGLE_ADAPTER
        outcome = self._target_adapter_outcome(unit) if single else self._transfer_outcome(unit, path.stem)
        record = UnitRecord(key=path.stem, **self._known_fields(unit), **outcome)
        main_writes(write_hashed, path, record.model_dump(mode="json"))
        return record

    def _known_fields(self, unit: Unit) -> dict[str, Any]:
        """The fields of a unit's record that are known before it is computed."""
        condition, task = unit.condition, self.target(unit.target, unit.size)
        data = self.data(unit.target, unit.size, unit.seed)
        method = get_method(condition.method)
        recipe = self.experiment.recipe_of(method, unit.size)
        return {
            "target": unit.target, "kind": task.kind, "metric": task.metric, "base": describe(self.base), "method": condition.method,
            "protocol": self.experiment.protocol, "size": unit.size, "rows": len(data.train), "dev_rows": len(data.dev),
            "test_rows": len(data.test), "seed": unit.seed, "by": condition.by, "k": condition.k,
            "own": condition.include_target, "data": data.fingerprint,
            "recipe": recipe.model_dump(mode="json", exclude={"log_with"}), "versions": versions(),
            "settings": method.settings(),
        }  # fmt: skip

    def _target_adapter_outcome(self, unit: Unit) -> dict[str, Any]:
        """Scores and costs of the unit "single-adapter", from the card of the target adapter."""
        try:
            source = self.target_adapter(unit.target, unit.size, unit.seed)
        except Diverged as error:
            say(str(error))
            return {"score": None}
        card = source.card
        scores = {name: score for name, score in card.scores.items() if name != "dev"}
        return {
            "scores": scores,
            "score": scores[self.tasks[unit.target].metric],
            "dev": card.scores["dev"],
            "epoch": card.epoch,
            "steps": card.steps or 0,
            "seconds": card.seconds or 0.0,
            "parameters": card.parameters,
            "bytes": source.trained.nbytes,
            "peak_memory": card.peak_memory,
        }

    def _transfer_outcome(self, unit: Unit, key: str) -> dict[str, Any]:
        """Sources, scores and costs of a unit that is a transfer."""
        sources, similarities = self.chosen(unit)
        fingerprints = {source.name: source.fingerprint for source in sources}
        with _result_folder(self.store / "results" / key if self.keeps(unit.condition.method) else None) as out:
            try:
                result = transfer(
                    self.target(unit.target, unit.size),
                    sources,
                    method=unit.condition.method,
                    seeds=[unit.seed],
                    rows=self.rows(unit.size),
                    recipe=self.experiment.recipe_of(get_method(unit.condition.method), unit.size),
                    base=self.base,
                    out=out,
                    similarities=similarities,
                    store=self.store / "joint",
                    checkpoints=self.store / "results" / key,
                )
            except Diverged as error:
                say(str(error))
                return {"sources": fingerprints, "score": None}
            return {"sources": fingerprints, **_outcome(result, result.seeds[unit.seed])}

    # the map

    def task_map(self) -> dict[str, Any]:
        """Similarities between the sources' embeddings, under the first seed: names and a symmetric matrix.

        Scaled so that a task's similarity to itself is 1: s_ab / sqrt(s_aa s_bb) (ours); a cosine stays as it is.
        """
        seed = self.experiment.source_seed(self.experiment.targets.seeds[0])
        pool, embedder = self.pool(seed), self.experiment.rank.selector(self.experiment.map).embedder
        tasks = [TaskOnBase(source, self.base) for source in pool.select(self.experiment.sources.tasks)]
        embeddings = [task.embedding(embedder) for task in tasks]
        similarity = np.array([[embedder.similarity(a, b) for b in embeddings] for a in embeddings])
        similarity = (similarity + similarity.T) / 2 / np.sqrt(np.outer(similarity.diagonal(), similarity.diagonal()))
        return {
            "by": self.experiment.map,
            "base": self.base.name,
            "names": [task.name for task in tasks],
            "suites": {task.name: task.task.suite for task in tasks},
            "similarity": similarity.tolist(),
        }


def _outcome(result: TransferResult, entry: SeedRecord) -> dict[str, Any]:
    """Scores and costs of a finished seed, as fields of a unit's record."""
    weights = get_method(result.run.method).omega_weights(torch.from_numpy(result.omega(seed=entry.seed)))
    return {
        "score": entry.scores[result.task.metric],
        "omega": weights.tolist() if weights is not None else None,
        **entry.model_dump(
            include={"scores", "dev", "epoch", "steps", "seconds", "parameters", "bytes", "peak_memory"}
        ),
    }


@contextmanager
def _result_folder(kept: Path | None) -> Iterator[Path]:
    """The folder of a result: the kept one, or a temporary one. The same for all processes of a launch."""
    if kept is not None:
        yield kept
        return
    temporary = Path(broadcast_object_list([str(temporary_folder()) if is_main() else ""])[0])
    try:
        yield temporary
    finally:
        main_writes(shutil.rmtree, temporary.parent, ignore_errors=True)
