"""Tiny random bases of several architectures with Linears to target, and LoRAs far from zero on them."""

import torch
from encoders import IDS, MASK, loud, tiny_encoder
from transformers import AutoConfig, AutoModel

DECODER = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 20, "pad_token_id": 1}  # fmt: skip
GROUPED = {**DECODER, "num_key_value_heads": 1}  # grouped queries: keys and values are half as wide
DECODERS = {
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "gemma": {**GROUPED, "head_dim": 8},
    "gpt2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 20, "pad_token_id": 1},
}


def tiny_lora_base(kind, *, seed=0):
    """A frozen base of a type, an encoder or a decoder, in eval mode; every number random."""
    if kind not in DECODERS:
        return tiny_encoder(kind, seed=seed)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **DECODERS[kind]))
    return loud(model, [""], seed=seed, size=0.2).requires_grad_(False).eval()


def with_lora(model, name, config, *, seed=1, size=0.3):
    """Adds a LoRA far from zero to a `TaskModel`, in eval mode, and makes it active."""
    model.add_adapter(name, {"architecture": "lora", **config})
    loud(model, [f".adapters.{name}."], seed=seed, size=size)
    model.set_active_adapters(name)
    return model.eval()


def hidden(model, ids=IDS, mask=MASK):
    """The last hidden state [b, t, d] of a base or a `TaskModel`; zeros at padding, where decoders differ in positions."""
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
