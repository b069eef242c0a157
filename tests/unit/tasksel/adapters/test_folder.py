"""What `adapters` wrote gives its logits here, in every spelling of its format; what is written here gives them again, there too."""

import json

import pytest
import torch
from encoders import IDS, KINDS, MASK, loud, tiny_encoder, tiny_model, with_adapter
from golden import (
    EXPECTED,
    FOLDERS,
    NOT_SOURCES,
    ROOT,
    change_json,
    change_weights,
    gives_its_logits,
    golden_base,
    golden_copy,
    pickle_weights,
)
from golden import IDS as GOLDEN_IDS
from golden import MASK as GOLDEN_MASK
from refusals import refused_line
from safetensors.torch import load_file, save_file

from scalearn import METHODS, AdapterPool
from scalearn.layers.mix import bottleneck_layers
from scalearn.layers.stacking import stack
from tasksel.adapters.folder import load_adapter, save_adapter
from tasksel.model.adapter_config import resolve_config
from tasksel.model.task_model import TaskModel


def loaded(folder, files=None, **options):
    """The model of a golden folder's base with the adapter of these files, by default its own."""
    model = golden_base(folder).model()
    load_adapter(model, files or ROOT / folder, **options)
    return model


@pytest.mark.parametrize("family", EXPECTED["bases"])
def test_a_base_gives_what_it_gave(family):
    with torch.no_grad():
        first = golden_base(f"{family}/base").model()(GOLDEN_IDS, GOLDEN_MASK).last_hidden_state[:, 0]
    torch.testing.assert_close(first, torch.tensor(EXPECTED["bases"][family]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_the_library_gives_its_logits(folder):
    assert gives_its_logits(loaded(folder), folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_gives_them_from_a_pool_or_is_refused_by_name(folder, tmp_path):
    pool = AdapterPool(tmp_path / "pool", base=golden_base(folder))
    if folder in NOT_SOURCES:
        assert NOT_SOURCES[folder] in refused_line(pool.add, ROOT / folder)
        assert len(pool) == 0
        return
    pool.add(ROOT / folder, name="guest")
    trained = AdapterPool(tmp_path / "pool")["guest"].trained
    assert gives_its_logits(trained.model(golden_base(folder), head=trained.has_head), folder)


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder not in NOT_SOURCES])
def test_it_gives_them_in_a_mix_in_which_it_alone_counts(folder, tmp_path):
    base = golden_base(folder)
    pool = AdapterPool(tmp_path / "pool", base=base)
    pool.add(ROOT / folder, name="guest")
    pool.add(ROOT / folder, name="other")
    model = base.model()
    layers, config = stack([pool["other"], pool["guest"]])
    METHODS["scalearn"].fill_slot(model, "mixed", layers, config)
    for _, slot in bottleneck_layers(model, "mixed"):
        slot.adapters["mixed"].omega.weight.data[0] = 0.25
        slot.adapters["mixed"].omega.weight.data[1] = 0.75
    with torch.no_grad():
        first = model.eval()(GOLDEN_IDS, GOLDEN_MASK).last_hidden_state[:, 0]
    torch.testing.assert_close(first, torch.tensor(EXPECTED["folders"][folder]["first_token"]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_written_again_is_the_same_files(folder, tmp_path):
    model = loaded(folder)
    save_adapter(model, tmp_path / "again", model.active_adapter)
    assert gives_its_logits(loaded(folder, tmp_path / "again"), folder)
    names = sorted(path.name for path in (ROOT / folder).iterdir())
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    for name in names:
        if name.endswith(".safetensors"):
            ours, wanted = load_file(tmp_path / "again" / name), load_file(ROOT / folder / name)
            wanted = {
                key: tensor for key, tensor in wanted.items() if f".{model.active_adapter}." in key
            }  # it wrote gelu-head with gelu
            assert ours.keys() == wanted.keys()
            assert all(torch.equal(ours[key], wanted[key]) for key in wanted)
        else:
            ours, wanted = (json.loads((place / name).read_text()) for place in (tmp_path / "again", ROOT / folder))
            assert {**ours, "model_name": ""} == {**wanted, "model_name": ""}


@pytest.mark.parametrize("folder", FOLDERS)
def test_weights_that_torch_wrote_give_the_same(folder, tmp_path):
    files = pickle_weights(golden_copy(folder, tmp_path / "files"))
    assert not list(files.glob("*.safetensors"))
    assert gives_its_logits(loaded(folder, files), folder)
    if folder not in NOT_SOURCES:
        source = AdapterPool(tmp_path / "pool", base=golden_base(folder)).add(files, name="guest")
        assert gives_its_logits(source.trained.model(golden_base(folder), head=source.trained.has_head), folder)


class TestOtherSpellings:
    """Older versions and other models of the library write the same adapter otherwise."""

    folder = "bert/plain"

    @pytest.fixture
    def files(self, tmp_path):
        return golden_copy(self.folder, tmp_path / "files")

    def check(self, files, tmp_path):
        assert gives_its_logits(loaded(self.folder, files), self.folder)
        source = AdapterPool(tmp_path / "pool", base=golden_base(self.folder)).add(files, name="guest")
        assert gives_its_logits(source.trained.model(golden_base(self.folder)), self.folder)

    @pytest.mark.parametrize("place", ["layer_text_task_adapters", "layer_text_lang_adapters", "attention_text_task_adapters"])  # fmt: skip
    def test_slots_under_their_names_in_adapter_transformers(self, files, tmp_path, place):
        change_weights(files / "adapter.safetensors", lambda key, tensor: (key.replace("adapters", place), tensor))
        self.check(files, tmp_path)

    def test_weights_without_the_bases_name(self, files, tmp_path):
        change_weights(files / "adapter.safetensors", lambda key, tensor: (key.removeprefix("bert."), tensor))
        self.check(files, tmp_path)

    @pytest.mark.parametrize("word", ["pfeiffer[reduction_factor=4]", "seq_bn[reduction_factor=4]"])
    def test_a_configuration_by_its_name(self, files, tmp_path, word):
        change_json(files / "adapter_config.json", config=word)
        self.check(files, tmp_path)

    @pytest.mark.parametrize("word", ["houlsby", "double_seq_bn"])
    def test_houlsbys_by_its_name(self, tmp_path, word):
        files = golden_copy("bert/houlsby", tmp_path / "houlsby")
        change_json(files / "adapter_config.json", config=f"{word}[reduction_factor=4]")
        assert gives_its_logits(loaded("bert/houlsby", files), "bert/houlsby")

    def test_a_configuration_that_says_only_what_differs(self, files, tmp_path):
        few = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 4, "non_linearity": "relu", "original_ln_before": True}  # fmt: skip
        change_json(files / "adapter_config.json", config=few)
        self.check(files, tmp_path)

    def test_another_number_of_heads_in_its_file_whose_names_begin_alike(self, tmp_path):
        files = golden_copy("bert/gelu", tmp_path / "gelu")
        tensors = load_file(files / "model_head.safetensors")
        more = load_file(ROOT / "bert/gelu-head/model_head.safetensors")
        assert all(key.startswith("heads.gelu-head.") for key in more)
        save_file({**tensors, **more}, files / "model_head.safetensors")
        assert gives_its_logits(loaded("bert/gelu", files), "bert/gelu")
        source = AdapterPool(tmp_path / "pool", base=golden_base("bert/gelu")).add(files, name="guest")
        assert gives_its_logits(source.trained.model(golden_base("bert/gelu")), "bert/gelu")

    def test_a_head_that_is_called_otherwise_than_its_adapter(self, files, tmp_path):
        change_json(files / "head_config.json", name="topics.v2")
        change_weights(files / "model_head.safetensors", lambda key, tensor: (key.replace("heads.plain.", "heads.topics.v2."), tensor))  # fmt: skip
        self.check(files, tmp_path)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
    def test_weights_of_another_precision(self, files, tmp_path, dtype):
        for file in ("adapter.safetensors", "model_head.safetensors"):
            change_weights(files / file, lambda key, tensor: (key, tensor.to(dtype)))
        model = loaded(self.folder, files)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        with torch.no_grad():
            logits = model(GOLDEN_IDS, GOLDEN_MASK).logits
        torch.testing.assert_close(logits, torch.tensor(EXPECTED["folders"][self.folder]["logits"]), atol=5e-3, rtol=0)

    @pytest.mark.parametrize("name", ["a+b", "x.*", "(?:", "naïve ünï", "v1.0", "train", "plain", "plain2", "a/b", "adapters", "heads"])  # fmt: skip
    def test_an_adapter_of_any_name(self, files, tmp_path, name):
        for file in ("adapter.safetensors", "model_head.safetensors"):
            change_weights(files / file, lambda key, tensor: (key.replace(".plain.", f".{name}."), tensor))
        change_json(files / "adapter_config.json", name=name)
        change_json(files / "head_config.json", name=name)
        assert gives_its_logits(loaded(self.folder, files, name="guest"), self.folder)
        if "." not in name:
            source = AdapterPool(tmp_path / "pool", base=golden_base(self.folder)).add(files, name="guest")
            assert gives_its_logits(source.trained.model(golden_base(self.folder)), self.folder)


class TestRefusals:
    folder = "bert/plain"

    @pytest.fixture
    def files(self, tmp_path):
        return golden_copy(self.folder, tmp_path / "files")

    def refused(self, files):
        model = golden_base(self.folder).model()
        said = refused_line(load_adapter, model, files)
        assert str(files) in said
        return said

    def test_a_weight_too_few(self, files):
        change_weights(files / "adapter.safetensors", lambda key, tensor: None if key.endswith("1.output.adapters.plain.adapter_up.bias") else (key, tensor))  # fmt: skip
        said = self.refused(files)
        assert "7 weights, where the layers of a bert of 2 layers take 8" in said
        assert "'bert.encoder.layer.1.output.adapters.plain.adapter_up.bias' is missing" in said

    def test_a_weight_too_many(self, files):
        tensors = load_file(files / "adapter.safetensors")
        save_file({**tensors, "bert.encoder.layer.2.output.adapters.plain.adapter_up.bias": torch.ones(16)}, files / "adapter.safetensors")  # fmt: skip
        assert "'bert.encoder.layer.2.output.adapters.plain.adapter_up.bias' is too many" in self.refused(files)

    def test_a_weight_of_another_shape(self, files):
        change_weights(files / "adapter.safetensors", lambda key, tensor: (key, tensor[:3]))
        assert "is [3], the model's [4]" in self.refused(files) or "is [3, 16], the model's [4, 16]" in self.refused(
            files
        )

    @pytest.mark.parametrize("file", ["adapter_config.json", "head_config.json"])
    @pytest.mark.parametrize(
        "content", [None, "", "{", "[]", "null", "{}", '{"name": "plain"}', '{"name": "plain", "config": null}']
    )
    def test_a_configuration_that_is_broken_or_lost(self, files, file, content):
        (files / file).unlink()
        if content is not None:
            (files / file).write_text(content)
        assert "the adapter cannot be loaded (" in self.refused(files)

    def test_one_shape_that_would_be_spread_to_fit(self, files):
        change_weights(files / "adapter.safetensors", lambda key, tensor: (key, tensor[:1]))
        assert "the adapter cannot be loaded" in self.refused(files)

    @pytest.mark.parametrize(("key", "value", "reason"), [("is_parallel", True, "parallel"), ("inv_adapter", "nice", "invertible"), ("original_ln_after", False, "layer norm does not follow"), ("residual_before_ln", "post_add", "residual_before_ln=post_add"), ("residual_before_ln", False, "residual_before_ln=False")])  # fmt: skip
    def test_an_adapter_that_is_computed_otherwise(self, files, tmp_path, key, value, reason):
        change_json(files / "adapter_config.json", config=lambda config: {**config, key: value})
        for call in (lambda: load_adapter(golden_base(self.folder).model(), files), lambda: AdapterPool(tmp_path / "pool", base=golden_base(self.folder)).add(files)):  # fmt: skip
            assert reason in refused_line(call)

    def test_another_kind_of_adapter(self, files):
        change_json(files / "adapter_config.json", config="lora")
        assert "not a bottleneck adapter (architecture: lora)" in refused_line(load_adapter, golden_base(self.folder).model(), files)  # fmt: skip


CONFIGS = {
    "plain": "seq_bn[reduction_factor=4]",
    "houlsby": "double_seq_bn[reduction_factor=4]",
    "compacter++": "compacter++[reduction_factor=4]",
    "compacter": "compacter[reduction_factor=4]",
    "gated": "seq_bn[reduction_factor=4, use_gating=True, ln_before=True, ln_after=True, scaling='channel']",
}
HEADS = {
    "classes": {"head_type": "classification", "num_labels": 3, "layers": 2, "activation_function": "tanh", "label2id": {"a": 0, "b": 1, "c": 2}, "use_pooler": False, "bias": True, "dropout_prob": None},
    "choices": {"head_type": "multiple_choice", "num_choices": 3, "layers": 1, "activation_function": None, "label2id": None, "use_pooler": False, "dropout_prob": None},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_that_can_be_added_is_read_from_what_is_written(kind, tmp_path):
    model = with_adapter(tiny_model(), "rte", CONFIGS[kind])
    save_adapter(model, tmp_path, "rte")
    other = with_adapter(tiny_model(), "other", "seq_bn", seed=8)
    load_adapter(other, tmp_path, name="read")
    assert torch.equal(other.eval()(IDS, MASK).last_hidden_state, model(IDS, MASK).last_hidden_state)


@pytest.mark.parametrize("family", [family for family in KINDS if family != "mpnet"])
@pytest.mark.parametrize(("kind", "head"), [("plain", "classes"), ("houlsby", "choices"), ("compacter++", "classes"), ("gated", "classes")])  # fmt: skip
def test_the_library_reads_what_is_written_here_to_the_same_logits(library, tmp_path, family, kind, head):
    encoder = tiny_encoder(family)
    encoder.save_pretrained(tmp_path / "base")
    model = with_adapter(TaskModel(encoder), "rte", resolve_config(CONFIGS[kind]))
    model.add_head("rte", HEADS[head])
    loud(model, ["heads."])
    save_adapter(model, tmp_path / "adapter", "rte")
    theirs = library.AutoAdapterModel.from_pretrained(tmp_path / "base")
    theirs.load_adapter(str(tmp_path / "adapter"), set_active=True, use_safetensors=True)
    assert theirs.active_head == "rte"
    with torch.no_grad():
        ours, wanted = model.eval()(IDS, MASK).logits, theirs.eval()(input_ids=IDS, attention_mask=MASK).logits
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
