"""A LoRA in a Linear's slot gives what stock PEFT gives, in every configuration, and leaves no trace when it goes."""

import copy

import pytest
import torch
from encoders import IDS, MASK, loud
from lora_bases import DECODERS, hidden, tiny_lora_base, with_lora

from tasksel import UserError
from tasksel.adapters.lora_folder import fill_lora, read_lora, save_lora
from tasksel.model.linear_slot import LinearSlot, linears_of
from tasksel.model.lora_config import LoraConfig, Target, module_config
from tasksel.model.task_model import TaskModel

NAMES = {"bert": ("query", "dense"), "llama": ("v_proj", "down_proj"), "gpt2": ("c_attn", "c_proj")}
QUERY = {"r": 2, "lora_alpha": 6, "target_modules": ["query"]}


def configurations(kind):
    """The configurations that are compared for a type of base."""
    first, second = NAMES[kind]
    return {
        "a list": {"r": 3, "lora_alpha": 6, "target_modules": [first, second]},
        "a regex": {"r": 2, "lora_alpha": 5, "target_modules": rf".*\.1\..*{second}"},
        "all linear": {"r": 2, "lora_alpha": 1, "target_modules": "all-linear", "use_rslora": True},
        "one layer": {"target_modules": [first], "layers_to_transform": [1], "layers_pattern": ["layer", "layers", "h"], "r": 2},
        "patterns": {"r": 2, "lora_alpha": 4, "target_modules": [first, second], "rank_pattern": {first: 3, rf"0\..*{second}": 1}, "alpha_pattern": {rf"1\..*\.{second}": 9}},
        "excluded": {"r": 2, "target_modules": "all-linear", "exclude_modules": [second]},
    }  # fmt: skip


def without_slots(model):
    """The paths and types of a base's modules."""
    return {path: type(module) for path, module in model.named_modules()}


@pytest.mark.parametrize("kind", NAMES)
def test_hidden_states_are_those_of_stock_peft(kind, peft, tmp_path):
    for name, values in configurations(kind).items():
        base = tiny_lora_base(kind)
        plain, model = hidden(base), with_lora(TaskModel(base), "rte", values)
        save_lora(model, tmp_path / name, "rte")
        theirs = peft.PeftModel.from_pretrained(tiny_lora_base(kind), tmp_path / name)
        stored = peft.get_peft_model_state_dict(theirs)
        assert len(stored) == 2 * sum(isinstance(module, LinearSlot) for module in model.modules()), name
        assert (hidden(model) - hidden(theirs)).abs().max() < 1e-6, name
        model.set_active_adapters(None)
        assert (hidden(theirs) - hidden(model)).abs().max() > 1e-3, name
        assert torch.equal(hidden(model), plain)


@pytest.mark.parametrize("kind", NAMES)
def test_what_stock_peft_saves_is_read_to_the_same_hidden_states(kind, peft, tmp_path):
    for name, values in configurations(kind).items():
        theirs = peft.get_peft_model(tiny_lora_base(kind), peft.LoraConfig(**values))
        loud(theirs.eval(), ["lora_"], seed=3, size=0.3).save_pretrained(tmp_path / name)
        model = TaskModel(tiny_lora_base(kind)).eval()
        fill_lora(model, "read", read_lora(tmp_path / name, origin=name), origin=name, owner="the base")
        model.set_active_adapters("read")
        assert (hidden(model) - hidden(theirs)).abs().max() < 1e-6, name


@pytest.mark.parametrize("kind", DECODERS)
def test_every_decoder_takes_a_lora_without_a_bottleneck_slot(kind):
    model = TaskModel(tiny_lora_base(kind))
    before = hidden(model)
    with_lora(model, "own", {"r": 2})
    assert (hidden(model) - before).abs().max() > 1e-3
    with pytest.raises(UserError, match=f"a {kind} is a decoder, whose layers are pre-LN and have no slot"):
        model.add_adapter("bottleneck", "seq_bn")


def test_taking_a_lora_out_restores_the_base_exactly():
    base = tiny_lora_base("bert")
    before, modules, weights = hidden(base), without_slots(base), {k: v.clone() for k, v in base.state_dict().items()}
    model = TaskModel(base)
    with_lora(model, "one", {"r": 2, "target_modules": "all-linear"})
    with_lora(model, "two", QUERY, seed=2)
    model.delete_adapter("one")
    slots = {path for path, module in base.named_modules() if isinstance(module, LinearSlot)}
    assert slots == {f"encoder.layer.{layer}.attention.self.query" for layer in (0, 1)}
    model.delete_adapter("two")
    assert without_slots(base) == modules
    assert base.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in base.state_dict().items())
    assert torch.equal(hidden(base), before)


def test_the_bases_weights_keep_their_names_beside_a_lora():
    base = tiny_lora_base("bert")
    names = set(base.state_dict())
    with_lora(TaskModel(base), "rte", {"target_modules": "all-linear"})
    added = {key for key in base.state_dict() if key not in names}
    assert names < set(base.state_dict())
    assert all(".adapters.rte.lora_" in key for key in added)


def test_a_new_lora_changes_nothing_and_its_b_learns_first():
    model = TaskModel(tiny_lora_base("bert"))
    before = hidden(model)
    model.add_adapter("new", {"architecture": "lora", **QUERY})
    model.set_active_adapters("new")
    assert torch.equal(hidden(model), before)
    model(input_ids=IDS, attention_mask=MASK).last_hidden_state.sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved == {f"bert.encoder.layer.{n}.attention.self.query.adapters.new.lora_B.weight" for n in (0, 1)}


def test_one_lora_of_several_is_active_and_dropout_acts_while_training_alone():
    model = TaskModel(tiny_lora_base("bert"))
    with_lora(model, "one", QUERY, seed=1)
    alone = hidden(model)
    with_lora(model, "two", {**QUERY, "lora_dropout": 0.5}, seed=2)
    assert (hidden(model) - alone).abs().max() > 1e-3
    assert torch.equal(hidden(model), hidden(model))
    assert not torch.equal(hidden(model.train()), hidden(model))
    model.set_active_adapters("one")
    assert torch.equal(hidden(model.eval()), alone)


def test_a_name_that_is_given_twice_is_the_second():
    model = with_lora(TaskModel(tiny_lora_base("bert")), "rte", QUERY)
    with_lora(model, "rte", {"target_modules": ["value"]}, seed=4)
    assert {path.rpartition(".")[2] for path, _ in model.slots()} == {"value"}


def test_a_copy_and_a_bottleneck_beside_it_keep_their_own():
    model = with_lora(TaskModel(tiny_lora_base("bert")), "rte", QUERY)
    given, other = hidden(model), copy.deepcopy(model)
    loud(other, [".lora_B"], seed=9)
    assert torch.equal(hidden(model), given)
    assert not torch.equal(hidden(other), given)
    model.add_adapter("bottleneck", "seq_bn")
    model.set_active_adapters("rte")
    assert torch.equal(hidden(model), given)
    assert all("adapters" not in path for path, _ in linears_of(model.base_model))


def test_a_configuration_of_single_modules_says_the_same():
    linears = [f"layer.{n}.{name}" for n in (0, 1) for name in ("query", "value", "dense")]
    targets = [Target("layer.0.query", 2, 3), Target("layer.1.query", 4, 1.5), Target("layer.1.dense", 2, 3)]
    config = module_config(targets, linears)
    assert config.target_modules == ("query", "1.dense")
    assert config.targets(linears) == sorted(targets, key=lambda target: linears.index(target.path))


def test_what_cannot_be_targeted_is_refused_in_one_line():
    model = TaskModel(tiny_lora_base("bert"))
    refused = {
        "the base has no such Linear; it has dense, key, query, value": {"target_modules": ["q_proj"]},
        "is no regular expression": {"target_modules": "("},
        "a LoRA's rank_pattern.query: Input should be greater than 0": {"rank_pattern": {"query": 0}},
        "a LoRA's bias": {"bias": "all"},
        "a LoRA's use_dora": {"use_dora": True},
    }
    for said, values in refused.items():
        with pytest.raises(UserError, match=said):
            model.add_adapter("refused", {"architecture": "lora", **values})
    assert model.adapter_configs == {}
    assert LoraConfig().with_targets("qwen3").target_modules == ("q_proj", "v_proj")
