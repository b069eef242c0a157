"""A model with adapters and heads gives what the library's gives, family by family; what it cannot compute is refused by name."""

import pytest
import torch
from encoders import IDS, KINDS, MASK, last_hidden, library_twin, loud, tiny_encoder, tiny_model, with_adapter
from refusals import refused_line

from tasksel.model.adapter_config import NAMED, resolve_config
from tasksel.model.task_model import TaskModel

IN_THE_LIBRARY = tuple(family for family in KINDS if family != "mpnet")
CONFIGS = {
    "plain": "seq_bn[reduction_factor=4]",
    "houlsby": "double_seq_bn[reduction_factor=4]",
    "compacter": "compacter[reduction_factor=4]",
    "compacter++": "compacter++[reduction_factor=4]",
    "attention alone": "seq_bn[reduction_factor=4, mh_adapter=True, output_adapter=False]",
    "both, normed": "seq_bn[reduction_factor=4, mh_adapter=True, ln_before=True, ln_after=True]",
    "gated": "seq_bn[reduction_factor=4, use_gating=True]",
    "scaled by channel": "seq_bn[reduction_factor=4, scaling='channel']",
    "left out": "double_seq_bn[reduction_factor=4, leave_out=[0]]",
    "by layer": {**resolve_config("seq_bn"), "reduction_factor": {"1": 2, "default": 8}},
    "after the branch": "seq_bn[reduction_factor=4, original_ln_before=False, residual_before_ln=False]",
}
HEAD = {"head_type": "classification", "num_labels": 3, "layers": 2, "activation_function": "tanh", "use_pooler": False}


def library_config(library, config):
    """The library's object of a configuration."""
    return library.BnConfig(**{key: value for key, value in resolve_config(config).items() if key != "architecture"})


@pytest.mark.parametrize("family", IN_THE_LIBRARY)
def test_hidden_states_are_the_librarys_for_every_configuration(library, family, tmp_path):
    twin = library_twin(library, tiny_encoder(family), tmp_path)
    for name, config in CONFIGS.items():
        if name == "left out" and family == "albert":  # all of whose layers are one
            continue
        key = name.replace(" ", "-").replace(",", "")
        twin.add_adapter(key, config=library_config(library, config))
        loud(twin, [f".adapters.{key}.", f".shared_parameters.{key}."], seed=3)
        twin.set_active_adapters(key)
        model = with_adapter(TaskModel(tiny_encoder(family)), key, config)
        stored = {name: value for name, value in twin.state_dict().items() if f".{key}." in name}
        own = {name for name in model.state_dict() if f".{key}." in name}
        assert own == stored.keys()
        model.load_state_dict(stored, strict=False)
        with torch.no_grad():
            ours, wanted = last_hidden(model), twin.eval()(input_ids=IDS, attention_mask=MASK)[0]
            model.set_active_adapters(None)
            assert (wanted - last_hidden(model)).abs().max() > 0.05, (family, name)
        difference = (ours - wanted).abs().max().item()
        assert difference < 1e-5, (family, name, difference)
        twin.set_active_adapters(None)
        twin.delete_adapter(key)


@pytest.mark.parametrize("name", ["plain", "houlsby", "gated", "scaled by channel"])
def test_initial_weights_of_a_seed_are_the_librarys(library, name, tmp_path):
    twin, model = library_twin(library, tiny_encoder("bert"), tmp_path), tiny_model()
    torch.manual_seed(7)
    twin.add_adapter("rte", config=library_config(library, CONFIGS[name]))
    torch.manual_seed(7)
    model.add_adapter("rte", CONFIGS[name])
    ours, wanted = model.state_dict(), twin.state_dict()
    keys = [key for key in ours if ".adapters.rte." in key]
    assert len(keys) >= 8
    assert all(torch.equal(ours[key], wanted[key]) for key in keys)


@pytest.mark.parametrize("name", [name for name in NAMED if "par" in name or "inv" in name])
def test_an_adapter_that_is_computed_otherwise_is_refused_and_leaves_nothing(name):
    model = tiny_model()
    said = refused_line(model.add_adapter, "rte", name)
    assert said.startswith("adapter 'rte' cannot be added: it")
    assert model.adapter_configs == {}
    assert list(model.slots()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"original_ln_after": False}, "original_ln_after=False"),
        ({"residual_before_ln": False}, "residual_before_ln=False"),
        ({"residual_before_ln": "post_add"}, "residual_before_ln=post_add"),
        ({"residual_before_ln": "post_add", "original_ln_before": False}, "residual_before_ln=post_add"),
        ({"ln_after": True, "adapter_residual_before_ln": True}, "adapter_residual_before_ln=True"),
        ({"cross_adapter": True}, "cross-attention"),
        ({"phm_layer": True, "shared_W_phm": True}, "shared_W_phm=True"),
        ({"phm_layer": True, "factorized_phm_W": False}, "factorized_phm_W=False"),
        ({"phm_layer": True, "shared_phm_rule": False}, "shared_phm_rule=False"),
        ({"phm_layer": True, "factorized_phm_rule": True}, "factorized_phm_rule=True"),
        ({"phm_layer": True, "phm_bias": False}, "phm_bias=False"),
    ],
)
def test_a_value_that_changes_the_formula_is_refused_by_name(change, reason):
    assert reason in refused_line(tiny_model().add_adapter, "rte", {**resolve_config("seq_bn"), **change})


def test_another_kind_of_adapter_is_refused_as_what_it_is():
    assert "not a bottleneck adapter (architecture: lora)" in refused_line(tiny_model().add_adapter, "rte", "lora")
    assert "did you mean 'pfeiffer'" in refused_line(tiny_model().add_adapter, "rte", "pfeifer")


def test_an_unknown_adapter_cannot_be_active_or_go():
    model = with_adapter(tiny_model(), "rte", CONFIGS["plain"])
    before = last_hidden(model)
    for call in (model.set_active_adapters, model.delete_adapter):
        with pytest.raises(KeyError):
            call("other")
    assert torch.equal(last_hidden(model), before)


@pytest.mark.parametrize("family", KINDS)
def test_inputs_that_a_base_does_not_know_are_left_out(family):
    model = tiny_model(family)
    given = model(IDS, MASK, token_type_ids=torch.zeros_like(IDS)).last_hidden_state
    torch.testing.assert_close(given, last_hidden(model))


def test_choices_are_rows_of_their_own():
    model = with_adapter(tiny_model(), "rte", CONFIGS["plain"])
    model.add_head("rte", {"head_type": "multiple_choice", "num_choices": 3, "layers": 1, "activation_function": None})
    loud(model, ["heads."])
    ids, mask = torch.stack([IDS, IDS.flip(0)]), torch.stack([MASK, MASK.flip(0)])  # [2, 3, 6]
    logits = model.eval()(ids, mask).logits
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits[0], logits[1].flip(0))
    model.active_head = None
    for number in range(3):
        alone = model.heads["rte"][1](last_hidden(model)[number, 0])
        torch.testing.assert_close(logits[0, number], alone[0])


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_a_head_reads_the_pooler_where_it_says_so(library, family, tmp_path):
    encoder = tiny_encoder(family)
    twin, model = library_twin(library, encoder, tmp_path), TaskModel(encoder)
    twin.add_classification_head("rte", num_labels=3, use_pooler=True)
    model.add_head("rte", {**HEAD, "use_pooler": True})
    loud(twin, ["heads."])
    model.load_state_dict(
        {key: value for key, value in twin.state_dict().items() if key.startswith("heads.")}, strict=False
    )
    with torch.no_grad():
        wanted = twin.eval()(input_ids=IDS, attention_mask=MASK).logits
        torch.testing.assert_close(model.eval()(IDS, MASK).logits, wanted, atol=1e-5, rtol=0)


def test_a_head_that_reads_a_pooler_that_is_not_there_is_refused():
    model = tiny_model("distilbert")
    assert "this base has none" in refused_line(model.add_head, "rte", {**HEAD, "use_pooler": True})
    assert model.active_head is None


def test_without_a_head_the_encoders_own_output_is_given():
    model = tiny_model()
    assert model(IDS, MASK).keys() == model.base_model(input_ids=IDS, attention_mask=MASK).keys()
    model.add_head("rte", HEAD)
    assert list(model(IDS, MASK).keys()) == ["logits"]


def test_what_is_added_is_in_the_mode_of_the_model():
    model = tiny_model().train()
    model.add_adapter("rte", "compacter++[reduction_factor=4]")
    model.add_head("rte", HEAD)
    assert all(module.training for module in model.modules())
    model.eval()
    model.add_adapter("second", "seq_bn")
    model.add_head("second", HEAD)
    assert not any(module.training for module in model.modules())
