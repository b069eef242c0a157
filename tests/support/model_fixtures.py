"""Tiny random models of several architectures, small tasks, and a pool: each made once a run, no network, no weights from outside."""

import gc
import os
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from scalearn import AdapterPool, Recipe, train_source
from tasksel import get_task
from tasksel.model.base import load_base

QUICK = Recipe(lr=1e-3, epochs=1, max_length=32)
SOURCES = ("sentiment_films", "entail_travel", "grammar_garden")
TINY = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "pad_token_id": 0, "type_vocab_size": 2}  # fmt: skip
ARCHITECTURES = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "distilbert": {"n_layers": 2, "dim": 32, "n_heads": 4, "hidden_dim": 64},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}


@pytest.fixture(scope="session", autouse=True)
def _quick():
    """Tiny models: a second thread only waits, and what was imported is not searched for garbage after each training (0.5 s)."""
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def make_base(shared):
    """Makes a folder with a tiny random model of an architecture (once each) and gives its path; other options, another model."""

    def make(architecture="bert", *, seed=0, **options):
        def save(folder):
            tokenizer = AutoTokenizer.from_pretrained(load_base("minilm").path)
            torch.manual_seed(seed)
            settings = {**TINY, **ARCHITECTURES[architecture], **options}
            sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 130}
            config = AutoConfig.for_model(architecture, **sizes, **settings)
            AutoModel.from_config(config).save_pretrained(folder, safe_serialization=True)
            tokenizer.save_pretrained(folder)

        key = "-".join([architecture, str(seed), *(f"{name}={value}" for name, value in sorted(options.items()))])
        return str(shared.fill(f"tiny-{key}", save))

    return make


@pytest.fixture(scope="session")
def tiny(make_base):
    """A folder with a tiny random BERT, dropout on."""
    return make_base()


@pytest.fixture(scope="session")
def pool_folder(tiny, shared):
    """A pool of three sources on the tiny BERT. Read it, or copy it before you write."""

    def train(folder):
        pool = AdapterPool(folder, base=tiny)
        for name in SOURCES:
            train_source(get_task(name), pool, rows=64, recipe=QUICK)

    return shared.fill("pool", train)


@pytest.fixture
def few_strengths(monkeypatch):
    """The closed form chooses between two, which takes less time."""
    monkeypatch.setattr("tasksel.training.cross_validation.STRENGTHS", (1e-2, 1e-1))


@pytest.fixture
def pool(pool_folder):
    return AdapterPool(pool_folder)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real tasks that SCALEARN_DATA names; tests that want it do without where it is absent."""
    named = os.environ.get("SCALEARN_DATA")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def python():
    """The interpreter that runs the tests, for child processes."""
    return sys.executable
