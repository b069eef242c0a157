"""The base of a benchmark: one at hand, or MiniLM's shape with random weights where the package that carries it is not installed."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from tasksel.model.base import ALIASES

SHAPE = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}


@contextmanager
def base_at_hand(name: str) -> Iterator[str]:
    """The name, or the folder of a stand-in for "minilm", which exists within the block; a step's time does not depend on its weights."""
    if name != "minilm" or importlib.util.find_spec(ALIASES[name][0]) is not None:
        yield name
        return
    print("minilm is not installed: its shape with random weights stands for it")
    with tempfile.TemporaryDirectory() as folder:
        yield str(random_base(Path(folder) / "random-minilm"))


def random_base(folder: Path, **sizes: int) -> Path:
    """Writes a BERT of MiniLM's shape, or of other sizes, with random weights and without a tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**{**SHAPE, **sizes})).save_pretrained(folder, safe_serialization=True)
    return folder
