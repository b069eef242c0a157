"""Tests of bases as people have them: saved with any head of any architecture, or as they are published; what they lack is refused by name."""

import copy
from itertools import chain

import pytest
import torch
import transformers
from published_bases import published_tensors, save_published
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel
from transformers.models.auto import modeling_auto

from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.slot import FAMILIES

TINY = {"vocab_size": 50, "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 20, "pad_token_id": 0, "type_vocab_size": 2}  # fmt: skip
OWN = {
    "distilbert": {"n_layers": 1, "dim": 16, "n_heads": 2, "hidden_dim": 32},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 8},
}
PUBLISHED = {  # name: floats and integers of the hub's model.safetensors, and the sizes of its configuration
    "bert-base-uncased": (110_106_428, 0, 30522),
    "roberta-base": (124_697_433, 514, 50265),
    "xlm-roberta-base": (278_885_778, 514, 250002),
}


def config_of(architecture):
    return AutoConfig.for_model(architecture, **{**TINY, **OWN.get(architecture, {})})


def head_classes(architecture):
    """Every class of transformers that puts a head on this architecture."""
    mappings = [getattr(modeling_auto, name) for name in dir(modeling_auto) if name.endswith("_MAPPING_NAMES")]
    named = [mapping[architecture] for mapping in mappings if architecture in mapping]
    names = chain.from_iterable([entry] if isinstance(entry, str) else entry for entry in named)
    classes = [getattr(transformers, name) for name in sorted(set(names))]
    bare = type(AutoModel.from_config(config_of(architecture)))
    return [head for head in classes if issubclass(head, torch.nn.Module) and head is not bare]


def save_with_head(head, plain, folder):
    """A model of this class with the plain encoder's weights."""
    model = head(copy.deepcopy(plain.config))
    encoder = getattr(model, model.base_model_prefix)
    missing = encoder.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all("pooler" in key for key in missing)
    model.save_pretrained(folder)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_base_saved_with_any_head_has_the_plain_encoders_weights(architecture, tmp_path):
    torch.manual_seed(0)
    plain = AutoModel.from_config(config_of(architecture))
    plain.save_pretrained(tmp_path / "plain")
    wanted, classes = Base(str(tmp_path / "plain")).fingerprint, head_classes(architecture)
    assert {"MaskedLM", "SequenceClassification"} <= {head.__name__.partition("For")[2] for head in classes}
    for head in classes:
        save_with_head(head, plain, tmp_path / head.__name__)
        base = Base(str(tmp_path / head.__name__))
        assert base.fingerprint == wanted, head.__name__
        assert not list(base.model().heads), head.__name__


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_base_computes_what_the_plain_encoder_computes(architecture, tmp_path):
    torch.manual_seed(0)
    plain = AutoModel.from_config(config_of(architecture)).eval()
    plain.save_pretrained(tmp_path)
    ids = torch.randint(5, 50, (2, 9))
    with torch.no_grad():
        found, wanted = Base(str(tmp_path)).model()(input_ids=ids), plain(input_ids=ids)
    torch.testing.assert_close(found.last_hidden_state, wanted.last_hidden_state)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_weight_that_the_encoder_lacks_is_refused_by_name_whatever_the_head(architecture, tmp_path):
    head = next(head for head in head_classes(architecture) if head.__name__.endswith("ForMaskedLM"))
    head(config_of(architecture)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    encoders = (name for name in sorted(weights) if not name.startswith(("cls.", "lm_head.", "vocab_", "generator_")))
    lost = next(name for name in encoders if "embeddings.LayerNorm.bias" in name)
    save_file(
        {k: w for k, w in weights.items() if k != lost}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(UserError, match=rf"lacks 1 weights of a {architecture}, among them {lost}$"):
        Base(str(tmp_path)).model()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_names_hold_as_many_numbers_as_are_published(name):
    floats, integers, vocabulary = PUBLISHED[name]
    with torch.device("meta"):
        _, tensors = published_tensors(name, vocab_size=vocabulary)
    counted = {
        kind: sum(t.numel() for t in tensors.values() if t.is_floating_point() == kind) for kind in (True, False)
    }
    assert counted == {True: floats, False: integers}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_checkpoint_loads_with_every_weight_of_its_encoder(name, tmp_path):
    save_published(name, tmp_path)
    base, stored = Base(str(tmp_path)), load_file(tmp_path / "model.safetensors")
    weights = base.model().state_dict()
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"} if "bert-base" in name else {}
    for key in (key for key in weights if "pooler" not in key and "prompt_tuning" not in key):
        published = key
        for new, before in old.items():
            published = published.replace(new, before)
        assert torch.equal(weights[key], stored[published]), key
    assert base.tokenizer.pad_token_id == base.config.pad_token_id
    assert base.tokenizer("a", "b")["input_ids"][0] == base.tokenizer.cls_token_id


def test_a_base_saved_with_adapters_and_heads_of_the_library_comes_without_them(library, tmp_path):
    plain = AutoModel.from_config(config_of("bert"))
    plain.save_pretrained(tmp_path / "plain")
    model = library.AutoAdapterModel.from_pretrained(tmp_path / "plain")
    model.add_adapter("theirs")
    model.add_classification_head("theirs", num_labels=3)
    model.save_pretrained(tmp_path / "saved")
    base = Base(str(tmp_path / "saved"))
    assert base.fingerprint == Base(str(tmp_path / "plain")).fingerprint
    assert not [key for key in base.model().state_dict() if "theirs" in key]


def test_the_shards_of_a_base_are_read(tmp_path):
    plain = AutoModel.from_config(config_of("bert"))
    plain.save_pretrained(tmp_path / "whole")
    plain.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert Base(str(tmp_path / "shards")).fingerprint == Base(str(tmp_path / "whole")).fingerprint
