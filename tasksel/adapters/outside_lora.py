"""Loads a LoRA that somebody trained with PEFT, from its folder, on a pool's base; the head of a sequence classifier is kept as the source's own.

adapter_config.json, adapter_model.safetensors      read strictly (`tasksel.adapters.peft_config`, `tasksel.adapters.lora_folder`)
modules_to_save ["classifier"] or ["score"]         the head, of `BertForSequenceClassification` and the like
"""

from __future__ import annotations

from pathlib import Path

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
    _load_head(model, name, stored, origin)
    return model, name


def check_base_name(claimed: str | None, base: Base, *, origin: str) -> None:
    """Refuses an adapter whose file names another base.

    Raises:
        UserError: with both names, and what to say if they are the same.
    """
    known = {base.name, base.path, getattr(base.config, "_name_or_path", None)}
    if claimed and claimed not in known:
        raise UserError(
            f"{origin}: trained on base '{claimed}', the pool's is '{base.name}'; "
            "if you know that they are the same, say --same-base"
        )


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
