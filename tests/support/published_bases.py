"""Tiny copies of published checkpoints: the exact names of their tensors, their kinds of head, numbering of positions, and tokenizers.

What is published, as `model.safetensors` of the hub's repositories has it (numbers of its tensors, by which the names can be checked):

    bert-base-uncased   BertForPreTraining      110,106,428 floats                   LayerNorm.gamma, .beta; no decoder; pooler
    roberta-base        RobertaForMaskedLM      124,697,433 floats, 514 integers     no decoder, no pooler; position_ids
    xlm-roberta-base    XLMRobertaForMaskedLM   278,885,778 floats, 514 integers     no decoder; pooler; position_ids
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaModel,
    XLMRobertaTokenizerFast,
)

from tasksel.model.base import load_base

TINY = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
POSITIONS = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5}  # fmt: skip


def published_tensors(name, **sizes):
    """The configuration of a published checkpoint at these sizes, and its tensors by their published names."""
    return {"bert-base-uncased": _bert, "roberta-base": _roberta, "xlm-roberta-base": _xlm_roberta}[name](sizes)


def save_published(name, folder):
    """A tiny copy of a published checkpoint, with a tokenizer of its kind."""
    folder = Path(folder)
    tokenizer = {"bert-base-uncased": _word_pieces, "roberta-base": _bytes, "xlm-roberta-base": _pieces}[name]()
    torch.manual_seed(0)
    config, tensors = published_tensors(name, vocab_size=len(tokenizer), **TINY)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip


def _bert(sizes):
    model = BertForPreTraining(BertConfig(architectures=["BertForMaskedLM"], pad_token_id=0, **sizes))
    tensors = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("cls.predictions.decoder.")}  # fmt: skip
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return model.config, {_renamed(key, old): tensor for key, tensor in tensors.items()}


def _renamed(key, names):
    for new, old in names.items():
        key = key.replace(new, old)
    return key


def _roberta(sizes):
    model = RobertaForMaskedLM(RobertaConfig(architectures=["RobertaForMaskedLM"], **POSITIONS, **sizes))
    return model.config, _masked_lm(model)


def _xlm_roberta(sizes):
    model = XLMRobertaForMaskedLM(XLMRobertaConfig(architectures=["XLMRobertaForMaskedLM"], **POSITIONS, **sizes))
    pooler = XLMRobertaModel(model.config).pooler.state_dict()
    return model.config, {**_masked_lm(model), **{f"roberta.pooler.{key}": tensor for key, tensor in pooler.items()}}


def _masked_lm(model):
    """An encoder and its head, whose decoder is the embeddings, and the positions' numbers, which older versions stored."""
    tensors = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("lm_head.decoder.")}
    return {**tensors, "roberta.embeddings.position_ids": torch.arange(514)[None]}


def _word_pieces():
    return AutoTokenizer.from_pretrained(load_base("minilm").path)


def _bytes():
    """A byte-level tokenizer without merges: a token per byte."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "<mask>"]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return RobertaTokenizerFast(tokenizer_object=tokenizer)


def _pieces():
    """A tokenizer of pieces of one letter."""
    letters = ["▁", *map(chr, range(33, 127))]
    words = ["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"]
    tokenizer = Tokenizer(models.Unigram([(word, -float(number)) for number, word in enumerate(words)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
