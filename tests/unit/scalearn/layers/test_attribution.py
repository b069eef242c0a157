"""Hooks on a mix measure what each source adds and leave it out, as the definition source by source says."""

import numpy as np
import pytest
import torch

from scalearn import Scaling, TransferResult
from scalearn.layers.attribution import effective_omega, mix_slots, shares, without
from scalearn.layers.mix import add_mix
from scalearn.layers.scaling import loop
from tasksel import load_data
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.training.predict import predict


def encoded(result, count=9):
    split = load_data(result.task, rows=24).test.take(range(count))
    return encode_split(split, result.task, result.base.tokenizer, max_length=32)


def naive_shares(model, name, rows):
    """Row by row without padding, source by source, with each slot's own input."""
    slots, seen = list(mix_slots(model, name).values()), {}
    hooks = [
        slot.register_forward_hook(lambda s, i, o, key=k: seen.update({key: i[0]})) for k, slot in enumerate(slots)
    ]
    sizes = np.zeros((len(slots), len(slots[0].up)))
    for row in rows.ids:
        for sequence in row:
            with torch.no_grad():  # the encoder alone: a multiple-choice head wants all choices of a row
                model.bert(input_ids=torch.tensor([sequence]), token_type_ids=types_of(rows, row, sequence))
            for layer, slot in enumerate(slots):
                n, r, _ = slot.up.shape
                down, bias = slot.down.view(n, r, -1), slot.down_bias.view(n, r)
                for s in range(n):
                    for token in seen[layer][0]:
                        output = slot.non_linearity(down[s] @ token + bias[s]) @ slot.up[s] + slot.up_bias[s]
                        sizes[layer, s] += float((slot.omega()[s] * output).norm())
    for hook in hooks:
        hook.remove()
    return sizes / sizes.sum(1, keepdims=True)


def types_of(rows, row, sequence):
    return torch.tensor([rows.types[rows.ids.index(row)][row.index(sequence)]])


@pytest.mark.parametrize("kind", ["pair", "choices"])
def test_shares_are_the_mean_norms_of_scaled_outputs_over_real_tokens(kinds, kind):
    result = kinds[kind]
    rows, model = encoded(result, 4), result.model()
    if kind == "choices":  # a row that lacks a choice: its place is padding, and not counted
        rows.ids[0].pop()
        rows.types[0].pop()
        rows.__dict__.pop("lengths", None)
    found = shares(model, result.task.name, rows, batch=3)
    np.testing.assert_allclose(found, naive_shares(model, result.task.name, rows), rtol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.std() > 0.001


@pytest.mark.parametrize(
    "method", ["scalearn", "scalearn-uniform", "scalearn++", "scalearn-uniform++", "average", "fixed-grid", "search"]
)
def test_without_a_source_is_what_a_zero_in_omega_gives(results, method):
    result = results[method]
    rows, name, model = encoded(result), result.task.name, result.model()
    before = predict(model, rows)
    with without(model, name, 1):
        left_out = predict(model, rows)
    omegas = {id(slot.omega): slot.omega for slot in mix_slots(model, name).values()}
    kept = {key: omega.weight.clone() for key, omega in omegas.items()}
    with torch.no_grad():
        for omega in omegas.values():
            omega.weight[1] = 0
        zeroed = predict(model, rows)
        for key, omega in omegas.items():
            omega.weight.copy_(kept[key])
    np.testing.assert_allclose(left_out, zeroed, atol=1e-6)
    assert np.abs(left_out - before).max() > 2e-5
    assert np.array_equal(predict(model, rows), before)


@pytest.mark.parametrize("normalise", ["none", "mean", "softmax"])
def test_one_slot_without_a_source_is_the_loop_over_the_others(tiny, normalise):
    torch.manual_seed(3)
    n, r, d = 3, 2, 32
    part = Bottlenecks(torch.randn(n, r, d), torch.randn(n, r), torch.randn(n, r, d), torch.randn(n, d))
    model = load_base(tiny).model()
    paths = [f"bert.encoder.layer.{layer}.output" for layer in range(2)]
    config = {"non_linearity": "relu", "reduction_factor": 16, "mh_adapter": False, "output_adapter": True}
    add_mix(model, "a", dict.fromkeys(paths, part), Scaling("scalar", False, 0.0, normalise), config)
    slot = mix_slots(model.eval(), "a")[paths[0]]
    x = torch.randn(2, 5, d)
    omega = slot.omega().detach().clone()
    np.testing.assert_allclose(effective_omega(model, "a")[0], omega.numpy())
    omega[2] = 0
    with torch.no_grad(), without(model, "a", 2):
        found = slot(x)
    expected = loop(x, part.down, part.down_bias, part.up, part.up_bias, omega, slot.non_linearity)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_no_hook_is_left_behind_also_after_an_error(results):
    result = results["scalearn"]
    model, name = result.model(), result.task.name
    with pytest.raises(RuntimeError, match="on the way"), without(model, name, 0):
        raise RuntimeError("on the way")
    broken = encoded(result, 3)
    broken.ids[0][0][0] = 10**6  # no such token
    with pytest.raises(IndexError):
        shares(model, name, broken)
    assert all(not slot._forward_hooks for slot in mix_slots(model, name).values())


def test_a_silent_mix_has_no_shares(results):
    fresh = TransferResult.load(results["scalearn"].folder)  # a model of its own
    model, name = fresh.model(), fresh.task.name
    with torch.no_grad():
        next(iter(mix_slots(model, name).values())).omega.weight.zero_()
    found = shares(model, name, encoded(fresh, 3))
    assert found[0].tolist() == [0, 0, 0]
    assert found[1].sum() == pytest.approx(1)
