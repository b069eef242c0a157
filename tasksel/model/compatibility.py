"""Whether a base, its tokenizer, a task and a number of tokens fit together: said in one line, before any work begins.

architecture   a post-LN encoder of texts, in whose layers an adapter's slot is known, or a decoder (`tasksel.model.decoders`)
tokenizer      of the base's vocabulary, with a padding token; of an encoder also the same first token before every text, which heads read
max_length     no more tokens than the base has positions, and room for a token of each text beside the special ones
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers.models.auto import modeling_auto

from tasksel.errors import UserError
from tasksel.model.decoders import BETWEEN_TEXTS, DECODERS, is_decoder
from tasksel.model.prompts import check_prompts
from tasksel.model.slot import FAMILIES
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.tasks.text_metrics import check_metric

if TYPE_CHECKING:
    from tasksel.model.base import Base

COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "mpnet")  # the first token's position is pad_token_id + 1
PRE_NORM = ("roberta-prelayernorm", "xlm-roberta-xl", "megatron-bert", "modernbert", "xmod", "nomic_bert", "eurobert", "modernvbert")  # fmt: skip


def check_architecture(name: str, config: Any) -> None:
    """Refuses a base that is neither an encoder with slots for adapters nor a known decoder.

    Raises:
        UserError: the base, its type, why, and the types that are supported.
    """
    kind = config.model_type
    if kind not in FAMILIES and kind not in DECODERS:
        raise UserError(
            f"base '{name}' is a {kind}: {_reason(kind, config)}; choose one of these: {', '.join(sorted(FAMILIES))}; "
            f"or a decoder: {', '.join(sorted(DECODERS))}"
        )
    needed = ["vocab_size", "max_position_embeddings", *(["pad_token_id"] if kind in COUNTED_FROM_PADDING else [])]
    for setting in needed:
        if not isinstance(getattr(config, setting), int):
            raise UserError(
                f"base '{name}': {setting} in its config.json is {getattr(config, setting)!r}; a {kind} needs a whole number"
            )


def _reason(kind: str, config: Any) -> str:
    """Why a type of model is no base."""
    if config.is_encoder_decoder:
        return "an encoder-decoder, where encoders are supported"
    if kind in PRE_NORM:
        return (
            "a pre-LN encoder, whose layers do not end in their LayerNorm, so a bottleneck's slot has another formula"
        )
    if kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "an encoder whose slot is not known here (a post-LN one is a row of FAMILIES in tasksel/model/slot.py)"
    if kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "a decoder that is not known here (a new one is a row of DECODERS in tasksel/model/decoders.py)"
    return "not an encoder of texts"


def check_tokenizer(name: str, tokenizer: Any, config: Any) -> None:
    """Refuses a tokenizer that does not fit the base.

    Raises:
        UserError: no padding token, ids beyond the vocabulary, or, on an encoder, no token before a text.
    """
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None and is_decoder(config):
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any token serves
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"base '{name}': its tokenizer has no padding token; name one (tokenizer.pad_token = …) and save it there again"
        )
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= config.vocab_size:
        raise UserError(
            f"base '{name}': its tokenizer has ids up to {highest}, its vocabulary ends at {config.vocab_size - 1}; "
            "save the tokenizer there that the model was trained with, or resize the model's embeddings to it"
        )
    if is_decoder(config):
        tokenizer.between_texts = BETWEEN_TEXTS
        return
    empty, text = tokenizer("")["input_ids"], tokenizer("a")["input_ids"]
    if not empty or empty[0] != text[0]:
        raise UserError(
            f"base '{name}': its tokenizer puts no token such as [CLS] or <s> before a text, and heads read the first token; "
            "save the tokenizer there that the model was trained with"
        )


def drop_unused_segments(tokenizer: Any, config: Any) -> None:
    """Lets the tokenizer give no segment ids where the base has no embedding for all of them, as RoBERTa; it then takes 0 for every token."""
    segments = tokenizer("a", "b").get("token_type_ids")
    if segments and max(segments) >= getattr(config, "type_vocab_size", 0):
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]


def most_tokens(config: Any) -> int | None:
    """The most tokens that a base takes; None where its positions are only relative.

    >>> from transformers import RobertaConfig
    >>> most_tokens(RobertaConfig(max_position_embeddings=514, pad_token_id=1))
    512
    """
    if config.model_type in ("deberta", "deberta-v2") and not config.position_biased_input:
        return None
    positions: int = config.max_position_embeddings
    return positions - config.pad_token_id - 1 if config.model_type in COUNTED_FROM_PADDING else positions


def check_length(base: Base, tasks: Sequence[Task], max_length: int, *, setting: str = "recipe.max_length") -> None:
    """Refuses a number of tokens that the base cannot take, or that leaves no room for the tasks' texts; and a base that cannot write a task's answers.

    Args:
        setting: where `max_length` stands, for a message.

    Raises:
        UserError: with what is allowed; a tokenizer that is missing or does not fit; a generation task on an encoder.

    >>> check_length(load_base("minilm"), [get_task("rte")], 600)  # doctest: +SKIP
    UserError: recipe.max_length is 600; base 'minilm' takes 4 to 512 tokens
    """
    for task in tasks:
        if task.kind == GENERATION:
            _check_writes(base, task)
            check_prompts(base.name, base.tokenizer, task, max_length, setting=setting)
    pair = any(len(task.text) == 2 or task.kind == "multiple_choice" for task in tasks)
    least = base.tokenizer.num_special_tokens_to_add(pair=pair) + 1 + pair
    most = most_tokens(base.config)
    if isinstance(max_length, int) and least <= max_length and (most is None or max_length <= most):
        return
    texts = " for a pair of texts" if pair else ""
    allowed = f"at least {least} tokens{texts}" if most is None else f"{least} to {most} tokens{texts}"
    raise UserError(f"{setting} is {max_length}; base '{base.name}' takes {allowed}")


def _check_writes(base: Base, task: Task) -> None:
    """Refuses a base that writes no text, and a metric whose library is missing."""
    if not is_decoder(base.config):
        raise UserError(
            f"task '{task.name}' is generation, and base '{base.name}' is a {base.config.model_type}, an encoder, which writes no text: "
            f"choose a decoder ({', '.join(sorted(DECODERS))})"
        )
    check_metric(task.metric)
