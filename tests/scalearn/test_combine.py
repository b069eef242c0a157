"""Each method is a row: what it adds, what it trains and how many numbers, with one head for all at one seed."""

import pytest
import torch

from scalearn import METHODS, SCALINGS
from scalearn.combine import build, get_method, learned_parameters
from scalearn.folding import stack
from scalearn.slot import ScaledMix, bottleneck_layers
from tasksel import UserError, get_task
from tasksel.encoder import load_base

LAYERS, WIDTH, SOURCES = 3, 32, 5


@pytest.fixture(scope="module")
def made(make_base, fill, tmp_path_factory):
    """Builds the model of a method on a base of three layers with five sources."""
    base = make_base(num_hidden_layers=LAYERS)
    sources = fill(tmp_path_factory.mktemp("combine"), base, *[f"s{n}" for n in range(SOURCES)])

    def model(method, *, task="entail_kitchen", seed=0):
        used = {"none": [], "one": sources[:1], "some": sources}[METHODS[method].takes]
        return build(load_base(base), get_task(task), METHODS[method], *stack(used), seed=seed)

    return model


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("scalearn", LAYERS * SOURCES * WIDTH),
        ("scalearn-uniform", LAYERS * SOURCES),
        ("scalearn++", SOURCES * WIDTH),
        ("scalearn-uniform++", SOURCES),
        ("scalearn-mean", LAYERS * SOURCES * WIDTH),
        ("scalearn-softmax", LAYERS * SOURCES * WIDTH),
        ("head-only", 0),
        ("single-adapter", LAYERS * (2 * 2 * WIDTH + 2 + WIDTH)),
        ("sequential", LAYERS * (2 * 2 * WIDTH + 2 + WIDTH)),
    ],
)
def test_a_built_model_learns_as_many_numbers_as_the_formula_says(made, method, count):
    learned = learned_parameters(made(method))
    assert learned["transfer"] == count
    assert learned["head"] == WIDTH * WIDTH + WIDTH + 2 * WIDTH + 2
    if method in SCALINGS:
        assert SCALINGS[method].parameters(sources=SOURCES, layers=LAYERS, width=WIDTH) == count


def test_every_method_starts_from_the_same_head_at_one_seed(made):
    heads = [made(method).heads["entail_kitchen"].state_dict() for method in METHODS]
    for head in heads[1:]:
        assert all(torch.equal(head[name], heads[0][name]) for name in heads[0])
    other = made("scalearn", seed=1).heads["entail_kitchen"].state_dict()
    assert not all(torch.equal(other[name], heads[0][name]) for name in other)


def test_omega_is_drawn_from_the_seed(made):
    def omega(seed):
        return next(p for name, p in made("scalearn", seed=seed).named_parameters() if "omega" in name)

    assert torch.equal(omega(3), omega(3))
    assert not torch.equal(omega(3), omega(4))


def test_only_a_mix_puts_a_scaled_mix_into_the_slot(made):
    for method in METHODS.values():
        slots = [
            layer.adapters["entail_kitchen"] for _, layer in bottleneck_layers(made(method.name), "entail_kitchen")
        ]
        assert len(slots) == (0 if method.slot == "none" else LAYERS)
        assert all(isinstance(slot, ScaledMix) == (method.slot == "mix") for slot in slots)


def test_the_base_is_frozen_in_every_method(made):
    for method in METHODS:
        trained = [name for name, p in made(method).named_parameters() if p.requires_grad]
        assert all(name.startswith("heads.") or ".adapters." in name for name in trained), method


def test_the_head_has_the_outputs_of_the_task(made):
    for task in ("question_type", "complaints_orders", "rating_hotels"):
        outputs = made("head-only", task=task).heads[task][-1].out_features
        assert outputs == get_task(task).outputs


def test_every_scaling_is_a_method_and_all_have_one_patience():
    assert SCALINGS.keys() <= METHODS.keys()
    assert len({method.recipe.patience for method in METHODS.values()}) == 1
    assert METHODS["scalearn"].recipe.lr == 6e-3
    assert METHODS["single-adapter"].recipe.lr == 3e-4


def test_a_method_misspelt_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no method 'scalern'; did you mean 'scalearn'"):
        get_method("scalern")
