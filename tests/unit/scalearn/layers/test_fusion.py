"""AdapterFusion over the stacked sources equals its definition; the sources stay as they are, and do not drop out."""

import sys

import pytest
import torch
from safetensors.torch import load_file

from scalearn import METHODS, transfer
from scalearn.layers.fusion import penalty
from scalearn.layers.mix import bottleneck_layers
from scalearn.layers.stacking import stack
from tasksel.model.adapter_config import SEQ_BN
from tasksel.model.base import load_base

IDS = torch.tensor([[101, 2023, 2003, 102], [101, 2919, 102, 0]])


@pytest.fixture(scope="module")
def fused(tiny, fill, target, tmp_path_factory):
    """A fusion over three loud sources, with loud attention; the sources would drop out if they were let."""
    config = {**SEQ_BN, "reduction_factor": 16, "dropout": 0.5}
    sources = fill(tmp_path_factory.mktemp("fusion"), tiny, target.name, "two", "three", config=config)
    stacked, told = stack(sources)
    model = METHODS["fusion"].build(load_base(tiny), target, stacked, told, seed=0).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "adapter_fusion_layer" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model, stacked


def test_the_layer_is_attention_over_the_outputs_of_the_stacked_sources(fused, target):
    model, stacked = fused
    first = f"{target.name}-source-0"
    for path, layer in bottleneck_layers(model, first):
        fusion, seen = layer.fusions[target.name], {}
        hook = fusion.register_forward_hook(lambda _, given, out, seen=seen: seen.update(x=given[0], y=out.clone()))
        with torch.no_grad():
            model(IDS)
        hook.remove()
        parts, x = stacked[path], seen["x"]
        q, k, v = fusion.query, fusion.key, fusion.value
        for b in range(2):
            for t in range(4):
                outputs = [
                    parts.up[s].t() @ torch.relu(parts.down[s] @ x[b, t] + parts.down_bias[s]) + parts.up_bias[s]
                    for s in range(3)
                ]
                asked = q.weight @ x[b, t] + q.bias
                scores = torch.stack([asked @ (k.weight @ output + k.bias) for output in outputs])
                weights = scores.exp() / scores.exp().sum()
                assert weights.max() - weights.min() > 1e-2, "the attention is too even to see anything"
                expected = sum(w * (v.weight @ output) for w, output in zip(weights, outputs, strict=True))
                torch.testing.assert_close(seen["y"][b, t], expected, atol=1e-4, rtol=1e-4)


def test_the_sources_are_those_of_the_stack_and_do_not_drop_out(fused, target):
    model, stacked = fused
    for number in range(3):
        for path, layer in bottleneck_layers(model, f"{target.name}-source-{number}"):
            adapter, parts, x = layer.adapters[f"{target.name}-source-{number}"], stacked[path], torch.randn(2, 3, 32)
            expected = (
                torch.relu(x @ parts.down[number].t() + parts.down_bias[number]) @ parts.up[number]
                + parts.up_bias[number]
            )
            with torch.no_grad():
                torch.testing.assert_close(adapter.train()(x), expected, atol=1e-5, rtol=1e-5)
            adapter.eval()


def test_the_penalty_is_a_hundredth_of_the_squared_distance_from_the_identity(fused, target):
    model, _ = fused
    by_hand = 0.0
    for _, layer in bottleneck_layers(model, f"{target.name}-source-0"):
        value = layer.fusions[target.name].value.weight.detach()
        by_hand += sum(0.01 * (float(value[i, j]) - (i == j)) ** 2 for i in range(32) for j in range(32))
    assert by_hand > 1
    assert float(penalty(model).detach()) == pytest.approx(by_hand, rel=1e-4)


def test_training_adds_the_penalty_for_fusion_alone_and_leaves_the_sources(pool, target, recipe, tmp_path, monkeypatch):
    module = sys.modules["scalearn.methods.training"]
    plain, seen = module.fit, {}

    def watched(model, *args, **options):
        frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
        done = plain(model, *args, **options)
        assert all(torch.equal(p.cpu(), frozen[name]) for name, p in model.named_parameters() if name in frozen)
        seen[len(seen)] = options["penalty"]().item() if "penalty" in options else None
        return done

    monkeypatch.setattr(module, "fit", watched)
    result = transfer(target, list(pool), method="fusion", rows=16, recipe=recipe, out=tmp_path / "fusion")
    transfer(target, list(pool), method="average", rows=16, recipe=recipe, out=tmp_path / "average")
    assert seen[0] > 0
    assert seen[1] is None
    state = load_file(result.folder / "seed-0" / "state.safetensors")
    assert all("adapter_fusion_layer" in name or name.startswith("heads.") for name in state)
