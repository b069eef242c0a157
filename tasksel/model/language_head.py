"""A decoder's lm_head as the head of a generation task: the base's own, frozen with it, tied to the word embeddings where the base ties them.

    logits_t = W h_t                    [vocabulary] of the token after t; W the lm_head's, or the word embeddings
    y_1, y_2, …                         y_k = argmax of the logits after prompt and y_1 … y_(k-1), until eos: greedy decoding with the KV cache

`transformers` decodes (`generate`), on the very layers that the model trains, so what sits in them acts there too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from tasksel.model.pooling import Pooling, Reads

CAUSAL_LM = "causal_lm"  # the type's name in the `adapters` library


class LanguageHead(nn.Module):
    """Stands among a model's heads for the base's lm_head; it has no weights of its own.

    Args:
        config: the "config" of the library's head_config.json.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.choices: int | None = None
        self.use_pooler = False
        self.pooling: Pooling = "last"
        self.reads: Reads = "last"


class LanguageModel:
    """A decoder with its lm_head: what writes texts. It is no module, so that its weights are registered once, as the base's.

    Args:
        causal: an `AutoModelForCausalLM`, whose decoder the `TaskModel` has too.
    """

    def __init__(self, causal: Any) -> None:
        self.causal = causal
        # the checkpoint's own settings (a temperature, a penalty of repetitions) are for chatting
        causal.generation_config = GenerationConfig()

    @property
    def lm_head(self) -> nn.Module:
        """The layer that gives the logits."""
        head: nn.Module = self.causal.get_output_embeddings()
        return head

    @property
    def tied(self) -> bool:
        """Whether its weight is that of the word embeddings."""
        tied: bool = self.lm_head.weight is self.causal.get_input_embeddings().weight
        return tied

    def untie(self) -> nn.Module:
        """Puts a copy in the lm_head's place, in float32, as it will be trained."""
        own = copy.deepcopy(self.lm_head).float()
        self.causal.set_output_embeddings(own)
        return own

    @torch.no_grad()
    def generate(self, ids: Tensor, mask: Tensor, *, max_new_tokens: int, eos: int, pad: int) -> Tensor:
        """The tokens [b, new] that greedy decoding writes after prompts [b, t], padded on the left; `pad` follows a row's eos."""
        settings = {"do_sample": False, "num_beams": 1, "use_cache": True, "max_new_tokens": max_new_tokens}
        config = GenerationConfig(**settings, eos_token_id=eos, pad_token_id=pad)
        written: Tensor = self.causal.eval().generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return written[:, ids.shape[1] :]
