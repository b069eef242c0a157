"""Takes in an adapter that somebody trained with plain `adapters`, from a folder or a hub id."""

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
    pool: AdapterPool,
    origin: str | Path,
    *,
    name: str | None = None,
    task: Task | None = None,
    rows: int | None = None,
    same_base: bool = False,
) -> Source:
    """Stores an outside adapter in a pool, checked and saved anew in the pool's own form.

    Args:
        name: the entry's name, by default the adapter's own.
        task, rows: what it was trained on, so that embedders that need data can rank it.
        same_base: you know that it was trained on the pool's base though its file names another.

    Raises:
        UserError: another base, width or kind of adapter; no safetensors (pickles are never read); a name that is taken.
    """
    folder = _fetch(str(origin))
    told = read_json(folder / CONFIG)
    name = entry_name(name or (task and task.name) or told.get("name") or folder.name)
    if name in pool:
        raise UserError(f"the pool already holds '{name}'; give another name (--name)")
    _check(str(origin), folder, told, pool.base, same_base)
    model = pool.base.model()
    try:
        adapter = model.load_adapter(str(folder), with_head=(folder / HEAD).is_file(), use_safetensors=True)
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"{folder}: the adapter cannot be loaded ({one_line(error)})") from error
    with safe_open(
        folder / WEIGHTS, framework="pt"
    ) as file:  # the library leaves out, or leaves random, what does not match
        theirs = sum(".adapters." in key for key in file.keys())  # noqa: SIM118 (not a mapping)
    ours = sum(f".adapters.{adapter}." in key for key in model.state_dict())
    if theirs != ours:
        raise UserError(f"{origin}: {theirs} weights, where the layers of '{pool.base.name}' take {ours}: another base")
    data = load_data(task, rows=rows).fingerprint if task else None
    card: dict[str, Any] = {"key": file_hash(folder / WEIGHTS)[:16], "task": task, "rows": rows, "data": data}
    return pool.store(model, adapter, name=name, origin=f"added from {origin}", **card)


def _check(origin: str, folder: Path, told: dict[str, Any], base: Base, same_base: bool) -> None:
    """Refuses what cannot be a source of this pool."""
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{origin}: no {WEIGHTS}; pickled weights are never read: save the adapter again with use_safetensors=True"
        )
    for what in ("model_type", "hidden_size"):
        ours, theirs = getattr(base.config, what), told.get(what)
        if theirs is not None and theirs != ours:
            raise UserError(
                f"{origin}: trained on a base with {what} {theirs}; the pool's base '{base.name}' has {ours}"
            )
    problem = unfoldable(told.get("config") or {})
    if problem:
        raise UserError(f"{origin}: cannot be used as a source: {problem}")
    claimed = told.get("model_name")
    known = {base.name, base.path, getattr(base.config, "_name_or_path", None)}
    if claimed and claimed not in known and not same_base:
        raise UserError(
            f"{origin}: trained on base '{claimed}', the pool's is '{base.name}'; "
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
