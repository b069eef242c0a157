"""Loads an adapter that somebody trained with plain `adapters`, from a folder or a hub id, and refuses what cannot be a source."""

from __future__ import annotations

from dataclasses import dataclass
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
from tasksel.adapters.checkpoint import CONFIG, HEAD, WEIGHTS
from tasksel.errors import UserError, one_line
from tasksel.model.base import Base
from tasksel.model.names import module_name
from tasksel.storage.atomic import file_hash, read_json
from tasksel.storage.user_path import user_path


@dataclass(frozen=True)
class OutsideAdapter:
    """An adapter that was trained elsewhere, loaded on a pool's base and checked.

    Attributes:
        model: the base with the adapter, and its head where it has one. adapter: its name in the model.
        name: what its files call it. key: 16 hex digits of its weights file.
    """

    model: Any
    adapter: str
    name: str
    key: str


def load_outside_adapter(origin: str | Path, base: Base, *, same_base: bool = False) -> OutsideAdapter:
    """Loads an adapter that was trained elsewhere with plain `adapters`, from a folder or a hub id.

    Args:
        same_base: you know that it was trained on this base though its file names another.

    Raises:
        UserError: another base, width or kind of adapter; no safetensors (pickles are never read).

    >>> load_outside_adapter("path/to/adapter", load_base("minilm")).name  # doctest: +SKIP
    """
    folder = _fetch(str(origin))
    config = read_json(folder / CONFIG)
    _check(str(origin), folder, config, base, same_base)
    model = base.model()
    try:
        name = module_name(str(config.get("name") or folder.name))
        adapter = model.load_adapter(
            str(folder), load_as=name, with_head=(folder / HEAD).is_file(), use_safetensors=True
        )
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise UserError(f"{folder}: the adapter cannot be loaded ({one_line(error)})") from error
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stored = sum(".adapters." in key for key in file.keys())  # noqa: SIM118 (not a mapping)
    loaded = sum(f".adapters.{adapter}." in key for key in model.state_dict())
    if stored != loaded:  # the library leaves out, or leaves random, what does not match
        raise UserError(
            f"{origin}: {stored} weights, where the layers of '{base.name}' take {loaded}: it was trained on another base"
        )
    return OutsideAdapter(model, adapter, config.get("name") or folder.name, file_hash(folder / WEIGHTS)[:16])


def _check(origin: str, folder: Path, config: dict[str, Any], base: Base, same_base: bool) -> None:
    """Refuses what cannot be a source of this pool."""
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{origin}: no {WEIGHTS}; pickled weights are never read: save the adapter again with use_safetensors=True"
        )
    for what in ("model_type", "hidden_size"):
        wanted, trained_on = getattr(base.config, what), config.get(what)
        if trained_on is not None and trained_on != wanted:
            raise UserError(
                f"{origin}: trained on a base with {what} {trained_on}; the pool's base '{base.name}' has {wanted}"
            )
    problem = unfoldable(config.get("config") or {})
    if problem:
        raise UserError(f"{origin}: cannot be used as a source: {problem}")
    claimed = config.get("model_name")
    known = {base.name, base.path, getattr(base.config, "_name_or_path", None)}
    if claimed and claimed not in known and not same_base:
        raise UserError(
            f"{origin}: trained on base '{claimed}', the pool's is '{base.name}'; "
            "if you know that they are the same, say --same-base"
        )


def _fetch(origin: str) -> Path:
    """A local folder, or the JSON and safetensors files of a hub repository."""
    if user_path(origin).is_dir():
        return user_path(origin)
    try:
        return Path(snapshot_download(origin, allow_patterns=["*.json", "*.safetensors"]))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"'{origin}' is neither a folder nor a repository on the hub") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"no network for the hub id '{origin}'; give a folder, or fill the hub's cache where there is a network"
        ) from error
