"""PEFT's merges as transfer methods: module by module they are what PEFT makes of the whole model, and what they cannot take is refused."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from scalearn import METHODS, Recipe, transfer
from scalearn.layers.lora_stacking import LoraStack
from scalearn.methods.peft_merge import MODES
from scalearn.methods.registry import PEFT_MERGES, get_method, register_method
from scalearn.results.narrow import LowRank, narrow
from tasksel import UserError, get_task

QUICK = Recipe(lr=3e-3, epochs=1, max_length=32, max_steps=2)
TEXTS = [("Two cooks peel carrots", "Nobody cooks"), ("A child sleeps", "A child is awake")]
SUMS = ("linear", "cat", "svd")


def stacked(*ranks, inside=9, out=7, seed=0):
    """Loud LoRAs of one module."""
    draw = torch.Generator().manual_seed(seed)
    rows = sum(ranks)
    return LoraStack(
        torch.randn(rows, inside, generator=draw), torch.randn(rows, out, generator=draw), torch.tensor(ranks)
    )


def delta(stack, source=0):
    """B A of one source."""
    a, b = stack.pair(source)
    return b @ a


def named(mode):
    return PEFT_MERGES[f"peft-{mode.replace('_', '-')}"]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_what_peft_makes_of_a_whole_model(peft, mode):
    """Two modules and three sources of rank 2; of a mode that draws entries at random, with all of them."""
    density = 1.0 if "dare" in mode else 0.2
    parts = {"one": stacked(2, 2, 2, seed=1), "two": stacked(2, 2, 2, inside=5, out=8, seed=2)}
    linears = {path: torch.nn.Linear(part.down.shape[1], part.up.shape[1], bias=False) for path, part in parts.items()}
    config, names = peft.LoraConfig(r=2, lora_alpha=2, target_modules=list(parts)), ["s0", "s1", "s2"]
    model = peft.PeftModel(torch.nn.ModuleDict(linears), config, "s0")
    for name in names[1:]:
        model.add_adapter(name, config)
    for path, part in parts.items():
        for number, name in enumerate(names):
            a, b = part.pair(number)
            model.base_model.model[path].lora_A[name].weight.data.copy_(a)
            model.base_model.model[path].lora_B[name].weight.data.copy_(b)
    weights = [1.0 if "ties" in mode else 1 / 3] * 3
    model.base_model.add_weighted_adapter(names, weights, "merged", combination_type=mode, density=density)
    for path, part in parts.items():
        wanted = model.base_model.model[path].get_delta_weight("merged").detach()
        merged = replace(named(mode), density=density).merge(part, None)
        torch.testing.assert_close(delta(merged), wanted, atol=1e-5, rtol=1e-5)
        assert wanted.abs().max() > 0.01
    assert named(mode).density == 0.2


def test_what_draws_at_random_leaves_most_entries_out(peft):
    part = stacked(2, 2, 2, inside=40, out=30)
    a, b = named("dare_linear").merge(part, None).pair(0)
    for factor in (a, b):
        assert 0.35 < float((factor == 0).float().mean()) < 0.65  # of three sources at 0.2 each: 0.8^3 = 0.51


def test_cat_is_the_mean_of_the_updates_svd_its_best_of_the_largest_rank_and_linear_neither(peft):
    part = stacked(2, 2, 2)
    mean = sum(delta(part, source) for source in range(3)) / 3
    merged = {mode: delta(named(mode).merge(part, None)) for mode in SUMS}
    torch.testing.assert_close(merged["cat"], mean)
    a, b = part.down, (part.up / 3).t()
    best = narrow({"m": LowRank(a, b)}, 2).modules["m"]
    torch.testing.assert_close(merged["svd"], best.b @ best.a, atol=1e-5, rtol=1e-4)
    assert (merged["linear"] - mean).norm() > 0.5 * mean.norm()  # the cross terms


def test_a_source_without_the_module_adds_nothing_to_a_sum(peft):
    part = stacked(2, 0, 3)
    torch.testing.assert_close(delta(named("cat").merge(part, None)), (delta(part, 0) + delta(part, 2)) / 3)


@pytest.mark.parametrize("method", ["peft-cat", "peft-ties-svd", "peft-dare-linear-svd"])
def test_a_transfer_trains_a_head_on_the_merge_and_reloads_and_exports_it(peft, lora_pool, tmp_path, method):
    task, out = get_task("entail_kitchen"), tmp_path / "result"
    result = transfer(task, list(lora_pool), method=method, rows=24, recipe=QUICK, out=out)
    assert result.seeds[0].parameters["transfer"] == 0
    logits = result.predict(TEXTS)
    again = transfer(task, list(lora_pool), method=method, rows=24, recipe=QUICK, out=tmp_path / "again")
    assert np.array_equal(again.predict(TEXTS), logits)  # also where entries are drawn
    assert (result.export(tmp_path / "adapter") / "adapter_model.safetensors").is_file()
    if method == "peft-cat":
        average = transfer(task, list(lora_pool), method="average", rows=24, recipe=QUICK, out=tmp_path / "average")
        assert np.abs(average.predict(TEXTS) - logits).max() < 1e-4


def test_what_a_merge_cannot_take_is_refused_before_any_work(peft, lora_pool, pool, tmp_path, monkeypatch):
    task = get_task("entail_kitchen")
    with pytest.raises(UserError, match=r"^method 'peft-ties' adds A's and B's of one rank, and the sources differ at '\S+' \('sentiment_films' 2, .*choose sources alike, or peft-cat"):  # fmt: skip
        transfer(task, [lora_pool[name] for name in ("sentiment_films", "entail_travel")], method="peft-ties", rows=24, out=tmp_path / "a")  # fmt: skip
    with pytest.raises(UserError, match=r"^method 'peft-cat' is a merge of PEFT's, so it takes LoRAs alone"):
        transfer(task, list(pool), method="peft-cat", rows=24, out=tmp_path / "b")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"^method 'peft-cat' needs the package peft: pip install 'scalearn\[lora\]'$"):
        transfer(task, list(lora_pool), method="peft-cat", rows=24, out=tmp_path / "c")


def test_the_rows_are_found_by_name_and_no_other_takes_their_names():
    assert {row.mode for row in PEFT_MERGES.values()} == set(MODES)
    assert not PEFT_MERGES.keys() & METHODS.keys()
    assert get_method("peft-dare-ties").mode == "dare_ties"
    with pytest.raises(UserError, match="did you mean 'peft-linear'"):
        get_method("peft-linaer")
    row = PEFT_MERGES["peft-svd"]
    assert register_method(row) is row
    with pytest.raises(UserError, match="registered with other values"):
        register_method(type(row)(name="peft-svd", recipe=QUICK, mode="cat"))
    assert "peft-svd" not in METHODS
