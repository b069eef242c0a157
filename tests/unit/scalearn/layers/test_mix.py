"""One slot holds the whole mix: each source at one-hot, of the exact width, frozen but for omega."""

import copy

import pytest
import torch
from library import library_model

from scalearn import METHODS, AdapterPool
from scalearn.layers.folded import set_omega as set_scalars
from scalearn.layers.mix import ScaledMix, add_mix, bottleneck_layers, fold_into
from scalearn.layers.stacking import stack
from tasksel.adapters.bottleneck import Bottlenecks, slot_config, unfoldable
from tasksel.model.adapter_config import SEQ_BN, resolve_config
from tasksel.model.base import load_base
from tasksel.training.state import load_trained, trained_state

PLAIN = {**SEQ_BN, "reduction_factor": 16}
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2")
TEXT = {
    "input_ids": torch.tensor([[101, 2023, 2003, 102], [101, 2919, 102, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def mixed(base, target, sources, method="scalearn", *, seed=0):
    return METHODS[method].build(load_base(base), target, *stack(sources), seed=seed).eval()


def slots(model, name):
    return [layer.adapters[name] for _, layer in bottleneck_layers(model, name)]


def set_omega(model, name, value):
    """Writes omega in place, as an optimizer would."""
    with torch.no_grad():
        for slot in slots(model, name):
            slot.omega.weight.copy_(value)


def logits(model):
    with torch.no_grad():
        return model(**TEXT).logits


@pytest.fixture(scope="module")
def filled(make_base, fill, tmp_path_factory):
    """Three loud sources on a base, made once each."""
    made = {}

    def get(architecture="bert", names=("one", "two", "three"), **options):
        key = (architecture, *names, *sorted(options.items()))
        if key not in made:
            base = make_base(architecture, **options)
            made[key] = base, fill(tmp_path_factory.mktemp("slot"), base, *names)
        return made[key]

    return get


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_one_hot_omega_equals_that_source_loaded_by_the_library(filled, target, architecture, library):
    base, sources = filled(architecture)
    model = mixed(base, target, sources)
    assert len(slots(model, target.name)) == 2
    seen = []
    for number, source in enumerate(sources):
        set_omega(model, target.name, torch.eye(3)[number][:, None])
        alone = library_model(base)
        alone.set_active_adapters(alone.load_adapter(str(source.folder), use_safetensors=True))
        alone.add_classification_head("same", num_labels=2)
        alone.heads["same"].load_state_dict(model.heads[target.name].state_dict())
        alone.active_head = "same"
        seen.append(logits(model))
        torch.testing.assert_close(seen[-1], logits(alone.eval()), atol=1e-5, rtol=1e-5)
    assert (seen[0] - seen[1]).abs().max() > 1e-3, "the sources are too quiet for this test to see anything"


def test_every_variant_in_the_model_equals_the_loop_in_every_layer(filled, target):
    base, sources = filled()
    stacked, _ = stack(sources)
    for method in (
        "scalearn",
        "scalearn-uniform",
        "scalearn++",
        "scalearn-uniform++",
        "scalearn-mean",
        "scalearn-softmax",
        "search",
    ):
        model = mixed(base, target, sources, method)
        for path, layer in bottleneck_layers(model, target.name):
            slot, parts, x = layer.adapters[target.name], stacked[path], torch.randn(2, 3, 32)
            outputs = [
                torch.relu(x @ down.t() + down_bias) @ up + up_bias
                for down, down_bias, up, up_bias in zip(
                    parts.down, parts.down_bias, parts.up, parts.up_bias, strict=True
                )
            ]
            with torch.no_grad():
                expected = sum(omega * output for omega, output in zip(slot.omega(), outputs, strict=True))
                torch.testing.assert_close(slot(x), expected, atol=1e-5, rtol=1e-5)


def outputs_of(parts, x):
    """Each source's output without its residual, by its definition."""
    each = zip(parts.down, parts.down_bias, parts.up, parts.up_bias, strict=True)
    return [torch.relu(x @ down.t() + down_bias) @ up + up_bias for down, down_bias, up, up_bias in each]


def test_the_average_is_the_mean_of_the_sources_outputs(filled, target):
    base, sources = filled()
    stacked, _ = stack(sources)
    model = mixed(base, target, sources, "average")
    for path, layer in bottleneck_layers(model, target.name):
        x = torch.randn(2, 3, 32)
        one, two, three = outputs_of(stacked[path], x)
        for training in (False, True):  # there is nothing to drop out
            found = layer.adapters[target.name].train(training)(x)
            torch.testing.assert_close(found, (one + two + three) / 3, atol=1e-5, rtol=1e-5)


def test_four_equal_sources_average_to_one_of_them(filled, target):
    base, (one, *_) = filled()
    layers, config = stack([one])
    four = {path: Bottlenecks.stack([part] * 4) for path, part in layers.items()}
    averaged = METHODS["average"].build(load_base(base), target, four, config, seed=0).eval()
    alone = METHODS["average"].build(load_base(base), target, layers, config, seed=0).eval()
    torch.testing.assert_close(logits(averaged), logits(alone), atol=1e-5, rtol=1e-5)


def test_an_omega_that_is_set_weighs_the_outputs_in_every_layer_at_once(filled, target):
    base, sources = filled()
    stacked, _ = stack(sources[:2])
    model = mixed(base, target, sources[:2], "fixed-grid")
    logits(model)
    for a, b in ((0.5, 1.0), (1.0, 0.0), (0.0, 0.0)):
        set_scalars(model, [a, b])
        for path, layer in bottleneck_layers(model, target.name):
            x = torch.randn(2, 3, 32)
            one, two = outputs_of(stacked[path], x)
            found = layer.adapters[target.name](x)
            torch.testing.assert_close(found, a * one + b * two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 5, 7, 20])
def test_the_slot_is_exactly_as_wide_as_the_sources_together(filled, target, count):
    base, sources = filled(names=tuple(f"source{n:02}" for n in range(count)))
    for slot in slots(mixed(base, target, sources), target.name):
        assert slot.down.shape == (
            2 * count,
            32,
        )  # 32 wide, reduction factor 16; 20 sources make it wider than the model


@pytest.mark.parametrize("hidden", [32, 312, 384, 768, 1024])
def test_the_library_makes_every_width_that_is_asked_for(hidden):
    wrong = [w for w in range(1, 1700) if int(hidden // slot_config(w, hidden, PLAIN)["reduction_factor"]) != w]
    assert wrong == []


def test_shared_omega_is_one_parameter_for_all_layers(filled, target):
    base, sources = filled()
    shared, own = (mixed(base, target, sources, method) for method in ("scalearn++", "scalearn"))
    assert len({id(slot.omega.weight) for slot in slots(shared, target.name)}) == 1
    assert len({id(slot.omega.weight) for slot in slots(own, target.name)}) == 2
    assert sum("omega" in name for name in trained_state(shared)) == 1


def test_omega_and_the_head_are_all_that_trains(filled, target):
    base, sources = filled()
    names = [name for name, p in mixed(base, target, sources).named_parameters() if p.requires_grad]
    assert names
    assert all(name.endswith("omega.weight") or name.startswith(f"heads.{target.name}.") for name in names)
    assert sum("omega" in name for name in names) == 2


def test_the_folded_weight_is_kept_in_eval(filled, target):
    base, sources = filled()
    model = mixed(base, target, sources).requires_grad_(False)
    logits(model)
    slot = slots(model, target.name)[0]
    weight = slot.folded()[0]
    logits(model)
    assert slot.folded()[0] is weight


def changed(model, name, how):
    """Changes omega the way that `how` says, and gives what the logits then must be, from a model that kept nothing."""
    omegas = {id(slot.omega): slot.omega for slot in slots(model, name)}.values()
    if how == "optimizer":
        optimizer = torch.optim.AdamW([omega.weight.requires_grad_() for omega in omegas], lr=0.5)
        model.train()(**TEXT).logits.sum().backward()
        optimizer.step()
    elif how == "train, eval, train":
        for _ in range(2):
            optimizer = torch.optim.SGD([omega.weight.requires_grad_() for omega in omegas], lr=500)
            model.train()(**TEXT).logits.sum().backward()
            optimizer.step()
            logits(model.eval())
    elif how == "load":
        load_trained(model, {key: 3 * value for key, value in trained_state(model).items() if "omega" in key})
    elif how == "load_state_dict":
        model.load_state_dict({k: 3 * v for k, v in model.state_dict().items() if "omega" in k}, strict=False)
    elif how == "assign":
        state = {k: 3 * v.clone() for k, v in model.state_dict().items() if "omega" in k}
        model.load_state_dict(state, strict=False, assign=True)
    elif how == "data":
        for omega in omegas:
            omega.weight.data = 3 * omega.weight.data
    fresh = copy.deepcopy(model)
    for slot in slots(fresh, name):
        slot._kept = None
    return logits(fresh.eval())


@pytest.mark.parametrize("how", ["optimizer", "train, eval, train", "load", "load_state_dict", "assign", "data"])
@pytest.mark.parametrize("method", ["scalearn", "scalearn-uniform++"])
def test_the_kept_weight_is_refreshed_when_omega_changes(filled, target, how, method):
    base, sources = filled()
    model = mixed(base, target, sources, method)
    before = logits(model)
    expected = changed(model, target.name, how)
    after = logits(model.eval())
    assert (before - after).abs().max() > 1e-3, "omega did not change anything"
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=1e-6)


def test_gradients_reach_omega_in_eval_too(filled, target):
    base, sources = filled()
    model = mixed(base, target, sources)
    logits(model)
    model(**TEXT).logits.sum().backward()
    assert all(float(slot.omega.weight.grad.abs().sum()) > 0 for slot in slots(model, target.name))


def test_a_model_built_and_run_under_inference_mode_gives_the_same(filled, target):
    base, sources = filled()
    expected = logits(mixed(base, target, sources).requires_grad_(False))
    with torch.inference_mode():
        inside = mixed(base, target, sources).requires_grad_(False)
        first, second = inside(**TEXT).logits, inside(**TEXT).logits
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, expected)


def test_a_model_first_run_under_inference_mode_still_trains(filled, target):
    base, sources = filled()
    model = mixed(base, target, sources)
    with torch.inference_mode():
        model(**TEXT)
    torch.testing.assert_close(logits(model), model(**TEXT).logits.detach())
    model.train()(**TEXT).logits.sum().backward()
    assert slots(model, target.name)[0].omega.weight.grad is not None


def test_a_model_changes_its_precision_after_it_was_run(filled, target):
    base, sources = filled()
    model = mixed(base, target, sources).requires_grad_(False)
    before = logits(model)
    torch.testing.assert_close(logits(model.double()).float(), before, atol=1e-4, rtol=1e-4)


def test_one_draw_of_dropout_serves_the_whole_batch_in_the_model(filled, target):
    base, sources = filled()
    slot = slots(mixed(base, target, sources), target.name)[0].train()
    x = torch.randn(1, 1, 32).expand(6, 4, 32)
    y = slot(x)
    torch.testing.assert_close(y, y[:1, :1].expand_as(y))


def test_the_mix_writes_itself_into_an_ordinary_adapter(filled, target):
    base, sources = filled()
    for method in ("scalearn", "scalearn-uniform++"):
        model = mixed(base, target, sources, method)
        ordinary = load_base(base).model()
        ordinary.add_adapter("plain", config=slot_config(6, 32, PLAIN))
        fold_into(ordinary, "plain", model, target.name)
        plain = slots(ordinary, "plain")[0]
        assert not isinstance(plain, ScaledMix)
        x = torch.randn(2, 3, 32)
        with torch.no_grad():
            expected = slots(model, target.name)[0](x)
            torch.testing.assert_close(plain(x), expected, atol=1e-5, rtol=1e-5)


def test_a_source_with_a_scale_of_its_own_is_mixed_and_written_with_it(filled, fill, target, tmp_path):
    base, _ = filled()
    config = {**PLAIN, "scaling": 4.0}
    (source,) = fill(tmp_path / "pool", base, "loud", config=config)
    model = mixed(base, target, [source])
    set_omega(model, target.name, torch.ones(1, 1))
    alone = source.trained.model(load_base(base), head=False)
    ordinary = load_base(base).model()
    ordinary.add_adapter("plain", config=slot_config(2, 32, source.config))
    fold_into(ordinary, "plain", model, target.name)
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        expected = slots(alone, source.card.adapter)[0](x)
        torch.testing.assert_close(slots(model, target.name)[0](x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(slots(ordinary, "plain")[0](x), expected, atol=1e-5, rtol=1e-5)


def test_a_sources_own_seed_and_dropout_do_not_reach_the_slot(filled, target, fill, tmp_path):
    base, _ = filled()
    config = {**PLAIN, "init_weights_seed": 7, "dropout": 0.5}
    sources = fill(tmp_path / "pool", base, "seeded", config=config)
    one, two = (slots(mixed(base, target, sources, seed=seed), target.name)[0].omega.weight for seed in (0, 1))
    assert not torch.equal(one, two), "omega must be drawn from the run's seed"
    assert slot_config(2, 32, sources[0].config)["dropout"] == 0


def test_stacking_keeps_the_order_of_the_sources():
    first, second = (Bottlenecks(*(torch.full((1, 2, 3), value) for _ in range(4))) for value in (1.0, 2.0))
    assert Bottlenecks.stack([second, first]).up[:, 0, 0].tolist() == [2.0, 1.0]


def test_the_mix_leaves_a_model_of_three_layers_with_the_sources_of_each(make_base, fill, target, tmp_path):
    base = make_base(num_hidden_layers=3)
    stacked, config = stack(fill(tmp_path / "pool", base, "one", "two"))
    model = load_base(base).model()
    add_mix(model, "mix", stacked, METHODS["scalearn"].scaling, config)
    found = {path: layer.adapters["mix"] for path, layer in bottleneck_layers(model, "mix")}
    assert found.keys() == stacked.keys()
    assert len(found) == 3
    for path, slot in found.items():
        assert torch.equal(slot.down, stacked[path].down.flatten(0, 1))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("seq_bn[use_gating=True]", "gated"),
        ("par_bn", "parallel"),
        ("seq_bn[ln_after=True]", "norm after"),
        ("seq_bn[ln_before=True]", "norm before"),
        ("compacter", "Compacter"),
        ("seq_bn[cross_adapter=True]", "cross-attention"),
        ("seq_bn[scaling='learned']", "scaling is 'learned'"),
        ({**PLAIN, "reduction_factor": {"0": 8, "default": 16}}, "width differs by layer"),
        ("seq_bn_inv", "invertible"),
        ("lora", "lora"),
        ("prefix_tuning", "prefix_tuning"),
        ("seq_bn|lora", "union"),
    ],
)
def test_what_cannot_be_folded_is_named(config, named):
    assert named in unfoldable(resolve_config(config))


def test_an_ordinary_bottleneck_can_be_folded():
    assert unfoldable(PLAIN) is None
    assert unfoldable({**PLAIN, "scaling": 2.0, "non_linearity": "gelu"}) is None


def test_the_pool_of_the_session_can_be_mixed(pool_folder, target):
    pool = AdapterPool(pool_folder)
    model = mixed(pool.base.name, target, list(pool))
    assert torch.isfinite(logits(model)).all()
