"""Loads a LoRA that somebody trained with PEFT, from its folder, on a pool's base; the head of a sequence classifier is kept as the source's own.

adapter_config.json, adapter_model.safetensors      read strictly (`tasksel.adapters.peft_config`, `tasksel.adapters.lora_folder`)
modules_to_save ["classifier"] or ["score"]         the head, of `BertForSequenceClassification` and the like
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tasksel.adapters.lora_folder import StoredLora, fill_lora, read_lora
from tasksel.adapters.outside_head import SEQUENCE, add_saved_head
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.names import module_name
from tasksel.model.task_model import TaskModel

OTHER_HEADS = {"TOKEN_CLS": "tagging", "QUESTION_ANS": "question_answering"}  # of PEFT, for no kind of task here


def load_outside_lora(folder: Path, base: Base, *, origin: str, same_base: bool = False) -> tuple[TaskModel, str]:
    """A model of the base with the folder's LoRA, and the LoRA's name in it.

    Raises:
        UserError: no plain LoRA; another base; a module that the base lacks; weights of another shape, or not finite (named); a head that
            is broken.

    >>> model, name = load_outside_lora(Path("mine"), load_base("minilm"), origin="mine")  # doctest: +SKIP
    """
    stored = read_lora(folder, origin=origin)
    if not same_base:
        check_base_name(stored.config.base, base, origin=origin)
    model, name = base.model(), module_name(folder.name)
    fill_lora(model, name, stored, origin=origin, owner=base.name)
    if not any(b.any() for _, b in stored.pairs.values()):
        say(f"{origin}: all its B are zero: it was never trained, and changes nothing")
    _check_embeddings(model, stored, origin)
    _load_head(model, name, stored, origin)
    return model, name


def _check_embeddings(model: TaskModel, stored: StoredLora, origin: str) -> None:
    """Leaves out embeddings that are the base's own, as PEFT may save them beside a LoRA; refuses others."""
    for key, tensor in stored.embeddings.items():
        layer: Any = model.get_input_embeddings()
        if "lm_head" in key:
            layer = model.language_model.lm_head if model.language_model else None
        own = None if layer is None else layer.weight
        if own is None or tensor.shape != own.shape or not torch.equal(tensor.to(own.device), own.float()):
            there = "none" if own is None else str(list(own.shape))
            raise UserError(
                f"{origin}: cannot be used as a source: its embeddings are not the base's, they were trained or resized "
                f"(its weight '{key}' {list(tensor.shape)}, the base's {there})"
            )
    if stored.embeddings:
        say(f"{origin}: the embeddings that are saved beside it are the base's own: left out")


def check_base_name(claimed: str | None, base: Base, *, origin: str) -> None:
    """Refuses an adapter whose file names another base.

    Raises:
        UserError: with both names, and what to say if they are the same.
    """
    known = {base.name, base.path, getattr(base.config, "_name_or_path", None)}
    if claimed and claimed not in known and not any(name and _one_folder(claimed, name) for name in known):
        raise UserError(
            f"{origin}: trained on base '{claimed}', the pool's is '{base.name}'; "
            "if you know that they are the same, say --same-base"
        )


def _one_folder(name: str, other: str) -> bool:
    """Whether two names are paths of one folder that is there."""
    try:
        return Path(name).is_dir() and Path(other).is_dir() and Path(name).samefile(other)
    except (OSError, ValueError):
        return False


def _load_head(model: TaskModel, name: str, stored: StoredLora, origin: str) -> None:
    """The head of a sequence classifier under the LoRA's name; another kind of head is left out, which is said."""
    if not stored.head:
        return
    if kind := OTHER_HEADS.get(stored.config.task_type or ""):
        say(f"{origin}: its head is for another kind of task ({kind}): it is added without its head")
        return
    tensors = {_within_head(key, model.base_model_prefix): tensor for key, tensor in stored.head.items()}
    architecture = type(model.base_model).__name__.removesuffix("Model")
    add_saved_head(model, name, f"{architecture}{SEQUENCE}", tensors, origin=origin)


def _within_head(key: str, prefix: str) -> str:
    """A weight's name in the whole model without the base's name: `bert.pooler.dense.weight` is the head's where it was trained with it."""
    return key.removeprefix(f"{prefix}.").replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
