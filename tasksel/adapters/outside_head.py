"""The head that lies beside an outside adapter: read strictly, and left out, said, where it is of no kind of task here.

head_config.json {"config": {"head_type": …}, "name": …}             heads.NAME.1.weight, …      a flexible head
head_config.json {"config": null, "model_class": "BertFor…", …}      classifier.weight, …        the head of a model of transformers
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from tasksel.adapters.folder import HEAD, HEAD_CONFIG, PICKLED_HEAD
from tasksel.adapters.outside_config import read_mapping
from tasksel.adapters.tensor_files import finite_weights
from tasksel.display.progress import say
from tasksel.errors import UserError, one_line
from tasksel.model.head import HEAD_TYPES
from tasksel.model.pooling import Pooling
from tasksel.model.task_model import TaskModel

OTHER_TYPES = (
    "tagging",
    "question_answering",
    "dependency_parsing",
    "masked_lm",
    "causal_lm",
    "seq2seq_lm",
    "image_classification",
)  # of the library, for no kind of task here


class FlexibleHead(BaseModel):
    """The "config" of a flexible head of the library.

    >>> FlexibleHead(head_type="classification", layers=2, activation_function="tanh", num_labels=3).use_pooler
    False
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    head_type: Literal["classification", "multilabel_classification", "multiple_choice"]
    layers: int = Field(gt=0)
    activation_function: str | None = None
    num_labels: int | None = Field(None, gt=0)
    num_choices: int | None = Field(None, gt=0)
    label2id: dict[str, int] | None = None
    use_pooler: bool = False
    bias: bool = True
    dropout_prob: float | None = Field(None, ge=0, le=1)
    pooling: Pooling | None = None  # ours, where it is not the first token


@dataclass(frozen=True)
class StaticHead:
    """The head of a model of transformers as a flexible one.

    Attributes:
        parts: the number that a flexible head gives to each of its layers, by its name in the model.
        last: whether it reads the last token, and has no bias, as those of decoders.
    """

    parts: dict[str, int]
    activation: str | None = None
    use_pooler: bool = False
    last: bool = False

    @property
    def layers(self) -> int:
        """1 or 2."""
        return len(self.parts)


POOLED = StaticHead({"classifier": 1}, use_pooler=True)
ROBERTA = StaticHead({"classifier.dense": 1, "classifier.out_proj": 4}, "tanh")
DEBERTA = StaticHead({"pooler.dense": 1, "classifier": 4}, "gelu")
DISTILBERT = StaticHead({"pre_classifier": 1, "classifier": 4}, "relu")
SCORE = StaticHead({"score": 1}, last=True)
SEQUENCE, CHOICE = "ForSequenceClassification", "ForMultipleChoice"
STATIC_HEADS = {
    **{f"{model}{kind}": POOLED for model in ("Bert", "Albert") for kind in (SEQUENCE, CHOICE)},
    **{f"{model}{SEQUENCE}": ROBERTA for model in ("Roberta", "XLMRoberta")},
    **{f"{model}{CHOICE}": POOLED for model in ("Roberta", "XLMRoberta")},
    **{f"DistilBert{kind}": DISTILBERT for kind in (SEQUENCE, CHOICE)},
    **{f"{model}{SEQUENCE}": DEBERTA for model in ("Deberta", "DebertaV2")},
    f"DebertaV2{CHOICE}": DEBERTA,
    f"Electra{SEQUENCE}": StaticHead({"classifier.dense": 1, "classifier.out_proj": 4}, "gelu"),
    f"Electra{CHOICE}": StaticHead({"sequence_summary.summary": 1, "classifier": 4}, "gelu"),
}
"""By class, as the library converts them."""
SAVED_HEADS = {
    **STATIC_HEADS,
    f"MPNet{SEQUENCE}": ROBERTA,
    f"Bert{SEQUENCE}": StaticHead({"pooler.dense": 1, "classifier": 4}, "tanh"),
    f"Albert{SEQUENCE}": StaticHead({"pooler": 1, "classifier": 4}, "tanh"),
}
"""By class, where the pooler was trained and saved with the head."""
OTHER_MODELS = {"ForTokenClassification": "tagging", "ForQuestionAnswering": "question_answering", "ForMaskedLM": "masked_lm", "ForCausalLM": "causal_lm", "LMHeadModel": "causal_lm"}  # fmt: skip
"""The library's type of other models' heads, by what their class ends in."""


def load_outside_head(model: TaskModel, adapter: str, folder: Path, origin: str) -> None:
    """Loads the head beside an adapter under the adapter's name; an adapter without one is a source all the same.

    Raises:
        UserError: a head that is broken, with what to delete to go without it.
    """
    file = next((name for name in (HEAD, PICKLED_HEAD) if (folder / name).is_file()), None)
    if file is None:
        return
    without = f"delete {file} and {HEAD_CONFIG} to add it without its head"
    if not (folder / HEAD_CONFIG).is_file():
        raise UserError(f"{origin}: {file} without its {HEAD_CONFIG}; {without}")
    described = read_mapping(folder / HEAD_CONFIG, origin=origin)
    tensors = finite_weights(folder / file, origin=origin)
    try:
        kind, config, tensors = _flexible(described, tensors, model)
        if kind in OTHER_TYPES:
            say(f"{origin}: its head is for another kind of task ({kind}): it is added without its head")
            return
        _check_sizes(config, tensors)
        model.add_head(adapter, FlexibleHead.model_validate(config).model_dump(exclude_none=True) | _kept_none(config))
        _fill(model, adapter, tensors, file)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{origin}: its head cannot be loaded ({where} in {HEAD_CONFIG}: {first['msg']}, given {first['input']!r:.40}); {without}"
        ) from error
    except UserError as error:
        raise UserError(f"{origin}: its head cannot be loaded ({one_line(error)}); {without}") from error


def _kept_none(config: dict[str, Any]) -> dict[str, Any]:
    """What a configuration sets to nothing, as the library writes it."""
    return {key: None for key, value in config.items() if value is None}


def _flexible(
    described: dict[str, Any], tensors: dict[str, Tensor], model: TaskModel
) -> tuple[str, Any, dict[str, Tensor]]:
    """A head's type, its configuration as a flexible head, and its weights by layer number and name."""
    config, name = described.get("config"), described.get("name")
    if isinstance(config, dict):
        prefix = f"heads.{name}."
        weights = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        kind = config.get("head_type")
        known = isinstance(kind, str) and kind in (*HEAD_TYPES, *OTHER_TYPES)
        if not known:
            raise UserError(f"its type is {kind!r:.40}; known: {', '.join(HEAD_TYPES)}")
        architecture, owner = type(model.base_model).__name__.removesuffix("Model"), described.get("model_class")
        if owner not in (None, f"{architecture}AdapterModel", f"{architecture}ModelWithHeads"):
            raise UserError(f"it is the head of a {owner!s:.40}, and the base is a {architecture}")
        return str(kind), config, weights
    owner = str(described.get("model_class"))
    for ending, kind in OTHER_MODELS.items() if config is None else ():
        if owner.endswith(ending):
            return kind, {}, {}
    static = STATIC_HEADS.get(owner)
    if config is not None or static is None:
        raise UserError(f"it is the head of a {owner:.40}, which is not read")
    flexible = _as_flexible(static, described, one_row=CHOICE in owner)
    return str(flexible["head_type"]), flexible, _numbered(static, tensors)


def _numbered(static: StaticHead, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's weights of its head by layer number and name."""
    weights = {}
    for key, tensor in tensors.items():
        part, _, leaf = key.rpartition(".")
        weights[f"{static.parts[part]}.{leaf}" if part in static.parts else key] = tensor
    return weights


def _as_flexible(static: StaticHead, described: dict[str, Any], *, one_row: bool = False) -> dict[str, Any]:
    """The configuration of a flexible head that is the head of a model of transformers."""
    return {
        "head_type": "multiple_choice" if one_row else "classification",
        "layers": static.layers,
        "activation_function": static.activation,
        "use_pooler": static.use_pooler,
        "label2id": described.get("label2id"),
        ("num_choices" if one_row else "num_labels"): described.get("num_labels"),
        **({"bias": False, "pooling": "last"} if static.last else {}),
    }


def add_saved_head(model: TaskModel, adapter: str, owner: str, tensors: dict[str, Tensor], *, origin: str) -> None:
    """Adds the head of a sequence classifier of transformers, from the weights of its modules, under the adapter's name.

    One whose files lack a part (PEFT saves `classifier` and `score` unless told otherwise), or that reads a pooler which the base lacks, is left
    out, which is said.

    Args:
        owner: the classifier's class. tensors: by name in the classifier, without the base's name.

    Raises:
        UserError: weights of other sizes.
    """
    pooler = any(name.startswith("pooler") for name in tensors)
    heads = SAVED_HEADS if pooler or owner not in STATIC_HEADS else STATIC_HEADS
    static = SCORE if all(name.startswith("score.") for name in tensors) else heads.get(owner)
    why = _unusable(model, static, owner, {name.rpartition(".")[0] for name in tensors})
    if static is None or why:
        say(f"{origin}: its head cannot be used, as {why}: it is added without its head")
        return
    outputs = len(tensors[f"{list(static.parts)[-1]}.weight"])
    config = _as_flexible(static, {"num_labels": outputs})
    try:
        model.add_head(adapter, FlexibleHead.model_validate(config).model_dump(exclude_none=True) | _kept_none(config))
        _fill(model, adapter, _numbered(static, tensors), "its files")
    except UserError as error:
        raise UserError(f"{origin}: its head cannot be loaded ({one_line(error)})") from error


def _unusable(model: TaskModel, static: StaticHead | None, owner: str, saved: Set[str]) -> str | None:
    """Why the modules that were saved are no head here; None if they are one."""
    if static is None or saved != static.parts.keys():
        lacking = ", ".join(sorted(static.parts.keys() - saved)) if static else ""
        return f"its files lack a part of it ({lacking})" if lacking else f"it is not that of a {owner}"
    if static.use_pooler and getattr(model.base_model, "pooler", None) is None:
        return "it reads the base's pooler, and this base has none"
    return None


def _check_sizes(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Refuses sizes that the head's own weights do not have, before a head of those sizes is built."""
    labels, layers = config.get("num_labels"), config.get("layers")
    sizes = {size for tensor in tensors.values() for size in tensor.shape}
    if labels is not None and (type(labels) is not int or labels not in sizes):
        raise UserError(f"num_labels is {labels!r:.40}, which its weights do not have")
    if layers is not None and (type(layers) is not int or not 0 < layers <= max(len(tensors), 1)):
        raise UserError(f"layers is {layers!r:.40}, which its weights do not have")
    for number in (config.get("label2id") or {}).values() if isinstance(config.get("label2id"), dict) else ():
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise UserError(f"a label's number is {number!r:.40}")


def _fill(model: TaskModel, adapter: str, tensors: dict[str, Tensor], file: str) -> None:
    """Copies the weights into the model's head; every one must have its place, and every place its weight."""
    state = model.heads[adapter].state_dict()
    if strange := sorted(tensors.keys() - state.keys()):
        raise UserError(f"the weight {strange[0]} in {file} has no place in the head of {HEAD_CONFIG}")
    if missing := sorted(state.keys() - tensors.keys()):
        raise UserError(f"{file} lacks {missing[0]}")
    for key, tensor in tensors.items():
        if tensor.shape != state[key].shape:
            raise UserError(f"the weight {key} is {list(tensor.shape)}, the head's {list(state[key].shape)}")
        state[key].copy_(tensor)
