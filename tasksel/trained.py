"""A task's trained adapter and head, in the `adapters` library's own format: what some methods compare or run.

    <folder>/adapter_config.json, adapter.safetensors, head_config.json, model_head.safetensors

A source's comes from its pool; a target's is trained here, on the rows that the target has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from adapters import SeqBnConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tasksel.data import Data
from tasksel.encoder import Base, add_head, quiet
from tasksel.errors import UserError, one_line
from tasksel.progress import say
from tasksel.storage import file_hash, read_json, value_hash, whole_folder, write_json
from tasksel.task import Task
from tasksel.training import Recipe, accelerator, encode_split, fit

REDUCTION_FACTOR = 16  # the authors' and the library's default for seq_bn
WEIGHTS, HEAD, TOLD = "adapter.safetensors", "model_head.safetensors", "trained.json"
TARGET_RECIPE = Recipe(lr=1e-3, epochs=10, max_length=64, micro_batch=32)  # ours: few rows want a larger step than 3e-4


@dataclass(frozen=True)
class Trained:
    """An adapter's folder, and the adapter's name inside its files."""

    folder: Path
    adapter: str

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the adapter's weights."""
        return file_hash(self.folder / WEIGHTS)[:16]

    @property
    def nbytes(self) -> int:
        """Bytes of its files of weights, head included."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    @property
    def seconds(self) -> float:
        """The seconds that training it here took; 0 for one that was there already."""
        told = self.folder / TOLD
        return float(read_json(told)["seconds"]) if told.is_file() else 0.0

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The adapter's weights by module path and name, layer by layer, without the adapter's own name.

        Raises:
            UserError: a file that is missing or cut short.
        """
        try:
            found = load_file(self.folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.folder / WEIGHTS} cannot be read ({one_line(error)}); train it again") from error
        return {name.replace(f".adapters.{self.adapter}.", "."): found[name] for name in sorted(found, key=_by_layer)}

    def model(self, base: Base) -> Any:
        """The base with this adapter and its head active, everything frozen, in eval mode.

        Raises:
            UserError: no head beside the adapter, or files that do not fit the base.
        """
        if not (self.folder / HEAD).is_file():
            raise UserError(
                f"{self.folder} has no head ({HEAD}): this method needs one; train the adapter with its task"
            )
        model = base.model()
        try:
            with quiet():
                name = model.load_adapter(str(self.folder), with_head=True, use_safetensors=True, set_active=True)
        except (OSError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"{self.folder}: the adapter cannot be loaded ({one_line(error)})") from error
        model.active_head = name
        return model.requires_grad_(False).eval()


def _by_layer(name: str) -> list[int | str]:
    """Sorts layer 10 behind layer 9."""
    return [int(part) if part.isdigit() else part for part in name.split(".") if part]


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
