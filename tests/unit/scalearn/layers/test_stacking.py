"""Sources that differ in activation, position or base are refused with both names; others stack in order, of any width."""

import shutil

import numpy as np
import pytest
import torch

from scalearn import METHODS, AdapterPool, TransferResult, transfer
from scalearn.layers.mix import bottleneck_layers
from scalearn.layers.stacking import stack
from scalearn.results.explain import explain
from scalearn.results.predict import Export
from tasksel import UserError, get_task
from tasksel.adapters.folder import load_adapter
from tasksel.model.adapter_config import SEQ_BN, resolve_config
from tasksel.tasks.examples import Split

PLAIN = {**SEQ_BN, "reduction_factor": 16}
DOUBLE = {**resolve_config("double_seq_bn"), "reduction_factor": 16}


@pytest.fixture
def pair(fill, tiny, tmp_path):
    """A plain source and another, of the given configuration, on the same base."""

    def make(config):
        fill(tmp_path / "pool", tiny, "plain", config=PLAIN)
        fill(tmp_path / "pool", tiny, "other", config=config, seed=1)
        return AdapterPool(tmp_path / "pool").select(["plain", "other"])

    return make


def test_a_setting_that_changes_nothing_keeps_no_sources_apart(fill, tiny, tmp_path):
    for number, changes in enumerate(
        ({}, {"residual_before_ln": False, "init_weights": "mam_adapter", "dropout": 0.1})
    ):
        fill(tmp_path / "pool", tiny, f"source-{number}", config={**DOUBLE, **changes}, seed=number)
    layers, config = stack(list(AdapterPool(tmp_path / "pool")))
    assert {len(part.down) for part in layers.values()} == {2}
    assert config["mh_adapter"]


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({**PLAIN, "non_linearity": "gelu"}, r"activation \(relu, gelu\)"),
        ({**PLAIN, "mh_adapter": True, "output_adapter": False}, "mh_adapter"),
        ({**DOUBLE, "non_linearity": "relu"}, "mh_adapter"),
        ({**PLAIN, "leave_out": [0]}, "the layers that they sit in"),
        ({**PLAIN, "original_ln_before": False}, "original_ln_before"),
    ],
)
def test_sources_that_differ_are_refused_with_both_names(pair, config, what):
    with pytest.raises(UserError, match=f"sources 'plain' and 'other' differ in {what}"):
        stack(pair(config))


@pytest.fixture
def unequal(fill, tiny, tmp_path):
    """A source of 2 units and one of 4."""
    fill(tmp_path / "pool", tiny, "narrow", config=PLAIN)
    fill(tmp_path / "pool", tiny, "wide", config={**PLAIN, "reduction_factor": 8}, seed=1)
    return AdapterPool(tmp_path / "pool").select(["narrow", "wide"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_narrower_source_is_filled_up_with_units_that_add_nothing(unequal, order):
    sources = [unequal[number] for number in order]
    layers, _ = stack(sources)
    for path, part in layers.items():
        assert part.down.shape == part.up.shape == (2, 4, 32)
        for number, source in enumerate(sources):
            alone, r = source.bottlenecks()[path], 2 if source.name == "narrow" else 4
            assert torch.equal(part.up[number, :r], alone.up[0])
            assert torch.equal(part.down_bias[number, :r], alone.down_bias[0])
            assert torch.equal(part.up_bias[number], alone.up_bias[0])
            for rest in (part.up[number, r:], part.down[number, r:], part.down_bias[number, r:]):
                assert not rest.any()


@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid", "swish"])
def test_a_mix_of_unequal_widths_is_the_sum_of_the_sources_own_outputs(fill, tiny, tmp_path, activation):
    for number, factor in enumerate((16, 8, 4)):
        config = {**PLAIN, "reduction_factor": factor, "non_linearity": activation}
        fill(tmp_path / "pool", tiny, f"source-{factor}", config=config, seed=number)
    pool, task = AdapterPool(tmp_path / "pool"), get_task("entail_kitchen")
    sources = list(pool)
    model = METHODS["scalearn"].build(pool.base, task, *stack(sources), seed=0).eval()
    single = pool.base.model()
    for source in sources:
        load_adapter(single, source.folder)
    layers, x = dict(bottleneck_layers(model, task.name)), torch.randn(2, 3, 32)
    with torch.no_grad():
        for path, layer in layers.items():
            mix = layer.adapters[task.name]
            omega = mix.omega.weight.copy_(torch.randn(3, 32))
            alone = [dict(bottleneck_layers(single, s.name))[path].adapters[s.name](x) for s in sources]
            expected = sum(weight * output for weight, output in zip(omega, alone, strict=True))
            torch.testing.assert_close(mix(x), expected, atol=1e-5, rtol=1e-5)


ACROSS_WIDTHS = sorted(name for name, method in METHODS.items() if method.takes_sources and not method.needs_tasks)


@pytest.mark.parametrize("method", ACROSS_WIDTHS)
def test_every_method_mixes_unequal_widths_or_says_why_not(unequal, target, recipe, tmp_path, method):
    options = {"method": method, "rows": 16, "recipe": recipe, "similarities": (0.5, 0.2), "out": tmp_path / "out"}
    if METHODS[method].merges:
        with pytest.raises(
            UserError,
            match=rf"'{method}' merges weights unit by unit: .*'narrow' and 'wide' differ in width \(2, 4 units\)",
        ):
            transfer(target, unequal, **options)
        return
    result = transfer(target, unequal, **options)
    texts = [("Two cooks peel carrots", "Nobody cooks"), ("It rains", "It is dry")]
    again = TransferResult.load(result.folder)
    assert again.predict(texts).tolist() == result.predict(texts).tolist()
    if METHODS[method].export_reason is None:
        plain = Export.load(result.export(tmp_path / "export"))
        split = Split(texts, None, np.zeros(2, dtype=np.int64))
        np.testing.assert_allclose(plain.logits(split), result.logits(split), atol=1e-4)


def test_an_export_is_mixed_with_its_own_narrower_sources(fill, tiny, target, recipe, tmp_path):
    sources = fill(tmp_path / "pool", tiny, "one", "two")
    first = transfer(target, sources, method="scalearn", rows=16, recipe=recipe, out=tmp_path / "first")
    pool = AdapterPool(tmp_path / "pool")
    pool.add(first.export(tmp_path / "export"), name="exported")
    assert next(iter(pool["exported"].bottlenecks().values())).down.shape == (1, 4, 32)
    second = transfer(target, list(pool), method="scalearn", rows=16, recipe=recipe, out=tmp_path / "second")
    assert second.omega().shape == (2, 3, 32)
    assert explain(second, rows=8, draws=5).sources == ("exported", "one", "two")


def test_sources_of_different_bases_are_refused_with_both_names(fill, tiny, make_base, tmp_path):
    (mine,) = fill(tmp_path / "mine", tiny, "mine")
    (theirs,) = fill(tmp_path / "theirs", make_base(seed=1), "theirs")
    with pytest.raises(UserError, match="sources 'mine' and 'theirs' differ in base"):
        stack([mine, theirs])


def test_sources_alike_are_stacked_in_the_order_given(fill, tiny, tmp_path):
    one, two = fill(tmp_path / "pool", tiny, "one", "two")
    forth, back = (stack(order)[0] for order in ([one, two], [two, one]))
    for path, part in forth.items():
        assert part.up.shape == (2, 2, 32)
        assert torch.equal(part.up, back[path].up.flip(0))
        assert not torch.equal(part.up[0], part.up[1])


def test_an_adapter_before_and_one_after_attention_fill_two_slots_a_layer(fill, tiny, tmp_path):
    layers, shared = stack(fill(tmp_path / "pool", tiny, "one", "two", config=DOUBLE))
    assert len(layers) == 4
    assert shared["mh_adapter"]


def test_no_sources_make_nothing():
    assert stack([]) == ({}, {})


def test_a_source_that_was_altered_is_not_stacked(fill, tiny, tmp_path):
    shutil.rmtree(tmp_path / "pool", ignore_errors=True)
    sources = fill(tmp_path / "pool", tiny, "one", "two")
    weights = sources[1].folder / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(UserError, match=r"source 'two': .*adapter\.safetensors is not the file that was stored"):
        stack(sources)
