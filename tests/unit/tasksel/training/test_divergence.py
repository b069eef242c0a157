"""Tests of the watch over a training: on a GPU's account no step waits, and none that is not finite touches a parameter.

A CPU has the fused AdamW too, so that the account is tried here.
"""

import math

import pytest
import torch
from toy_training import TOY, toy_model, toy_rows

from tasksel.model.heads import loss_sum
from tasksel.training import divergence
from tasksel.training import loop as training
from tasksel.training.divergence import EveryStep, OnDevice, fused, watch
from tasksel.training.loop import Diverged, fit
from tasksel.training.recipe import Recipe

RECIPE = Recipe(lr=1e-2, epochs=3, batch=4, max_length=16)
CPU = torch.device("cpu")


@pytest.fixture
def on_device(monkeypatch):
    """Every training keeps the account that a GPU keeps."""
    monkeypatch.setattr(training, "fused", lambda _: {"fused": True})
    monkeypatch.setattr(training, "watch", lambda _, optimizer: OnDevice(optimizer, CPU, alone=True))


def broken_from(monkeypatch, step):
    """The loss of this step, from 1, and of every later one is NaN."""
    calls = []

    def loss(*arguments):
        calls.append(1)
        return loss_sum(*arguments) * (math.nan if len(calls) >= step else 1.0)

    monkeypatch.setattr(training, "loss_sum", loss)
    return calls


@pytest.mark.parametrize("step", [1, 2, 5, 12])
def test_an_account_ends_a_run_at_its_first_bad_step_with_the_state_before_it(
    tiny, monkeypatch, on_device, tmp_path, step
):
    good = toy_model(tiny)
    fit(
        good,
        TOY,
        toy_rows(tiny),
        None,
        RECIPE.model_copy(update={"max_steps": 12}),
        seed=0,
        on_step=lambda s: s == step - 1,
    )
    state = toy_model(tiny).heads.state_dict() if step == 1 else good.heads.state_dict()
    model, rescue = toy_model(tiny), tmp_path / "good.safetensors"
    broken_from(monkeypatch, step)
    with pytest.raises(Diverged, match=rf"became NaN at step {step} \(lr .*the last good state is in"):
        fit(model, TOY, toy_rows(tiny), None, RECIPE, seed=0, rescue=rescue)
    assert all(torch.equal(value, state[name]) for name, value in model.heads.state_dict().items())
    assert rescue.is_file()


def test_it_is_read_every_so_many_steps_and_the_rest_of_the_run_is_spared(tiny, monkeypatch, on_device):
    calls = broken_from(monkeypatch, 2)
    monkeypatch.setattr(divergence, "EVERY", 3)
    with pytest.raises(Diverged, match="at step 2 "):
        fit(toy_model(tiny), TOY, toy_rows(tiny), None, RECIPE, seed=0)
    assert len(calls) == 3


def test_the_lr_that_is_named_is_that_of_the_step(tiny, monkeypatch):
    said = []
    for on_gpu in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if on_gpu:
                patch.setattr(training, "fused", lambda _: {"fused": True})
                patch.setattr(training, "watch", lambda _, optimizer: OnDevice(optimizer, CPU, alone=True))
            broken_from(patch, 6)
            with pytest.raises(Diverged) as caught:
                fit(toy_model(tiny), TOY, toy_rows(tiny), None, RECIPE, seed=0)
            said.append(str(caught.value))
    assert said[0] == said[1]
    assert "at step 6 (lr " in said[0]


def test_a_sound_run_gives_what_a_cpu_gives(tiny, on_device):
    model, plain = toy_model(tiny), toy_model(tiny)
    run = fit(model, TOY, toy_rows(tiny), toy_rows(tiny), RECIPE, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fused", fused)
        patch.setattr(training, "watch", watch)
        other = fit(plain, TOY, toy_rows(tiny), toy_rows(tiny), RECIPE, seed=0)
    assert [row["step"] for row in run.history] == [row["step"] for row in other.history]
    for name, value in model.heads.state_dict().items():
        torch.testing.assert_close(value, plain.heads.state_dict()[name])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("of", ["norm", "loss"])
@pytest.mark.parametrize("alone", [True, False])
def test_what_counts_as_bad(bad, of, alone):
    values = {"norm": torch.tensor(1.0), "loss": torch.tensor(2.0), of: torch.tensor(bad)}
    counts = of == "norm" or alone
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    account, each = OnDevice(optimizer, CPU, alone=alone), EveryStep(alone=alone, allowed=0)
    assert not account.diverged(torch.tensor(1.0), torch.tensor(2.0))
    assert account.late() == 0
    assert each.diverged(values["norm"], float(values["loss"])) == counts
    for _ in range(2):
        account.diverged(**values)
        weight.grad = torch.ones(2)
        optimizer.step()
        values = {"norm": torch.tensor(1.0), "loss": torch.tensor(2.0)}
    assert account.late() == (2 if counts else 0), "once bad, no later step is made"
    assert (weight == 1.0).all() == counts


def test_some_overflows_in_a_row_are_allowed():
    each = EveryStep(alone=True, allowed=2)
    seen = [each.diverged(torch.tensor(norm), 0.0) for norm in (math.inf, math.inf, 1.0, math.inf, math.inf, math.inf)]
    assert seen == [False] * 5 + [True]


def test_a_number_is_read_twice_a_second_at_most(monkeypatch):
    account, clock = OnDevice(torch.optim.AdamW([torch.zeros(1)], fused=True), CPU, alone=True), [0.0]
    monkeypatch.setattr(divergence.time, "monotonic", lambda: clock[0])
    shown = []
    for seconds, loss in ((0.0, 1.0), (0.4, 2.0), (0.6, 3.0)):
        clock[0] = seconds
        shown.append(account.shown(torch.tensor(loss)))
    assert shown == [1.0, 1.0, 3.0]
