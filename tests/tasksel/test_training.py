"""Tests of the training loop: what it changes and what it must not, when it stops, and that a seed decides everything."""

import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasksel import training
from tasksel.data import Data, Split
from tasksel.encoder import add_head, load_base, weights_fingerprint
from tasksel.errors import UserError
from tasksel.heads import loss_sum
from tasksel.metrics import score
from tasksel.task import DEFAULT_METRIC, BuiltinSource, Task
from tasksel.training import (
    Diverged,
    Recipe,
    encode_split,
    evaluate,
    evaluate_all,
    fit,
    load_trained,
    logits_of,
    predict,
    trained_state,
)

LABELS = ("blame", "praise")
TOY = Task(
    name="toy", kind="single_sentence_classification", text=("t",), labels=LABELS, metric="accuracy", source=BuiltinSource()
)  # fmt: skip
QUICK = Recipe(lr=1e-3, epochs=2, batch=8, max_length=16, patience=None)
CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def toy_split(count, *, seed=0):
    """Short texts of several lengths; a good word or a bad one decides."""
    draw = random.Random(seed)
    labels = [i % 2 for i in range(count)]
    words = [draw.choice((("bad", "awful"), ("good", "great"))[label]) for label in labels]
    fill = [["the film"] * draw.randrange(4) for _ in labels]
    return Split([(" ".join([word, *rest]),) for word, rest in zip(words, fill, strict=True)], None, np.array(labels))


def encoded(folder, count=40, *, task=TOY, seed=0):
    return encode_split(toy_split(count, seed=seed), task, load_base(folder).tokenizer, max_length=16)


def fresh(folder, *, whole=False):
    """A new model with the same head each time; `whole` trains every weight, otherwise only the head."""
    model = load_base(folder).model()
    torch.manual_seed(1)
    add_head(model, TOY, name="toy")
    if whole:
        model.requires_grad_(True)
    return model


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def assert_differ(a, b):
    assert any(not torch.equal(tensor, b[name]) for name, tensor in a.items())


class Scripted:
    """Dev scores told beforehand, with the weights at each."""

    def __init__(self, *scores):
        self.scores, self.states = list(scores), []

    def __call__(self, model, task, dev):
        self.states.append(trained_state(model))
        return self.scores[len(self.states) - 1]


class TestFit:
    def test_learns_what_can_be_learnt(self, tiny):
        train, dev = encoded(tiny, 64), encoded(tiny, 40, seed=1)
        model = fresh(tiny, whole=True)
        run = fit(model, TOY, train, dev, Recipe(lr=1e-2, epochs=6, batch=16, patience=None), seed=0)
        assert run.history[-1]["loss"] < 0.2 < 0.6 < run.history[0]["loss"]
        assert run.score > 0.95
        assert evaluate(model, TOY, dev) == run.score
        assert run.steps == 24
        assert run.seconds > 0
        assert not model.training

    def test_the_same_seed_gives_the_same_bits_whatever_came_before(self, tiny):
        states = []
        for seed, noise in ((0, 0), (0, 123), (1, 0)):
            model = fresh(tiny)
            torch.manual_seed(noise)
            np.random.seed(noise)
            random.seed(noise)
            run = fit(model, TOY, encoded(tiny), encoded(tiny, 8, seed=1), QUICK, seed=seed)
            states.append((trained_state(model), [(row["loss"], row["dev"]) for row in run.history]))
        assert_same(states[0][0], states[1][0])
        assert states[0][1] == states[1][1]
        assert_differ(states[0][0], states[2][0])

    def test_the_callers_random_state_is_left_alone(self, tiny):
        torch.manual_seed(5)
        model = fresh(tiny)
        before = torch.get_rng_state()
        fit(model, TOY, encoded(tiny), None, QUICK, seed=0)
        assert torch.equal(torch.get_rng_state(), before)

    def test_only_trainable_parameters_change(self, tiny):
        model = fresh(tiny)
        frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
        head = trained_state(model)
        fit(model, TOY, encoded(tiny), encoded(tiny, 8), QUICK.model_copy(update={"weight_decay": 0.1}), seed=0)
        assert_same(frozen, {name: p.detach() for name, p in model.named_parameters() if name in frozen})
        assert weights_fingerprint(model) == load_base(tiny).fingerprint
        after = trained_state(model)
        assert all(not torch.equal(tensor, after[name]) for name, tensor in head.items())

    @pytest.mark.parametrize("micro", [24, 8, 5])
    def test_a_step_is_the_mean_gradient_of_the_batch(self, make_base, monkeypatch, micro):
        """Plain gradient descent in AdamW's place, whose first step would not see a gradient's size."""
        folder = make_base(**CALM)
        monkeypatch.setattr(torch.optim, "AdamW", lambda params, lr, weight_decay: torch.optim.SGD(params, lr=lr))
        train, model = encoded(folder, 24), fresh(folder, whole=True)
        start = trained_state(model)
        model.train()
        batch = train.batch(range(24))
        (loss_sum(TOY.kind, logits_of(model, batch), batch["labels"]) / 24).backward()
        wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        recipe = Recipe(lr=0.5, batch=24, epochs=1, warmup=0.0, clip=1e9, micro_batch=micro)
        fit(model, TOY, train, None, recipe, seed=0)
        assert len(wanted) > 30
        for name, parameter in model.named_parameters():
            if name in wanted:
                torch.testing.assert_close((start[name] - parameter.detach()) / 0.5, wanted[name], atol=2e-6, rtol=1e-3)

    def test_the_penalty_is_added_once_a_batch(self, make_base, monkeypatch):
        folder = make_base(**CALM)
        monkeypatch.setattr(torch.optim, "AdamW", lambda params, lr, weight_decay: torch.optim.SGD(params, lr=lr))
        changed = []
        for penalised in (False, True):
            model = fresh(folder)
            bias = model.heads["toy"][-1].bias
            recipe = Recipe(lr=1.0, batch=24, epochs=1, warmup=0.0, clip=1e9, micro_batch=8)
            fit(model, TOY, encoded(folder, 24), None, recipe, seed=0, penalty=(lambda b=bias: 3 * b.sum()) if penalised else None)  # fmt: skip
            changed.append(bias.detach().clone())
        torch.testing.assert_close(changed[0] - changed[1], torch.full((2,), 3.0))

    def test_the_gradient_is_clipped(self, make_base, monkeypatch):
        folder = make_base(**CALM)
        monkeypatch.setattr(torch.optim, "AdamW", lambda params, lr, weight_decay: torch.optim.SGD(params, lr=lr))
        model = fresh(folder)
        start = trained_state(model)
        recipe = Recipe(lr=1.0, batch=24, epochs=1, warmup=0.0, clip=0.001, micro_batch=24)
        fit(model, TOY, encoded(folder, 24), None, recipe, seed=0)
        moved = torch.cat([(start[name] - now).flatten() for name, now in trained_state(model).items()])
        assert moved.norm().item() == pytest.approx(0.001, rel=1e-2)

    def test_the_learning_rate_rises_and_falls(self, tiny, monkeypatch):
        seen = []

        class Watched(torch.optim.AdamW):
            def step(self, *args, **kwargs):
                seen.append([group["lr"] for group in self.param_groups])
                return super().step(*args, **kwargs)

        monkeypatch.setattr(torch.optim, "AdamW", Watched)
        model = fresh(tiny)
        head = list(model.heads.parameters())
        groups = [{"params": head[:1], "lr": 1e-3}, {"params": head[1:]}]
        recipe = Recipe(lr=1e-2, batch=8, epochs=2, warmup=0.2)
        fit(model, TOY, encoded(tiny), None, recipe, seed=0, groups=groups)
        wanted = [0.0, 0.5, *(left / 8 for left in range(8, 0, -1))]
        assert [lr / 1e-3 for lr, _ in seen] == pytest.approx(wanted)
        assert [lr / 1e-2 for _, lr in seen] == pytest.approx(wanted)

    def test_each_micro_batch_has_a_dropout_of_its_own(self, tiny):
        one = toy_split(1).take([0, 0])  # the same row twice
        train = encode_split(one, TOY, load_base(tiny).tokenizer, max_length=16)
        model, seen = fresh(tiny), []
        model.heads["toy"].register_forward_hook(lambda module, inputs, output: seen.append(output.logits.detach()))
        fit(model, TOY, train, None, Recipe(batch=2, epochs=2, lr=0.0, micro_batch=1), seed=0)
        assert len({tuple(logits.flatten().tolist()) for logits in seen}) == 4  # two rows, two steps

    def test_a_tracker_that_is_not_known_is_refused(self, tiny):
        with pytest.raises(UserError, match="log_with 'nonsense'") as caught:
            fit(fresh(tiny), TOY, encoded(tiny), None, QUICK.model_copy(update={"log_with": "nonsense"}), seed=0)
        assert "\n" not in str(caught.value)


class TestStopping:
    def test_patience_counts_from_the_best_epoch(self, tiny, monkeypatch):
        scripted = Scripted(0.5, 0.7, 0.7, 0.6, 0.9)
        monkeypatch.setattr(training, "evaluate", scripted)
        recipe = Recipe(lr=1e-3, epochs=9, batch=20, patience=2)
        model = fresh(tiny)
        run = fit(model, TOY, encoded(tiny), encoded(tiny, 8), recipe, seed=0)
        assert [row["dev"] for row in run.history] == [0.5, 0.7, 0.7, 0.6]
        assert (run.score, run.epoch, run.steps) == (0.7, 2, 8)
        assert_same(trained_state(model), scripted.states[1])  # the first of equal ones, and not the last
        assert_differ(trained_state(model), scripted.states[3])

    def test_without_patience_all_epochs_run_and_the_best_is_kept(self, tiny, monkeypatch):
        scripted = Scripted(0.5, 0.4, 0.3, 0.2)
        monkeypatch.setattr(training, "evaluate", scripted)
        model = fresh(tiny)
        run = fit(model, TOY, encoded(tiny), encoded(tiny, 8), Recipe(epochs=4, batch=20, patience=None), seed=0)
        assert (run.score, run.epoch, run.steps) == (0.5, 1, 8)
        assert_same(trained_state(model), scripted.states[0])

    def test_a_score_below_nought_can_be_the_best(self, tiny, monkeypatch):
        monkeypatch.setattr(training, "evaluate", Scripted(-0.5, -0.1))
        run = fit(fresh(tiny), TOY, encoded(tiny), encoded(tiny, 8), Recipe(epochs=2, batch=20), seed=0)
        assert (run.score, run.epoch) == (-0.1, 2)

    def test_without_dev_the_last_state_stays(self, tiny):
        model, states = fresh(tiny), []
        run = fit(model, TOY, encoded(tiny), None, QUICK, seed=0, on_step=lambda _: states.append(trained_state(model)))
        assert (run.score, run.epoch, run.history) == (None, None, [])
        assert len(states) == run.steps == 10
        assert_same(trained_state(model), states[-1])

    @pytest.mark.parametrize("dev", [True, False])
    def test_max_steps_bounds_the_steps(self, tiny, dev):
        run = fit(fresh(tiny), TOY, encoded(tiny), encoded(tiny, 8) if dev else None,
            QUICK.model_copy(update={"max_steps": 7}), seed=0)  # fmt: skip
        assert run.steps == 7
        assert [(row["epoch"], row["step"]) for row in run.history] == ([(1, 5), (2, 7)] if dev else [])

    def test_a_callback_can_end_it(self, tiny):
        seen = []
        run = fit(fresh(tiny), TOY, encoded(tiny), None, QUICK, seed=0, on_step=lambda n: seen.append(n) or n == 3)
        assert (run.steps, seen) == (3, [1, 2, 3])

    @pytest.mark.parametrize(
        ("rows", "options", "steps"),
        [(64, {}, 60), (65, {}, 90), (1, {}, 30), (65, {"max_steps": 7}, 7), (65, {"max_steps": 700}, 90)],
    )
    def test_the_number_of_steps_is_told_beforehand(self, rows, options, steps):
        assert Recipe(**options).steps(rows) == steps


class TestDiverged:
    def test_says_step_and_rate_and_saves_the_last_good_state(self, tiny, tmp_path):
        model, states = fresh(tiny), []
        weight = model.heads["toy"][-1].weight

        def penalty():
            return weight.sum() * (float("nan") if len(states) == 2 else 0.0)

        recipe = Recipe(lr=1e-3, epochs=2, batch=8, warmup=0.0)
        with pytest.raises(Diverged) as caught:
            fit(model, TOY, encoded(tiny), None, recipe, seed=0, penalty=penalty, rescue=tmp_path / "new" / "rescue.safetensors",
                on_step=lambda _: states.append(trained_state(model)))  # fmt: skip
        said = str(caught.value)
        assert "the loss of 'toy' became NaN at step 3 (lr 0.0008); use a smaller lr than 0.001" in said
        assert said.endswith(f"the last good state is in {tmp_path / 'new' / 'rescue.safetensors'}")
        assert "\n" not in said
        rescued = load_file(tmp_path / "new" / "rescue.safetensors")
        assert_same(rescued, states[1])
        assert_same(trained_state(model), states[1])

    def test_of_a_rate_far_too_large(self, tiny, tmp_path):
        model = fresh(tiny, whole=True)
        recipe = Recipe(lr=1e30, epochs=3, batch=8, warmup=0.0)
        with pytest.raises(Diverged, match=r"use a smaller lr than 1e\+30; the last good state"):
            fit(model, TOY, encoded(tiny), None, recipe, seed=0, rescue=tmp_path / "rescue.safetensors")
        assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "rescue.safetensors").values())
        assert not model.training

    def test_without_a_place_to_rescue_to_nothing_is_written(self, tiny, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        weight = (model := fresh(tiny)).heads["toy"][-1].weight
        with pytest.raises(Diverged, match=r"at step 1 .*0\.001$"):
            fit(model, TOY, encoded(tiny), None, QUICK, seed=0, penalty=lambda: weight.sum() * float("nan"))
        assert list(tmp_path.iterdir()) == []


class TestPredict:
    @pytest.mark.parametrize("batch", [1, 3, 64])
    def test_rows_come_in_order_whatever_the_batches(self, tiny, batch):
        model, rows = fresh(tiny), encoded(tiny, 23)
        with torch.no_grad():  # a random model says much the same of every text
            model.heads["toy"][4].weight.mul_(1e3)
        model.train()  # dropout must not show
        found = predict(model, rows, batch=batch)
        with torch.no_grad():
            alone = torch.cat([logits_of(model, rows.batch([i])) for i in range(len(rows))]).numpy()
        np.testing.assert_allclose(found, alone, atol=1e-4)
        assert np.ptp(alone[:, 0]) > 1e-2  # rows do differ

    def test_a_choice_that_is_not_there_is_never_chosen(self, tiny):
        task = Task(name="c", kind="multiple_choice", text=("t",), choices="c", num_choices=3, metric="accuracy",
            source=BuiltinSource())  # fmt: skip
        model = load_base(tiny).model()
        add_head(model, task, name="c")
        split = Split([("a",), ("b",)], [["x", "y"], ["x", "y", "z"]], np.array([0, 0]))
        logits = predict(model, encode_split(split, task, load_base(tiny).tokenizer, max_length=16))
        assert np.isneginf(logits).tolist() == [[False, False, True], [False, False, False]]

    def test_every_split_is_scored_under_its_name(self, tiny):
        model = fresh(tiny)
        parts = {name: toy_split(count, seed=count) for name, count in (("train", 4), ("test", 31), ("more", 17))}
        data = Data(parts["train"], parts["train"], parts["test"], {"mismatched": parts["more"]})
        found = evaluate_all(model, TOY, data, load_base(tiny).tokenizer, max_length=16)
        assert list(found) == ["accuracy", "accuracy/mismatched"]
        for name, count in (("accuracy", 31), ("accuracy/mismatched", 17)):
            rows = encoded(tiny, count, seed=count)
            assert found[name] == score("accuracy", predict(model, rows), rows.labels)


def test_a_state_comes_back(tiny):
    model = fresh(tiny)
    state = trained_state(model)
    assert set(state) == {name for name, _ in model.named_parameters() if name.startswith("heads.toy")}
    fit(model, TOY, encoded(tiny), None, QUICK, seed=0)
    assert_differ(trained_state(model), state)
    load_trained(model, state)
    assert_same(trained_state(model), state)
    with pytest.raises(KeyError, match=r"heads\.other"):
        load_trained(model, {"heads.other.weight": torch.zeros(1)})


BF16 = """
import sys
import torch
from test_training import QUICK, TOY, encoded, fit, fresh, load_base, load_trained, predict, trained_state

folder, seen = sys.argv[1], []
model, rows = fresh(folder), encoded(folder)
probe = model.bert.encoder.layer[0].output.dense.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
plain = model.forward
run = fit(model, TOY, rows, rows, QUICK, seed=0)
assert run.steps == 10 and set(seen) == {torch.bfloat16}, seen
assert all(p.dtype == torch.float32 for p in model.parameters())
seen.clear()
found = predict(model, rows)
assert set(seen) == {torch.float32}, seen
again = fresh(folder)
load_trained(again, trained_state(model))
assert (predict(again, rows) == found).all()
print("well")
"""


def test_mixed_precision_trains_and_is_taken_off_afterwards(make_base, python, tmp_path):
    env = {**os.environ, "ACCELERATE_MIXED_PRECISION": "bf16", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), str(Path(__file__).parent)])
    done = subprocess.run(
        [python, "-c", BF16, make_base()], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip().endswith("well"), done.stdout + done.stderr


def test_default_metrics_are_of_every_kind():
    assert set(DEFAULT_METRIC) == {
        "single_sentence_classification", "pair_classification", "regression", "multi_label", "multiple_choice",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["epochs", "batch", "micro_batch", "max_steps"])
def test_a_recipe_that_trains_nothing_is_refused(tiny, name):
    with pytest.raises(UserError, match=rf"recipe\.{name} is 0; give 1 or more"):
        fit(fresh(tiny), TOY, encoded(tiny), None, QUICK.model_copy(update={name: 0}), seed=0)
