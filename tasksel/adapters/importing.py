"""Loads an adapter that somebody trained with plain `adapters`, from a folder or a hub id, and refuses what cannot be a source.

Nothing is built before the files are checked: a width comes from the weights, never from a number in a configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from adapters import BnConfig
from adapters.loading import AdapterLoader
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tasksel.adapters.checkpoint import CONFIG, HEAD, WEIGHTS
from tasksel.adapters.locating import adapter_folder, fetch
from tasksel.adapters.outside_config import OutsideConfig, read_mapping, read_outside_config
from tasksel.display.progress import say
from tasksel.errors import UserError, one_line
from tasksel.model.base import Base, quiet
from tasksel.model.names import module_name
from tasksel.storage.atomic import file_hash
from tasksel.storage.user_path import user_path

PICKLE, PICKLED_HEAD, HEAD_CONFIG = "pytorch_adapter.bin", "pytorch_model_head.bin", "head_config.json"
FEW = 1000  # no size up to this costs memory
NOT_LOADED = (  # what the library ends in where a head's configuration is wrong
    OSError,
    SafetensorError,
    ValueError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ArithmeticError,
)
WEIGHT = re.compile(r"(.+)\.adapters\.([^.]+)\.((?:adapter_down\.0|adapter_up)\.(?:weight|bias))")


@dataclass(frozen=True)
class OutsideAdapter:
    """An adapter that was trained elsewhere, loaded on a pool's base and checked.

    Attributes:
        model: the base with the adapter, and its head where it has one. adapter: its name in the model.
        name: what its files call it. key: 16 hex digits of its weights file.
        place: where it lies below the folder that was given; "." for that itself.
    """

    model: Any
    adapter: str
    name: str
    key: str
    place: str


def load_outside_adapter(
    origin: str | Path, base: Base, *, same_base: bool = False, name: str | None = None
) -> OutsideAdapter:
    """Loads an adapter that was trained elsewhere with plain `adapters`, from a folder or a hub id.

    Args:
        same_base: you know that it was trained on this base though its file names another.
        name: chooses where a folder holds several adapters.

    Raises:
        UserError: another base, width or kind of adapter; no safetensors (pickles are never read); weights that are not finite floats; a
            value of its files that is missing or wrong (named).

    >>> load_outside_adapter("path/to/adapter", load_base("minilm")).name  # doctest: +SKIP
    """
    root = fetch(str(origin))
    folder = adapter_folder(root, origin=str(origin), name=name)
    stored = read_outside_config(folder / CONFIG, origin=str(origin))
    config = _check(str(origin), folder, stored, base, same_base)
    weights = _bottleneck_weights(folder / WEIGHTS, str(origin))
    _check_width(weights, config, base, str(origin))
    model, own_name = base.model(), stored.name or folder.name
    adapter = module_name(own_name)
    with quiet():
        model.add_adapter(adapter, config=config)
    _fill(model, adapter, weights, base, str(origin))
    _load_head(model, adapter, folder, str(origin))
    place = folder.relative_to(root).as_posix()
    return OutsideAdapter(model, adapter, own_name, file_hash(folder / WEIGHTS)[:16], place)


def _check(origin: str, folder: Path, stored: OutsideConfig, base: Base, same_base: bool) -> BnConfig:
    """The adapter's configuration; refuses pickles, and an adapter of another kind or base."""
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLE).is_file() or folder != user_path(origin):  # of the hub no pickle is even fetched
            raise UserError(
                f"{origin}: no {WEIGHTS}; pickled weights are never read: save the adapter again with use_safetensors=True"
            )
        raise UserError(f"{origin}: no weights there (no file {folder / WEIGHTS})")
    for what in ("model_type", "hidden_size"):
        wanted, trained_on = getattr(base.config, what), getattr(stored, what)
        if trained_on is not None and trained_on != wanted:
            raise UserError(
                f"{origin}: trained on a base with {what} {trained_on}; the pool's base '{base.name}' has {wanted}"
            )
    config = stored.bottleneck(origin)
    claimed = stored.model_name
    known = {base.name, base.path, getattr(base.config, "_name_or_path", None)}
    if claimed and claimed not in known and not same_base:
        raise UserError(
            f"{origin}: trained on base '{claimed}', the pool's is '{base.name}'; "
            "if you know that they are the same, say --same-base"
        )
    return config


def finite_weights(path: Path, *, origin: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32.

    Raises:
        UserError: a file that is cut short or of another format; a tensor that is not of floats, or not finite (named).

    >>> finite_weights(Path("mine/adapter.safetensors"), origin="mine")  # doctest: +SKIP
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{origin}: the adapter cannot be loaded ({path.name}: {one_line(error)})") from error
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise UserError(
                f"{origin}: its weight '{key}' is of {str(tensor.dtype).removeprefix('torch.')}, not of floats"
            )
        tensors[key] = tensor.float()
        broken = int((~torch.isfinite(tensors[key])).sum())
        if broken:
            raise UserError(f"{origin}: {broken} of {tensor.numel()} numbers of its weight '{key}' are NaN or infinite")
    return tensors


def _bottleneck_weights(path: Path, origin: str) -> dict[tuple[str, str], Tensor]:
    """An adapter's weights by the module path of their slot and their name in it."""
    weights, names = {}, set()
    for key, tensor in finite_weights(path, origin=origin).items():
        today = key
        for old, new in AdapterLoader.legacy_weights_mapping.items():
            today = today.replace(old, new)
        match = WEIGHT.fullmatch(today)
        if match is None:
            raise UserError(f"{origin}: its weight '{key}' is not part of a plain bottleneck")
        weights[match[1], match[3]] = tensor
        names.add(match[2])
    if len(names) != 1:
        listed = f"those of several adapters ({', '.join(sorted(names))})" if names else "no weights"
        raise UserError(f"{origin}: {path.name} holds {listed}; save one adapter with save_adapter")
    return weights


def _check_width(weights: dict[tuple[str, str], Tensor], config: BnConfig, base: Base, origin: str) -> None:
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


def _fill(model: Any, adapter: str, weights: dict[tuple[str, str], Tensor], base: Base, origin: str) -> None:
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


def _load_head(model: Any, adapter: str, folder: Path, origin: str) -> None:
    """Loads the head that lies beside an adapter, under the adapter's name; an adapter without one is a source all the same."""
    if not (folder / HEAD).is_file():
        if (folder / PICKLED_HEAD).is_file():
            say(f"{origin}: its head is pickled, which is never read: it is added without its head")
        return
    without = f"delete {HEAD} and {HEAD_CONFIG} to add it without its head"
    if not (folder / HEAD_CONFIG).is_file():
        raise UserError(f"{origin}: {HEAD} without its {HEAD_CONFIG}; {without}")
    described, tensors = read_mapping(folder / HEAD_CONFIG, origin=origin), finite_weights(folder / HEAD, origin=origin)
    config = described.get("config")
    if isinstance(config, dict):
        _check_head(config, tensors, origin, without)
    loading: dict[str, list[str]] = {}
    try:
        with quiet():
            _, loaded = model.load_head(str(folder), load_as=adapter, use_safetensors=True, loading_info=loading)
    except NOT_LOADED as error:
        raise UserError(f"{origin}: its head cannot be loaded ({one_line(error)}); {without}") from error
    missing, unused = (
        [key for key in loading.get(what, []) if key.startswith(f"heads.{adapter}.")]
        for what in ("missing_keys", "unexpected_keys")
    )
    if unused:
        raise UserError(
            f"{origin}: the weight {unused[0]} in {HEAD} has no place in the head of {HEAD_CONFIG}; {without}"
        )
    if loaded not in model.heads or missing:  # the library leaves random what the file lacks
        raise UserError(f"{origin}: {HEAD} lacks {missing[0] if missing else 'its head'}; {without}")


def _check_head(config: dict[str, Any], tensors: dict[str, Tensor], origin: str, without: str) -> None:
    """Refuses sizes that the head's own weights do not have, before a head of those sizes is built."""
    labels, layers = config.get("num_labels"), config.get("layers")
    sizes = {size for tensor in tensors.values() for size in tensor.shape}
    if labels is not None and (type(labels) is not int or labels not in sizes):
        raise UserError(f"{origin}: its head's num_labels is {labels!r:.40}, which its weights do not have; {without}")
    if layers is not None and (type(layers) is not int or not 0 < layers <= len(tensors)):
        raise UserError(f"{origin}: its head's layers is {layers!r:.40}, which its weights do not have; {without}")
    largest = max([FEW, *sizes])
    for name, value in config.items():  # as the size of a vocabulary
        if type(value) is int and value > largest:
            raise UserError(f"{origin}: its head's {name} is {value:.3g}, which its weights do not have; {without}")
