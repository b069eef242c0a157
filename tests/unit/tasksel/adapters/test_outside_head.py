"""Heads from outside give the library's logits, also those of models of transformers; of other kinds they are left out, said, and broken ones named."""

import json

import pytest
import torch
import transformers
from encoders import IDS, MASK, loud, tiny_encoder
from golden import change_json, change_weights, gives_its_logits, golden_base, golden_copy
from refusals import refused_line
from safetensors.torch import load_file, save_file

from scalearn import AdapterPool
from tasksel.adapters.outside_head import OTHER_TYPES, STATIC_HEADS
from tasksel.model.adapter_config import resolve_config
from tasksel.model.base import Base

FAMILY = {"Bert": "bert", "Albert": "albert", "Roberta": "roberta", "XLMRoberta": "xlm-roberta", "DistilBert": "distilbert", "Deberta": "deberta", "DebertaV2": "deberta-v2", "Electra": "electra"}  # fmt: skip
CONFIG = resolve_config("seq_bn[reduction_factor=4]")
FOLDER = "bert/plain"


@pytest.fixture
def files(tmp_path):
    return golden_copy(FOLDER, tmp_path / "files")


@pytest.fixture
def empty(tmp_path):
    return AdapterPool(tmp_path / "pool", base=golden_base(FOLDER))


def saved(library, kind, folder, **options):
    """The folder of a tiny base, and that of an adapter and head that the library saved from a model of transformers on it."""
    family = FAMILY[kind.partition("For")[0]]
    tiny_encoder(family).save_pretrained(folder / "base")
    model = getattr(transformers, kind).from_pretrained(folder / "base", **options)
    library.init(model)
    model.add_adapter("rte", config=library.BnConfig(**CONFIG))
    loud(model, [".adapters.rte.", "classifier", "pre_classifier", "summary", *(["pooler."] if "Deberta" in kind else [])], seed=5)  # fmt: skip
    model.save_adapter(str(folder / "adapter"), "rte", with_head=True, use_safetensors=True)
    return folder / "base", folder / "adapter", model


@pytest.mark.parametrize("kind", STATIC_HEADS)
def test_the_head_of_a_model_of_transformers_gives_the_librarys_logits(library, kind, tmp_path):
    choice = "MultipleChoice" in kind
    base, files, _ = saved(library, kind, tmp_path, num_labels=3)
    assert json.loads((files / "head_config.json").read_text())["config"] is None
    twin = library.AutoAdapterModel.from_pretrained(base)
    twin.load_adapter(str(files), set_active=True, use_safetensors=True)
    source = AdapterPool(tmp_path / "pool", base=str(base)).add(files, name="guest")
    model = source.trained.model(Base(str(base)))
    with torch.no_grad():
        wanted = twin.eval()(input_ids=IDS, attention_mask=MASK).logits
        ours = model(IDS[None], MASK[None]).logits if choice else model(IDS, MASK).logits
    assert wanted.shape == ((1, 3) if choice else (3, 3))
    assert wanted.abs().max() > 0.05
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "RobertaForSequenceClassification", "DistilBertForSequenceClassification"])  # fmt: skip
@pytest.mark.parametrize("labels", [1, 2])
def test_it_gives_those_of_the_model_itself(library, kind, labels, tmp_path):
    base, files, model = saved(library, kind, tmp_path, num_labels=labels)
    model.set_active_adapters("rte")
    source = AdapterPool(tmp_path / "pool", base=str(base)).add(files, name="guest")
    with torch.no_grad():
        wanted = model.eval()(input_ids=IDS, attention_mask=MASK).logits
        ours = source.trained.model(Base(str(base)))(IDS, MASK).logits
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["BertForTokenClassification", "BertForQuestionAnswering"])
def test_a_models_head_for_another_kind_of_task_is_left_out_and_said(library, kind, tmp_path, capsys):
    base, files, _ = saved(library, kind, tmp_path)
    source = AdapterPool(tmp_path / "pool", base=str(base)).add(files, name="guest")
    assert not source.trained.has_head
    assert "its head is for another kind of task" in capsys.readouterr().err


@pytest.mark.parametrize("add", ["tagging", "qa", "masked_lm", "causal_lm", "dependency_parsing"])
def test_the_librarys_heads_for_other_kinds_are_left_out_and_said(library, add, tmp_path, capsys):
    tiny_encoder("bert").save_pretrained(tmp_path / "base")
    model = library.AutoAdapterModel.from_pretrained(tmp_path / "base")
    model.add_adapter("rte", config=library.BnConfig(**CONFIG))
    getattr(model, f"add_{add}_head")("rte")
    model.save_adapter(str(tmp_path / "adapter"), "rte", with_head=True, use_safetensors=add not in ("masked_lm", "causal_lm"))  # fmt: skip
    source = AdapterPool(tmp_path / "pool", base=str(tmp_path / "base")).add(tmp_path / "adapter", name="guest")
    assert not source.trained.has_head
    assert "its head is for another kind of task" in capsys.readouterr().err


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_head_of_another_type_is_left_out_and_said(files, empty, kind, capsys):
    change_json(files / "head_config.json", config=lambda config: {**config, "head_type": kind})
    source = empty.add(files, name="guest")
    assert not source.trained.has_head
    assert f"its head is for another kind of task ({kind}): it is added without its head" in capsys.readouterr().err
    model = source.trained.model(golden_base(FOLDER), head=False)
    assert model.active_head is None


def test_a_head_that_is_called_otherwise_than_the_adapter_and_lies_among_others(files, empty):
    tensors = load_file(files / "model_head.safetensors")
    other = {key.replace(".plain.", name): torch.zeros(2) for key in tensors for name in (".plain2.", ".plain-.", ".xplain.", ".plai.")}  # fmt: skip
    save_file({**tensors, **other}, files / "model_head.safetensors")
    source = empty.add(files, name="guest")
    assert gives_its_logits(source.trained.model(golden_base(FOLDER)), FOLDER)


BROKEN = {
    "no labels": ({"num_labels": None}, "num_labels"),
    "labels that it does not have": ({"num_labels": 5}, "num_labels is 5, which its weights do not have"),
    "as many as another layer has": ({"num_labels": 16}, "is [3], the head's [16]"),
    "very many labels": ({"num_labels": 10**12}, "which its weights do not have"),
    "labels as a text": ({"num_labels": "3"}, "which its weights do not have"),
    "very many layers": ({"layers": 10**9}, "layers is 1000000000, which its weights do not have"),
    "a layer too few": ({"layers": 1}, "has no place in the head"),
    "a layer too many": ({"layers": 3}, "lacks 7.bias"),
    "no layer": ({"layers": 0}, "layers is 0"),
    "a negative layer": ({"layers": -1}, "layers is -1"),
    "layers as true": ({"layers": True}, "layers is True"),
    "an unknown activation": ({"activation_function": "tahn"}, "did you mean 'tanh'"),
    "an activation that is a number": ({"activation_function": 7}, "activation_function"),
    "another value": ({"trust": True}, "trust"),
    "a type that is unknown": ({"head_type": "sorcery"}, "its type is 'sorcery'"),
    "a type that is a list": ({"head_type": ["classification"]}, "its type is ['classification']"),
    "choices and labels": ({"head_type": "multiple_choice"}, "num_choices"),
    "a dropout of two": ({"dropout_prob": 2}, "dropout_prob"),
    "labels that are not numbers": ({"label2id": {"a": "x"}}, "a label's number is 'x'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_head_is_named_with_what_to_do(files, empty, kind):
    change, said = BROKEN[kind]
    change_json(files / "head_config.json", config=lambda config: {**config, **change})
    line = refused_line(empty.add, files)
    assert said in line
    assert "its head cannot be loaded" in line
    assert line.endswith("delete model_head.safetensors and head_config.json to add it without its head")
    assert len(empty) == 0


@pytest.mark.parametrize("config", [None, "classification", 3, [], True])
def test_a_configuration_that_is_no_mapping_is_named(files, empty, config):
    change_json(files / "head_config.json", config=config)
    assert "it is the head of a BertAdapterModel, which is not read" in refused_line(empty.add, files)


@pytest.mark.parametrize("changes", [{"config": None, "model_class": 3}, {"config": None, "model_class": ["BertForSequenceClassification"]}, {"config": None, "model_class": "BertForSequenceClassification", "num_labels": None}, {"config": None, "model_class": "BertForMultipleChoice", "num_labels": "x"}, {"config": None, "model_class": "RobertaForSequenceClassification"}, {"name": 5}, {"name": None}])  # fmt: skip
def test_a_description_of_a_strange_model_is_refused_in_one_line(files, empty, changes):
    change_json(files / "head_config.json", **changes)
    refused_line(empty.add, files)
    assert len(empty) == 0


def test_weights_of_another_shape_or_name_are_named(files, empty):
    change_weights(files / "model_head.safetensors", lambda key, tensor: (key, tensor[:1] if key.endswith("4.bias") else tensor))  # fmt: skip
    assert "4.bias is [1], the head's [3]" in refused_line(empty.add, files)
    change_weights(files / "model_head.safetensors", lambda key, tensor: (key.replace("heads.", "Heads."), tensor))
    assert "its head cannot be loaded" in refused_line(empty.add, files)
