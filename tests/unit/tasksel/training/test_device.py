"""Tests of what a recipe leaves open: what a card decides, whose word comes first, and that a training goes on as it began."""

import pytest
from toy_training import TOY

from tasksel.model.base import load_base
from tasksel.training import device
from tasksel.training.device import for_device, rows_that_fit
from tasksel.training.precision import LAUNCH
from tasksel.training.recipe import Recipe

GIB = 2**30


@pytest.fixture
def base(tiny):
    return load_base(tiny)


@pytest.fixture
def card(monkeypatch):
    monkeypatch.delenv(LAUNCH, raising=False)
    monkeypatch.setattr(device, "_card", lambda: ("a card", 80 * GIB))
    monkeypatch.setattr(device, "fastest", lambda: "bf16")


def test_a_cpu_decides_nothing(base, monkeypatch, capsys):
    monkeypatch.delenv(LAUNCH, raising=False)
    recipe = for_device(Recipe(), base, TOY)
    assert (recipe.precision, recipe.micro_batch) == ("float32", 16)
    assert recipe.identity() == Recipe().identity()
    assert capsys.readouterr().err == ""


def test_a_card_takes_the_whole_batch_in_bf16_and_says_so(base, card, capsys):
    recipe = for_device(Recipe(batch=48), base, TOY)
    assert (recipe.precision, recipe.micro_batch) == ("bf16", 48)
    assert recipe.identity() == {**Recipe(batch=48, micro_batch=48).identity(), "mixed_precision": "bf16"}
    said = "on a card: precision bf16, recipe.micro-batch 48 (--precision --recipe.micro-batch choose otherwise)"
    assert capsys.readouterr().err.strip() == said


def test_what_is_asked_for_stays(base, card, capsys):
    asked = Recipe(micro_batch=16, precision="float32")
    assert for_device(asked, base, TOY) == asked
    changed = Recipe().model_copy(update={"micro_batch": 16, "precision": "fp16"})
    assert for_device(changed, base, TOY) == changed
    assert for_device(Recipe().as_launched(), base, TOY) == Recipe(precision="float32"), "a comparison's"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("launch", "precision"), [("no", "float32"), ("fp16", "fp16"), ("fp8", None)])
def test_the_launch_comes_before_the_card(base, card, monkeypatch, launch, precision):
    monkeypatch.setenv(LAUNCH, launch)
    assert for_device(Recipe(), base, TOY).precision == precision


def test_a_training_goes_on_as_it_began(base, card, capsys):
    begun = Recipe(micro_batch=8)
    again = for_device(Recipe(), base, TOY, begun=begun)
    assert again.identity() == begun.identity()
    assert for_device(Recipe(micro_batch=4), base, TOY, begun=begun).micro_batch == 4
    assert capsys.readouterr().err == ""


def test_a_micro_batch_is_the_batch_halved_until_it_fits(base):
    recipe = Recipe(batch=20, max_length=128)
    c = base.config
    row = c.num_hidden_layers * 128 * (34 * c.hidden_size + 5 * c.num_attention_heads * 128) * 2
    sizes = [rows_that_fit(recipe, base, TOY, memory=2 * row * rows) for rows in (20, 19, 10, 9, 3, 1, 0)]
    assert sizes == [20, 10, 10, 5, 3, 1, 1]
    choice = TOY.model_copy(update={"kind": "multiple_choice", "num_choices": 4})
    assert rows_that_fit(recipe, base, choice, memory=2 * row * 20) == 5
    written = TOY.model_copy(update={"kind": "generation"})
    assert rows_that_fit(recipe, base, written, memory=2 * row * 20) < 20
