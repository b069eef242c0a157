"""Tests of the training loop: what it changes and what it must not, when it stops, and that a seed decides everything."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tasksel.adapters.train import add_new_adapter, freeze_base
from tasksel.errors import UserError
from tasksel.model.base import load_base, weights_fingerprint
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head, loss_sum
from tasksel.tasks.examples import Split
from tasksel.tasks.infer import DEFAULT_METRIC
from tasksel.tasks.load import Data
from tasksel.tasks.metrics import score
from tasksel.tasks.task import BuiltinSource, Task
from tasksel.training import loop as training
from tasksel.training import predict as prediction
from tasksel.training.loop import TEMPERATURE, Diverged, Part, fit, fit_parts, sampling_shares
from tasksel.training.predict import evaluate, evaluate_all, logits_of, predict
from tasksel.training.recipe import Recipe
from tasksel.training.state import load_trained, trained_state

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

    def __call__(self, model, task, dev, **_):
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
        model.heads["toy"].register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
        fit(model, TOY, train, None, Recipe(batch=2, epochs=2, lr=1e-20, micro_batch=1), seed=0)
        assert len({tuple(logits.flatten().tolist()) for logits in seen}) == 4  # two rows, two steps

    def test_a_tracker_that_is_not_known_is_refused(self, tiny):
        with pytest.raises(UserError, match="log_with 'nonsense'") as caught:
            fit(fresh(tiny), TOY, encoded(tiny), None, QUICK.model_copy(update={"log_with": "nonsense"}), seed=0)
        assert "\n" not in str(caught.value)


class TestStopping:
    def test_patience_counts_from_the_best_epoch(self, tiny, monkeypatch):
        scripted = Scripted(0.5, 0.7, 0.7, 0.6, 0.9)
        monkeypatch.setattr(prediction, "evaluate", scripted)
        recipe = Recipe(lr=1e-3, epochs=9, batch=20, patience=2)
        model = fresh(tiny)
        run = fit(model, TOY, encoded(tiny), encoded(tiny, 8), recipe, seed=0)
        assert [row["dev"] for row in run.history] == [0.5, 0.7, 0.7, 0.6]
        assert (run.score, run.epoch, run.steps) == (0.7, 2, 8)
        assert_same(trained_state(model), scripted.states[1])  # the first of equal ones, and not the last
        assert_differ(trained_state(model), scripted.states[3])

    def test_without_patience_all_epochs_run_and_the_best_is_kept(self, tiny, monkeypatch):
        scripted = Scripted(0.5, 0.4, 0.3, 0.2)
        monkeypatch.setattr(prediction, "evaluate", scripted)
        model = fresh(tiny)
        run = fit(model, TOY, encoded(tiny), encoded(tiny, 8), Recipe(epochs=4, batch=20, patience=None), seed=0)
        assert (run.score, run.epoch, run.steps) == (0.5, 1, 8)
        assert_same(trained_state(model), scripted.states[0])

    def test_a_score_below_nought_can_be_the_best(self, tiny, monkeypatch):
        monkeypatch.setattr(prediction, "evaluate", Scripted(-0.5, -0.1))
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
import json
import os
import sys

here, folder = json.load(sys.stdin)
os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
sys.path.insert(0, here)

import torch
from test_loop import QUICK, TOY, encoded, fit, fresh, load_base, load_trained, predict, trained_state

seen = []
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


def test_mixed_precision_trains_and_is_taken_off_afterwards(make_base, fresh_process):
    asked = json.dumps([str(Path(__file__).parent), make_base()])
    assert fresh_process(BF16, asked, ours=True).strip().endswith("well")


def test_default_metrics_are_of_every_kind():
    assert set(DEFAULT_METRIC) == {
        "single_sentence_classification", "pair_classification", "regression", "multi_label", "multiple_choice", "generation",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["epochs", "batch", "micro_batch", "max_steps"])
def test_a_recipe_that_trains_nothing_is_refused(tiny, name):
    with pytest.raises(UserError, match=rf"recipe\.{name}: must be greater than or equal to 1 \(given 0\)"):
        fit(fresh(tiny), TOY, encoded(tiny), None, QUICK.model_copy(update={name: 0}), seed=0)


class TestSelecting:
    """Which checkpoint is kept: dev logits are told beforehand, epoch by epoch."""

    def kept(self, tiny, monkeypatch, select, epochs):
        """The epoch whose state a run keeps, and the scores it saw; an epoch is (right answers of 4, confidence)."""
        labels = np.array([0, 1, 0, 1])

        def told(model, encoded, **_):
            right, size = epochs[told.calls]
            told.calls += 1
            signs = np.where(np.arange(4) < right, 1.0, -1.0) * np.where(labels == 1, 1.0, -1.0) * size
            return np.stack([-signs, signs], axis=1).astype(np.float32)

        told.calls = 0
        monkeypatch.setattr(prediction, "predict", told)
        dev = encode_split(Split([("a",)] * 4, None, labels), TOY, load_base(tiny).tokenizer, max_length=8)
        recipe = QUICK.model_copy(update={"epochs": len(epochs), "select": select})
        run = fit(fresh(tiny), TOY, encoded(tiny, 8), dev, recipe, seed=0)
        assert run.score == epochs[run.epoch - 1][0] / 4
        return run.epoch

    # best metric first at epoch 2, the same with less loss at 3, less loss still but a worse metric at 4
    EPOCHS = ((2, 0.1), (3, 0.1), (3, 0.3), (2, 0.0001), (1, 2.0))

    @pytest.mark.parametrize(("select", "epoch"), [("metric", 2), ("metric-loss", 3)])
    def test_the_best_metric_and_of_equal_ones_the_first_or_the_least_loss(self, tiny, monkeypatch, select, epoch):
        assert self.kept(tiny, monkeypatch, select, self.EPOCHS) == epoch

    def test_the_least_loss_whatever_the_metric(self, tiny, monkeypatch):
        assert self.kept(tiny, monkeypatch, "loss", ((3, 3.0), (2, 0.01), (2, 0.5))) == 2


@pytest.mark.parametrize("again", [1, 2])
def test_every_fit_of_a_model_runs_as_the_launch_says(tiny, monkeypatch, again):
    """A second fit of the same model once lost the launch's bf16 without a word."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    model, seen = fresh(tiny), []
    model.heads["toy"].register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    try:
        for _ in range(again):
            seen.clear()
            fit(model, TOY, encoded(tiny, 8), None, QUICK, seed=0)
            assert seen
            assert all(seen)
        seen.clear()
        predict(model, encoded(tiny, 8))
        assert not any(seen), "afterwards the bare model is as it was"
    finally:
        monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
        AcceleratorState._reset_state(reset_partial_state=True)


NAMES = ("few", "some", "many")


def many_headed(folder, names=NAMES):
    """A model with one new adapter and a head a task."""
    model = load_base(folder).model()
    torch.manual_seed(1)
    for name in names:
        add_head(model, TOY, name=name)
    add_new_adapter(model, "shared")
    freeze_base(model)
    return model


def parts_of(folder, **rows):
    """A part a name with so many training rows, and 8 dev rows."""
    return [
        Part(TOY.model_copy(update={"name": name}), encoded(folder, count, seed=i), encoded(folder, 8, seed=9))
        for i, (name, count) in enumerate(rows.items())
    ]


@pytest.fixture
def trodden(monkeypatch):
    """Watches what is trained: the active head and the rows of each step, in order."""
    seen, plain = [], training._Loop._backward

    def watched(self, train, batch):
        seen.append((self.bare.active_head, tuple(batch)))
        return plain(self, train, batch)

    monkeypatch.setattr(training._Loop, "_backward", watched)
    return seen


class TestParts:
    """Several tasks at once."""

    def test_one_part_is_fit_to_the_bit(self, tiny):
        found = []
        for how in ("fit", "fit_parts"):
            model, train, dev = fresh(tiny, whole=True), encoded(tiny, 44), encoded(tiny, 8, seed=1)
            recipe = QUICK.model_copy(update={"epochs": 3})
            if how == "fit":
                run = fit(model, TOY, train, dev, recipe, seed=5)
            else:
                run = fit_parts(model, [Part(TOY, train, dev)], recipe, seed=5, temperature=3.0)
            found.append((trained_state(model), run.history, run.score, run.epoch, run.steps, run.scores))
        assert_same(found[0][0], found[1][0])
        assert found[0][1:] == found[1][1:]
        assert found[0][5] == {"toy": found[0][2]}

    def test_one_part_has_the_batches_of_its_seed_and_epoch_under_whatever_head_is_active(self, tiny, trodden):
        model = many_headed(tiny, ("another",))
        fit(model, TOY, encoded(tiny, 44), None, QUICK, seed=5)
        lengths = encoded(tiny, 44).lengths
        wanted = [batch for epoch in (1, 2) for batch in training.length_batches(lengths, 8, seed=5 * 10_007 + epoch)]
        assert trodden == [("another", tuple(batch)) for batch in wanted]

    @pytest.mark.parametrize("temperature", [1.0, 2.0, TEMPERATURE, 1e12, np.inf])
    def test_shares_are_the_root_of_the_rows(self, temperature):
        rows = [40, 90, 1000]
        shares = sampling_shares(rows, temperature)
        assert sum(shares) == pytest.approx(1)
        for i in range(3):
            assert shares[i] / shares[0] == pytest.approx((rows[i] / 40) ** (1 / temperature))
        if temperature > 100:
            assert shares == pytest.approx([1 / 3] * 3)

    def test_the_published_temperature_is_the_default(self, tiny, trodden):
        assert TEMPERATURE == 10
        parts = parts_of(tiny, few=8, many=80)
        for options in ({}, {"temperature": 10.0}):
            fit_parts(many_headed(tiny), parts, QUICK, seed=0, **options)
        assert trodden[: len(trodden) // 2] == trodden[len(trodden) // 2 :]

    @pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
    def test_a_temperature_that_is_none_is_refused(self, temperature):
        with pytest.raises(ValueError, match="give a number above 0"):
            sampling_shares([1, 2], temperature)

    @pytest.mark.parametrize("temperature", [1.0, 10.0, np.inf])
    def test_tasks_are_drawn_by_their_shares(self, tiny, trodden, monkeypatch, temperature):
        monkeypatch.setattr(
            training._Loop, "_update", lambda self: setattr(self, "step", self.step + 1)
        )  # only the draws
        monkeypatch.setattr(training, "logits_of", lambda model, batch: torch.zeros(len(batch["labels"]), 2, requires_grad=True))  # fmt: skip
        rows = {"few": 10, "some": 40, "many": 160}
        recipe = QUICK.model_copy(update={"batch": 10, "epochs": 20})
        parts = [Part(part.task, part.train, None) for part in parts_of(tiny, **rows)]
        run = fit_parts(many_headed(tiny), parts, recipe, seed=0, temperature=temperature)
        assert run.steps == len(trodden) == 20 * (1 + 4 + 16)
        wanted = sampling_shares(list(rows.values()), temperature)
        for name, share in zip(rows, wanted, strict=True):
            spread = (share * (1 - share) / run.steps) ** 0.5
            assert abs(sum(head == name for head, _ in trodden) / run.steps - share) < 4 * spread, name

    def test_each_task_goes_round_its_own_rows_before_it_sees_one_again(self, tiny, trodden):
        parts = parts_of(tiny, few=10, many=44)
        fit_parts(many_headed(tiny), parts, QUICK.model_copy(update={"epochs": 4}), seed=3)
        for part in parts:
            batches = [list(batch) for head, batch in trodden if head == part.task.name]
            passes = -(-len(part.train) // 8)
            assert len(batches) > passes
            rounds = [batches[i : i + passes] for i in range(0, len(batches), passes)]
            for number, round_ in enumerate(rounds, 1):
                whole = training.length_batches(part.train.lengths, 8, seed=3 * 10_007 + number)
                assert round_ == whole[: len(round_)]

    def test_draws_are_the_epochs_own_and_the_seeds(self, tiny, trodden):
        parts, heads = parts_of(tiny, few=32, many=40), []
        for seed in (0, 0, 1):
            trodden.clear()
            fit_parts(many_headed(tiny), parts, QUICK, seed=seed)
            heads.append([head for head, _ in trodden])
        assert heads[0] == heads[1] != heads[2]
        assert heads[0][:9] != heads[0][9:]

    @pytest.mark.parametrize("most", [None, 7])
    def test_the_number_of_steps_is_told_beforehand(self, tiny, most):
        recipe = QUICK.model_copy(update={"max_steps": most})
        run = fit_parts(many_headed(tiny), parts_of(tiny, few=9, some=16, many=17), recipe, seed=0)
        assert run.steps == recipe.steps(9, 16, 17) == (most or 2 * (2 + 2 + 3))
        assert recipe.steps(42) != recipe.steps(9, 16, 17) or most

    def test_the_adapter_and_every_head_train(self, tiny):
        model = many_headed(tiny)
        before = trained_state(model)
        fit_parts(model, parts_of(tiny, few=16, some=24, many=32), QUICK, seed=0)
        after = trained_state(model)
        assert {name.split(".")[1] for name in before if name.startswith("heads.")} == set(NAMES)
        assert all(not torch.equal(tensor, after[name]) for name, tensor in before.items())

    def test_a_head_whose_task_is_not_drawn_stays(self, tiny):
        model = many_headed(tiny)
        before = trained_state(model)
        recipe = QUICK.model_copy(update={"max_steps": 1, "weight_decay": 0.5, "warmup": 0.0})
        fit_parts(model, parts_of(tiny, few=16, many=32), recipe, seed=0)
        moved = {name.split(".")[1] for name, tensor in trained_state(model).items()
            if name.startswith("heads.") and not torch.equal(tensor, before[name])}  # fmt: skip
        assert moved in ({"few"}, {"many"})

    def test_the_mean_over_tasks_chooses_the_checkpoint(self, tiny, monkeypatch):
        told = {"few": [0.9, 0.5, 0.1], "many": [0.1, 0.7, 0.6]}  # the best mean is no task's first and no task's last
        seen = {name: [] for name in told}

        def scripted(model, task, dev, **_):
            assert model.active_head == task.name
            seen[task.name].append(trained_state(model))
            return told[task.name][len(seen[task.name]) - 1]

        monkeypatch.setattr(prediction, "evaluate", scripted)
        model = many_headed(tiny)
        run = fit_parts(model, parts_of(tiny, few=16, many=16), QUICK.model_copy(update={"epochs": 3}), seed=0)
        assert (run.score, run.epoch) == (pytest.approx(0.6), 2)
        assert run.scores == {"few": 0.5, "many": 0.7}
        assert [row["dev"] for row in run.history] == pytest.approx([0.5, 0.6, 0.35])
        assert_same(trained_state(model), seen["few"][1])
        assert_differ(trained_state(model), seen["few"][2])

    @pytest.mark.parametrize(("select", "epoch"), [("metric", 1), ("loss", 3), ("metric-loss", 2)])
    def test_it_may_be_the_mean_of_the_losses(self, tiny, monkeypatch, select, epoch):
        told = [((0.5,), (0.5,)), ((0.6,), (0.4,)), ((0.2,), (0.3,))]  # mean metric 0.5, 0.5, 0.25
        losses, calls = [(3, 1), (1, 2), (0, 1)], []

        def scripted(model, task, dev, select, **_):
            at, which = len(calls) // 2, len(calls) % 2
            calls.append(task.name)
            value, loss = told[at][which][0], losses[at][which]
            return value, {"metric": (value,), "loss": (-loss,), "metric-loss": (value, -loss)}[select]

        monkeypatch.setattr(training, "dev_score", scripted)
        recipe = QUICK.model_copy(update={"epochs": 3, "select": select})
        assert fit_parts(many_headed(tiny), parts_of(tiny, few=16, many=16), recipe, seed=0).epoch == epoch

    def test_a_task_without_dev_rows_has_no_say(self, tiny, monkeypatch):
        monkeypatch.setattr(prediction, "evaluate", Scripted(0.5, 0.4))
        few, many = parts_of(tiny, few=16, many=16)
        run = fit_parts(many_headed(tiny), [Part(few.task, few.train, None), many], QUICK, seed=0)
        assert (run.scores, run.score, run.epoch) == ({"many": 0.5}, 0.5, 1)

    def test_what_diverges_is_named(self, tiny):
        weight = (model := many_headed(tiny)).heads["many"][-1].weight
        parts = parts_of(tiny, few=16, many=16)
        with pytest.raises(Diverged, match=r"the loss of '(few|many)' became NaN at step 1 "):
            fit_parts(model, parts, QUICK, seed=0, penalty=lambda: weight.sum() * float("nan"))

    def test_no_part_and_one_twice_are_refused(self, tiny):
        for parts in ([], parts_of(tiny, few=8) * 2):
            with pytest.raises(ValueError, match="must be a non-empty list without duplicates"):
                fit_parts(many_headed(tiny), parts, QUICK, seed=0)
