"""A pool of LoRAs on the tiny BERT, trained here, and folders of LoRAs as anyone has them, written by PEFT."""

import pytest
import torch
from encoders import loud

from scalearn import AdapterPool, Recipe, train_source
from tasksel import get_task
from tasksel.model.base import load_base

QUICK = Recipe(lr=3e-3, epochs=1, max_length=32)
LORAS = {
    "sentiment_films": {"r": 2, "lora_alpha": 4, "target_modules": ["query", "value"]},
    "entail_travel": {"r": 3, "lora_alpha": 3, "target_modules": ["query", "intermediate.dense"], "use_rslora": True},
    "grammar_garden": {"r": 2, "lora_alpha": 6, "target_modules": "all-linear", "rank_pattern": {"query": 4}},
}
"""Sources of differing ranks, alphas, patterns and targets."""


@pytest.fixture(scope="session")
def lora_pool_folder(tiny, shared):
    """A pool of three LoRAs on the tiny BERT. Read it, or copy it before you write."""

    def train(folder):
        pool = AdapterPool(folder, base=tiny)
        for name, lora in LORAS.items():
            train_source(get_task(name), pool, rows=64, recipe=QUICK, lora=lora)

    return shared.fill("lora-pool", train)


@pytest.fixture
def lora_pool(lora_pool_folder):
    return AdapterPool(lora_pool_folder)


@pytest.fixture
def peft_folder(peft, tiny, tmp_path):
    """Saves a loud LoRA that PEFT itself made on the tiny BERT, or on a classifier of it, and gives its folder and model."""

    def save(name="theirs", *, classes=None, seed=5, **values):
        from transformers import AutoModel, AutoModelForSequenceClassification

        values = {"r": 2, "lora_alpha": 4, "target_modules": ["query", "value"], **values}
        torch.manual_seed(seed)
        if classes is None:
            base = AutoModel.from_pretrained(tiny)
        else:
            base = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=classes)
            values["task_type"] = "SEQ_CLS"
        model = peft.get_peft_model(base, peft.LoraConfig(**values)).eval()
        loud(model, ["lora_"], seed=seed, size=0.3)
        model.save_pretrained(tmp_path / name)
        return tmp_path / name, model

    return save


def tokens(base, texts=("the film was good", "nobody came"), others=("we left", "a long evening")):
    """Two texts as token ids."""
    tokenizer = load_base(str(base)).tokenizer if not hasattr(base, "tokenizer") else base.tokenizer
    return tokenizer(list(texts), list(others), padding=True, return_tensors="pt")
