"""In every family a mix, a copy and an ordinary adapter stand side by side in one model, and leave it one by one."""

import pytest
import torch
from encoders import KINDS, last_hidden, stacked, tiny_model, with_adapter

from scalearn.layers.kinds import add_only_copy
from scalearn.layers.mix import add_copy, add_mix, bottleneck_layers
from scalearn.layers.scaling import SCALINGS
from tasksel.model.adapter_config import resolve_config

CONFIGS = {name: resolve_config(f"{name}[reduction_factor=4]") for name in ("seq_bn", "double_seq_bn")}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("family", KINDS)
def test_a_mix_a_copy_and_an_adapter_stand_side_by_side(family, kind):
    model = tiny_model(family)
    for number, name in enumerate(("one", "two")):
        with_adapter(model, name, CONFIGS[kind], seed=number)
    with torch.no_grad():
        alone = {name: (model.set_active_adapters(name), last_hidden(model))[1] for name in ("one", "two")}
        layers = stacked(model, "one", "two")
        add_mix(model, "mix", layers, SCALINGS["scalearn"], CONFIGS[kind])
        add_copy(model, "copy", layers, CONFIGS[kind], source=1)
        model.eval()
        for shares, name in (((1.0, 0.0), "one"), ((0.0, 1.0), "two")):
            for _, slot in bottleneck_layers(model, "mix"):
                slot.adapters["mix"].omega.weight.copy_(torch.tensor(shares)[:, None].expand(2, 16))
            model.set_active_adapters("mix")
            torch.testing.assert_close(last_hidden(model), alone[name], atol=1e-5, rtol=0)
        model.set_active_adapters("copy")
        assert torch.equal(last_hidden(model), alone["two"])
        model.delete_adapter("copy")
        model.delete_adapter("two")
        model.set_active_adapters("mix")
        torch.testing.assert_close(last_hidden(model), alone["two"], atol=1e-5, rtol=0)
        for name in ("mix", "one"):
            model.delete_adapter(name)
        assert torch.equal(last_hidden(model), last_hidden(tiny_model(family)))


@pytest.mark.parametrize("family", KINDS)
def test_a_copy_of_one_source_is_that_source(family):
    model = with_adapter(tiny_model(family), "one", CONFIGS["seq_bn"])
    other = tiny_model(family)
    add_only_copy(other, "rte", stacked(model, "one"), CONFIGS["seq_bn"])
    assert torch.equal(last_hidden(other.eval()), last_hidden(model))
