"""Writes and reads an adapter with its head: a bottleneck in the format of the `adapters` library, a LoRA in PEFT's, without either library.

    adapter_config.json      {"config": …, "hidden_size", "model_class", "model_name", "model_type", "name", "version"}
    adapter.safetensors      bert.encoder.layer.0.output.adapters.NAME.adapter_down.0.weight, …
    head_config.json, model_head.safetensors        heads.NAME.1.weight, …

A LoRA's own two files are `tasksel.adapters.lora_folder`'s; its head lies beside them as a bottleneck's does. Read are also `pytorch_adapter.bin` and `pytorch_model_head.bin` (tensors alone: `torch.load(weights_only=True)`), and the older names of
adapter-transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tasksel.adapters import lora_folder
from tasksel.adapters.lora_folder import fill_lora, read_lora, save_lora
from tasksel.adapters.tensor_files import read_tensors
from tasksel.errors import UserError, one_line
from tasksel.model.adapter_config import outside_the_slot, resolve_config
from tasksel.model.lora_config import is_lora
from tasksel.model.task_model import TaskModel

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter.safetensors", "pytorch_adapter.bin"
HEAD_CONFIG, HEAD, PICKLED_HEAD = "head_config.json", "model_head.safetensors", "pytorch_model_head.bin"
FORMAT = "adapters.1.3.0"  # the version whose format is written
OLD_PLACES = ("attention_text_task_adapters", "attention_text_lang_adapters", "layer_text_task_adapters", "layer_text_lang_adapters")  # fmt: skip


def save_adapter(model: TaskModel, folder: Path, name: str, *, with_head: bool = True) -> None:
    """Writes an adapter, and the head of the same name, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if is_lora(model.adapter_configs[name]):
        save_lora(model, folder, name)
    else:
        _save_bottleneck(model, folder, name)
    if with_head and name in model.heads:
        save_head(model, folder, name)


def save_head(model: TaskModel, folder: Path, name: str) -> None:
    """Writes a head into a folder."""
    head: Any = model.heads[name]
    prefix = f"heads.{name}."
    tensors = {key: value for key, value in model.state_dict().items() if key.startswith(prefix)}
    save_file(_plain(tensors), folder / HEAD)
    _write_config(model, folder / HEAD_CONFIG, name, head.config)


def _save_bottleneck(model: TaskModel, folder: Path, name: str) -> None:
    tensors = {key: value for key, value in model.state_dict().items() if f".adapters.{name}." in key or f".shared_parameters.{name}." in key}  # fmt: skip
    save_file(_plain(tensors), folder / WEIGHTS)
    _write_config(model, folder / CONFIG, name, model.adapter_configs[name])


def weights_name(names: Iterable[str]) -> str:
    """The file that holds an adapter's own weights, among an adapter's files.

    >>> weights_name(["adapter_config.json", "adapter_model.safetensors"])
    'adapter_model.safetensors'
    """
    return lora_folder.WEIGHTS if lora_folder.WEIGHTS in names else WEIGHTS


def weights_file(folder: Path) -> Path:
    """The file that holds the weights of a folder's adapter."""
    return folder / weights_name(path.name for path in folder.iterdir())


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}


def _write_config(model: TaskModel, path: Path, name: str, config: dict[str, Any]) -> None:
    encoder = type(model.base_model).__name__
    whole = {
        "config": config,
        "hidden_size": model.config.hidden_size,
        "model_class": encoder.removesuffix("Model") + "AdapterModel",
        "model_name": model.config.name_or_path,
        "model_type": model.config.model_type,
        "name": name,
        "version": FORMAT,
    }
    path.write_text(json.dumps(whole, indent=2, sort_keys=True), encoding="utf-8")


def load_adapter(model: TaskModel, folder: Path, *, name: str | None = None, with_head: bool = True) -> str:
    """Adds the folder's adapter, and its head if there is one, to the model; makes them active and gives the adapter's name.

    Args:
        name: what the model calls them; by default as in the file.

    Raises:
        UserError: files that are missing, broken, or do not fit the model, by name.
    """
    try:
        return _load(model, folder, name, with_head)
    except UserError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # what a broken configuration ends in
        raise UserError(f"{folder}: the adapter cannot be loaded ({one_line(error)})") from error


def _load(model: TaskModel, folder: Path, name: str | None, with_head: bool) -> str:
    whole = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if "peft_type" in whole:
        name = folder.name if name is None else name
        owner = f"a {model.config.model_type} of {model.config.num_hidden_layers} layers"
        fill_lora(model, name, read_lora(folder, origin=str(folder)), origin=str(folder), owner=owner)
    else:
        name = _load_bottleneck(model, folder, name, whole)
    model.set_active_adapters(name)
    if with_head and ((folder / HEAD).is_file() or (folder / PICKLED_HEAD).is_file()):
        head = json.loads((folder / HEAD_CONFIG).read_text(encoding="utf-8"))
        model.add_head(name, head["config"])
        _fill(model, folder, _weights(folder, HEAD, PICKLED_HEAD), {f"heads.{head['name']}.": f"heads.{name}."})
    return name


def _load_bottleneck(model: TaskModel, folder: Path, name: str | None, whole: dict[str, Any]) -> str:
    stored, config = whole["name"], resolve_config(whole["config"])
    name = stored if name is None else name
    if problem := outside_the_slot(
        config
    ):  # before a LoRA of that library, whose files are others, is taken for one of PEFT
        raise UserError(f"adapter '{name}' cannot be added: {problem}")
    model.add_adapter(name, config)
    renamed = {f"{kind}.{stored}.": f"{kind}.{name}." for kind in ("adapters", "shared_parameters")}
    _fill(model, folder, _weights(folder, WEIGHTS, PICKLED), renamed)
    return name


def _weights(folder: Path, safe: str, pickled: str) -> dict[str, Tensor]:
    return read_tensors(folder / (safe if (folder / safe).is_file() else pickled), origin=str(folder))


def _fill(model: TaskModel, folder: Path, weights: dict[str, Tensor], renamed: dict[str, str]) -> None:
    """Copies what stands under one of the names into the model's tensors under its new name; each must be there, in its shape."""
    state, prefix = model.state_dict(), f"{model.base_model_prefix}."
    wanted = {key for key in state if any(f".{new}" in f".{key}" for new in renamed.values())}
    stored = {}
    for key, tensor in weights.items():
        for place in OLD_PLACES:
            key = key.replace(place, "adapters")
        for old, new in renamed.items():
            if f".{old}" in f".{key}":
                named = key.replace(old, new)  # saved from a model without heads, it lacks the base's prefix
                stored[named if named.startswith((prefix, "heads.")) else prefix + named] = tensor
    refused = f"{folder}: the adapter cannot be loaded: "
    if stored.keys() != wanted:
        other = sorted(stored.keys() ^ wanted)[0]
        kind = f"a {model.config.model_type} of {model.config.num_hidden_layers} layers"
        raise UserError(
            f"{refused}{len(stored)} weights, where the layers of {kind} take {len(wanted)}: it was trained on another base "
            f"('{other}' is {'missing' if other in wanted else 'too many'})"
        )
    for key, tensor in stored.items():
        if tensor.shape != state[key].shape:
            raise UserError(f"{refused}'{key}' is {list(tensor.shape)}, the model's {list(state[key].shape)}")
        state[key].copy_(tensor)
