"""Trains one new adapter and a head on a frozen base: the one trainer of a pool's sources and of target adapters.

    h <- h + up f(down h)        in every layer; what trains is down, up and the head (`seq_bn`, Pfeiffer et al. 2021, arXiv:2005.00247)
    W x <- W x + scale B A x     or, as a LoRA, on the Linears that it targets; what trains is A, B and the head (Hu et al. 2022, arXiv:2106.09685)

Heads are drawn first, in the order of their tasks, then the adapter: at one seed every training of a task starts from the same head. A joint
training (`scalearn.methods.joint`) takes the same model with a head for each of its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from tasksel.adapters.card import entry_name
from tasksel.adapters.checkpoint import RECORD, AdapterCheckpoint, TrainingRecord
from tasksel.adapters.folder import save_adapter
from tasksel.adapters.pool import AdapterPool, Source
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.adapter_config import SEQ_BN
from tasksel.model.base import Base
from tasksel.model.compatibility import check_length
from tasksel.model.decoders import check_slots_for
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.heads import add_head
from tasksel.model.lora_config import LoraConfig, lora_config
from tasksel.model.names import module_name
from tasksel.model.pooling import Pooling
from tasksel.processes import accelerator, is_main, main_writes
from tasksel.storage.atomic import file_hash, value_hash, whole_folder
from tasksel.storage.hashed import write_hashed
from tasksel.storage.identity import versioned
from tasksel.tasks.infer import DEFAULT_METRIC
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.task import Task
from tasksel.training.base_pooling import pooling_of
from tasksel.training.checkpoints import Checkpoints, resumable
from tasksel.training.device import for_device
from tasksel.training.exclusive import exclusive
from tasksel.training.loop import FitResult, fit
from tasksel.training.memory import PeakMemory
from tasksel.training.precision import Precision
from tasksel.training.predict import evaluate_all
from tasksel.training.recipe import Recipe

VERSION = 1  # of this training: raised when the same rows and recipe give other numbers; part of every key from 2 on
REDUCTION_FACTOR = 16  # the authors' and the library's default for seq_bn
Existing = Literal["only-missing", "always", "never"]
SOURCE_RECIPE = Recipe(lr=3e-4, patience=5)  # the authors' scripts of arXiv:2310.01217
LORA_RECIPE = Recipe(
    lr=1e-3, patience=5
)  # ours: B starts at zero, and a rank of 8 bears a larger step than a bottleneck
TARGET_RECIPE = Recipe(lr=1e-3, epochs=10, max_length=64, micro_batch=32)  # ours: few rows need a larger step than 3e-4


def add_new_adapter(model: Any, name: str, lora: LoraConfig | None = None) -> None:
    """Adds one new, ordinary adapter to the model and makes it active: a `seq_bn`, or a LoRA of this configuration.

    >>> add_new_adapter(model, "rte")  # doctest: +SKIP
    """
    model.add_adapter(name, lora or {**SEQ_BN, "reduction_factor": REDUCTION_FACTOR})
    model.set_active_adapters(name)


def freeze_base(model: Any) -> None:
    """Leaves trainable what is new beside the base: heads, and whatever sits in an adapter slot.

    >>> freeze_base(model)  # doctest: +SKIP
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("heads.") or ".adapters." in name)


def adapter_model(
    base: Base,
    tasks: Sequence[Task],
    name: str,
    *,
    seed: int,
    pooling: Pooling = "first",
    lora: LoraConfig | None = None,
) -> Any:
    """The frozen base with a head for each task, in this order, and one new adapter `name`; the last task's head is active.

    Args:
        pooling: what the heads read of a text's tokens. lora: of a LoRA in place of a bottleneck.

    >>> adapter_model(load_base("minilm"), [task], task.name, seed=0)  # doctest: +SKIP
    """
    torch.manual_seed(seed)
    model = base.model()
    for task in tasks:
        add_head(model, task, name=module_name(task.name), pooling=pooling)
    add_new_adapter(model, name, lora)
    freeze_base(model)
    return model


def trainable_parameters(model: Any) -> dict[str, int]:
    """The number of trainable parameters: of the head ("head"), and of all else ("transfer").

    >>> trainable_parameters(model)  # doctest: +SKIP
    {'transfer': 894528, 'head': 592130}
    """
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(size for name, size in sizes.items() if name.startswith(("heads.", "lm_head.")))
    return {"transfer": sum(sizes.values()) - head, "head": head}


def fit_adapter(
    task: Task,
    data: Data,
    base: Base,
    recipe: Recipe,
    *,
    seed: int,
    label: str,
    rescue: Path | None = None,
    lora: LoraConfig | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Any, FitResult]:
    """Trains a new adapter and head, both of the task's name, on the task's rows.

    Args:
        label: what a progress bar says. rescue: where the last finite state is written if the loss becomes NaN.
        lora: of a LoRA in place of a bottleneck. checkpoints: what it goes on from if it is killed.

    Returns:
        The model with the best checkpoint on dev, and how the training went.

    Raises:
        Diverged: the loss became NaN.

    >>> model, fitted = fit_adapter(task, load_data(task), base, SOURCE_RECIPE, seed=0, label="rte")  # doctest: +SKIP
    """
    train, dev = (
        encode_split(split, task, base.tokenizer, max_length=recipe.max_length) for split in (data.train, data.dev)
    )
    say_cut(train, task.name, recipe.max_length)
    pooling = pooling_of(recipe, base, task, train.joined(dev), seed=seed)
    model = adapter_model(base, [task], module_name(task.name), seed=seed, pooling=pooling, lora=lora)
    options: dict[str, Any] = {"label": label, "rescue": rescue, "checkpoints": checkpoints}
    return model, fit(model, task, train, dev, recipe, seed=seed, **options)


def train_adapter(
    task: Task,
    data: Data,
    base: Base,
    folder: Path,
    *,
    seed: int = 0,
    recipe: Recipe = TARGET_RECIPE,
    lora: LoraConfig | None = None,
) -> AdapterCheckpoint:
    """A target adapter with its head, trained on `data` and stored in `folder`; one that is stored already is read, not trained.

    Args:
        lora: of a LoRA in place of a bottleneck.

    Raises:
        Diverged: the loss became NaN.

    >>> train_adapter(task, load_data(task), load_base("minilm"), Path("adapters"))  # doctest: +SKIP
    """
    decisive = [data.fingerprint, base.fingerprint, {**recipe.identity(), "log_with": None}, seed]
    if task.metric != DEFAULT_METRIC[task.kind]:  # it chooses the checkpoint; version 0.1 left it out
        decisive.append({"metric": task.metric})
    if lora is not None:
        decisive.append(lora.model_dump(mode="json"))
    key = value_hash(versioned(decisive, VERSION))
    stored = AdapterCheckpoint(folder / f"adapter-{key}", module_name(task.name))
    if (stored.folder / RECORD).is_file():
        stored.verify()
        return stored
    if lora is None:
        check_slots_for(base.config, f"an adapter of '{task.name}' on base '{base.name}'")
    check_length(base, [task], recipe.max_length)
    with exclusive(stored.folder), resumable(stored.folder, key) as checkpoints:
        if not (stored.folder / RECORD).is_file():
            say(f"{task.name} has no trained adapter: one is trained on its {len(data.train)} rows and stored")
            options: dict[str, Any] = {"label": f"adapter of {task.name}", "lora": lora, "checkpoints": checkpoints}
            model, fitted = fit_adapter(task, data, base, recipe, seed=seed, **options)
            main_writes(_store, stored, task, model, fitted)
    return stored


def _store(checkpoint: AdapterCheckpoint, task: Task, model: Any, fitted: FitResult) -> None:
    with whole_folder(checkpoint.folder) as partial:
        save_adapter(model, partial, checkpoint.adapter)
        files = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
        record = TrainingRecord(task=task.name, dev=fitted.score, seconds=fitted.seconds, files=files)
        write_hashed(partial / RECORD, record.model_dump(mode="json"))


def source_key(task: Task, data: Data, base: Base, recipe: Recipe, seed: int, lora: LoraConfig | None = None) -> str:
    """16 hex digits of all that decides the adapter: rows, kind of task, base, recipe, seed, and a LoRA's configuration."""
    decisive: list[Any] = [
        data.fingerprint,
        task.kind,
        task.labels,
        task.metric,
        base.fingerprint,
        recipe.identity(),
        seed,
        *([lora.model_dump(mode="json")] if lora else []),
    ]
    return value_hash(versioned(decisive, VERSION))


def train_source(
    task: Task,
    pool: AdapterPool,
    *,
    name: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    overwrite: Existing = "only-missing",
    lora: LoraConfig | Mapping[str, Any] | None = None,
    precision: Precision | None = None,
) -> Source:
    """Trains a `seq_bn` adapter (reduction factor 16), or a LoRA, with a head on a task and stores both in the pool.

    One that is killed goes on from its last state when it is called again. The dev tenth of train chooses the checkpoint; the public validation set is scored once.

    Args:
        name: the entry's name, by default the task's. rows: at most so many training rows (a seeded, stratified draw).
        recipe: by default `SOURCE_RECIPE`, of a LoRA `LORA_RECIPE`.
        overwrite: "only-missing" returns an entry of the same data and settings and refuses another; "always" trains again; "never" returns any.
        lora: a LoRA with PEFT's names (`r`, `lora_alpha`, `target_modules`, …) in place of a bottleneck, as {"r": 8, "target_modules": ["query"]}.
        precision: of the steps, "float32", "bf16" or "fp16"; by default the recipe's, which is the launch's, or bf16 on a GPU that has it.

    >>> train_source(get_task("sentiment_films"), AdapterPool("pools/mine", base="minilm"))  # doctest: +SKIP

    Raises:
        UserError: a pool of the other kind; a target that the base lacks; the name holds an adapter trained with other data or settings, or cannot name a folder; bad data (see `tasksel.tasks.load.load_data`).
        Diverged: the loss became NaN; the last good state is kept beside the pool's entries.
    """
    name = entry_name(name or task.name)
    config = lora_config(lora) if lora is not None else None
    pool.check_kind("lora" if config else "bottleneck")
    if name in pool and overwrite == "never":
        return pool[name]
    if config is None:
        check_slots_for(pool.base.config, f"a source on base '{pool.base.name}'")
    begun = pool[name].card.recipe if name in pool and overwrite == "only-missing" else None
    recipe = recipe or (LORA_RECIPE if config else SOURCE_RECIPE)
    recipe = for_device(recipe, pool.base, task, precision=precision, begun=begun)
    check_length(pool.base, [task], recipe.max_length)
    key = source_key(task, data := load_data(task, rows=rows, seed=seed), pool.base, recipe, seed, config)
    if name in pool and overwrite == "only-missing":
        return _stored_entry(pool, name, key)
    with exclusive(pool.folder / name):
        pool.reread()  # another run may have trained it meanwhile
        if name in pool and overwrite != "always":
            return pool[name] if overwrite == "never" else _stored_entry(pool, name, key)
        with resumable(pool.folder / name, key) as checkpoints:
            options: dict[str, Any] = {"rows": rows, "seed": seed, "recipe": recipe, "lora": config}
            return _train(task, data, pool, name=name, key=key, checkpoints=checkpoints, **options)


def _train(
    task: Task,
    data: Data,
    pool: AdapterPool,
    *,
    name: str,
    key: str,
    rows: int | None,
    seed: int,
    recipe: Recipe,
    lora: LoraConfig | None,
    checkpoints: Checkpoints | None,
) -> Source:
    """Trains, scores and stores an entry."""
    peak, rescue = PeakMemory(accelerator().device), pool.folder / f"{name}-last-good.safetensors"
    options: dict[str, Any] = {"label": f"source {name}", "rescue": rescue, "lora": lora, "checkpoints": checkpoints}
    model, fitted = fit_adapter(task, data, pool.base, recipe, seed=seed, **options)
    card: dict[str, Any] = {"seconds": fitted.seconds, "steps": fitted.steps, "epoch": fitted.epoch}
    card |= {"peak_memory": peak.bytes(), "parameters": trainable_parameters(model)}
    scores = evaluate_all(model, task, data, pool.base.tokenizer, max_length=recipe.max_length)
    card["scores"] = {"dev": fitted.score or 0.0, **scores}
    card |= {"name": name, "key": key, "task": task, "data": data.fingerprint, "rows": rows, "seed": seed}
    main_writes(pool.store, model, module_name(task.name), recipe=recipe, **card)
    if not is_main():
        pool.reread()
    return pool[name]


def _stored_entry(pool: AdapterPool, name: str, key: str) -> Source:
    """The entry of that name, if it was trained with the same data and settings and is whole."""
    stored = pool[name]
    if stored.card.key != key:
        raise UserError(
            f"the pool {pool.folder} holds '{name}' trained with other data or settings ({_settings(stored)}); "
            "give another name (--name) or replace it (--overwrite always)"
        )
    stored.verify()
    say(f"{name}: in the pool already")
    return stored


def _settings(source: Source) -> str:
    recipe = source.card.recipe
    schedule = f", lr {recipe.lr:g}, at most {recipe.epochs} epochs" if recipe else ""
    return f"rows {source.rows or 'all'}, seed {source.seed}{schedule}; {source.card.origin}"
