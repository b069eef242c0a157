"""Stage 1: one ordinary adapter and head per task, trained on the frozen base and stored in the pool.

What trains them is `tasksel.adapters.train.fit_adapter`, as for a target's own adapter; here are the pool's entry, its key and its scores.
"""

from __future__ import annotations

from typing import Any, Literal

from tasksel.adapters.scalearn_pool import AdapterPool, Source, entry_name
from tasksel.adapters.train import SOURCE_RECIPE, fit_adapter, trainable_parameters
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.processes import accelerator
from tasksel.storage.atomic import value_hash
from tasksel.tasks.load import Data, load
from tasksel.tasks.task import Task
from tasksel.training.memory import Peak
from tasksel.training.predict import evaluate_all
from tasksel.training.recipe import Recipe

Existing = Literal["only-missing", "always", "never"]


def source_key(task: Task, data: Data, base: Base, recipe: Recipe, seed: int) -> str:
    """16 hex digits of all that decides the adapter: rows, kind of task, base, recipe, seed."""
    decisive = [
        data.fingerprint,
        task.kind,
        task.labels,
        task.metric,
        base.fingerprint,
        recipe.model_dump(mode="json", exclude={"log_with"}),
        seed,
    ]
    return value_hash(decisive)


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

    >>> train_source(get_task("sentiment_films"), AdapterPool("pools/mine", base="minilm"))  # doctest: +SKIP

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
    return _train(task, data, pool, name=name, key=key, rows=rows, seed=seed, recipe=recipe)


def _train(
    task: Task, data: Data, pool: AdapterPool, *, name: str, key: str, rows: int | None, seed: int, recipe: Recipe
) -> Source:
    """Trains, scores and stores an entry."""
    peak, rescue = Peak(accelerator().device), pool.folder / f"{name}-last-good.safetensors"
    model, done = fit_adapter(task, data, pool.base, recipe, seed=seed, label=f"source {name}", rescue=rescue)
    card: dict[str, Any] = {"seconds": done.seconds, "steps": done.steps, "epoch": done.epoch}
    card |= {"peak_memory": peak.bytes(), "parameters": trainable_parameters(model)}
    scores = evaluate_all(model, task, data, pool.base.tokenizer, max_length=recipe.max_length)
    card["scores"] = {"dev": done.score or 0.0, **scores}
    card |= {"name": name, "key": key, "task": task, "data": data.fingerprint, "rows": rows, "seed": seed}
    world = accelerator()
    if world.is_main_process:
        pool.store(model, task.name, recipe=recipe, **card)
    world.wait_for_everyone()
    if not world.is_main_process:
        pool.reread()
    return pool[name]


def _held(pool: AdapterPool, name: str, key: str) -> Source:
    """The entry of that name, if it was made just so and is whole."""
    held = pool[name]
    if held.card.key != key:
        raise UserError(
            f"the pool {pool.folder} holds '{name}' made with other data or settings ({_settings(held)}); "
            "give another name (--name) or replace it (--overwrite always)"
        )
    held.verify()
    say(f"{name}: in the pool already")
    return held


def _settings(source: Source) -> str:
    recipe = source.card.recipe
    schedule = f", lr {recipe.lr:g}, at most {recipe.epochs} epochs" if recipe else ""
    return f"rows {source.rows or 'all'}, seed {source.seed}{schedule}; {source.card.origin}"
