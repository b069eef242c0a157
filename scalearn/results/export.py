"""A trained model's slot as ONE ordinary adapter of the `adapters` library, head included.

    model = AutoAdapterModel.from_pretrained(base)
    name = model.load_adapter("out/rte-adapter", use_safetensors=True)
    model.set_active_adapters(name)

needs no `scalearn`, gives the same logits, and costs what one adapter of that width costs. The library's own code saves it. README.md is the
model card (`scalearn.results.model_card`); `scalearn.json` is what `scalearn predict` and `scalearn push` read, with a hash of each file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalearn.methods.registry import METHODS, TransferMethod
from scalearn.results.model_card import ModelCard
from tasksel.errors import UserError
from tasksel.model.base import Base, describe
from tasksel.storage.atomic import file_hash, is_unused, read_json, whole_folder, write_json, write_text
from tasksel.storage.provenance import versions
from tasksel.tasks.task import Task

EXPORT_FILE = "scalearn.json"  # what `scalearn predict` reads beside the library's files
README = "README.md"
CONFIGS = ("adapter_config.json", "head_config.json")


def write_adapter(
    trained: Any,
    base: Base,
    task: Task,
    method: TransferMethod,
    config: dict[str, Any],
    folder: Path,
    description: dict[str, Any],
) -> Path:
    """Writes the adapter and head of a trained model, and a model card.

    Args:
        trained: a trained model of the method's `build`. config: the sources' adapter configuration (empty without sources).
        description: method, sources, seed, max_length, scores; optionally seed_scores (the task's metric by seed) and versions (those
            that trained it).

    Raises:
        UserError: a method whose result is not an adapter, and why; a folder that holds something else.
    """
    if not is_unused(folder) and not (folder / EXPORT_FILE).is_file():
        raise UserError(f"{folder} exists and holds no export: choose another folder")
    if method.export_reason:
        able = ", ".join(other.name for other in METHODS.values() if not other.export_reason)
        raise UserError(
            f"'{method.name}' {method.export_reason}, so there is no ordinary adapter to export: predict from the result's folder, "
            f"which holds all of it, or export a result of {able}"
        )
    model = method.export(trained, base, task, config)
    with whole_folder(folder) as partial:
        model.save_adapter(str(partial), task.name, with_head=True, use_safetensors=True)
        for file in CONFIGS:  # the base by a name that another machine knows, not by a path
            write_json(partial / file, {**read_json(partial / file), "model_name": describe(base)["name"]})
        files = {
            file: file_hash(partial / file)
            for file in (*CONFIGS, *sorted(path.name for path in partial.glob("*.safetensors")))
        }
        write_json(
            partial / EXPORT_FILE,
            {"task": task.model_dump(mode="json"), "base": describe(base), "files": files, **description},
        )
        write_text(partial / README, str(_model_card(trained, base, task, method, folder, description)))
    return folder


def _model_card(
    trained: Any, base: Base, task: Task, method: TransferMethod, folder: Path, description: dict[str, Any]
) -> ModelCard:
    """The model card of an export."""
    sources: dict[str, float | None] = dict.fromkeys(description["sources"])
    if means := method.source_weights(trained, task.name):
        sources = dict(zip(sources, means, strict=True))
    return ModelCard(
        folder=folder.resolve().name,
        task=task,
        method=method.name,
        base=describe(base)["name"],
        seed=description["seed"],
        scores=description["scores"],
        max_length=description["max_length"],
        model_type=base.config.model_type,
        seed_scores=description.get("seed_scores", {}),
        sources=sources,
        sources_note=method.sources_note,
        versions=description.get("versions") or versions(),
    )
