"""The search tries the average first, stays in its bounds and budget, is seeded, and keeps the least it saw."""

import math
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scalearn import METHODS, transfer
from scalearn.layers.folded import omega_buffers
from scalearn.layers.stacking import stack
from scalearn.methods.search import BOUND, EVALUATIONS, minimise, searched
from tasksel import UserError, load_data
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.training.loop import FitResult
from tasksel.training.predict import logits_of
from tasksel.training.state import trained_state


def watched(objective):
    seen = []

    def look(omega):
        seen.append((tuple(omega), objective(omega)))
        return seen[-1][1]

    return look, seen


def distance(to):
    return lambda omega: sum((value - wanted) ** 2 for value, wanted in zip(omega, to, strict=True))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_best_that_was_tried_is_kept_within_bounds_and_budget(count):
    look, seen = watched(distance([0.9, -0.6, *[0.2] * (count - 2)]))
    found = minimise(look, count, seed=0)
    assert seen[0][0] == (1 / count,) * count
    assert 30 < len(seen) <= EVALUATIONS
    assert all(abs(value) <= BOUND for omega, _ in seen for value in omega)
    assert tuple(found) == min(seen, key=lambda pair: pair[1])[0]
    assert min(value for _, value in seen) < seen[0][1] / 2, "forty evaluations bring it nearer"


def test_an_average_that_nothing_beats_is_kept():
    assert minimise(lambda omega: 0.0 if set(omega) == {0.25} else 1.0, 4, seed=0) == [0.25] * 4


def test_the_search_is_drawn_from_its_seed_and_leaves_numpys_own_generator():
    before = np.random.get_state()[1].copy()
    looks = [watched(distance([0.3, -0.3])) for _ in range(3)]
    for (look, _), seed in zip(looks, (0, 0, 1), strict=True):
        minimise(look, 2, seed=seed)
    zero, again, other = (seen for _, seen in looks)
    assert zero == again
    assert zero != other
    assert np.array_equal(np.random.get_state()[1], before)


def test_the_objective_is_the_mean_loss_and_a_twentieth_of_the_mean_size_of_omega(
    tiny, fill, target, tmp_path, monkeypatch
):
    stacked = stack(fill(tmp_path / "pool", tiny, "one", "two"))
    model = METHODS["search"].build(load_base(tiny), target, *stacked, seed=0)
    rows = encode_split(load_data(target, rows=8).train, target, load_base(tiny).tokenizer, max_length=32)
    order, found = [], []

    def train(given):
        order.append(("head", *(round(v, 4) for v in omega(given))))
        with torch.no_grad():
            for parameter in given.parameters():
                if parameter.requires_grad:
                    parameter.mul_(2)
        return FitResult(0.5 + len(order), len(order), steps=4, seconds=10.0)

    def omega(given):
        (tensor,) = omega_buffers(given).values()
        return tensor.flatten().tolist()

    def probe(objective, count, *, seed):
        assert (count, seed) == (2, 5)
        head = trained_state(model)
        for values in ([0.5, -1.5], [0.0, 0.2]):
            order.append("search")
            found.append((values, objective(values)))
            assert omega(model) == pytest.approx(values)
        assert all(torch.equal(head[name], tensor) for name, tensor in trained_state(model).items())
        return [0.0, 0.2]

    monkeypatch.setattr(sys.modules["scalearn.methods.search"], "minimise", probe)
    fit = searched(model, target, rows, train, count=2, seed=5)
    assert order == [("head", 0.5, 0.5), "search", "search", ("head", 0.0, 0.2)]
    assert (fit.score, fit.epoch, fit.steps) == (4.5, 4, 8), "the second fit of the head"
    assert fit.seconds >= 20
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.div_(2)  # the head that the search saw
        model.eval()
        told = found[-1][1]
        by_hand = 0.0
        for row in range(len(rows)):
            logits = logits_of(model, rows.batch([row]))[0].tolist()
            by_hand += math.log(sum(math.exp(v) for v in logits)) - logits[int(rows.labels[row])]
    assert told == pytest.approx(by_hand / len(rows) + 0.05 * (0.0 + 0.2) / 2, abs=1e-5)


def test_an_equal_search_finds_the_same_and_another_seed_another(pool, target, recipe, results, tmp_path):
    given = {"method": "search", "rows": 32, "recipe": recipe}
    again = transfer(target, list(pool), **given, seeds=[0, 1], out=tmp_path / "again")
    zero, one = (again.omega(seed=seed) for seed in (0, 1))
    assert np.array_equal(zero, results["search"].omega())
    assert not np.array_equal(zero, one)
    assert zero.shape == (1, 3, 1)
    assert np.abs(zero).max() <= BOUND
    ours, theirs = (load_file(r.folder / "seed-0" / "state.safetensors") for r in (again, results["search"]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_cma_it_is_refused_before_anything_is_written(pool, target, recipe, no_training, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(UserError, match=r'method \'search\' needs the package cma: pip install "scalearn\[search\]"'):
        transfer(target, list(pool), method="search", rows=32, recipe=recipe, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
