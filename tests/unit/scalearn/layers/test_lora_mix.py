"""The packed mix of LoRAs equals the sum of its sources, forward and backward, for differing ranks, targets and scalings; nothing but omega moves."""

import copy

import pytest
import torch
from encoders import IDS, MASK, loud
from lora_bases import hidden, tiny_lora_base, with_lora

from scalearn.layers.attribution import effective_omega, without
from scalearn.layers.folded import mixes, thaw_mix
from scalearn.layers.lora_mix import LoraMix, add_folded_loras, add_lora_copy, add_lora_mix, folded_pairs, role
from scalearn.layers.lora_scaling import fold_loras, loop_loras, mix_loras
from scalearn.layers.lora_stacking import LoraStack
from scalearn.layers.scaling import ADDED, SCALINGS, SET, Omega, Scaling
from tasksel.model.half_weights import narrowed
from tasksel.model.task_model import TaskModel

CONFIG = {"architecture": "lora"}
SOURCES = (
    {"r": 2, "lora_alpha": 6, "target_modules": ["query", "value"], "rank_pattern": {"value": 3}},
    {"r": 4, "lora_alpha": 2, "target_modules": ["query", "intermediate.dense"], "use_rslora": True},
    {"r": 1, "lora_alpha": 1, "target_modules": ["output.dense"], "lora_dropout": 0.5},
)
FORMS = tuple(SCALINGS)


def stack_of(model, names):
    """The stacked LoRAs of a model, by path, as a pool's would be."""
    pairs = [folded_pairs(model, name) for name in names]
    layers = {}
    for path in dict.fromkeys(path for part in pairs for path in part):
        present = [part[path] for part in pairs if path in part]
        down, up = torch.cat([a for a, _ in present]), torch.cat([b.t() for _, b in present])
        layers[path] = LoraStack(down, up, torch.tensor([len(part[path][0]) if path in part else 0 for part in pairs]))
    return layers


@pytest.fixture(scope="module")
def stacked():
    """Three sources of differing ranks, scales and targets on a tiny BERT, stacked, and the model that has each by its name."""
    model = TaskModel(tiny_lora_base("bert"))
    for number, values in enumerate(SOURCES):
        with_lora(model, f"source{number}", values, seed=number + 1)
    return model, stack_of(model, [f"source{number}" for number in range(3)])


def mixed(layers, scaling, *, seed=7, base=None):
    """A model with the mix, whose omega is far from its start, in eval mode."""
    model = TaskModel(base or tiny_lora_base("bert"))
    torch.manual_seed(seed)
    add_lora_mix(model, "mix", layers, scaling, CONFIG)
    return loud(model, [".omega."], seed=seed, size=0.5).eval()


@pytest.mark.parametrize("per", ["scalar", "vector"])
def test_forward_and_gradients_are_those_of_the_loop(per):
    """In float64: x, omega, and thawed projections."""
    torch.manual_seed(0)
    ranks = torch.tensor([2, 1, 4])
    owner, shape = torch.repeat_interleave(torch.arange(3), ranks), {"dtype": torch.float64, "requires_grad": True}
    given = [torch.randn(size, **shape) for size in ((5, 3, 6), (7, 6), (7, 8), (3, 8 if per == "vector" else 1))]
    x, down, up, omega = given
    fused, plain = mix_loras(x, down, fold_loras(up, omega, owner)), loop_loras(x, down, up, omega, owner)
    torch.testing.assert_close(fused, plain, atol=1e-12, rtol=1e-12)
    towards = torch.randn_like(fused)
    ours, theirs = (torch.autograd.grad((output * towards).sum(), given) for output in (fused, plain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)
    assert torch.autograd.gradcheck(lambda *parts: mix_loras(parts[0], parts[1], fold_loras(parts[2], parts[3], owner)), given)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_mix_is_the_sum_of_its_scaled_sources_in_every_slot(stacked, form):
    """Compared source by source, normalised over those that the slot has."""
    _, layers = stacked
    model = mixed(layers, SCALINGS[form])
    for path, mix in mixes(model, "mix"):
        part, x = layers[path.removeprefix("bert.")], torch.randn(2, 3, mix.down.shape[1])
        weights = mix.weights()
        wanted = sum(weights[s] * ((x @ part.pair(s)[0].t()) @ part.pair(s)[1].t()) for s in range(3) if part.ranks[s])
        torch.testing.assert_close(mix(x), wanted, atol=1e-5, rtol=1e-5)
        assert mix.has().tolist() == [bool(rank) for rank in part.ranks]
        if form in ("scalearn-mean", "scalearn-softmax"):
            torch.testing.assert_close(weights.sum(0), torch.ones(weights.shape[1]))
        contributions = sum(mix.contribution(mix.hidden(x), source) for source in range(3))
        torch.testing.assert_close(mix(x), contributions, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2"])
def test_one_hot_weights_give_the_source_itself(kind):
    model = TaskModel(tiny_lora_base(kind))
    wanted = {}
    for number, target in enumerate(("all-linear", None)):
        with_lora(model, f"s{number}", {"r": 2 + number, "lora_alpha": 5, "target_modules": target}, seed=number)
        wanted[number] = hidden(model)
    both = mixed(stack_of(model, ["s0", "s1"]), ADDED, base=tiny_lora_base(kind))
    for number in (0, 1):
        for _, mix in mixes(both, "mix"):
            mix.omega.weight.copy_(torch.eye(2)[number][:, None])
        assert (hidden(both) - wanted[number]).abs().max() < 2e-5
    model.set_active_adapters(None)
    assert (hidden(model) - wanted[0]).abs().max() > 1e-3


def test_the_numbers_of_omegas_are_those_of_the_form(stacked):
    """Per module n numbers or n per output; shared n for all modules, or n per output for each role of modules."""
    _, layers = stacked
    widths = {"query": 16, "value": 16, "intermediate.dense": 24, "attention.output.dense": 16, "output.dense": 16}
    per_layer = 3 * sum(widths.values())
    counts = {
        "scalearn": 2 * per_layer,
        "scalearn-uniform": 2 * 3 * len(widths),
        "scalearn++": per_layer,
        "scalearn-uniform++": 3,
    }
    for form, wanted in counts.items():
        model = mixed(layers, SCALINGS[form])
        trainable = [p for name, p in model.named_parameters() if p.requires_grad and ".adapters." in name]
        assert sum(p.numel() for p in trainable) == wanted, form
    assert role("encoder.layer.3.attention.self.query") == "encoder.layer.*.attention.self.query"


def test_base_and_sources_are_frozen_and_a_missing_source_has_no_gradient(stacked):
    _, layers = stacked
    model = mixed(layers, Scaling("scalar", False, 0.0)).train()
    before = {key: value.clone() for key, value in model.state_dict().items() if "omega" not in key}
    sources = {path: (part.down.clone(), part.up.clone()) for path, part in layers.items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(input_ids=IDS, attention_mask=MASK).last_hidden_state.pow(2).sum().backward()
        optimizer.step()
    moved = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert all(name.endswith(".omega.weight") for name in moved)
    for path, mix in mixes(model, "mix"):
        gradient = mix.omega.weight.grad
        assert [bool(row.abs().max() > 0) for row in gradient] == mix.has().tolist(), path
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    for path, (down, up) in sources.items():
        assert torch.equal(layers[path].down, down)
        assert torch.equal(layers[path].up, up)


def test_a_sources_own_dropout_is_off_and_omegas_acts_while_training_alone(stacked):
    _, layers = stacked
    for scaling, moves in ((Scaling("vector", False, 0.0), False), (SCALINGS["scalearn"], True)):
        for _, mix in mixes(mixed(layers, scaling), "mix"):
            x = torch.randn(2, mix.down.shape[1])
            still = mix(x)
            assert torch.equal(mix.train()(x), still) != moves
            assert torch.equal(mix.eval()(x), still)


def test_the_folded_weight_is_kept_in_eval_mode_until_omega_changes(stacked, monkeypatch):
    _, layers = stacked
    model, folds = mixed(layers, SET), []
    fold = LoraMix.fold
    monkeypatch.setattr(LoraMix, "fold", lambda self: folds.append(1) or fold(self))
    first = hidden(model)
    once = len(folds)
    assert torch.equal(hidden(model), first)
    assert len(folds) == once == len(layers)
    with torch.no_grad():
        next(mixes(model, "mix"))[1].omega.weight.mul_(2)
    assert not torch.equal(hidden(model), first)
    assert len(folds) == 2 * once


@pytest.mark.parametrize("form", ["scalearn", "scalearn-uniform++", "scalearn-softmax"])
def test_one_folded_lora_gives_what_the_mix_gives(stacked, form):
    _, layers = stacked
    model, plain = mixed(layers, SCALINGS[form]), TaskModel(tiny_lora_base("bert")).eval()
    add_folded_loras(plain, "plain", model, "mix", CONFIG)
    assert (hidden(plain) - hidden(model)).abs().max() < 1e-5
    config = plain.adapter_configs["plain"]
    assert config["r"] == config["lora_alpha"]
    again = TaskModel(tiny_lora_base("bert")).eval()
    add_folded_loras(again, "again", plain, "plain", CONFIG)
    assert (hidden(again) - hidden(model)).abs().max() < 1e-5


def test_a_copy_is_the_source_and_trains_alone(stacked):
    sources, layers = stacked
    model = TaskModel(tiny_lora_base("bert")).eval()
    for number in range(3):
        add_lora_copy(model, f"copy{number}", layers, CONFIG, source=number)
        model.set_active_adapters(f"copy{number}")
        sources.set_active_adapters(f"source{number}")
        assert (hidden(model) - hidden(sources)).abs().max() < 1e-5
    loud(model, [".copy1."], seed=3)
    model.set_active_adapters("copy0")
    sources.set_active_adapters("source0")
    assert (hidden(model) - hidden(sources)).abs().max() < 1e-5


def test_thawed_projections_train_as_copies(stacked):
    _, layers = stacked
    model = mixed(layers, SCALINGS["scalearn-uniform"])
    still = hidden(model)
    thaw_mix(model, "mix")
    assert torch.equal(hidden(model), still)
    model(input_ids=IDS, attention_mask=MASK).last_hidden_state.pow(2).sum().backward()
    for path, mix in mixes(model, "mix"):
        assert mix.down.grad.abs().max() > 0
        assert mix.up.grad.abs().max() > 0
        with torch.no_grad():
            mix.up.zero_()
        assert layers[path.removeprefix("bert.")].up.abs().max() > 0
    assert not torch.equal(hidden(model), still)


def test_leaving_a_source_out_is_omega_zero(stacked):
    _, layers = stacked
    model = mixed(layers, ADDED)
    for number in range(3):
        zeroed = copy.deepcopy(model)
        for _, mix in mixes(zeroed, "mix"):
            mix.omega.weight[number] = 0
        with without(model, "mix", number):
            left_out = hidden(model)
        assert (left_out - hidden(zeroed)).abs().max() < 1e-5
    assert [len(weights) for weights in effective_omega(model, "mix")] == [3] * len(layers)


def test_a_base_in_half_precision_mixes_in_its_own_type(stacked):
    _, layers = stacked
    model = mixed(layers, SCALINGS["scalearn"], base=tiny_lora_base("bert").bfloat16())
    full = mixed(layers, SCALINGS["scalearn"])
    mix = next(mixes(model, "mix"))[1]
    assert (mix.down.dtype, mix.omega.weight.dtype) == (torch.bfloat16, torch.float32)
    given = hidden(model)
    assert given.dtype == torch.bfloat16
    assert (given.float() - hidden(full)).abs().max() < 0.2
    model.train()(input_ids=IDS, attention_mask=MASK).last_hidden_state.float().pow(2).sum().backward()
    assert mix.omega.weight.grad.isfinite().all()


def as_held(layers, hold):
    """The stacks with each tensor as a function holds it, of numbers that bf16 has."""
    return {
        path: LoraStack(hold(part.down.bfloat16().float()), hold(part.up.bfloat16().float()), part.ranks)
        for path, part in layers.items()
    }


@pytest.mark.parametrize("autocast", [False, True])
def test_loras_held_in_16_bits_are_mixed_as_in_float32(stacked, autocast):
    _, layers = stacked
    half, whole = (mixed(as_held(layers, hold), SCALINGS["scalearn"]) for hold in (narrowed, torch.clone))
    gradients = []
    for model, kind in ((half, torch.bfloat16), (whole, torch.float32)):
        assert {(mix.down.dtype, mix.up.dtype) for _, mix in mixes(model, "mix")} == {(kind, kind)}
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            last = model(input_ids=IDS, attention_mask=MASK).last_hidden_state
        last.float().pow(2).sum().backward()
        gradients.append([mix.omega.weight.grad for _, mix in mixes(model, "mix")])
    assert torch.equal(hidden(half), hidden(whole))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
    thaw_mix(half, "mix")
    assert {mix.down.dtype for _, mix in mixes(half, "mix")} == {torch.float32}
    assert torch.equal(hidden(half), hidden(whole))


def test_an_omega_knows_how_many_sources_it_was_made_for():
    """It starts at 2/n of all n sources, also in a slot that has fewer: what a source adds keeps its proportions."""
    torch.manual_seed(0)
    mix = LoraMix(LoraStack(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 2, 0, 0])), Omega(SCALINGS["scalearn"], sources=4, width=4))  # fmt: skip
    assert abs(mix.eval().weights()[1].mean().item() - 0.5) < 0.01
