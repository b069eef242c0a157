"""A Compacter's width is a multiple of its products' dimension, on bases of every width."""

import pytest
from encoders import tiny_model

from scalearn import METHODS


@pytest.mark.parametrize(("hidden", "width"), [(16, 4), (32, 4), (160, 8), (384, 12), (768, 24)])
def test_a_compacter_is_as_wide_as_its_products_allow(hidden, width):
    model = tiny_model("bert", hidden_size=hidden, num_hidden_layers=1)
    METHODS["compacter++"].fill_slot(model, "rte", {}, {})
    ((_, slot),) = model.slots()
    adapter = slot.adapters["rte"]
    assert adapter.adapter_up.W_left.shape == (4, width // 4, 1)
    assert adapter.adapter_down[0].b.shape == (width,)
    assert sum(p.numel() for name, p in model.named_parameters() if ".rte." in name) == 3 * (hidden + width) + 64
