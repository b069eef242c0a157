"""Imports an adapter that somebody trained with plain `adapters`, from a folder or a hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, safe_open

from tasksel.adapters.bottleneck import unfoldable
from tasksel.adapters.pool import CONFIG, WEIGHTS, AdapterPool, Source, entry_name
from tasksel.errors import UserError, one_line
from tasksel.model.base import Base
from tasksel.storage.atomic import file_hash, read_json
from tasksel.tasks.load import load_data
from tasksel.tasks.task import Task

HEAD = "model_head.safetensors"


def import_adapter(
    pool: AdapterPool, origin: str | Path, *, name: str | None, task: Task | None, rows: int | None, same_base: bool
) -> Source:
    """Stores an outside adapter in a pool, checked and saved again in the pool's own form; see `AdapterPool.add`."""
    folder = _fetch(str(origin))
    config = read_json(folder / CONFIG)
    name = entry_name(name or (task and task.name) or config.get("name") or folder.name)
    if name in pool:
        raise UserError(f"the pool already holds '{name}'; give another name (--name)")
    _check(str(origin), folder, config, pool.base, same_base)
    model = pool.base.model()
    try:
        adapter = model.load_adapter(str(folder), with_head=(folder / HEAD).is_file(), use_safetensors=True)
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"{folder}: the adapter cannot be loaded ({one_line(error)})") from error
    with safe_open(
        folder / WEIGHTS, framework="pt"
    ) as file:  # the library leaves out, or leaves random, what does not match
        stored = sum(".adapters." in key for key in file.keys())  # noqa: SIM118 (not a mapping)
    loaded = sum(f".adapters.{adapter}." in key for key in model.state_dict())
    if stored != loaded:
        raise UserError(
            f"{origin}: {stored} weights, where the layers of '{pool.base.name}' take {loaded}: it was trained on another base"
        )
    data = load_data(task, rows=rows).fingerprint if task else None
    card: dict[str, Any] = {"key": file_hash(folder / WEIGHTS)[:16], "task": task, "rows": rows, "data": data}
    return pool.store(model, adapter, name=name, origin=f"added from {origin}", **card)


def _check(origin: str, folder: Path, config: dict[str, Any], base: Base, same_base: bool) -> None:
    """Refuses what cannot be a source of this pool."""
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{origin}: no {WEIGHTS}; pickled weights are never read: save the adapter again with use_safetensors=True"
        )
    for what in ("model_type", "hidden_size"):
        needed, trained_on = getattr(base.config, what), config.get(what)
        if trained_on is not None and trained_on != needed:
            raise UserError(
                f"{origin}: trained on a base with {what} {trained_on}; the pool's base '{base.name}' has {needed}"
            )
    problem = unfoldable(config.get("config") or {})
    if problem:
        raise UserError(f"{origin}: cannot be used as a source: {problem}")
    trained_on = config.get("model_name")
    names = {base.name, base.path, getattr(base.config, "_name_or_path", None)}
    if trained_on and trained_on not in names and not same_base:
        raise UserError(
            f"{origin}: trained on base '{trained_on}', the pool's is '{base.name}'; "
            "if you know that they are the same, say --same-base"
        )


def _fetch(origin: str) -> Path:
    """A local folder, or the JSON and safetensors files of a hub repository."""
    if Path(origin).is_dir():
        return Path(origin)
    try:
        return Path(snapshot_download(origin, allow_patterns=["*.json", "*.safetensors"]))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"'{origin}' is neither a folder nor a repository on the hub") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"no network for the hub id '{origin}'; give a folder, or fill the hub's cache where there is a network"
        ) from error
