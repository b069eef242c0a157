"""Where a comparison's work is done and kept: each piece is named by what made it, stored whole, and never made twice.

    store/sources/<base>-<settings>/seed-<s>/<task>      sources: a pool a stage-1 seed
    store/own/<base>-<task>-<size>/<key>/<task>          a target's own source, trained on the very rows that the target has
    store/rankings/<key>.json, store/units/<key>.json    what each choice rested on, and each finished unit
    store/results/<key>/                                 its trained model, where models are kept
    store/targets/, store/joint/                         embeddings of targets; joint trainings that targets share

The unit "single-adapter" is the target's own source: one training serves both. Tables that name the same store share all of it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from scalearn.comparison.condition import EACH, FULL, Condition
from scalearn.comparison.experiment import Experiment, Size, Unit
from scalearn.comparison.records import RankingRecord, UnitRecord, parse, read_unit
from scalearn.methods import METHODS, get_method
from scalearn.results.result import SeedRecord, TransferResult
from scalearn.results.transfer import transfer
from tasksel.adapters.pool import AdapterPool, Source
from tasksel.adapters.train import source_key, train_source
from tasksel.display.progress import say
from tasksel.model.base import Base, describe, load_base
from tasksel.processes import is_main, main_writes
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.ranking import rank
from tasksel.storage.atomic import read_json, value_hash, write_json
from tasksel.storage.provenance import versions
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.registry import find_tasks
from tasksel.tasks.task import Task
from tasksel.training.loop import Diverged

OWN = "single-adapter"  # this method is a target's own source


@lru_cache(maxsize=128)
def _loaded(told: str, rows: int | None, seed: int) -> Data:
    return load_data(Task.model_validate_json(told), rows=rows, seed=seed)


class WorkStore:
    """The work of one experiment in a store."""

    def __init__(self, experiment: Experiment, store: Path) -> None:
        self.experiment, self.store = experiment, store
        self.tasks = find_tasks(experiment.data)

    @property
    def base(self) -> Base:
        """The base model, read when it is first needed: a plan needs none, and is made where there is no network too."""
        return load_base(self.experiment.base)

    # what things are named by

    def target(self, name: str, size: Size) -> Task:
        """A target with the rows that are used of it at a size."""
        return self.experiment.drawn(self.tasks[name], size)

    def rows(self, size: Size) -> int | None:
        """The cap on a target's rows."""
        return self.experiment.targets.rows if size == FULL else None

    def data(self, name: str, size: Size, seed: int) -> Data:
        """A target's rows."""
        return _loaded(self.target(name, size).model_dump_json(), self.rows(size), seed)

    def pool(self, seed: int) -> AdapterPool:
        """The sources of a stage-1 seed."""
        part = self.experiment.sources
        recipe = self.experiment.source_recipe.model_dump(mode="json", exclude={"log_with"})
        drawn = self.experiment.drawn(self.tasks[part.tasks[0]], FULL).draw.model_dump()
        settings = value_hash([self.base.fingerprint, part.rows, recipe, drawn])[:8]
        return AdapterPool(
            self.store / "sources" / f"{self._base_name}-{settings}" / f"seed-{seed}", base=self.experiment.base
        )

    @property
    def _base_name(self) -> str:
        return re.sub(r"[^\w-]+", "_", Path(self.base.name).name)

    def source_key(self, name: str, seed: int) -> str:
        """The key of a source, whether or not it is trained yet."""
        part, task = self.experiment.sources, self.target(name, FULL)
        data = _loaded(task.model_dump_json(), part.rows, seed)
        return source_key(task, data, self.base, self.experiment.source_recipe, seed)

    def own_key(self, name: str, size: Size, seed: int) -> str:
        """The key of a target's own source."""
        recipe = self.experiment.recipe_of(METHODS[OWN], size)
        return source_key(self.target(name, size), self.data(name, size, seed), self.base, recipe, seed)

    def _choice_key(self, unit: Unit) -> list[Any] | None:
        """What decides which sources a unit has, and what they are."""
        chosen = unit.condition
        if chosen.by is None:
            return None
        seed = self.experiment.source_seed(unit.seed)
        names = [chosen.source] if chosen.source else self.experiment.others(unit.target)
        sources = [(name, self.source_key(name, seed)) for name in names]
        told = [chosen.by, self._settings(chosen.by), chosen.others, sources]
        return [*told, self.own_key(unit.target, unit.size, seed)] if chosen.include_target else told

    def _settings(self, by: str) -> dict[str, Any]:
        return self.experiment.rank.settings if by in self.experiment.rank.by else {}

    def key(self, unit: Unit) -> str:
        """16 hex digits of all that decides a unit's numbers."""
        task = self.target(unit.target, unit.size)
        recipe = self.experiment.recipe_of(get_method(unit.condition.method), unit.size).model_dump(
            mode="json", exclude={"log_with"}
        )
        made_of = [
            [task.name, task.kind, task.labels, task.metric, self.data(unit.target, unit.size, unit.seed).fingerprint],
            [self.base.fingerprint, self.experiment.protocol, unit.condition.method, str(unit.size), unit.seed, recipe],
            self._choice_key(unit),
        ]
        return value_hash(made_of)

    def unit_path(self, unit: Unit) -> Path:
        """Where a unit's row lies."""
        return self.store / "units" / f"{self.key(unit)}.json"

    def stored(self, unit: Unit) -> UnitRecord | None:
        """A unit's row, if it is finished and its model is kept where models are."""
        if not (self.store / "units").is_dir():
            return None  # nothing is loaded to name what cannot be there
        path = self.unit_path(unit)
        if not path.is_file():
            return None
        kept = (self.store / "results" / path.stem / "result.json").is_file()
        row = read_unit(path)
        return row if kept or not self.keeps(unit.condition.method) or row.score is None else None

    def keeps(self, method: str) -> bool:
        """Whether a unit's trained model lies in the store beside its row: an own source lies in its pool."""
        return self.experiment.keep and method != OWN

    # sources

    def has_source(self, name: str, seed: int) -> bool:
        """Whether a source is there, made just so."""
        pool = self.pool(seed)
        return name in pool and pool[name].card.key == self.source_key(name, seed)

    def make_source(self, name: str, seed: int) -> None:
        """Trains a source, unless it is there."""
        part = self.experiment.sources
        train_source(
            self.target(name, FULL), self.pool(seed), rows=part.rows, seed=seed, recipe=self.experiment.source_recipe
        )

    def own_source(self, name: str, size: Size, seed: int) -> Source:
        """A target's own source: the pool's where it is the same training, otherwise one of its own."""
        places = list(self._own_places(name, size, seed))
        for pool, key in places:
            if name in pool and pool[name].card.key == key:
                return pool[name]
        recipe = self.experiment.recipe_of(METHODS[OWN], size)
        return train_source(self.target(name, size), places[-1][0], rows=self.rows(size), seed=seed, recipe=recipe)

    def _own_places(self, name: str, size: Size, seed: int) -> Iterator[tuple[AdapterPool, str]]:
        """The pools where a target's own source may lie, with its key: among the sources, where that is the same training; or alone."""
        key, base = self.own_key(name, size, seed), self.experiment.base
        if name in self.experiment.sources.tasks and self.experiment.source_seed(seed) == seed:
            yield self.pool(seed), key
        yield AdapterPool(self.store / "own" / f"{self._base_name}-{name}-{size}" / key, base=base), key

    def try_own_source(self, name: str, size: Size, seed: int) -> None:
        """Trains it; where that diverges, the unit that asks for it will say so."""
        try:
            self.own_source(name, size, seed)
        except Diverged as error:
            say(str(error))

    def has_own(self, name: str, size: Size, seed: int) -> bool:
        """Whether a target's own source is there."""
        return any(name in pool and pool[name].card.key == key for pool, key in self._own_places(name, size, seed))

    # rankings

    def ranking_path(self, target: str, size: Size, by: str, seed: int) -> Path:
        """Where a ranking lies."""
        stage1 = self.experiment.source_seed(seed)
        sources = [(name, self.source_key(name, stage1)) for name in self.experiment.others(target)]
        data = self.data(target, size, seed).fingerprint
        key = value_hash([target, data, self.base.fingerprint, by, self._settings(by), seed, sources])
        return self.store / "rankings" / f"{key}.json"

    def ranking(self, target: str, size: Size, by: str, seed: int) -> RankingRecord:
        """The ranking of the sources for a target, made if it is not there."""
        path = self.ranking_path(target, size, by, seed)
        if not path.is_file():
            self._rank(path, target, size, by, seed)
        row: RankingRecord = parse(read_json(path), RankingRecord, str(path))
        return row

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
            cache_dir=self.store / "targets" / f"{self._base_name}-{size}",
        )
        row = RankingRecord(
            key=path.stem, target=target, size=size, seed=seed, by=by,
            names=ranking.names, scores=ranking.scores, seconds=ranking.provenance["seconds"],
        )  # fmt: skip
        main_writes(write_json, path, row.model_dump(mode="json"))

    # units

    def chosen(self, unit: Unit) -> tuple[list[Source], tuple[float, ...] | None]:
        """A unit's sources, and their similarities where they come from a ranking alone; a source that is unlike the target has 0 (ours)."""
        condition = unit.condition
        if condition.by is None:
            return [], None
        stage1 = self.experiment.source_seed(unit.seed)
        pool = self.pool(stage1)
        names, scores = self._names(unit, condition)
        sources = pool.select(names)
        if condition.include_target:
            return [*sources, self.own_source(unit.target, unit.size, stage1)], None
        return sources, scores

    def _names(self, unit: Unit, condition: Condition) -> tuple[Sequence[str], tuple[float, ...] | None]:
        if condition.by == EACH:
            return [str(condition.source)], None
        if not condition.ranked:
            return self.experiment.others(unit.target), None
        ranking = self.ranking(unit.target, unit.size, str(condition.by), unit.seed)
        return ranking.names[: condition.others], tuple(max(0.0, score) for score in ranking.scores[: condition.others])

    def make(self, unit: Unit) -> UnitRecord:
        """Computes a unit and stores its row; a run that diverges has no score."""
        path = self.unit_path(unit)
        made = self._own_row(unit) if unit.condition.method == OWN else self._transferred(unit, path.stem)
        row = UnitRecord(key=path.stem, **self._told(unit), **made)
        main_writes(write_json, path, row.model_dump(mode="json"))
        return row

    def _told(self, unit: Unit) -> dict[str, Any]:
        """What is known of a unit beforehand."""
        data, task, chosen = (
            self.data(unit.target, unit.size, unit.seed),
            self.target(unit.target, unit.size),
            unit.condition,
        )
        recipe = self.experiment.recipe_of(get_method(unit.condition.method), unit.size)
        return {
            "target": unit.target, "kind": task.kind, "metric": task.metric, "base": describe(self.base), "method": unit.condition.method,
            "protocol": self.experiment.protocol, "size": unit.size, "rows": len(data.train), "dev_rows": len(data.dev),
            "test_rows": len(data.test), "seed": unit.seed, "by": chosen.by, "k": chosen.k,
            "own": chosen.include_target, "data": data.fingerprint,
            "recipe": recipe.model_dump(mode="json", exclude={"log_with"}), "versions": versions(),
        }  # fmt: skip

    def _own_row(self, unit: Unit) -> dict[str, Any]:
        """What a target's own source tells of itself."""
        try:
            source = self.own_source(unit.target, unit.size, unit.seed)
        except Diverged as error:
            say(str(error))
            return {"score": None}
        card = source.card
        scores = {name: score for name, score in card.scores.items() if name != "dev"}
        told = {"scores": scores, "score": scores[self.tasks[unit.target].metric], "dev": card.scores["dev"]}
        told |= {
            "epoch": card.epoch,
            "steps": card.steps or 0,
            "seconds": card.seconds or 0.0,
            "parameters": card.parameters,
        }
        return {**told, "bytes": source.trained.nbytes, "peak_memory": card.peak_memory}

    def _transferred(self, unit: Unit, key: str) -> dict[str, Any]:
        sources, similarities = self.chosen(unit)
        told: dict[str, Any] = {"sources": {source.name: source.fingerprint for source in sources}}
        with _folder(self.store / "results" / key if self.keeps(unit.condition.method) else None) as out:
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
                )
            except Diverged as error:
                say(str(error))
                return {**told, "score": None}
            return {**told, **_outcome(result, result.seeds[unit.seed])}

    # the map

    def task_map(self) -> dict[str, Any]:
        """How near the sources' embeddings lie to each other, under the first seed: names and a symmetric matrix.

        A task is as near to itself as can be: s_ab / sqrt(s_aa s_bb), which leaves as it is what is 1 there already (ours).
        """
        seed = self.experiment.source_seed(self.experiment.targets.seeds[0])
        pool, embedder = self.pool(seed), self.experiment.rank.selector(self.experiment.map).embedder
        subjects = [TaskOnBase(source, self.base) for source in pool.select(self.experiment.sources.tasks)]
        made = [subject.embedding(embedder) for subject in subjects]
        near = np.array([[embedder.similarity(a, b) for b in made] for a in made])
        near = (near + near.T) / 2 / np.sqrt(np.outer(near.diagonal(), near.diagonal()))
        return {
            "by": self.experiment.map,
            "base": self.base.name,
            "names": [subject.name for subject in subjects],
            "suites": {subject.name: subject.task.suite for subject in subjects},
            "similarity": near.tolist(),
        }


def _outcome(result: TransferResult, entry: SeedRecord) -> dict[str, Any]:
    """What a finished seed gives its row."""
    weights = get_method(result.run.method).omega_weights(torch.from_numpy(result.omega(seed=entry.seed)))
    return {
        "score": entry.scores[result.task.metric],
        "omega": weights.tolist() if weights is not None else None,
        **entry.model_dump(
            include={"scores", "dev", "epoch", "steps", "seconds", "parameters", "bytes", "peak_memory"}
        ),
    }


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """The folder of a result: the kept one, or one that is gone afterwards. All processes of a launch are given the same."""
    if kept is not None:
        yield kept
        return
    made = Path(broadcast_object_list([tempfile.mkdtemp(prefix="scalearn-") if is_main() else ""])[0])
    try:
        yield made
    finally:
        main_writes(shutil.rmtree, made, ignore_errors=True)
