"""Tests that a training lets go of what it held when it ends, without a collection of all garbage, which takes 0.2 s."""

import gc
import weakref

import pytest
import torch
from toy_training import TOY, toy_model, toy_rows

from tasksel.training.loop import Diverged, fit
from tasksel.training.recipe import Recipe


@pytest.mark.parametrize("diverges", [False, True])
def test_an_optimizer_goes_with_its_training(tiny, monkeypatch, diverges):
    model, rows, optimizers = toy_model(tiny), toy_rows(tiny), []
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
