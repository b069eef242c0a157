"""A projection of Kronecker products is that sum, written out, and the library's; its rule is shared by all layers."""

import copy

import pytest
import torch
from encoders import last_hidden, tiny_model, with_adapter

from tasksel.model.adapter_config import resolve_config
from tasksel.model.phm import PHMLinear, new_rule

CONFIG = resolve_config("compacter++")


@pytest.mark.parametrize(("inputs", "outputs", "changes"), [(16, 4, {}), (4, 16, {}), (8, 8, {"phm_dim": 2}), (12, 6, {"phm_dim": 3, "phm_rank": 2})])  # fmt: skip
def test_its_weight_is_the_sum_of_the_products(inputs, outputs, changes):
    config, draw = {**CONFIG, **changes}, torch.Generator().manual_seed(0)
    linear, rule = PHMLinear(inputs, outputs, config), new_rule(config)
    with torch.no_grad():
        for parameter in (*linear.parameters(), *rule.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        linear.share(rule)
        weight = sum(
            torch.kron(rule["phm_rule"][i], linear.W_left[i] @ linear.W_right[i]) for i in range(config["phm_dim"])
        )
        x = torch.randn(2, 3, inputs, generator=draw)
        torch.testing.assert_close(linear(x), x @ weight + linear.b, atol=1e-5, rtol=1e-5)


def test_the_layers_share_one_rule_which_learns_from_all():
    model = with_adapter(tiny_model(), "rte", "compacter++[reduction_factor=4]")
    rules = [name for name, _ in model.named_parameters() if "rule" in name]
    assert rules == ["bert.shared_parameters.rte.phm_rule"]
    rule = model.base_model.shared_parameters["rte"].phm_rule
    before = last_hidden(model)
    before.pow(2).sum().backward()
    assert rule.grad.abs().max() > 0
    with torch.no_grad():
        rule.zero_()
        for _, slot in model.slots():
            slot.adapters["rte"].adapter_up.b.zero_()
        model.set_active_adapters(None)
        bare = last_hidden(model)
        model.set_active_adapters("rte")
        torch.testing.assert_close(last_hidden(model), bare)


def test_a_copy_has_a_rule_of_its_own():
    model = with_adapter(tiny_model(), "rte", "compacter++[reduction_factor=4]")
    twin, before = copy.deepcopy(model), last_hidden(model)
    with torch.no_grad():
        twin.base_model.shared_parameters["rte"].phm_rule.mul_(2)
    assert not torch.allclose(last_hidden(twin), before, atol=1e-3)
    assert torch.equal(last_hidden(model), before)


def test_two_adapters_have_rules_of_their_own_and_take_them_along():
    model = with_adapter(tiny_model(), "one", "compacter++[reduction_factor=4]")
    with_adapter(model, "two", "compacter[reduction_factor=4]", seed=4)
    two = last_hidden(model)
    model.delete_adapter("one")
    model.set_active_adapters("two")
    assert torch.equal(last_hidden(model), two)
    assert list(model.base_model.shared_parameters) == ["two"]
    model.delete_adapter("two")
    assert not hasattr(model.base_model, "shared_parameters")


def test_a_rule_begins_small_and_the_factors_as_xavier_draws_them():
    torch.manual_seed(0)
    rule, linear = new_rule({**CONFIG, "phm_dim": 12}), PHMLinear(4000, 4, CONFIG)
    assert rule["phm_rule"].std().item() == pytest.approx(1e-4, rel=0.1)
    assert linear.W_left.std().item() == pytest.approx((2 / 1001) ** 0.5, rel=0.1)
    assert not linear.b.any()
