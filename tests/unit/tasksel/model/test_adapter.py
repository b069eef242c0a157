"""A bottleneck adapter is the library's in every setting: widths, activations, norms, gates, scalings, dropout."""

import pytest
import torch
from refusals import refused_line
from torch.nn import functional as F

from tasksel.model.adapter import Activation, Adapter
from tasksel.model.adapter_config import SEQ_BN, resolve_config

ACTIVATIONS = ("gelu", "gelu_new", "swish", "silu", "Tanh", "leakyrelu", "LeakyReLU", "relu6", "mish", "sigmoid", "linear", "quick_gelu")  # fmt: skip
SETTINGS = {
    "plain": {},
    "narrow": {"reduction_factor": 1000},
    "wide": {"reduction_factor": 0.5},
    "fractional": {"reduction_factor": 5.333},
    "odd": {"reduction_factor": 3},
    "norm before": {"ln_before": True},
    "norm after": {"ln_after": True},
    "gated": {"use_gating": True},
    "scaled": {"scaling": 2.5},
    "one scale": {"scaling": "learned"},
    "a scale each": {"scaling": "channel"},
    "everything": {"ln_before": True, "ln_after": True, "use_gating": True, "scaling": "channel"},
    **{f"f is {name}": {"non_linearity": name} for name in ACTIVATIONS},
}
X = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))


def draw(module):
    """Random numbers for every parameter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_adapter_adds_what_the_librarys_adds(library, kind):
    from adapters.methods.modeling import Adapter as LibraryAdapter

    config = {**SEQ_BN, "reduction_factor": 4, **SETTINGS[kind]}
    adapter = Adapter(16, config)
    twin = LibraryAdapter("rte", 16, int(16 // config["reduction_factor"]), library.BnConfig(**config))
    assert list(adapter.state_dict()) == list(twin.state_dict())
    assert [value.shape for value in adapter.state_dict().values()] == [value.shape for value in twin.state_dict().values()]  # fmt: skip
    draw(twin)
    adapter.load_state_dict(twin.state_dict())
    with torch.no_grad():
        wanted = twin(X, torch.zeros_like(X))[0]
        torch.testing.assert_close(adapter(X), wanted, atol=1e-5, rtol=1e-5)
    assert wanted.abs().max() > 0.1


@pytest.mark.parametrize(("factor", "width"), [(4, 4), (16, 1), (1000, 1), (0.5, 32), (5.333, 3), (3, 5), (2.0, 8), (15.9, 1)])  # fmt: skip
def test_the_width_is_the_whole_part_and_at_least_one(factor, width):
    assert Adapter(16, {**SEQ_BN, "reduction_factor": factor}).adapter_down[0].weight.shape == (width, 16)


def test_a_factor_by_layer_is_that_layers_or_the_default():
    config = {**SEQ_BN, "reduction_factor": {"1": 2, "default": 8}}
    assert [Adapter(16, config, layer=layer).adapter_up.in_features for layer in range(3)] == [2, 8, 2]


def test_dropout_is_on_while_it_trains_and_after_the_scaling():
    adapter = draw(Adapter(16, {**SEQ_BN, "reduction_factor": 4, "dropout": 0.5, "scaling": 3.0}))
    plain = adapter.eval()(X)
    assert torch.equal(adapter(X), plain)
    dropped = adapter.train()(X)
    zero = dropped == 0
    assert 0.3 < zero.float().mean() < 0.7
    torch.testing.assert_close(dropped[~zero], 2 * plain[~zero])


def test_it_begins_with_small_weights_and_no_bias():
    torch.manual_seed(0)
    adapter = Adapter(512, {**SEQ_BN, "reduction_factor": 2, "use_gating": True})
    for linear in (adapter.adapter_down[0], adapter.adapter_up, adapter.gate):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not linear.bias.any()


@pytest.mark.parametrize("config", ["double_seq_bn", "compacter", "pfeiffer", "compacter++"])
def test_houlsbys_form_reads_the_branch_and_pfeiffers_does_not(config):
    adapter = Adapter(16, {**resolve_config(config), "reduction_factor": 4})
    assert adapter.reads_branch == (config in ("double_seq_bn", "compacter"))


def test_leakyrelu_is_the_librarys_own_and_an_unknown_name_is_refused():
    x = torch.tensor([-2.0, 3.0])
    assert torch.equal(Activation("LeakyReLU")(x), F.leaky_relu(x))
    assert "did you mean 'gelu" in refused_line(Activation, "geluu")
