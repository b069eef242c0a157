"""Loads an adapter that somebody trained with plain `adapters` or PEFT, from a folder or a hub id, without either; refuses what cannot be a source.

Nothing is built before the files are checked: a width comes from the weights, never from a number in a configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tasksel.adapters.folder import CONFIG, OLD_PLACES, PICKLED, WEIGHTS
from tasksel.adapters.locating import adapter_folder, fetch, name_of
from tasksel.adapters.lora_folder import lora_weights
from tasksel.adapters.outside_config import OutsideConfig, read_mapping, read_outside_config
from tasksel.adapters.outside_head import load_outside_head
from tasksel.adapters.outside_lora import check_base_name, load_outside_lora
from tasksel.adapters.tensor_files import finite_weights
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.names import module_name
from tasksel.model.task_model import TaskModel
from tasksel.storage.atomic import file_hash

WEIGHT = re.compile(r"(.+)\.adapters\.([^.]+)\.((?:adapter_down\.0|adapter_up)\.(?:weight|bias))")


@dataclass(frozen=True)
class OutsideAdapter:
    """An adapter that was trained elsewhere, loaded on a pool's base and checked.

    Attributes:
        model: the base with the adapter, and its head where it has one. adapter: its name in the model.
        name: what its files call it. key: 16 hex digits of its weights file.
        place: where it lies below the folder that was given; "." for that itself.
    """

    model: TaskModel
    adapter: str
    name: str
    key: str
    place: str


def load_outside_adapter(
    origin: str | Path, base: Base, *, same_base: bool = False, name: str | None = None
) -> OutsideAdapter:
    """Loads an adapter that was trained elsewhere with plain `adapters` or PEFT, from a folder or a hub id.

    Args:
        same_base: you know that it was trained on this base though its file names another.
        name: chooses where a folder holds several adapters.

    Raises:
        UserError: another base, width or kind of adapter; weights that are not finite floats; a
            value of its files that is missing or wrong (named).

    >>> load_outside_adapter("path/to/adapter", load_base("minilm")).name  # doctest: +SKIP
    """
    root = fetch(str(origin))
    folder = adapter_folder(root, origin=str(origin), name=name)
    place = folder.relative_to(root).as_posix()
    if _is_peft(folder, origin):
        model, adapter = load_outside_lora(folder, base, origin=str(origin), same_base=same_base)
        return OutsideAdapter(
            model, adapter, name_of(folder), file_hash(lora_weights(folder, origin=str(origin)))[:16], place
        )
    stored = read_outside_config(folder / CONFIG, origin=str(origin))
    file = _weights_file(folder, origin=str(origin))
    config = _check(str(origin), stored, base, same_base)
    weights = _bottleneck_weights(file, str(origin))
    _check_width(weights, config, base, str(origin))
    model, own_name = base.model(), stored.name or name_of(folder)
    adapter = module_name(own_name)
    model.add_adapter(adapter, config)
    _fill(model, adapter, weights, base, str(origin))
    load_outside_head(model, adapter, folder, str(origin))
    return OutsideAdapter(model, adapter, own_name, file_hash(file)[:16], place)


def outside_key(origin: str | Path) -> str:
    """The key that an adapter from outside has in a pool, by its weights alone; nothing of it is checked.

    Raises:
        UserError: no adapter there, or several.

    >>> outside_key("path/to/adapter")  # doctest: +SKIP
    '0123456789abcdef'
    """
    folder = adapter_folder(fetch(str(origin)), origin=str(origin), name=None)
    find = lora_weights if _is_peft(folder, origin) else _weights_file
    return file_hash(find(folder, origin=str(origin)))[:16]


def _is_peft(folder: Path, origin: str | Path) -> bool:
    return "peft_type" in read_mapping(folder / CONFIG, origin=str(origin))


def _weights_file(folder: Path, *, origin: str) -> Path:
    """The adapter's weights; safetensors come before a file that torch wrote."""
    for name in (WEIGHTS, PICKLED):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{origin}: no weights there (no file {folder / WEIGHTS}, nor {PICKLED})")


def _check(origin: str, stored: OutsideConfig, base: Base, same_base: bool) -> dict[str, Any]:
    """The adapter's configuration; refuses an adapter of another kind or base."""
    for what in ("model_type", "hidden_size"):
        wanted, trained_on = getattr(base.config, what), getattr(stored, what)
        if trained_on is not None and trained_on != wanted:
            raise UserError(
                f"{origin}: trained on a base with {what} {trained_on}; the pool's base '{base.name}' has {wanted}"
            )
    config = stored.bottleneck(origin)
    if not same_base:
        check_base_name(stored.model_name, base, origin=origin)
    return config


def _bottleneck_weights(path: Path, origin: str) -> dict[tuple[str, str], Tensor]:
    """An adapter's weights by the module path of their slot and their name in it."""
    weights, names = {}, set()
    for key, tensor in finite_weights(path, origin=origin).items():
        today = key
        for old in OLD_PLACES:
            today = today.replace(old, "adapters")
        match = WEIGHT.fullmatch(today)
        if match is None:
            raise UserError(f"{origin}: its weight '{key}' is not part of a plain bottleneck")
        weights[match[1], match[3]] = tensor
        names.add(match[2])
    if len(names) != 1:
        listed = f"those of several adapters ({', '.join(sorted(names))})" if names else "no weights"
        raise UserError(f"{origin}: {path.name} holds {listed}; save one adapter with save_adapter")
    return weights


def _check_width(weights: dict[tuple[str, str], Tensor], config: dict[str, Any], base: Base, origin: str) -> None:
    """Refuses weights of another width than the configuration's, before a model of that width is built."""
    hidden = base.config.hidden_size
    width = max(1, int(min(hidden // config["reduction_factor"], 1e9)))  # as the library computes it
    for (path, part), tensor in weights.items():
        wanted = {"adapter_down.0.weight": [width, hidden], "adapter_down.0.bias": [width]}
        wanted |= {"adapter_up.weight": [hidden, width], "adapter_up.bias": [hidden]}
        if list(tensor.shape) != wanted[part]:
            raise UserError(
                f"{origin}: its weight '{part}' in {path} is {list(tensor.shape)}, where a reduction factor of "
                f"{config['reduction_factor']:g} on a base {hidden} wide gives {wanted[part]}"
            )


def _fill(model: TaskModel, adapter: str, weights: dict[tuple[str, str], Tensor], base: Base, origin: str) -> None:
    """Puts the weights into the model's adapter; every one must have its place, and every place its weight."""
    prefix, state = f"{model.base_model_prefix}.", model.state_dict()
    places = {key: WEIGHT.fullmatch(key) for key in state if f".adapters.{adapter}." in key}
    by_place = {(match[1].removeprefix(prefix), match[3]): key for key, match in places.items() if match}
    stored = {(path.removeprefix(prefix), part): tensor for (path, part), tensor in weights.items()}
    if len(stored) != len(by_place):  # the library would leave out, or leave random, what does not match
        raise UserError(
            f"{origin}: {len(stored)} weights, where the layers of '{base.name}' take {len(by_place)}: it was trained on another base"
        )
    if strange := sorted(stored.keys() - by_place.keys()):
        raise UserError(f"{origin}: its weight '{'.'.join(strange[0])}' has no place in '{base.name}'")
    model.load_state_dict({by_place[place]: tensor for place, tensor in stored.items()}, strict=False)
