"""Decoders that are bases: where their layers lie, and the Linears that end a layer's attention and its feed-forward block, per model type.

    h_t = decoder(x_1 … x_t)        [b, t, d]   a token sees itself and those before it: the last one alone has seen the whole text

Heads read the last token. The layers are pre-LN: they end in a sum and no LayerNorm, so a bottleneck adapter has no slot there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tasksel.errors import UserError
from tasksel.model.pooling import Pooling

BETWEEN_TEXTS = "\n"  # a decoder's tokenizer has no token that ends a text


@dataclass(frozen=True)
class Decoder:
    """Paths in a decoder.

    Attributes:
        layers: a regular expression that the path of each layer matches whole.
        attention_output, ffn_output: the projections that read a layer's heads and its neurons, relative to the layer.
    """

    layers: str = r"layers\.\d+"
    attention_output: str = "self_attn.o_proj"
    ffn_output: str = "mlp.down_proj"


LLAMA = Decoder()
DECODERS: dict[str, Decoder] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma": LLAMA,
    "gpt2": Decoder(r"h\.\d+", "attn.c_proj", "mlp.c_proj"),
}
"""Decoders by model type; a new row needs these paths alone."""


def is_decoder(config: Any) -> bool:
    """Whether a base of this configuration is one of the decoders.

    >>> from transformers import BertConfig, LlamaConfig
    >>> is_decoder(LlamaConfig()), is_decoder(BertConfig())
    (True, False)
    """
    return config.model_type in DECODERS


def no_slots(config: Any) -> str:
    """Why a bottleneck adapter cannot be added to a decoder."""
    return (
        f"a {config.model_type} is a decoder, whose layers are pre-LN and have no slot for a bottleneck adapter; "
        "LoRAs sit in its Linears"
    )


def check_slots_for(config: Any, what: str) -> None:
    """Refuses what needs bottleneck slots on a base without them.

    Args:
        what: that is refused, for the message.

    Raises:
        UserError: on a decoder.
    """
    if is_decoder(config):
        raise UserError(f"{what}: {no_slots(config)}")


def readable(pooling: Pooling, config: Any) -> Pooling:
    """The pooling itself; of a decoder "last" for "first": its first token sees no other, and is the same for every text.

    >>> from transformers import LlamaConfig
    >>> readable("first", LlamaConfig()), readable("mean", LlamaConfig())
    ('last', 'mean')
    """
    return "last" if pooling == "first" and is_decoder(config) else pooling


def positions(mask: Tensor) -> Tensor:
    """Each token's position [b, t] among those that are attended to, whichever side is padded.

    >>> import torch
    >>> positions(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist()
    [[0, 0, 0, 1], [0, 1, 2, 2]]
    """
    return (mask.cumsum(-1) - 1).clamp(min=0)
