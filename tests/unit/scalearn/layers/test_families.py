"""Fusions are the library's in every family, and a mix stands beside ordinary adapters in any of them."""

import pytest
import torch
from encoders import IDS, KINDS, MASK, last_hidden, library_twin, loud, tiny_encoder, tiny_model, with_adapter

from scalearn.layers.fusion import add_fusion
from scalearn.layers.mix import add_copy, add_mix, add_only_copy, bottleneck_layers
from scalearn.layers.scaling import SCALINGS
from scalearn.methods.registry import METHODS
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.model.adapter_config import resolve_config
from tasksel.model.task_model import TaskModel

CONFIGS = {name: resolve_config(f"{name}[reduction_factor=4]") for name in ("seq_bn", "double_seq_bn")}


def projections(model, name):
    """An adapter's weights as stacked projections (n = 1), by the path of their slot."""
    found = {}
    for path, module in model.named_modules():
        if path.endswith(f".adapters.{name}"):
            down, up = module.adapter_down[0], module.adapter_up
            parts = (down.weight[None], down.bias[None], up.weight.t()[None], up.bias[None])
            found[path.removesuffix(f".adapters.{name}")] = Bottlenecks(*(part.detach().clone() for part in parts))
    return found


def stacked(model, *names):
    """Several adapters' projections as one."""
    parts = [projections(model, name) for name in names]
    return {path: Bottlenecks.stack([part[path] for part in parts]) for path in parts[0]}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("family", [family for family in KINDS if family != "mpnet"])
def test_a_fusion_is_the_librarys(library, family, kind, tmp_path):
    twin = library_twin(library, tiny_encoder(family), tmp_path)
    for name in ("one", "two", "three"):
        twin.add_adapter(name, config=library.BnConfig(**CONFIGS[kind]))
    fuse = library.Fuse("one", "two", "three")
    twin.add_adapter_fusion(fuse)
    loud(twin, [".adapters.", "adapter_fusion_layer"], seed=3)
    twin.set_active_adapters(fuse)
    model = TaskModel(tiny_encoder(family))
    add_fusion(model, "rte", stacked(twin, "one", "two", "three"), CONFIGS[kind])
    weights = {key.replace("one,two,three", "rte"): value for key, value in twin.state_dict().items() if "adapter_fusion_layer" in key}  # fmt: skip
    assert weights.keys() == {key for key in model.state_dict() if "adapter_fusion_layer" in key}
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        wanted = twin.eval()(input_ids=IDS, attention_mask=MASK)[0]
        assert (wanted - last_hidden(tiny_model(family))).abs().max() > 0.05
        torch.testing.assert_close(last_hidden(model.eval()), wanted, atol=1e-5, rtol=0)
    rates = [[module.dropout.p for module in part.modules() if hasattr(module, "query") and hasattr(module, "dropout") and hasattr(module, "value") and module.value.bias is None] for part in (twin, model)]  # fmt: skip
    assert rates[0] == rates[1]
    assert rates[0]


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


@pytest.mark.parametrize(("hidden", "width"), [(16, 4), (32, 4), (160, 8), (384, 12), (768, 24)])
def test_a_compacter_is_as_wide_as_its_products_allow(hidden, width):
    model = tiny_model("bert", hidden_size=hidden, num_hidden_layers=1)
    METHODS["compacter++"].fill_slot(model, "rte", {}, {})
    ((_, slot),) = model.slots()
    adapter = slot.adapters["rte"]
    assert adapter.adapter_up.W_left.shape == (4, width // 4, 1)
    assert adapter.adapter_down[0].b.shape == (width,)
    assert sum(p.numel() for name, p in model.named_parameters() if ".rte." in name) == 3 * (hidden + width) + 64
