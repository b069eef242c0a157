"""What the `adapter_config.json` of a PEFT folder says, read strictly: a plain LoRA, or the reason why it is none.

plain       y = W x + scale * B A x        ranks, alphas, patterns, rsLoRA, targets, a head under modules_to_save
refused     another base weight or another formula (DoRA, aLoRA, KaSA, …), other trained weights (biases, embeddings), other kinds of adapters
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasksel.adapters.outside_config import read_mapping
from tasksel.errors import UserError
from tasksel.model.adapter_config import shortened
from tasksel.model.lora_config import LoraConfig, lora_config

LORA_KEYS = tuple(name for name in LoraConfig.model_fields if name not in ("architecture", "bias"))
REASONS = {
    "use_dora": "it is a DoRA, which rescales the base's weights by a learned magnitude",
    "alora_invocation_tokens": "it is an aLoRA, which acts after its invocation tokens alone",
    "kasa_config": "it is a KaSA, which cuts singular values off the base's weights",
    "lora_bias": "biases of its B were trained",
    "trainable_token_indices": "embeddings were trained",
    "target_parameters": "it targets parameters of experts, not Linears",
    "layer_replication": "it repeats layers of its base",
    "use_qalora": "it is a QA-LoRA, which pools its inputs",
    "use_bdlora": "it is a block-diagonal LoRA",
    "arrow_config": "it is a router of several LoRAs (Arrow)",
    "monteclora_config": "it is a MonteCLoRA, which samples its updates",
    "megatron_config": "it sits on layers of Megatron",
}
"""Why an adapter with such a value cannot be a source."""
NEUTRAL = ("auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config", "fan_in_fan_out", "inference_mode", "init_lora_weights", "loftq_config", "lora_ga_config", "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type", "velora_config")  # fmt: skip
"""Keys that decide no number of a trained LoRA, or that are checked by themselves."""
SAME_BASE_INITS = (True, False, None, "gaussian", "eva", "orthogonal")  # the others change the base's weights
CONVERTIBLE = ("C3A", "DELORA", "FOURIERFT", "GRALORA", "HIRA", "LOHA", "LOKR", "MISS", "PSOFT", "RANDLORA", "SHIRA", "TINYLORA", "UNILORA", "VBLORA", "VERA", "WAVEFT")  # fmt: skip
"""Kinds of PEFT adapters that `peft.convert_to_lora` takes."""
HEADS = ("classifier", "score", "pre_classifier", "pooler", "sequence_summary", "qa_outputs")  # modules of heads


class PeftConfig(BaseModel):
    """The values of a plain LoRA's folder.

    Attributes:
        lora: targets, ranks and scales. base: the base's name. heads: the modules that were trained whole beside the LoRA.

    >>> PeftConfig(lora=LoraConfig(r=4)).lora.r
    4
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraConfig
    base: str | None = None
    task_type: str | None = None
    heads: tuple[str, ...] = Field(default=())


def read_peft_config(path: Path, *, origin: str) -> PeftConfig:
    """Reads a PEFT folder's `adapter_config.json`.

    Raises:
        UserError: a kind of adapter that is no plain LoRA, and why; a value that is wrong (named); broken JSON.

    >>> read_peft_config(Path("mine/adapter_config.json"), origin="mine").lora.r  # doctest: +SKIP
    8
    """
    content = read_mapping(path, origin=origin)
    if problem := not_plain(content):
        raise UserError(f"{origin}: cannot be used as a source: {problem}")
    texts = {key: content.get(key) for key in ("base_model_name_or_path", "task_type")}
    for key, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise UserError(f"{origin}: adapter_config.json: {key}: a text is needed, given {value!r:.40}")
    known = {key: content[key] for key in LORA_KEYS if content.get(key) is not None}
    try:
        lora = lora_config(known)
    except UserError as error:
        raise UserError(f"{origin}: adapter_config.json: {error}") from error
    heads = tuple(content.get("modules_to_save") or ())
    return PeftConfig(lora=lora, base=texts["base_model_name_or_path"], task_type=texts["task_type"], heads=heads)


def not_plain(content: dict[str, Any]) -> str | None:
    """Why an adapter's folder holds no plain LoRA, or None if it does.

    >>> not_plain({"peft_type": "LORA", "use_dora": True})
    "it is a DoRA, which rescales the base's weights by a learned magnitude (use_dora=True)"
    >>> not_plain({"peft_type": "LORA", "r": 8})
    """
    kind = content.get("peft_type")
    if kind != "LORA":
        convert = "; convert it: peft.convert_to_lora(model, rank) and save that" if kind in CONVERTIBLE else ""
        return f"it is a PEFT adapter of the kind {shortened(str(kind))}, and plain LoRAs can be sources{convert}"
    for key, reason in REASONS.items():
        if content.get(key):
            return f"{reason} ({key}={shortened(str(content[key]))})"
    if content.get("bias") not in (None, "none"):
        return f"biases of the base were trained (bias={shortened(str(content['bias']))})"
    init = content.get("init_lora_weights", True)
    if not any(init is known or (isinstance(init, str) and init == known) for known in SAME_BASE_INITS):
        return (
            f"it began at init_lora_weights={shortened(str(init))}, which changes the base's weights: save it as a plain LoRA "
            "(peft: save_pretrained(…, path_initial_model_for_weight_conversion=…))"
        )
    return _beside(content)


def _beside(content: dict[str, Any]) -> str | None:
    """What was trained beside the LoRA, or what is not known here."""
    saved = content.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        return f"modules_to_save is {shortened(str(saved))}, where a list of names is needed"
    strange = next((name for name in saved if name.rpartition(".")[2] not in HEADS), None)
    if strange is not None:
        what = "embeddings were" if "emb" in strange or strange == "lm_head" else f"the module '{strange}' was"
        return f"{what} trained beside it (modules_to_save: {shortened(', '.join(saved))}); heads alone may be"
    known = {*LORA_KEYS, *NEUTRAL, *REASONS}
    new = next(
        (key for key, value in content.items() if key not in known and value not in (None, False, [], {}, "")), None
    )
    return (
        None
        if new is None
        else f"its setting '{shortened(new)}' is not known here: a newer PEFT, or another library, wrote it; if it changes nothing of the LoRA, take it out of adapter_config.json"
    )
