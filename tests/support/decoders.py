"""Tiny random decoders of every known type with a byte-level tokenizer: saved with their lm_head, no padding token, nothing before a text."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers import decoders as token_decoders
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tasksel.model.decoders import DECODERS

KINDS = tuple(DECODERS)
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 160}  # fmt: skip
SETTINGS = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 24},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True},
    "gemma": {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "tie_word_embeddings": False,
    },  # tied, a tiny one repeats its last token
    "gpt2": {},
}
CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def byte_tokenizer(*, bos=False, chat=False):
    """A byte-level tokenizer without merges: a token per byte, and <eos>; with <bos> before a text, or a chat template, if asked."""
    words = ["<eos>", "<bos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = token_decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")
    if chat:
        fast.chat_template = CHAT
    return fast


def decoder_config(kind, **options):
    """The configuration of a tiny decoder."""
    return AutoConfig.for_model(kind, **{**SIZES, "vocab_size": 260, "eos_token_id": 0, "bos_token_id": 1, "pad_token_id": None, **SETTINGS[kind], **options})  # fmt: skip


def tiny_decoder(kind, *, seed=0, **options):
    """A causal language model of a kind, far from zero."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(decoder_config(kind, initializer_range=0.2, **options)).eval()


def save_decoder(folder, kind="llama", *, seed=0, bos=False, chat=False, dtype=torch.float32, **options):
    """A folder with a tiny decoder and its tokenizer."""
    tiny_decoder(kind, seed=seed, **options).to(dtype).save_pretrained(folder)
    byte_tokenizer(bos=bos, chat=chat).save_pretrained(folder)
    return str(folder)
