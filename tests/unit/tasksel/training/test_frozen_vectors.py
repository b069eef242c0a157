"""Where heads alone train, dev rows go through the encoder once, and every number is the one that it would be without."""

import torch
from torch import nn
from toy_training import TOY, split, toy_model

from tasksel.adapters.train import add_new_adapter
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.training import loop
from tasksel.training.frozen_vectors import heads_alone_train
from tasksel.training.loop import fit
from tasksel.training.predict import predict
from tasksel.training.recipe import Recipe

RECIPE = Recipe(lr=1e-2, epochs=4, batch=8, max_length=16, patience=None, select="metric-loss")


def trained(folder, **options):
    """A head's history, its logits, and how many passes of the encoder dropped nothing."""
    model, tokenizer = toy_model(folder), load_base(folder).tokenizer
    train, dev = (encode_split(split(70, seed), TOY, tokenizer, max_length=16) for seed in (0, 1))
    passes = []
    model.base_model.register_forward_hook(lambda base, inputs, output: passes.append(base.training))
    result = fit(model, TOY, train, dev, RECIPE, seed=0, **options)
    return result.history, predict(model, dev), passes.count(False)


def test_the_encoder_sees_dev_rows_once_and_no_number_changes(tiny, monkeypatch):
    history, logits, passes = trained(tiny)
    monkeypatch.setattr(loop, "heads_alone_train", lambda model, groups: False)
    whole_history, whole_logits, whole_passes = trained(tiny)
    assert history == whole_history
    assert (logits == whole_logits).all()
    assert (passes, whole_passes) == (2 + 2, 4 * 2 + 2), "70 rows are two batches; `predict` passes them at the end"


def test_what_trains_beside_the_heads_has_them_computed_each_time(tiny):
    other = nn.Parameter(torch.zeros(1))
    model = toy_model(tiny)
    heads = list(model.heads.parameters())
    assert heads_alone_train(model, [{"params": heads[:1]}, {"params": heads[1:]}])
    assert not heads_alone_train(model, [{"params": heads}, {"params": [other]}])
    assert not heads_alone_train(nn.Linear(2, 2), [{"params": []}])
    add_new_adapter(model, "toy")
    adapter = [parameter for name, parameter in model.named_parameters() if ".adapters." in name]
    assert not heads_alone_train(model, [{"params": [*heads, *adapter]}])


def test_under_autocast_which_is_around_the_whole_model_nothing_is_kept(tiny):
    recipe = RECIPE.model_copy(update={"precision": "bf16"})
    model, tokenizer = toy_model(tiny), load_base(tiny).tokenizer
    rows = encode_split(split(12, 0), TOY, tokenizer, max_length=16)
    seen = []
    model.base_model.register_forward_hook(lambda base, inputs, output: seen.append(base.training))
    fit(model, TOY, rows, rows, recipe, seed=0)
    assert seen.count(False) == 4
