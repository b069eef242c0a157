"""Every cell starts alike and is told with its dev score; the model keeps the best cell and the head trained in it."""

import itertools
import json

import pytest
import torch

from scalearn import METHODS, transfer
from scalearn.layers.folded import omega_buffers
from scalearn.layers.stacking import stack
from scalearn.methods.fixed_grid import CELLS, best_of_grid
from tasksel import UserError
from tasksel.model.base import load_base
from tasksel.training.loop import FitResult
from tasksel.training.state import trained_state


@pytest.fixture
def model(tiny, fill, target, tmp_path):
    stacked = stack(fill(tmp_path / "pool", tiny, "one", "two"))
    return METHODS["fixed-grid"].build(load_base(tiny), target, *stacked, seed=0)


def omega(model):
    (found,) = omega_buffers(model).values()
    return tuple(found.flatten().tolist())


def test_the_cells_are_the_grid_without_the_head_alone():
    assert CELLS == [(0, 0.5), (0, 1), (0.5, 0), (0.5, 0.5), (0.5, 1), (1, 0), (1, 0.5), (1, 1)]


@pytest.mark.parametrize(
    ("devs", "best"), [([1, 2, 3, 9, 5, 6, 7, 8], 3), ([4, 1, 4, 0, 0, 0, 0, 4], 0), ([0, 0, 0, 0, 0, 0, 0, 1], 7)]
)
def test_the_best_cell_is_kept_with_its_own_head_and_the_first_of_equals(model, devs, best):
    start, seen, number = trained_state(model), [], itertools.count()

    def train(given):
        here = next(number)
        assert all(torch.equal(tensor, start[name]) for name, tensor in trained_state(given).items()), "a used head"
        seen.append(omega(given))
        with torch.no_grad():
            for parameter in given.parameters():
                if parameter.requires_grad:
                    parameter.fill_(here + 0.5)
        return FitResult(devs[here] / 10, epoch=here + 1, steps=3, seconds=2.0)

    fit, told = best_of_grid(model, train)
    assert seen == CELLS
    assert told == [{"a": a, "b": b, "dev": dev / 10} for (a, b), dev in zip(CELLS, devs, strict=True)]
    assert omega(model) == CELLS[best]
    assert all((tensor == best + 0.5).all() for tensor in trained_state(model).values())
    assert (fit.score, fit.epoch, fit.steps, fit.seconds) == (devs[best] / 10, best + 1, 24, 16.0)


def test_every_cell_is_stored_with_its_dev_score(results):
    result = results["fixed-grid"]
    told = json.loads((result.folder / "seed-0" / "seed.json").read_text())
    assert [(cell["a"], cell["b"]) for cell in told["grid"]] == CELLS
    assert told["dev"] == max(cell["dev"] for cell in told["grid"])
    best = next(cell for cell in told["grid"] if cell["dev"] == told["dev"])
    assert result.omega().tolist() == [[[best["a"]], [best["b"]]]]
    assert told["steps"] == 8 * results["average"].seeds[0].steps
    assert list(result.run.sources) == ["entail_travel", "grammar_garden"], "the two best, which come first"
    assert results["average"].seeds[0].grid is None


def test_one_source_is_refused_before_anything_is_written(pool, target, recipe, no_training, tmp_path):
    for method in ("fixed-grid", "search", "fusion"):
        with pytest.raises(UserError, match=f"method '{method}' needs at least 2 sources, given 1"):
            transfer(target, list(pool)[:1], method=method, rows=32, recipe=recipe, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
