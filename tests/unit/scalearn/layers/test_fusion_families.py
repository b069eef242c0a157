"""A fusion gives what the library's gives, in every family that the library knows."""

import pytest
import torch
from encoders import IDS, KINDS, MASK, last_hidden, library_twin, loud, stacked, tiny_encoder, tiny_model, with_adapter

from scalearn.layers.fusion import add_fusion
from tasksel.model.adapter_config import resolve_config
from tasksel.model.task_model import TaskModel

CONFIGS = {name: resolve_config(f"{name}[reduction_factor=4]") for name in ("seq_bn", "double_seq_bn")}


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


@pytest.mark.parametrize(("family", "setting"), [("distilbert", "attention_dropout"), ("bert", "attention_probs_dropout_prob"), ("mpnet", "attention_probs_dropout_prob")])  # fmt: skip
def test_its_attention_drops_out_as_the_bases_does(family, setting):
    model = with_adapter(tiny_model(family, **{setting: 0.3}), "one", CONFIGS["seq_bn"])
    add_fusion(model, "rte", stacked(model, "one", "one"), CONFIGS["seq_bn"])
    assert {slot.fusions["rte"].dropout.p for _, slot in model.slots()} == {0.3}
