"""Tests of the precision of training steps: whose word counts, what keys and files say of it, and what a device lacks."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from toy_training import TOY, toy_model, toy_rows

from tasksel.errors import UserError
from tasksel.processes import accelerator
from tasksel.training import precision as precisions
from tasksel.training.loop import fit
from tasksel.training.precision import LAUNCH, cpu_prefers_bf16, fastest, launched, mixed
from tasksel.training.recipe import Recipe

QUICK = Recipe(lr=1e-3, epochs=1, batch=8, max_length=16)


@pytest.fixture(autouse=True)
def no_launch(monkeypatch):
    monkeypatch.delenv(LAUNCH, raising=False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def in_bf16(model, recipe):
    """Whether each of a training's forward passes ran in bf16."""
    seen = []
    hook = model.heads["toy"].register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    run = fit(model, TOY, toy_rows(model.folder), None, recipe, seed=0)
    hook.remove()
    assert run.steps == len(seen)
    return set(seen)


@pytest.fixture
def model(tiny):
    model = toy_model(tiny)
    model.folder = tiny
    return model


@pytest.mark.parametrize("launch", [None, "no", "bf16"])
def test_a_recipe_says_its_precision_whatever_the_launch_says(model, monkeypatch, launch):
    if launch:
        monkeypatch.setenv(LAUNCH, launch)
    for precision, wanted in (("bf16", True), ("float32", False), ("bf16", True), (None, launch == "bf16")):
        recipe = QUICK.model_copy(update={"precision": precision})
        assert in_bf16(model, recipe) == {wanted}
        assert recipe.identity().get("mixed_precision") == ("bf16" if wanted else None)
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_full_precision_said_changes_no_number_no_key_and_no_file(tiny):
    states = []
    for precision in (None, "float32"):
        model, recipe = toy_model(tiny), QUICK.model_copy(update={"precision": precision})
        fit(model, TOY, toy_rows(tiny), None, recipe, seed=0)
        states.append(model.heads.state_dict())
        assert recipe.identity() == QUICK.identity()
        assert recipe.model_dump_json() == QUICK.model_dump_json()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_half_precision_is_stored_and_read_again():
    recipe = Recipe(precision="bf16")
    assert json.loads(recipe.model_dump_json())["precision"] == "bf16"
    assert Recipe(**recipe.model_dump()) == recipe


@pytest.mark.parametrize(("launch", "name"), [(None, None), ("no", "float32"), ("fp16", "fp16"), ("fp8", None)])
def test_what_a_launch_says(monkeypatch, launch, name):
    if launch:
        monkeypatch.setenv(LAUNCH, launch)
    assert launched() == name
    assert mixed(None) == (launch or "no")
    assert Recipe().as_launched().precision == (name or "float32")
    assert Recipe(precision="bf16").as_launched().precision == "bf16"


def test_what_a_cpu_would_not_compute_is_refused():
    """accelerate computes fp16 on a CPU in float32, under a key that says fp16."""
    with pytest.raises(UserError, match=r"precision 'fp16' needs a GPU, and this is a cpu: choose float32 or bf16"):
        accelerator(mixed="fp16")


@pytest.mark.parametrize(
    ("capability", "supported", "wanted"), [((9, 0), True, "bf16"), ((8, 0), True, "bf16"), ((7, 5), True, "float32"), ((8, 0), False, "float32")]
)  # fmt: skip
def test_the_fastest_on_a_gpu_is_bf16_where_its_matrix_units_have_it(monkeypatch, capability, supported, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert fastest() == wanted


def test_a_cpu_is_float32_even_where_it_prefers_bf16(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fastest() == "float32"
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr(precisions, "CPU_FLAGS", flags)
    assert not cpu_prefers_bf16()
    flags.write_text("model name\t: amx_bf16 in a name\nflags\t\t: fpu avx512_bf16\n")
    assert not cpu_prefers_bf16()
    flags.write_text("flags\t\t: fpu amx_bf16 amx_tile\n")
    assert cpu_prefers_bf16()
