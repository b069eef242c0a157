"""Configurations of bottleneck adapters under the names and keys of the `adapters` library, as its `adapter_config.json` holds them.

A named configuration is what differs from `seq_bn` (Pfeiffer et al. 2020). Old names of adapter-transformers stand beside today's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasksel.errors import UserError

SEQ_BN: dict[str, Any] = {
    "mh_adapter": False,
    "output_adapter": True,
    "reduction_factor": 16,
    "non_linearity": "relu",
    "original_ln_before": True,
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


def resolve_config(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration of a name, a name with values, or a mapping that may lack keys.

    >>> resolve_config("pfeiffer")["reduction_factor"], resolve_config("seq_bn[reduction_factor=8]")["reduction_factor"]
    (16, 8)

    Raises:
        UserError: an unknown name; values that are no numbers, words, true or false.
    """
    if isinstance(config, Mapping):
        return {**SEQ_BN, **config}
    match = re.fullmatch(r"([\w+]+)(?:\[(.*)\])?", config.strip())
    name = OLD_NAMES.get(match[1], match[1]) if match else config
    if match is None or name not in NAMED:
        raise UserError(f"no adapter configuration '{config}'; known: {', '.join(sorted([*NAMED, *OLD_NAMES]))}")
    pairs = [pair.split("=", 1) for pair in (match[2] or "").split(",") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError(f"adapter configuration '{config}': give values as name=value, separated by commas")
    return {**SEQ_BN, **NAMED[name], **{key.strip(): _value(text.strip()) for key, text in pairs}}


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text) if re.search(r"[.e]", text) else int(text)
    except ValueError:
        return text
