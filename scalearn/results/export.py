"""A trained model's slot as ONE ordinary adapter of the `adapters` library, head included.

    model = AutoAdapterModel.from_pretrained(base)
    name = model.load_adapter("out/rte-adapter", use_safetensors=True)
    model.set_active_adapters(name)

needs no `scalearn`, gives the same logits, and costs what one adapter of that width costs. The saver is the library's. README.md
says what it is (`scalearn.results.model_card`); `scalearn.json` what `scalearn predict` and `scalearn push` need, with a hash of each file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from scalearn.layers.mix import bottleneck_layers, fold_into, slot_config
from scalearn.methods.base import METHODS, Method
from scalearn.results.model_card import ModelCard
from tasksel.errors import UserError
from tasksel.model.base import Base, describe
from tasksel.model.heads import add_head
from tasksel.storage.atomic import file_hash, read_json, whole_folder, write_json, write_text
from tasksel.storage.provenance import versions
from tasksel.tasks.task import Task

CARD = "scalearn.json"  # what `scalearn predict` reads beside the library's files
README = "README.md"
CONFIGS = ("adapter_config.json", "head_config.json")


def unexportable(method: Method) -> str | None:
    """Why a method's result is no ordinary adapter, or None if it is one."""
    if method.slot == "fusion":
        return "weighs its sources anew for every token"
    if method.slot == "none":
        return "changes the base itself" if method.trains == "base" else "learns no adapter"
    return None


def write_adapter(
    trained: Any, base: Base, task: Task, method: Method, config: dict[str, Any], folder: Path, card: dict[str, Any]
) -> Path:
    """Writes the adapter and head of a trained model, and a model card.

    Args:
        trained: from `scalearn.methods.base.build`, trained. config: the sources' adapter configuration (empty without).
        card: what else the export says of itself: method, sources, seed, max_length, scores; optionally seed_scores (the task's
            metric by seed) and versions (those that trained it).

    Raises:
        UserError: a method whose result is no adapter, and why; a folder that holds something else.
    """
    if folder.exists() and not (folder / CARD).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and holds no export: choose another folder")
    reason = unexportable(method)
    if reason:
        able = ", ".join(other.name for other in METHODS.values() if not unexportable(other))
        raise UserError(
            f"'{method.name}' {reason}, so there is no ordinary adapter to export: predict from the result's folder, "
            f"which holds all of it, or export a result of {able}"
        )
    model = _folded(trained, base, task, config) if method.slot == "mix" else trained
    with whole_folder(folder) as fresh:
        model.save_adapter(str(fresh), task.name, with_head=True, use_safetensors=True)
        for file in CONFIGS:  # a name that means something on another machine
            write_json(fresh / file, {**read_json(fresh / file), "model_name": describe(base)["name"]})
        files = {
            file: file_hash(fresh / file)
            for file in (*CONFIGS, *sorted(path.name for path in fresh.glob("*.safetensors")))
        }
        write_json(fresh / CARD, {"task": task.model_dump(mode="json"), "base": describe(base), "files": files, **card})
        write_text(fresh / README, str(_model_card(trained, base, task, method, folder, card)))
    return folder


def _folded(trained: Any, base: Base, task: Task, config: dict[str, Any]) -> Any:
    """A model with the trained mix as an ordinary adapter, and its head."""
    model = base.model()
    add_head(model, task, name=task.name)
    width = next(bottleneck_layers(trained, task.name))[1].adapters[task.name].down.shape[0]
    model.add_adapter(task.name, config=slot_config(width, model.config.hidden_size, config))
    fold_into(model, task.name, trained, task.name)
    model.heads[task.name].load_state_dict(trained.heads[task.name].state_dict())
    return model


def _model_card(trained: Any, base: Base, task: Task, method: Method, folder: Path, card: dict[str, Any]) -> ModelCard:
    """What the README says of this export."""
    weights: dict[str, float | None] = dict.fromkeys(card["sources"])
    if method.slot == "mix":
        slots = [layer.adapters[task.name].eval() for _, layer in bottleneck_layers(trained, task.name)]
        with torch.no_grad():
            mean = torch.stack([slot.omega().mean(-1) for slot in slots]).mean(0)
        weights = dict(zip(card["sources"], mean.tolist(), strict=True))
    return ModelCard(
        folder=folder.resolve().name,
        task=task,
        method=method.name,
        base=describe(base)["name"],
        seed=card["seed"],
        scores=card["scores"],
        max_length=card["max_length"],
        model_type=base.config.model_type,
        seed_scores=card.get("seed_scores", {}),
        sources=weights,
        versions=card.get("versions") or versions(),
    )
