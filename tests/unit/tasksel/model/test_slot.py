"""The slot gives y = LN(s + o) in every family; it learns, is copied and moved as other modules, and leaves no trace when it goes."""

import copy

import pytest
import torch
from encoders import IDS, KINDS, MASK, last_hidden, loud, tiny_encoder, tiny_model, with_adapter
from torch.nn import functional as F

from tasksel import UserError
from tasksel.model.adapter_config import resolve_config
from tasksel.model.slot import FAMILIES, Slot, layers_of
from tasksel.model.task_model import TaskModel

PLAIN = resolve_config("seq_bn[reduction_factor=4]")
HOULSBY = resolve_config("double_seq_bn[reduction_factor=4]")
COMPACTER = resolve_config("compacter++[reduction_factor=4]")
CONFIGS = {"plain": PLAIN, "houlsby": HOULSBY, "compacter++": COMPACTER}


def watch(model, config):
    """Runs a model and gives, for each of its slots in turn: the slot, branch, a, its output; and for each layer its output."""
    seen, rows, outputs, handles = {}, [], [], []

    def keep(key):
        return lambda module, inputs, output: seen.update({key: output[0] if isinstance(output, tuple) else output})

    family = model.family
    for path, layer in layers_of(model.base_model):
        before = lambda module, inputs, named, path=path: seen.update({f"{path} in": inputs[0] if inputs else named["hidden_states"]})  # noqa: E731  # fmt: skip
        handles += [
            layer.register_forward_pre_hook(before, with_kwargs=True),
            layer.register_forward_hook(keep(f"{path} out")),
        ]
        for key in ("mh_adapter", "output_adapter"):
            place = getattr(family, key)
            handles.append(layer.get_submodule(place.branch).register_forward_hook(keep(f"{path} {key} branch")))
            handles.append(layer.get_submodule(place.norm).register_forward_hook(keep(f"{path} {key}")))
    with torch.no_grad():
        last_hidden(model)
    for handle in handles:
        handle.remove()
    for path, layer in layers_of(model.base_model):
        for key, a in (("mh_adapter", f"{path} in"), ("output_adapter", f"{path} mh_adapter")):
            if config[key]:
                slot = layer.get_submodule(getattr(family, key).norm)
                rows.append((slot, seen[f"{path} {key} branch"], seen[a], seen[f"{path} {key}"]))
        outputs.append((seen[f"{path} out"], seen[f"{path} output_adapter"]))
    return rows, outputs


def layer_norm(x, slot):
    """The LayerNorm, written out."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt() * slot.weight + slot.bias


@pytest.mark.parametrize("kind", ["plain", "houlsby"])
@pytest.mark.parametrize("family", KINDS)
def test_a_slot_gives_what_its_formula_says(family, kind):
    config = CONFIGS[kind]
    model = with_adapter(tiny_model(family), "rte", config)
    rows, outputs = watch(model, config)
    assert len(rows) == (2 if kind == "houlsby" else 1) * (1 if family == "albert" else 2)
    for slot, branch, a, output in rows:
        adapter, s = slot.adapters["rte"], branch + a
        read = (
            a if family == "albert" and slot is rows[0][0] else branch
        )  # as the library's ALBERT does after attention
        x = layer_norm(s, slot) if kind == "plain" else read
        activation = F.relu if kind == "plain" else F.silu
        down, up = adapter.adapter_down[0], adapter.adapter_up
        added = activation(x @ down.weight.t() + down.bias) @ up.weight.t() + up.bias
        assert added.abs().max() > 0.1
        torch.testing.assert_close(output, layer_norm(s + added, slot), atol=1e-5, rtol=1e-5)
    for given, normed in outputs:
        assert torch.equal(given, normed)  # nothing comes after the slot


@pytest.mark.parametrize("family", KINDS)
def test_when_every_adapter_is_gone_the_base_is_exactly_itself(family):
    encoder = tiny_encoder(family)
    with torch.no_grad():
        before = encoder(input_ids=IDS, attention_mask=MASK)[0]
    keys, modules = list(encoder.state_dict()), [(name, type(module)) for name, module in encoder.named_modules()]
    model = TaskModel(encoder)
    for name, config in CONFIGS.items():
        with_adapter(model, name, config)
    with torch.no_grad():
        assert not torch.allclose(last_hidden(model), before, atol=1e-2)
        model.set_active_adapters(None)
        assert torch.equal(last_hidden(model), before)
        for name in CONFIGS:
            model.delete_adapter(name)
        assert torch.equal(last_hidden(model), before)
    assert list(encoder.state_dict()) == keys
    assert [(name, type(module)) for name, module in encoder.named_modules()] == modules
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


@pytest.mark.parametrize("kind", CONFIGS)
def test_gradients_are_in_the_adapter_alone_and_the_same_with_checkpointing(kind):
    grads, outputs = [], []
    for checkpointing in (False, True):
        model = with_adapter(tiny_model(), "rte", CONFIGS[kind]).train()
        model.add_head("rte", {"head_type": "classification", "num_labels": 2, "layers": 1, "activation_function": None})  # fmt: skip
        loud(model, ["heads."])
        if checkpointing:
            model.base_model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        torch.manual_seed(0)  # dropout is on
        logits = model(IDS, MASK).logits
        logits.pow(2).sum().backward()
        outputs.append(logits.detach())
        grads.append(
            {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        )
    assert torch.equal(*outputs)
    assert grads[0].keys() == grads[1].keys()
    assert all("rte" in name for name in grads[0])
    assert len(grads[0]) == len([name for name, _ in model.named_parameters() if "rte" in name])
    for name, grad in grads[0].items():
        assert grad.abs().max() > 0
        torch.testing.assert_close(grads[1][name], grad)  # a rule that layers share is summed in another order


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_copy_made_after_a_step_is_one_of_its_own(kind):
    model = with_adapter(tiny_model(), "rte", CONFIGS[kind])
    before = last_hidden(model)  # with gradients: a tensor of a graph that is kept cannot be copied
    twin = copy.deepcopy(model)
    assert torch.equal(last_hidden(twin), before)
    loud(twin, [".adapters.rte."], seed=9)
    assert not torch.allclose(last_hidden(twin), before, atol=1e-2)
    assert torch.equal(last_hidden(model), before)
    twin.delete_adapter("rte")
    assert torch.equal(last_hidden(model), before)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_slot_keeps_nothing_of_a_batch(kind):
    model = with_adapter(tiny_model(), "rte", CONFIGS[kind])
    parameters = {id(parameter) for parameter in model.parameters()}
    for active in ("rte", None):
        model.set_active_adapters(active)
        last_hidden(model)
        for _, slot in model.slots():
            kept = [
                value
                for value in vars(slot).values()
                if isinstance(value, torch.Tensor) and id(value) not in parameters
            ]
            assert kept == []


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-4), (torch.bfloat16, 0.3), (torch.float16, 0.05)])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_changes_its_precision_as_a_whole(kind, dtype, near):
    model = with_adapter(tiny_model(), "rte", CONFIGS[kind])
    before = last_hidden(model)
    other = copy.deepcopy(model).to(dtype)
    after = last_hidden(other)
    assert after.dtype == dtype
    torch.testing.assert_close(after.float(), before, atol=near, rtol=near)
    assert {parameter.dtype for parameter in other.parameters()} == {dtype}
    other.delete_adapter("rte")
    assert {parameter.dtype for parameter in other.parameters()} == {dtype}


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_stored_state_gives_the_same_numbers(kind, assign, tmp_path):
    model = with_adapter(tiny_model(), "rte", CONFIGS[kind])
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = with_adapter(tiny_model(seed=5), "rte", CONFIGS[kind], seed=7)
    assert not torch.allclose(last_hidden(other), last_hidden(model), atol=1e-2)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), assign=assign)
    assert torch.equal(last_hidden(other), last_hidden(model))
    other.delete_adapter("rte")
    model.delete_adapter("rte")
    assert torch.equal(last_hidden(other), last_hidden(model))


def test_layers_that_are_left_out_have_no_slot():
    model = with_adapter(tiny_model(num_hidden_layers=3), "rte", {**HOULSBY, "leave_out": [0, 2]})
    assert [path for path, _ in model.slots()] == [
        "bert.encoder.layer.1.attention.output",
        "bert.encoder.layer.1.output",
    ]
    model.delete_adapter("rte")
    assert list(model.slots()) == []


def test_of_two_adapters_the_active_one_counts_and_one_can_go():
    model = with_adapter(tiny_model(), "plain", PLAIN)
    plain = last_hidden(model)
    both = last_hidden(with_adapter(model, "houlsby", HOULSBY))
    assert not torch.allclose(plain, both, atol=1e-2)
    model.set_active_adapters("plain")
    assert torch.equal(last_hidden(model), plain)
    model.delete_adapter("plain")
    assert model.active_adapter is None
    model.set_active_adapters("houlsby")
    assert torch.equal(last_hidden(model), both)
    assert [type(layer.attention.output.LayerNorm) for _, layer in layers_of(model.base_model)] == [Slot, Slot]
    model.delete_adapter("houlsby")
    assert list(model.slots()) == []


def test_an_adapter_that_is_not_active_costs_its_base_nothing():
    model = with_adapter(tiny_model(), "rte", HOULSBY)
    model.set_active_adapters(None)
    called = []
    for _, slot in model.slots():
        slot.adapters["rte"].register_forward_hook(lambda *_: called.append(1))
    last_hidden(model)
    assert called == []


def test_a_slot_is_in_the_mode_of_its_model_and_so_is_what_comes_out_of_it():
    model = with_adapter(tiny_model(), "rte", {**PLAIN, "dropout": 0.5})
    assert torch.equal(last_hidden(model), last_hidden(model))
    model.train()
    assert all(slot.training and slot.adapters["rte"].training for _, slot in model.slots())
    model.add_adapter("second", PLAIN)
    assert all(slot.adapters["second"].training for _, slot in model.slots())
    for name in ("rte", "second"):
        model.delete_adapter(name)
    assert all(module.training for module in model.modules())


def test_a_family_without_a_row_is_refused_with_the_known_ones():
    class Config:
        model_type = "funnel"

    class Encoder:
        config = Config()

    with pytest.raises(UserError, match=r"a funnel has no adapter slot here; known: albert, .*xlm-roberta .*a new one is a row in tasksel/model/slot\.py") as caught:  # fmt: skip
        list(layers_of(Encoder()))
    assert all(name in str(caught.value) for name in FAMILIES)
