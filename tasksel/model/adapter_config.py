"""Configurations of bottleneck adapters under the names and keys of the `adapters` library, as its `adapter_config.json` holds them.

A named configuration is what differs from `seq_bn` (Pfeiffer et al. 2020). Old names of adapter-transformers stand beside today's; names of other
kinds of adapters are known too, so that they can be refused as what they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from tasksel.errors import UserError, unknown

DEFAULTS: dict[str, Any] = {
    "original_ln_before": False,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "init_weights": "bert",
    "init_weights_seed": None,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "cross_adapter": False,
    "leave_out": [],
    "dropout": 0.0,
    "phm_layer": False,
    "phm_dim": 4,
    "factorized_phm_W": True,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "factorized_phm_rule": False,
    "phm_c_init": "normal",
    "phm_init_range": 0.0001,
    "learn_phm": True,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "phm_rank": 1,
    "phm_bias": True,
    "stochastic_depth": 0.0,
}
"""What the library takes for a key that a configuration lacks."""
SEQ_BN: dict[str, Any] = {
    **DEFAULTS,
    "mh_adapter": False,
    "output_adapter": True,
    "reduction_factor": 16,
    "non_linearity": "relu",
    "original_ln_before": True,
}
"""A sequential bottleneck after the feed-forward block: the library's default, and stage 1's."""

_DOUBLE = {"mh_adapter": True, "original_ln_before": False, "non_linearity": "swish"}
_PARALLEL = {"reduction_factor": 2, "original_ln_before": False, "init_weights": "mam_adapter", "is_parallel": True}
_INVERTIBLE = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
NAMED: dict[str, dict[str, Any]] = {
    "seq_bn": {},
    "double_seq_bn": _DOUBLE,
    "par_bn": {**_PARALLEL, "scaling": 4.0},
    "scaled_par_bn": {**_PARALLEL, "scaling": "learned"},
    "seq_bn_inv": _INVERTIBLE,
    "double_seq_bn_inv": {**_DOUBLE, **_INVERTIBLE},
    "compacter++": {"phm_layer": True, "reduction_factor": 32, "non_linearity": "gelu"},
    "compacter": {**_DOUBLE, "phm_layer": True, "reduction_factor": 32, "non_linearity": "gelu"},
}
OLD_NAMES = {"pfeiffer": "seq_bn", "houlsby": "double_seq_bn", "parallel": "par_bn", "scaled_parallel": "scaled_par_bn", "pfeiffer+inv": "seq_bn_inv", "houlsby+inv": "double_seq_bn_inv"}  # fmt: skip


OTHER_KINDS = {"prefix_tuning": "prefix_tuning", "prefix_tuning_flat": "prefix_tuning", "prompt_tuning": "prompt_tuning", "lora": "lora", "mtl_lora": "mtl_lora", "ia3": "lora", "vera": "lora", "dora": "lora", "dvora": "lora", "loreft": "reft", "noreft": "reft", "direft": "reft", "mam": "union", "unipelt": "union"}  # fmt: skip
"""The library's architecture of each named configuration that is no bottleneck."""
OUTSIDE = {
    "is_parallel": "it is a parallel adapter",
    "cross_adapter": "it sits in cross-attention",
    "inv_adapter": "it has an invertible adapter beside it",
}
"""Why an adapter with such a value is computed otherwise than in a slot."""
PHM = {"factorized_phm_W": True, "shared_W_phm": False, "shared_phm_rule": True, "factorized_phm_rule": False, "phm_bias": True}  # fmt: skip
"""The form of PHM layers that is computed: Compacter's."""
WORD = re.compile(r"([\w+]+)(?:\[(.*)\])?")


def outside_the_slot(config: Mapping[str, Any]) -> str | None:
    """Why an adapter is computed otherwise than y = LN(s + o), or None if it is not.

    >>> outside_the_slot(resolve_config("par_bn"))
    'it is a parallel adapter (is_parallel=True)'
    """
    if "non_linearity" not in config or "reduction_factor" not in config:
        return f"it is not a bottleneck adapter (architecture: {config.get('architecture')})"
    for key, reason in OUTSIDE.items():
        if config.get(key):
            return f"{reason} ({key}={config[key]})"
    if config.get("original_ln_after") is False:
        return "the layer's own layer norm does not follow it (original_ln_after=False)"
    residual = config.get("residual_before_ln", True)
    if residual is not True and (config.get("original_ln_before") or residual):
        return f"its residual is not the feed-forward block's output (residual_before_ln={residual})"
    if config.get("ln_after") and config.get("adapter_residual_before_ln"):
        return "its residual is added before its own layer norm (adapter_residual_before_ln=True)"
    for key, value in PHM.items() if config.get("phm_layer") else ():
        if config.get(key, value) != value:
            return f"its PHM layers are not Compacter's ({key}={config[key]})"
    return None


def resolve_config(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration of a name, a name with values, several names, or a mapping that may lack keys.

    >>> resolve_config("pfeiffer")["reduction_factor"], resolve_config("seq_bn[reduction_factor=8]")["reduction_factor"]
    (16, 8)
    >>> resolve_config("lora"), resolve_config("seq_bn|lora")
    ({'architecture': 'lora'}, {'architecture': 'union'})

    Raises:
        UserError: an unknown name or setting; values that are no Python literals.
    """
    if isinstance(config, Mapping):
        return {**DEFAULTS, **config}
    resolved = [_named(word.strip()) for word in config.split("|")]
    return resolved[0] if len(resolved) == 1 else {"architecture": "union"}


def _named(word: str) -> dict[str, Any]:
    """The configuration of `NAME` or `NAME[key=value, …]`."""
    name = word.partition("[")[0].strip()
    name = OLD_NAMES.get(name, name)
    if name not in NAMED and name not in OTHER_KINDS:
        raise unknown("adapter configuration", shortened(name), [*NAMED, *OLD_NAMES, *OTHER_KINDS])
    match = WORD.fullmatch(word)
    try:
        values = dict(ast.literal_eval("{" + re.sub(r"(\w+)=", r"'\1':", (match[2] or "") if match else "=") + "}"))
        if not all(isinstance(key, str) for key in values):
            raise ValueError("a key without a name")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(
            f"its config '{shortened(word)}' cannot be read: give values as NAME[key=value], separated by commas"
        ) from error
    if name in NAMED and (strange := sorted(values.keys() - SEQ_BN.keys())):
        raise unknown("adapter setting", shortened(strange[0]), list(SEQ_BN))
    return {"architecture": OTHER_KINDS[name]} if name in OTHER_KINDS else {**SEQ_BN, **NAMED[name], **values}


def shortened(text: str) -> str:
    """At most 40 letters of what a file holds, for a message.

    >>> shortened("seq_bn")
    'seq_bn'
    """
    return text if len(text) <= 40 else text[:40] + "…"
