"""A trained model's LoRAs as ONE plain PEFT LoRA: one rank, alpha equal to it, no patterns, no rsLoRA, so that every server takes it.

A = [A_1; …; A_n; 0]  [R, in]      B = [omega_1 scale_1 B_1, …, omega_n scale_n B_n, 0]  [out, R]      R the largest rank of all modules

head    as the base's own classifier, where that can be it (`SEQ_CLS`, the head under `modules_to_save`); else beside it (model_head.safetensors);
        of a generation task the base's own lm_head, which is frozen (`CAUSAL_LM`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from scalearn.layers.lora_mix import folded_pairs
from tasksel.adapters.folder import save_head
from tasksel.adapters.lora_folder import write_lora
from tasksel.model.decoders import is_decoder
from tasksel.model.language_head import CAUSAL_LM
from tasksel.model.linear_slot import linears_of
from tasksel.model.lora_config import LoraConfig, short_names

Pairs = Mapping[str, tuple[Tensor, Tensor]]
"""A [r, in] and B [out, r] by the path of their module in the base."""


@dataclass(frozen=True)
class OwnHead:
    """The head of the base's own `…ForSequenceClassification`, where it is two layers with a tanh on the first token, as heads here are.

    Attributes:
        parts: the names of the first and the last layer in that model. saved: the modules that PEFT saves whole.
    """

    parts: tuple[str, str]
    saved: tuple[str, ...]


CLASSIFIER = OwnHead(("classifier.dense", "classifier.out_proj"), ("classifier",))
OWN_HEADS = {
    "bert": OwnHead(("bert.pooler.dense", "classifier"), ("classifier", "pooler")),
    "albert": OwnHead(("albert.pooler", "classifier"), ("classifier", "pooler")),
    **dict.fromkeys(("roberta", "xlm-roberta", "mpnet"), CLASSIFIER),
}
"""By model type; the others have another activation or no second layer."""


def own_head(model_type: str, config: Mapping[str, Any]) -> OwnHead | None:
    """How the base's own classifier holds a head of this configuration; None where it cannot.

    >>> own_head("bert", {"head_type": "classification", "layers": 2, "activation_function": "tanh"}).saved
    ('classifier', 'pooler')
    >>> own_head("bert", {"head_type": "classification", "layers": 2, "activation_function": "tanh", "pooling": "mean"})
    """
    alike = config.get("layers") == 2 and config.get("activation_function") == "tanh" and config.get("bias", True)
    first = config.get("pooling", "first") == "first" and not config.get("use_pooler")
    return OWN_HEADS.get(model_type) if alike and first and config.get("head_type") != "multiple_choice" else None


def uniform(pairs: Pairs) -> dict[str, tuple[Tensor, Tensor]]:
    """The pairs with zero rows of A and columns of B up to the largest rank of all; their products stay as they are.

    >>> uniform({"query": (torch.ones(2, 8), torch.ones(4, 2)), "value": (torch.ones(1, 8), torch.ones(4, 1))})["value"][0].shape
    torch.Size([2, 8])
    """
    rank = max(len(a) for a, _ in pairs.values())
    return {
        path: (F.pad(a, (0, 0, 0, rank - len(a))), F.pad(b, (0, rank - b.shape[1]))) for path, (a, b) in pairs.items()
    }


def plain_config(pairs: Pairs, model: Any) -> LoraConfig:
    """The configuration of pairs of one rank whose scale is 1.

    >>> plain_config(uniform(pairs), model).lora_alpha  # doctest: +SKIP
    24
    """
    rank = len(next(iter(pairs.values()))[0])
    linears = [path for path, _ in linears_of(model.base_model)]
    return LoraConfig(r=rank, lora_alpha=rank, target_modules=short_names(pairs, linears))


def save_plain_lora(trained: Any, folder: Path, name: str, *, keeps_head: bool = True) -> None:
    """Writes the adapter and head `name` of a trained model: PEFT's two files, and the head's beside them.

    Args:
        keeps_head: whether the head may lie in PEFT's file too, under `modules_to_save`. A server, which takes none, knows a decoder's
            modules by the names that they have in the causal language model.

    >>> save_plain_lora(result.model(), Path("out/rte-adapter"), "rte")  # doctest: +SKIP
    """
    pairs, head = uniform(folded_pairs(trained, name)), trained.heads[name]
    own = own_head(trained.config.model_type, head.config) if keeps_head else None
    causal = head.config.get("head_type") == CAUSAL_LM or (not keeps_head and is_decoder(trained.config))
    options: dict[str, Any] = {"task_type": "CAUSAL_LM"} if causal else {}
    if own:
        heads = {f"{part}.{leaf}": value for part, layer in zip(own.parts, (1, 4), strict=True) for leaf, value in head.get_submodule(str(layer)).state_dict().items()}  # fmt: skip
        options = {"task_type": "SEQ_CLS", "heads": heads, "modules_to_save": own.saved}
    write_lora(folder, pairs, plain_config(pairs, trained), trained, **options)
    save_head(trained, folder, name)
