"""Stage 1: a task's own adapter and head, trained on the frozen base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from adapters import SeqBnConfig

from tasksel.adapters.checkpoint import TOLD, Trained
from tasksel.display.progress import say
from tasksel.model.base import Base, quiet
from tasksel.model.heads import add_head
from tasksel.processes import accelerator
from tasksel.storage.atomic import value_hash, whole_folder, write_json
from tasksel.tasks.load import Data
from tasksel.tasks.task import Task
from tasksel.training.loop import fit
from tasksel.training.predict import encode_split
from tasksel.training.recipe import Recipe

REDUCTION_FACTOR = 16  # the authors' and the library's default for seq_bn


TARGET_RECIPE = Recipe(lr=1e-3, epochs=10, max_length=64, micro_batch=32)  # ours: few rows want a larger step than 3e-4


def add_fresh(model: Any, name: str) -> None:
    """Gives the model one new, ordinary `seq_bn` adapter and makes it active."""
    with quiet():
        model.add_adapter(name, config=SeqBnConfig(reduction_factor=REDUCTION_FACTOR))
        model.set_active_adapters(name)


def freeze_base(model: Any) -> None:
    """Leaves trainable what is new beside the base: heads, and whatever sits in an adapter slot."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("heads.") or ".adapters." in name)


def train_adapter(
    task: Task, data: Data, base: Base, folder: Path, *, seed: int = 0, recipe: Recipe = TARGET_RECIPE
) -> Trained:
    """A task's own adapter and head, trained on `data` and stored in `folder`; what is stored already is given back.

    Raises:
        Diverged: the loss became NaN.
    """
    key = value_hash([data.fingerprint, base.fingerprint, recipe.model_dump(mode="json"), seed])
    made = Trained(folder / f"adapter-{key}", task.name)
    there, world = (made.folder / TOLD).is_file(), accelerator()
    world.wait_for_everyone()  # all have looked before one writes
    if there:
        return made
    if world.is_main_process:
        say(f"{task.name} has no trained adapter: one is trained on its {len(data.train)} rows, and kept")
    torch.manual_seed(seed)
    model = base.model()
    add_head(model, task, name=task.name)
    add_fresh(model, task.name)
    freeze_base(model)
    train, dev = (
        encode_split(split, task, base.tokenizer, max_length=recipe.max_length) for split in (data.train, data.dev)
    )
    run = fit(model, task, train, dev, recipe, seed=seed, label=f"adapter of {task.name}")
    if world.is_main_process:
        with whole_folder(made.folder) as fresh:
            model.save_adapter(str(fresh), task.name, with_head=True, use_safetensors=True)
            write_json(fresh / TOLD, {"task": task.name, "dev": run.score, "seconds": run.seconds})
    world.wait_for_everyone()
    return made
