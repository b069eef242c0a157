"""Stage 2: one transfer method trains on a target, from sources, for each seed; a killed run goes on from the last finished seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from scalearn.layers.kinds import Layers, kind_of
from scalearn.methods.few_rows import recipe_for
from scalearn.methods.identity import method_identity
from scalearn.methods.registry import METHODS, TransferMethod, get_method
from scalearn.methods.state import learned_parameters, learned_state
from scalearn.methods.training import SeedTraining, TrainedModel
from scalearn.results.result import (
    SOURCES,
    ResultSummary,
    SeedRecord,
    TransferRecord,
    TransferResult,
    read_record,
)
from tasksel.adapters.pool import Source
from tasksel.bounds import check_seed
from tasksel.display.progress import bar
from tasksel.errors import UserError
from tasksel.model.base import Base, describe, load_base
from tasksel.model.compatibility import check_length
from tasksel.model.lora_config import LoraConfig, lora_config
from tasksel.model.stored_base import stored_base
from tasksel.processes import main_writes
from tasksel.storage.atomic import file_hash, is_unused, temporary_folder, value_hash, whole_folder
from tasksel.storage.hashed import write_hashed
from tasksel.storage.provenance import versions
from tasksel.storage.user_path import user_path
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.metrics import Limits, label_range
from tasksel.tasks.task import Task
from tasksel.training.checkpoints import Checkpoints, resumable
from tasksel.training.device import for_device
from tasksel.training.exclusive import exclusive
from tasksel.training.precision import Precision
from tasksel.training.predict import evaluate_all
from tasksel.training.recipe import Recipe


@dataclass(frozen=True)
class TransferSpec:
    """All that decides a transfer except the seeds: what `run.json` records and the key is a hash of.

    `store`, where trainings that several targets share are kept, and `checkpoints`, where a killed one finds its state, decide no number.
    `lora` is the new LoRA of a method that adds one.

    >>> TransferSpec(folder, target, get_method("scalearn"), base, sources, None, recipe, None).key  # doctest: +SKIP
    """

    folder: Path
    target: Task
    method: TransferMethod
    base: Base
    sources: tuple[Source, ...]
    rows: int | None
    recipe: Recipe
    similarities: tuple[float, ...] | None
    store: Path | None = None
    lora: LoraConfig | None = None
    checkpoints: Path | None = None

    @cached_property
    def prepared(self) -> tuple[Layers, dict[str, Any]]:
        """The sources' projections by slot path, and their adapter configuration, as the method prepares them; or a new LoRA's configuration."""
        if self.lora is not None:
            return {}, self.lora.model_dump(mode="json")
        return self.method.prepare(self.sources, self.similarities)

    @cached_property
    def key(self) -> str:
        """16 hex digits: a hash of everything that decides the outcome except the seeds."""
        content = load_data(self.target, rows=self.rows).fingerprint
        target = [self.target.name, self.target.kind, self.target.labels, self.target.metric, content]
        sources, recipe = self.method.identity(self.sources), self.recipe.identity()
        decisive = [target, method_identity(self.method), self.base.fingerprint, self.rows, sources, recipe]
        more = [
            part for part in (self.similarities, self.lora and self.lora.model_dump(mode="json")) if part is not None
        ]
        return value_hash([*decisive, *more])


def transfer(
    target: Task,
    sources: Sequence[Source],
    *,
    method: str = "auto",
    seeds: Sequence[int] = (0,),
    rows: int | None = None,
    recipe: Recipe | None = None,
    base: str | Base | None = None,
    out: str | Path | None = None,
    similarities: Sequence[float] | None = None,
    store: str | Path | None = None,
    lora: LoraConfig | Mapping[str, Any] | None = None,
    checkpoints: str | Path | None = None,
    precision: Precision | None = None,
) -> TransferResult:
    """Trains a transfer method on a target and scores it on the public validation set.

    Args:
        sources: from `AdapterPool.select`, best first; of more than the method takes ("sequential" one, "auto" two) the rest is left out.
        method: a name in `scalearn.methods.registry.METHODS`; "auto" tries several ways and keeps the one that cross-validates best.
        seeds: each draws its own rows, dev set, head, omega and order. rows: at most so many training rows of the target.
        recipe: by default the method's own, for few rows or many (`scalearn.methods.few_rows`).
        base: needed without sources, or where theirs was moved; by default the one they were trained on.
        out: the result's folder; by default a temporary one (see `TransferResult.save`).
        similarities: each source's similarity to the target, as a ranking's scores; for methods that need them ("soup-similarity").
        store: where trainings that several targets share ("joint") are kept; None trains anew.
        lora: of a method that trains a new adapter ("single-adapter"), a LoRA of this configuration in place of a bottleneck.
        checkpoints: where a seed keeps what it goes on from if it is killed; by default in `out`, and without either nowhere.
        precision: of the steps, "float32", "bf16" or "fp16"; by default the recipe's, which is the launch's, or bf16 on a GPU that has it.

    >>> result = transfer(get_task("rte"), pool.select(["mnli", "qnli"]), seeds=[0, 1, 2], out="out/rte")  # doctest: +SKIP

    Raises:
        UserError: too few or ill-matched sources, an unknown method, similarities that are missing or cannot be weights, a folder that
            holds a different run, bad data; a source that the method cannot use.
        Diverged: the loss became NaN; finished seeds and the last good state are kept.
    """
    chosen = get_method(method)
    _check(chosen, sources, seeds)
    new_lora = _new_lora(chosen, lora)
    recipe = recipe or _own_recipe(chosen, target, rows, sources, new_lora)
    model_base = _base(sources, base)
    weights, used = _similarities(chosen, sources, similarities), chosen.choose(target, sources)
    _check_target(chosen, target, used, model_base, recipe, new_lora)
    folder = user_path(out) if out is not None else temporary_folder()
    recipe = for_device(recipe, model_base, target, precision=precision, begun=_begun_by(folder))
    shared, kept = (user_path(place) if place else None for place in (store, checkpoints or out))
    spec = TransferSpec(folder, target, chosen, model_base, used, rows, recipe, weights, shared, new_lora, kept)
    return _run(spec, seeds)


def _begun_by(folder: Path) -> Recipe | None:
    """The recipe of the transfer that a folder holds; None where it holds none."""
    path = folder / "run.json"
    return read_record(path, TransferRecord).recipe if path.is_file() else None


def _own_recipe(
    method: TransferMethod, target: Task, rows: int | None, sources: Sequence[Source], new: LoraConfig | None
) -> Recipe:
    """The method's own recipe for the target's rows and the kind of adapters."""
    loras = new is not None or any(source.kind == "lora" for source in sources)
    return recipe_for(method, lambda: len(load_data(target, rows=rows).train), kind="lora" if loras else "bottleneck")


def _run(spec: TransferSpec, seeds: Sequence[int]) -> TransferResult:
    """Trains the seeds that the folder lacks, and writes the summary last."""
    with exclusive(spec.folder):
        _begin(spec)
        with bar(f"{spec.target.name} by {spec.method.name}", len(seeds)) as advance:
            for seed in seeds:
                if not (spec.folder / f"seed-{seed}" / "seed.json").is_file():
                    _train_seed(spec, seed)
                advance("")
        finished = {int(path.parent.name.removeprefix("seed-")) for path in spec.folder.glob("seed-*/seed.json")}
        summary, path = ResultSummary(seeds=tuple(sorted(finished))), spec.folder / "result.json"
        if not path.is_file() or read_record(path, ResultSummary) != summary:
            main_writes(write_hashed, path, summary.model_dump(mode="json"))
    return TransferResult.load(spec.folder)


def _base(sources: Sequence[Source], base: str | Base | None) -> Base:
    if base is None and not sources:
        raise UserError("no sources and no base: name the base model (base='minilm', a hub id or a folder)")
    if base is None:
        first = sources[0]
        model_base = stored_base(first.card.base, owner=f"source '{first.name}'", near=first.folder)
    else:
        model_base = base if isinstance(base, Base) else load_base(base)
    for source in sources:
        source.check_base(model_base)
    return model_base


def _check_target(
    method: TransferMethod,
    target: Task,
    used: Sequence[Source],
    base: Base,
    recipe: Recipe,
    lora: LoraConfig | None,
) -> None:
    """Refuses a target that the method cannot train, a base without its slots, and a number of tokens that does not fit."""
    method.check_task(target)
    method.check_base(base, used, lora=lora is not None)
    trained_on = [target, *(source.task for source in used if method.needs_tasks and source.task)]
    check_length(base, trained_on, recipe.max_length)


def _new_lora(method: TransferMethod, lora: LoraConfig | Mapping[str, Any] | None) -> LoraConfig | None:
    """The configuration of a new LoRA, where the method adds a new adapter."""
    if lora is None:
        return None
    if not method.adds_new:
        able = ", ".join(name for name, other in METHODS.items() if other.adds_new)
        raise UserError(f"method '{method.name}' trains no new adapter, so it takes no lora=…; those that do: {able}")
    return lora_config(lora)


def _check(method: TransferMethod, sources: Sequence[Source], seeds: Sequence[int]) -> None:
    """Refuses too few sources, ones that the method cannot use, duplicates, a missing package, no seeds."""
    method.check_count(len(sources))
    for source in sources:
        method.check_kind(source.kind)
    method.check_installed()
    names = [source.name for source in sources]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate:
        raise UserError(f"source '{duplicate}' is given twice; names must differ (rename the folder of one of them)")
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"seeds {list(seeds)}: must be a non-empty list without duplicates")
    for seed in seeds:
        check_seed(seed)


def _similarities(
    method: TransferMethod, sources: Sequence[Source], similarities: Sequence[float] | None
) -> tuple[float, ...] | None:
    """The similarities, where the method needs them."""
    if similarities is not None and len(similarities) != len(sources):
        raise UserError(
            f"{len(similarities)} similarities for {len(sources)} sources: give one per source, in the same order"
        )
    if not method.needs_similarities:
        return None
    if similarities is None:
        raise UserError(
            f"method '{method.name}' weighs the sources by their similarity to the target, and none is given: "
            "let a ranking choose the sources, pass similarities=[...], or use 'soup', which weighs all alike"
        )
    method.check_similarities(similarities)
    return tuple(float(value) for value in similarities)


def _begin(spec: TransferSpec) -> None:
    """Writes `run.json` and the sources' weights, all at once; or checks that the folder holds the same transfer.

    Raises:
        UserError: the folder holds a different run (what differs is named), or something else.
    """
    path = spec.folder / "run.json"
    if path.is_file():
        record = read_record(path, TransferRecord)
        if record.key != spec.key:
            raise UserError(
                f"{spec.folder} holds a different run ({_difference(record, spec)}): choose another --out, or delete it"
            )
    elif not is_unused(spec.folder):
        raise UserError(f"{spec.folder} is not empty and holds no transfer: choose another --out")
    else:
        main_writes(_write_record, spec)


def _write_record(spec: TransferSpec) -> None:
    with whole_folder(spec.folder) as partial:
        write_hashed(partial / "run.json", _record(spec, partial).model_dump(mode="json"))


def _record(spec: TransferSpec, folder: Path) -> TransferRecord:
    """Writes the sources' projections into the folder, and returns the record of the transfer."""
    layers, adapter_config = spec.prepared
    digest = None
    if layers:
        save_file(kind_of(adapter_config).to_tensors(layers), folder / SOURCES)
        digest = file_hash(folder / SOURCES)
    return TransferRecord(
        key=spec.key,
        task=spec.target,
        method=spec.method.name,
        base=describe(spec.base),
        sources={source.name: source.fingerprint for source in spec.sources},
        adapter_config=adapter_config,
        rows=spec.rows,
        recipe=spec.recipe,
        sources_file=digest,
        versions=versions(),
        similarities=spec.similarities,
        settings=spec.method.settings(),
    )


def _difference(record: TransferRecord, spec: TransferSpec) -> str:
    """What differs between a stored transfer and the one that is asked for."""
    pairs = {
        "target": (record.task.name, spec.target.name),
        "metric": (record.task.metric, spec.target.metric),
        "method": (record.method, spec.method.name),
        "sources": (", ".join(record.sources), ", ".join(source.name for source in spec.sources)),
        "similarities": (record.similarities, spec.similarities),
        "rows": (record.rows, spec.rows),
        **_differing_settings(record, spec),
        **{
            f"recipe.{name}": (getattr(record.recipe, name), getattr(spec.recipe, name)) for name in Recipe.model_fields
        },
    }
    differing = [f"{what} {old}, asked {new}" for what, (old, new) in pairs.items() if old != new]
    return "; ".join(differing) or "the data, the base or a source's weights differ"


def _differing_settings(record: TransferRecord, spec: TransferSpec) -> dict[str, tuple[Any, Any]]:
    """The method's values, stored and asked for, where those of the stored transfer are recorded."""
    old, new = record.settings or {}, spec.method.settings()
    if record.settings is None or record.method != spec.method.name:
        return {}
    return {f"the method's {name}": (old.get(name), new.get(name)) for name in sorted(old | new)}


def _train_seed(spec: TransferSpec, seed: int) -> None:
    """Trains one seed, or goes on with it, scores it, and stores it whole."""
    place = spec.checkpoints and spec.checkpoints / f"seed-{seed}"
    with resumable(place, f"{spec.key}, seed {seed}") as checkpoints:
        _train_and_store(spec, seed, checkpoints)


def _train_and_store(spec: TransferSpec, seed: int, checkpoints: Checkpoints | None) -> None:
    """Trains one seed by the method's own procedure, scores it, and stores it whole."""
    data = load_data(spec.target, rows=spec.rows, seed=seed)
    layers, adapter_config = spec.prepared
    training = SeedTraining(
        target=spec.target,
        data=data,
        base=spec.base,
        recipe=spec.recipe,
        seed=seed,
        sources=spec.sources,
        layers=layers,
        adapter_config=adapter_config,
        label=f"{spec.target.name} by {spec.method.name}, seed {seed}",
        rescue=spec.folder / f"seed-{seed}-last-good.safetensors",
        store=spec.store,
        checkpoints=checkpoints,
    )
    trained = spec.method.train(training)
    limits, length = _limits(spec, data, trained), spec.recipe.max_length
    scores = evaluate_all(trained.model, spec.target, data, spec.base.tokenizer, max_length=length, limits=limits)
    main_writes(_store_seed, spec, seed, data.fingerprint, trained, scores, limits)


def _limits(spec: TransferSpec, data: Data, trained: TrainedModel) -> Limits | None:
    """The range of a regression's labels, where the head was solved: ridge regression may leave it. Other heads give what they give."""
    if spec.recipe.start != "solved" and trained.fit.steps:  # a closed form takes no step, whatever its recipe says
        return None
    return label_range(spec.target.kind, np.concatenate([data.train.labels, data.dev.labels]))


def _store_seed(
    spec: TransferSpec, seed: int, data: str, trained: TrainedModel, scores: dict[str, float], limits: Limits | None
) -> None:
    """Stores a seed's trained state, scores and costs, whole or not at all."""
    merged = (spec.folder / SOURCES).stat().st_size if spec.method.merges else 0
    done = trained.fit
    with whole_folder(spec.folder / f"seed-{seed}") as partial:
        state = partial / "state.safetensors"
        save_file(learned_state(trained.model), state)
        entry = SeedRecord(
            seed=seed,
            scores=scores,
            dev=done.score or 0.0,
            epoch=done.epoch or 0,
            steps=done.steps,
            seconds=done.seconds,
            parameters=learned_parameters(trained.model),
            data=data,
            state_file=file_hash(state),
            bytes=state.stat().st_size + merged,
            peak_memory=trained.peak_memory,
            grid=trained.grid,
            candidates=trained.candidates,
            pooling=trained.model.heads[trained.model.active_head].pooling,
            range=limits,
        )
        write_hashed(partial / "seed.json", entry.model_dump(mode="json"))
