"""Stage 1: one ordinary adapter and head a task, trained on the frozen base and stored in the pool."""

from __future__ import annotations

from typing import Any, Literal

from scalearn.methods.base import METHODS, SOURCE_RECIPE, build, learned_parameters
from tasksel.adapters.pool import AdapterPool, Source, entry_name
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.processes import accelerator
from tasksel.storage.atomic import value_hash
from tasksel.tasks.load import Data, load
from tasksel.tasks.task import Task
from tasksel.training.loop import fit
from tasksel.training.memory import Peak
from tasksel.training.predict import encode_split, evaluate_all
from tasksel.training.recipe import Recipe

Existing = Literal["only-missing", "always", "never"]


def source_key(task: Task, data: Data, base: Base, recipe: Recipe, seed: int) -> str:
    """16 hex digits of all that decides the adapter: rows, kind of task, base, recipe, seed."""
    made_of = [
        data.fingerprint,
        task.kind,
        task.labels,
        task.metric,
        base.fingerprint,
        recipe.model_dump(mode="json", exclude={"log_with"}),
        seed,
    ]
    return value_hash(made_of)


def train_source(
    task: Task,
    pool: AdapterPool,
    *,
    name: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    recipe: Recipe = SOURCE_RECIPE,
    overwrite: Existing = "only-missing",
) -> Source:
    """Trains a `seq_bn` adapter (reduction factor 16) with a head on a task and stores both in the pool.

    The dev tenth of train chooses the checkpoint; the public validation set is scored once, at the end.

    Args:
        name: the entry's name, by default the task's.
        rows: at most so many training rows (a seeded, stratified draw).
        overwrite: "only-missing" gives back an entry that was made just so and refuses one that was made otherwise; "always" trains
            anew; "never" gives back whatever has the name.

    Raises:
        UserError: the name holds an adapter made otherwise, or cannot name a folder; bad data (see `tasksel.tasks.load.load`).
        Diverged: the loss became NaN; the last good state is kept beside the pool's entries.
    """
    name = entry_name(name or task.name)
    if name in pool and overwrite == "never":
        return pool[name]
    data = load(task, rows=rows, seed=seed)
    key = source_key(task, data, pool.base, recipe, seed)
    if name in pool and overwrite == "only-missing":
        return _held(pool, name, key)
    peak = Peak(accelerator().device)
    model = build(pool.base, task, METHODS["single-adapter"], {}, {}, seed=seed)
    card: dict[str, Any] = {
        "name": name,
        "key": key,
        "task": task,
        "data": data.fingerprint,
        "rows": rows,
        "seed": seed,
    }
    card |= {"recipe": recipe, "parameters": learned_parameters(model)}
    tokenizer, length = pool.base.tokenizer, recipe.max_length
    train, dev = (encode_split(split, task, tokenizer, max_length=length) for split in (data.train, data.dev))
    rescue = pool.folder / f"{name}-last-good.safetensors"
    run = fit(model, task, train, dev, recipe, seed=seed, label=f"source {name}", rescue=rescue)
    card |= {"seconds": run.seconds, "steps": run.steps, "epoch": run.epoch, "peak_memory": peak.bytes()}
    card["scores"] = {"dev": run.score or 0.0, **evaluate_all(model, task, data, tokenizer, max_length=length)}
    world = accelerator()
    if world.is_main_process:
        pool.store(model, task.name, **card)
    world.wait_for_everyone()
    if not world.is_main_process:
        pool.reread()
    return pool[name]


def _held(pool: AdapterPool, name: str, key: str) -> Source:
    """The entry of that name, if it was made just so and is whole."""
    held = pool[name]
    if held.card.key != key:
        raise UserError(
            f"the pool {pool.folder} holds '{name}' made with other data or settings ({_told(held)}); "
            "give another name (--name) or replace it (--overwrite always)"
        )
    held.verify()
    say(f"{name}: in the pool already")
    return held


def _told(source: Source) -> str:
    recipe = source.card.recipe
    settings = f", lr {recipe.lr:g}, at most {recipe.epochs} epochs" if recipe else ""
    return f"rows {source.rows or 'all'}, seed {source.seed}{settings}; {source.card.origin}"
