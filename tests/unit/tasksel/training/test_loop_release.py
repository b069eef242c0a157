"""Tests that a training lets go of what it held when it ends, without a collection of all garbage, which takes 0.2 s."""

import gc
import weakref

import numpy as np
import pytest
import torch

from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.tasks.examples import Split
from tasksel.tasks.task import BuiltinSource, Task
from tasksel.training.loop import Diverged, fit
from tasksel.training.recipe import Recipe

TOY = Task(
    name="toy", kind="single_sentence_classification", text=("t",), labels=("blame", "praise"), metric="accuracy", source=BuiltinSource()
)  # fmt: skip


@pytest.mark.parametrize("diverges", [False, True])
def test_an_optimizer_goes_with_its_training(tiny, monkeypatch, diverges):
    model, optimizers = load_base(tiny).model(), []
    add_head(model, TOY, name="toy")
    split = Split([("bad film",), ("good film",)] * 4, None, np.arange(8) % 2)
    rows = encode_split(split, TOY, load_base(tiny).tokenizer, max_length=16)
    adamw = torch.optim.AdamW

    def watched(*arguments, **options):
        optimizer = adamw(*arguments, **options)
        optimizers.append(weakref.ref(optimizer))
        return optimizer

    monkeypatch.setattr(torch.optim, "AdamW", watched)
    monkeypatch.setattr(gc, "collect", lambda *_: pytest.fail("a collection"))
    if diverges:
        with torch.no_grad():
            next(model.heads.parameters()).fill_(torch.nan)
    gc.disable()
    try:
        try:
            fit(model, TOY, rows, rows, Recipe(epochs=2, batch=4, max_length=16), seed=0)
            assert not diverges
        except Diverged:
            assert diverges
    finally:
        gc.enable()
    assert len(optimizers) == 1
    assert optimizers[0]() is None
