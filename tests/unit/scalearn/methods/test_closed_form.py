"""Heads that are solved: on the sources added up, on the bare base, or a constant guess; for every kind of task, exported and read again."""

import numpy as np
import pytest
import torch

from scalearn import METHODS, TransferResult, transfer
from scalearn.layers.mix import bottleneck_layers
from scalearn.methods.closed_form import SOLVED_RECIPE, best_constant
from scalearn.results.predict import Export
from tasksel import get_task, load_data
from tasksel.model.encoding import encode_split
from tasksel.tasks.metrics import score
from tasksel.training.cross_validation import cross_validated
from tasksel.training.features import pooled
from tasksel.training.predict import predict
from tasksel.training.recipe import Recipe
from tasksel.training.solved_head import last_inputs

KINDS = ["entail_kitchen", "question_type", "similarity_market", "complaints_orders", "endings_daily"]
MEAN = Recipe(start="solved", pooling="mean", max_length=32)


def rows_of(task, base):
    data = load_data(task, rows=40)
    train, dev = (encode_split(split, task, base.tokenizer, max_length=32) for split in (data.train, data.dev))
    return train.joined(dev)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_stored_head_gives_the_closed_forms_logits(pool, pooling):
    task = get_task("entail_kitchen")
    recipe = MEAN.model_copy(update={"pooling": pooling})
    result = transfer(task, list(pool)[:2], method="closed-form", rows=40, recipe=recipe)
    model, rows = result.model(), rows_of(task, pool.base)
    head = model.heads[model.active_head]
    assert head.pooling == pooling
    features, _ = pooled(model, rows, pooling=pooling)
    inputs = last_inputs(head, features)
    wanted = cross_validated(inputs, rows.labels, task, seed=0)
    np.testing.assert_allclose(predict(model, rows), wanted.layer.logits(inputs), atol=1e-5)
    assert result.seeds[0].dev == pytest.approx(wanted.score)
    assert (result.seeds[0].steps, result.seeds[0].epoch) == (0, 0)


def test_sources_are_added_up_as_they_are(pool):
    result = transfer(get_task("entail_kitchen"), list(pool)[:2], method="closed-form", rows=40, recipe=MEAN)
    for _, slot in bottleneck_layers(result.model(), "entail_kitchen"):
        assert torch.equal(slot.adapters["entail_kitchen"].omega(), torch.ones(2, 1))


def test_without_sources_the_bare_base_is_read(pool):
    task = get_task("entail_kitchen")
    result = transfer(task, [], method="closed-form-base", base=pool.base, rows=40, recipe=MEAN)
    rows = rows_of(task, pool.base)
    features, _ = pooled(pool.base.model(), rows, pooling="mean")
    found, _ = pooled(result.model(), rows, pooling="mean")
    np.testing.assert_array_equal(found, features)


@pytest.mark.parametrize("method", ["majority", "closed-form-base", "closed-form"])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_task_is_solved_stored_and_read_again(pool, tmp_path, method, name):
    sources = list(pool)[:1] if METHODS[method].takes_sources else []
    out = tmp_path / "out"
    result = transfer(get_task(name), sources, method=method, base=pool.base, rows=24, recipe=MEAN, out=out)
    split = load_data(get_task(name)).test.take(range(5))
    again = TransferResult.load(out)
    np.testing.assert_array_equal(again.logits(split), result.logits(split))
    assert np.isfinite(result.mean)


def test_a_constant_guess_is_the_best_there_is_by_the_metric():
    task = get_task("entail_kitchen")
    labels = np.array([0, 1, 1, 1])
    assert best_constant(task, labels)[0].argmax() == 1
    rare = np.array([0, 0, 0, 1])
    guess, value = best_constant(task.model_copy(update={"metric": "f1"}), rare)
    assert guess.argmax() == 1  # always positive
    assert value == pytest.approx(0.4)


def test_the_majority_reads_no_text(pool):
    task = get_task("entail_kitchen")
    result = transfer(task, [], method="majority", base=pool.base, rows=24, recipe=SOLVED_RECIPE)
    logits = result.logits(load_data(task).test)
    assert (logits == logits[0]).all()
    assert result.mean == score(task.metric, logits, load_data(task).test.labels)


def test_an_export_is_the_mix_as_one_adapter(pool, tmp_path):
    task = get_task("entail_kitchen")
    recipe = MEAN.model_copy(update={"pooling": "first"})
    result = transfer(task, list(pool)[:2], method="closed-form", rows=40, recipe=recipe)
    split = load_data(task).test.take(range(6))
    export = Export.load(result.export(tmp_path / "export"))
    np.testing.assert_allclose(export.logits(split), result.logits(split), atol=1e-5)


@pytest.mark.parametrize("method", ["head-only", "single-adapter", "scalearn-uniform"])
def test_a_solved_start_is_kept_where_training_cannot_help(pool, method):
    task = get_task("entail_kitchen")
    sources = list(pool)[:1] if METHODS[method].takes_sources else []
    harmful = Recipe(start="solved", lr=5.0, epochs=1, max_length=32)
    result = transfer(task, sources, method=method, base=pool.base, rows=200, recipe=harmful)
    assert result.seeds[0].epoch == 0
    assert result.seeds[0].steps > 0


def test_the_head_has_its_own_rate(pool, monkeypatch):
    from tasksel.training import loop

    made = []
    adamw = torch.optim.AdamW
    monkeypatch.setattr(loop.torch.optim, "AdamW", lambda groups, **kw: made.append(groups) or adamw(groups, **kw))
    recipe = Recipe(lr=3e-2, head_lr=1e-3, epochs=1, max_steps=1, max_length=32)
    transfer(get_task("entail_kitchen"), list(pool)[:2], method="scalearn-uniform", rows=24, recipe=recipe)
    slot, head = made[0]
    assert slot["lr"] == 3e-2
    assert head["lr"] == 1e-3
    assert [p.numel() for p in slot["params"]] == [2, 2]
    assert len(head["params"]) == 4


def test_recipes_of_before_keep_their_identity():
    assert not {"pooling", "start", "head_lr"} & Recipe().identity().keys()
    changed = Recipe(pooling="mean", start="solved", head_lr=1e-3).identity()
    assert (changed["pooling"], changed["start"], changed["head_lr"]) == ("mean", "solved", 1e-3)
