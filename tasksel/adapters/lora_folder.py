"""Writes and reads a LoRA in the format of PEFT, without that library.

    adapter_config.json            {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["query", "value"], …}
    adapter_model.safetensors      base_model.model.encoder.layer.0.attention.self.query.lora_A.weight [r, in], .lora_B.weight [out, r], …

Names are those of a bare base (`AutoModel`), or of a whole model with a head, whose names begin with the base's ("bert."). Both are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tasksel.adapters.peft_config import PeftConfig, read_peft_config
from tasksel.adapters.tensor_files import finite_weights
from tasksel.errors import UserError
from tasksel.model.linear_slot import is_transposed, linears_of, sizes
from tasksel.model.lora_config import LoraConfig, Target, lora_config, module_config

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
# a whole model's state has the adapter's name too
KEY = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.([^.]+))?\.weight")
# what `save_embedding_layers` of PEFT adds
EMBEDDING = re.compile(r"(?:.+\.)?(embed_tokens|wte|word_embeddings|lm_head)\.weight")
BARE = "FEATURE_EXTRACTION"  # PEFT's task type of a bare base; a model of any other has a head, and its names the base's prefix
REASONS = {
    "lora_magnitude_vector": "it is a DoRA",
    "lora_embedding_": "embeddings were trained",
    ".lora_B.bias": "biases of its B were trained",
    "lora_diag": "it is a KaSA",
    "lora_velora": "it is a VeLoRA",
    "lm_head.": "it targets the lm_head, and LoRAs are mixed below a base's head",
}
"""Why a weight of such a name is not part of a plain LoRA."""


@dataclass(frozen=True)
class StoredLora:
    """A plain LoRA as a PEFT folder holds it.

    Attributes:
        config: its configuration. pairs: A [r, in] and B [out, r] by the path of their module, as it is written there.
        head: weights of modules that were trained whole, by name. embeddings: those of the base, or of its lm_head, by their key.
    """

    config: PeftConfig
    pairs: dict[str, tuple[Tensor, Tensor]]
    head: dict[str, Tensor]
    embeddings: dict[str, Tensor] = field(default_factory=dict)


def read_lora(folder: Path, *, origin: str) -> StoredLora:
    """Reads a PEFT folder that holds a plain LoRA.

    Raises:
        UserError: another kind of adapter, a file of weights that is missing or holds more than tensors, a weight that is strange, of another shape or not finite (named).

    >>> read_lora(Path("mine"), origin="mine").config.lora.r  # doctest: +SKIP
    8
    """
    config = read_peft_config(folder / CONFIG, origin=origin)
    weights = finite_weights(lora_weights(folder, origin=origin), origin=origin)
    _check_plain(weights, origin)
    halves: dict[str, dict[str, Tensor]] = {}
    head: dict[str, Tensor] = {}
    embeddings: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if match := KEY.fullmatch(key):
            halves.setdefault(match[1], {})[match[2]] = tensor
        elif _of_a_head(key, config):
            head[key.removeprefix(PREFIX)] = tensor
        elif EMBEDDING.fullmatch(key):
            embeddings[key] = tensor
        else:
            raise UserError(f"{origin}: its weight '{key}' is not part of a plain LoRA")
    if not halves:
        raise UserError(f"{origin}: its weights hold no LoRA")
    pairs = {path: _pair(path, part, config.lora, origin) for path, part in halves.items()}
    return StoredLora(config, pairs, head, embeddings)


def lora_weights(folder: Path, *, origin: str) -> Path:
    """A LoRA's weights file; safetensors come before a file that torch wrote, of which tensors alone are read.

    Raises:
        UserError: neither is there.

    >>> lora_weights(Path("mine"), origin="mine").name  # doctest: +SKIP
    'adapter_model.safetensors'
    """
    for name in (WEIGHTS, PICKLED):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{origin}: no weights there (no file {folder / WEIGHTS}, nor {PICKLED})")


def _check_plain(keys: Iterable[str], origin: str) -> None:
    """Refuses weights that are no part of a plain LoRA, and LoRAs of several names in one file."""
    names = set()
    for key in keys:
        if match := KEY.fullmatch(key):
            names.add(match[3])
        if EMBEDDING.fullmatch(key):
            continue
        if reason := next((reason for part, reason in REASONS.items() if part in key), None):
            raise UserError(f"{origin}: cannot be used as a source: {reason} (its weight '{key}')")
    if len(names) > 1:
        raise UserError(
            f"{origin}: its weights hold LoRAs of several names ({', '.join(map(str, sorted(names, key=str)))})"
        )


def _of_a_head(key: str, config: PeftConfig) -> bool:
    """Whether a weight belongs to a module that was trained whole."""
    names = config.heads or (("classifier", "score") if config.task_type in ("SEQ_CLS", "TOKEN_CLS") else ())
    parts = key.removeprefix(PREFIX).split(".")
    return any(name.rpartition(".")[2] in parts for name in names)


def _pair(path: str, halves: Mapping[str, Tensor], config: LoraConfig, origin: str) -> tuple[Tensor, Tensor]:
    """A and B of a module, whose ranks agree with each other and with the configuration."""
    if halves.keys() != {"A", "B"}:
        raise UserError(f"{origin}: '{path}' has a lora_{''.join(halves)} alone")
    a, b = halves["A"], halves["B"]
    if not a.numel() or not b.numel():
        raise UserError(
            f"{origin}: '{path}' is empty: DeepSpeed ZeRO-3 saves so unless the weights are gathered first; save it again"
        )
    shapes = f"lora_A {list(a.shape)}, lora_B {list(b.shape)}"
    if a.dim() != 2 or b.dim() != 2 or len(a) != b.shape[1]:
        raise UserError(f"{origin}: '{path}' has {shapes}, where [r, in] and [out, r] are needed")
    try:
        rank, targeted = config.rank(path), config.matches(path)
    except re.error as error:
        raise UserError(f"{origin}: a pattern of its adapter_config.json is no regular expression ({error})") from error
    if rank != len(a):
        raise UserError(f"{origin}: '{path}' has {shapes}, where its adapter_config.json says rank {rank}")
    if config.target_modules is not None and not targeted:
        raise UserError(f"{origin}: its weights have '{path}', which its target_modules do not name")
    return a, b


def fill_lora(model: Any, name: str, stored: StoredLora, *, origin: str, owner: str) -> None:
    """Adds a stored LoRA to a `TaskModel` as adapter `name`.

    Args:
        owner: the base, for a message.

    Raises:
        UserError: a module that the base lacks, or one of another size (named).
    """
    linears = dict(linears_of(model.base_model))
    own, targets, config = {}, [], stored.config.lora
    for path, (a, b) in stored.pairs.items():
        here = _own_path(path, linears, model.base_model_prefix, origin=origin, owner=owner)
        inputs, outputs = sizes(linears[here])
        if (a.shape[1], len(b)) != (inputs, outputs):
            raise UserError(
                f"{origin}: '{path}' takes {a.shape[1]} and gives {len(b)} numbers, in '{owner}' {inputs} and {outputs}: it was trained on another base"
            )
        targets.append(Target(here, len(a), config.alpha(path)))
        own[here] = (a, b)
    kept = {"use_rslora": config.use_rslora, "lora_dropout": config.lora_dropout}
    add_pairs(model, name, own, module_config(targets, linears, **kept))


def add_pairs(model: Any, name: str, pairs: Mapping[str, tuple[Tensor, Tensor]], config: LoraConfig) -> None:
    """Adds adapter `name` with this configuration, and writes A [r, in] and B [out, r] into it by the path in the encoder."""
    model.add_adapter(name, config)
    for path, (a, b) in pairs.items():
        lora = model.base_model.get_submodule(path).adapters[name]
        lora.lora_A.weight.data.copy_(a)
        lora.lora_B.weight.data.copy_(b)


def _own_path(path: str, linears: Iterable[str], prefix: str, *, origin: str, owner: str) -> str:
    """A module's path in the encoder; files have it with the encoder's own name before it or without."""
    names = list(linears)
    for here in (path, path.removeprefix(f"{prefix}.")):
        if here in names:
            return here
    nearest = get_close_matches(path, names, n=1, cutoff=0.0)
    raise UserError(f"{origin}: it targets '{path}', a module that '{owner}' lacks (the nearest is '{nearest[0]}')")


def pairs_of(model: Any, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """A [r, in] and B [out, r] of a model's LoRA by the path of its module in the encoder."""
    prefix = f"{model.base_model_prefix}."
    return {
        path.removeprefix(prefix): (slot.adapters[name].lora_A.weight, slot.adapters[name].lora_B.weight)
        for path, slot in model.slots()
        if name in slot.adapters
    }


def save_lora(model: Any, folder: Path, name: str, *, task_type: str = BARE) -> None:
    """Writes a model's LoRA into a folder.

    Args:
        task_type: PEFT's; by default that of a bare base.
    """
    config = lora_config(model.adapter_configs[name])
    write_lora(folder, pairs_of(model, name), config, model, task_type=task_type)


def write_lora(
    folder: Path,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    config: LoraConfig,
    model: Any,
    *,
    task_type: str = BARE,
    heads: Mapping[str, Tensor] | None = None,
    modules_to_save: Sequence[str] = (),
) -> None:
    """Writes pairs A, B by path as a PEFT folder.

    Args:
        model: a `TaskModel` of the base. heads: weights of modules that are saved whole, by name, under `modules_to_save`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = PREFIX if task_type == BARE else f"{PREFIX}{model.base_model_prefix}."
    tensors = {f"{PREFIX}{key}": tensor for key, tensor in (heads or {}).items()}
    for path, (a, b) in pairs.items():
        tensors |= {f"{prefix}{path}.lora_A.weight": a, f"{prefix}{path}.lora_B.weight": b}
    save_file({key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}, folder / WEIGHTS)
    linears = dict(linears_of(model.base_model))
    values = config.model_dump(mode="json", exclude={"architecture"})
    values |= {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": model.config.name_or_path,
        "fan_in_fan_out": any(is_transposed(linears[path]) for path in pairs),
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": list(modules_to_save) or None,
    }
    (folder / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf-8")
