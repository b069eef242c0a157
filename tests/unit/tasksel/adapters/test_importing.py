"""An adapter of plain `adapters` is taken in, checked; other bases and other kinds are refused by name."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import RevisionNotFoundError
from library import library_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from scalearn import METHODS, AdapterPool
from scalearn.layers.mix import bottleneck_layers
from scalearn.layers.stacking import stack
from tasksel import UserError, get_task
from tasksel.model.adapter_config import SEQ_BN, resolve_config


@pytest.fixture
def plain(plain_adapter):
    """Saves an adapter in the format of plain `adapters`, and gives its folder."""
    return plain_adapter


@pytest.fixture
def written_by_library(library, loud_adapter, tiny, tmp_path_factory):
    """Saves an adapter by the library itself, and gives its folder."""

    def save(name="theirs", config="seq_bn[reduction_factor=16]", *, safetensors=True, loud=False):
        model = library_model(tiny)
        model.add_adapter(name, config=config) if not loud else loud_adapter(model, name, config)
        folder = tmp_path_factory.mktemp("written") / name
        model.save_adapter(str(folder), name, with_head=False, use_safetensors=safetensors)
        return folder

    return save


@pytest.fixture
def empty(tiny, tmp_path):
    return AdapterPool(tmp_path / "pool", base=tiny)


PLAIN = {**SEQ_BN, "reduction_factor": 16}


def edit(folder, **change):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return folder


def test_a_foreign_adapter_is_taken_in_and_verifies(plain, empty):
    source = empty.add(plain(head=True), name="guest")
    assert source.card.origin.startswith("added from ")
    assert source.card.task is None
    again = AdapterPool(empty.folder)
    again.verify()
    assert again.names == ["guest"]


def test_a_foreign_adapter_goes_by_its_own_name_or_its_tasks(plain, empty):
    task = get_task("grammar_garden")
    assert empty.add(plain("mine"), task=task, rows=50).name == "grammar_garden"
    assert empty.add(plain("mine")).name == "mine"
    card = empty["grammar_garden"].card
    assert card.rows == 50
    assert card.data is not None


def test_a_foreign_adapter_equals_itself_in_a_mix_at_one_hot(written_by_library, empty, pool):
    folder = written_by_library("guest", loud=True)
    empty.add(folder)
    task = get_task("entail_kitchen")
    model = METHODS["scalearn"].build(empty.base, task, *stack([pool["entail_travel"], empty["guest"]]), seed=0).eval()
    alone = library_model(empty.base)
    alone.load_adapter(str(folder), use_safetensors=True)
    layers, modules = dict(bottleneck_layers(model, task.name)), dict(alone.named_modules())
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        for path, layer in layers.items():
            layer.adapters[task.name].omega.weight.copy_(torch.tensor([[0.0], [1.0]]).expand(2, 32))
            one, two = layer.adapters[task.name](x), modules[path].adapters["guest"](x, torch.zeros_like(x))[0]
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_weights_that_torch_wrote_are_those_of_safetensors(written_by_library, empty):
    older, newer = written_by_library("older", safetensors=False, loud=True), written_by_library("newer", loud=True)
    assert [path.name for path in older.glob("*adapter.*")] == ["pytorch_adapter.bin"]
    newer = empty.add(newer).bottlenecks()
    for path, part in empty.add(older).bottlenecks().items():
        assert torch.equal(part.up, newer[path].up)
        assert part.up.abs().max() > 0.1


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("seq_bn[reduction_factor=16,use_gating=True]", "gated"),
        ("par_bn", "parallel"),
        ("seq_bn[reduction_factor=16,ln_after=True]", "layer norm after"),
        ("compacter[reduction_factor=4]", "PHM layers"),
        ("lora", "lora"),
        ("seq_bn_inv[reduction_factor=16]", "invertible"),
        ("prefix_tuning", "prefix_tuning"),
    ],
)
class TestOtherKinds:
    def test_another_kind_of_adapter_is_refused_by_name(self, plain, empty, config, named):
        with pytest.raises(UserError, match=f"cannot be used as a source: .*{named}"):
            empty.add(edit(plain(), config=resolve_config(config)))
        assert len(empty) == 0

    def test_the_librarys_own_files_of_it_are_refused_too(self, written_by_library, empty, config, named):
        safe = config != "prefix_tuning"  # which the library cannot write as safetensors
        with pytest.raises(UserError, match=f"cannot be used as a source: .*{named}"):
            empty.add(written_by_library(config=config, safetensors=safe))


def test_another_hidden_size_is_refused(plain, empty, make_base):
    wide = make_base(hidden_size=64)
    with pytest.raises(UserError, match=r"trained on a base with hidden_size 64; the pool's base .* has 32"):
        empty.add(plain(base=wide), same_base=True)


def test_another_architecture_is_refused(plain, empty, make_base):
    with pytest.raises(UserError, match=r"trained on a base with model_type roberta; .* has bert"):
        empty.add(plain(base=make_base("roberta")), same_base=True)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_base_of_another_depth_is_refused_and_leaves_nothing(plain, empty, make_base, layers):
    other = plain(base=make_base(num_hidden_layers=layers))
    with pytest.raises(
        UserError, match=f"{4 * layers} weights, where the layers of .* take 8: it was trained on another base"
    ):
        empty.add(other, same_base=True)
    assert len(empty) == 0


def test_another_base_name_needs_same_base(plain, empty):
    folder = edit(plain(), model_name="somebody/bert")
    with pytest.raises(UserError, match=r"trained on base 'somebody/bert'.*--same-base"):
        empty.add(folder)
    assert empty.add(folder, same_base=True).name == "theirs"


def test_a_name_that_is_taken_is_refused(own_pool, plain):
    before = own_pool["entail_travel"].fingerprint
    with pytest.raises(UserError, match="the pool already holds 'entail_travel'"):
        own_pool.add(plain(), name="entail_travel")
    assert AdapterPool(own_pool.folder)["entail_travel"].fingerprint == before


def test_weights_cut_short_are_refused(plain, empty):
    folder = plain()
    weights = folder / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(UserError, match="the adapter cannot be loaded"):
        empty.add(folder)


def test_a_folder_that_holds_no_adapter_is_named(empty, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"no adapter there \(no file .*nothing/adapter_config\.json"):
        empty.add(tmp_path / "nothing")


def test_a_place_that_is_not_there_is_named(empty):
    with pytest.raises(UserError, match=r"neither a folder nor a repository|no network for the hub id"):
        empty.add("no/such/place/at/all")


def test_an_adapter_of_a_model_without_heads_is_taken_in(tiny, empty, library, tmp_path):
    bare = AutoModel.from_pretrained(tiny)
    library.init(bare)
    bare.add_adapter("bare", config="seq_bn[reduction_factor=16]")
    bare.save_adapter(str(tmp_path / "bare"), "bare", use_safetensors=True)
    source = empty.add(tmp_path / "bare")
    expected = bare.state_dict()["encoder.layer.1.output.adapters.bare.adapter_up.weight"].t()
    assert torch.equal(source.bottlenecks()["bert.encoder.layer.1.output"].up[0], expected)


@pytest.mark.parametrize(
    ("word", "config"),
    [
        ("pfeiffer", PLAIN),
        ("seq_bn", PLAIN),
        ("houlsby", resolve_config("double_seq_bn")),
        ("double_seq_bn", resolve_config("double_seq_bn")),
        ("seq_bn[reduction_factor=8]", {**PLAIN, "reduction_factor": 8}),
        (
            "pfeiffer[reduction_factor=8,non_linearity='gelu']",
            {**PLAIN, "reduction_factor": 8, "non_linearity": "gelu"},
        ),
    ],
)
def test_a_configuration_by_name_is_the_whole_one(plain, empty, word, config):
    source = empty.add(edit(plain(config=config), config=word))
    assert source.config == config
    for path, part in source.bottlenecks().items():
        assert part.down.abs().max() > 0.1, path


def test_every_name_of_the_library_is_taken_or_refused_for_its_own_reason(plain, empty, library):
    folder, said = plain(), {}
    for word in library.ADAPTER_CONFIG_MAP:
        try:
            empty.add(edit(folder, config=word), name=re.sub(r"\W", "-", word))
            said[word] = "taken"
        except UserError as error:
            said[word] = str(error).removeprefix(f"{folder}: ")
    assert {word for word, what in said.items() if what == "taken"} == {"pfeiffer", "seq_bn"}
    assert all("8 weights, where the layers of" in said[word] for word in ("houlsby", "double_seq_bn"))
    refused = {word: what for word, what in said.items() if what != "taken" and "houlsby" != word != "double_seq_bn"}
    assert all(what.startswith("cannot be used as a source: it") for what in refused.values()), refused


def test_older_files_name_activations_otherwise(plain, empty):
    folder = plain(config={**PLAIN, "non_linearity": "gelu_new"})
    told = json.loads((folder / "adapter_config.json").read_text())
    del told["version"]
    told["config"]["non_linearity"] = "gelu"
    (folder / "adapter_config.json").write_text(json.dumps(told))
    assert empty.add(folder).config["non_linearity"] == "gelu_new"  # as the library reads them


def test_older_files_name_slots_otherwise(plain, empty):
    folder, sound = plain(), plain("sound")
    tensors = load_file(folder / "adapter.safetensors")
    old = {key.replace(".adapters.", ".layer_text_task_adapters."): tensor for key, tensor in tensors.items()}
    save_file(old, folder / "adapter.safetensors")
    source = empty.add(edit(folder, type="text_task"))
    for path, part in empty.add(sound).bottlenecks().items():
        assert torch.equal(part.up, source.bottlenecks()[path].up)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken_as_float32(plain, empty, dtype):
    folder = plain()
    save_file(
        {key: t.to(dtype) for key, t in load_file(folder / "adapter.safetensors").items()},
        folder / "adapter.safetensors",
    )
    parts = empty.add(folder).bottlenecks()
    assert all(part.up.dtype == torch.float32 and part.up.abs().max() > 0.1 for part in parts.values())


def test_a_whole_number_as_scaling_is_a_number(plain, empty):
    folder = plain(config={**PLAIN, "scaling": 2.0})
    told = json.loads((folder / "adapter_config.json").read_text())["config"]
    source = empty.add(edit(folder, config={**told, "scaling": 2}))
    assert source.config["scaling"] == 2.0


@pytest.mark.parametrize("name", ["values", "train", "type", "v1.0", "a b", "update", "training", "über"])
def test_an_adapter_may_be_called_what_torch_calls_its_own(plain, empty, name):
    folder = edit(plain(head=True), name=name)
    for file in ("adapter.safetensors", "model_head.safetensors"):
        tensors = {key.replace("theirs", "x"): tensor for key, tensor in load_file(folder / file).items()}
        save_file(tensors, folder / file)
    head = folder / "head_config.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"name": "x"}))
    source = empty.add(folder, name="guest")
    assert source.trained.model(empty.base).active_head == source.card.adapter


@pytest.mark.parametrize("kind", ["IA3", "PREFIX_TUNING", "ADALORA"])
def test_a_peft_adapter_that_is_no_lora_is_called_by_its_type(empty, tmp_path, kind):
    config = {"peft_type": kind, "task_type": "SEQ_CLS", "r": 8, "base_model_name_or_path": "x"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    for weights in ("adapter_model.safetensors", "adapter_model.bin"):
        (tmp_path / weights).write_bytes(b"")
        with pytest.raises(UserError, match=rf"a PEFT adapter of the kind {kind}, and plain LoRAs can be sources"):
            empty.add(tmp_path)


def test_peft_weights_alone_are_called_peft(empty, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"PEFT adapter without its adapter_config\.json"):
        empty.add(tmp_path)


def test_a_head_that_torch_wrote_is_read(plain, empty):
    folder = plain(head=True)
    tensors = load_file(folder / "model_head.safetensors")
    (folder / "model_head.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model_head.bin")
    head = empty.add(folder).trained.model(empty.base).heads["theirs"].state_dict()
    assert tensors.keys() == {f"heads.theirs.{key}" for key in head}
    assert all(torch.equal(tensor, tensors[f"heads.theirs.{key}"]) for key, tensor in head.items())


class TestSearch:
    """A folder that holds no adapter itself is searched for it."""

    @pytest.fixture
    def out(self, tmp_path):
        return tmp_path / "out"

    def test_a_trainers_checkpoint_is_searched(self, plain, empty, out):
        shutil.copytree(plain("mine"), out / "checkpoint-500" / "mine")
        (out / "checkpoint-500" / "trainer_state.json").write_text("{}")
        assert empty.add(out / "checkpoint-500").name == "mine"
        assert empty.add(out, name="again").name == "again"

    def test_of_several_checkpoints_the_last_is_taken_and_said(self, plain, empty, out, capsys):
        for step, name in ((500, "early"), (1000, "late"), (60, "first")):
            shutil.copytree(plain(name), out / f"checkpoint-{step}" / "mine")
        assert empty.add(out).name == "late"
        assert empty["late"].card.origin == f"added from {out} (checkpoint-1000/mine)"
        assert f"{out} holds 3 checkpoints: the last, checkpoint-1000, is taken" in capsys.readouterr().err
        assert empty.add(out / "checkpoint-500").name == "early"

    def test_checkpoints_that_hold_the_adapter_directly(self, plain, empty, out):
        for step, name in ((500, "early"), (1000, "late")):
            shutil.copytree(plain(name), out / f"checkpoint-{step}")
        assert empty.add(out).name == "late"

    def test_the_adapter_that_was_saved_at_the_end_comes_before_checkpoints(self, plain, empty, out):
        shutil.copytree(plain("last"), out / "last")
        shutil.copytree(plain("early"), out / "checkpoint-500" / "early")
        assert empty.add(out).name == "last"

    def test_several_adapters_are_named_and_one_is_chosen_by_name(self, plain, empty, out):
        for name in ("one", "two"):
            shutil.copytree(plain(name), out / "checkpoint-500" / name)
        for options in ({}, {"name": "three"}):
            with pytest.raises(UserError, match=r"holds 2 adapters: one, two; choose one by its name \(--name\)"):
                empty.add(out / "checkpoint-500", **options)
        assert empty.add(out / "checkpoint-500", name="two").name == "two"

    def test_a_checkpoint_that_torch_wrote_is_found(self, plain, empty, out):
        folder = shutil.copytree(plain("mine"), out / "checkpoint-500" / "mine")
        torch.save(load_file(folder / "adapter.safetensors"), folder / "pytorch_adapter.bin")
        (folder / "adapter.safetensors").unlink()
        assert empty.add(out / "checkpoint-500").name == "mine"

    def test_an_adapter_far_below_is_found(self, plain, empty, out):
        shutil.copytree(plain("mine"), out / "Model" / "lora" / "sft")
        assert empty.add(out).name == "mine"

    def test_what_is_still_being_written_is_no_adapter(self, plain, empty, out):
        shutil.copytree(plain("mine"), out / ".partial-mine-abcdefgh")
        with pytest.raises(UserError, match="no adapter there"):
            empty.add(out)


class TestHub:
    @pytest.fixture
    def asked(self, plain, monkeypatch):
        """What the hub is asked for; it answers with a folder."""
        asked, folder = [], plain()

        def snapshot(repository, *, revision, allow_patterns):
            asked.append((repository, revision, allow_patterns))
            if revision == "nowhere":
                raise RevisionNotFoundError("404", response=SimpleNamespace(headers={}, request=None))
            return str(folder)

        monkeypatch.setattr("tasksel.adapters.locating.snapshot_download", snapshot)
        return asked

    def test_a_revision_is_asked_for(self, asked, empty):
        empty.add("owner/name@v1.2", name="one")
        empty.add("owner/name", name="two")
        files = ["*.json", "*.safetensors", "pytorch_adapter.bin", "pytorch_model_head.bin", "adapter_model.bin"]
        assert asked == [("owner/name", "v1.2", files), ("owner/name", None, files)]
        assert empty["one"].card.origin == "added from owner/name@v1.2"

    def test_a_revision_that_is_not_there_is_named(self, asked, empty):
        with pytest.raises(UserError, match="the repository 'owner/name' has no revision 'nowhere'"):
            empty.add("owner/name@nowhere")


def test_a_name_that_leads_out_of_the_pool_is_refused(plain, empty):
    with pytest.raises(UserError, match="use letters, digits"):
        empty.add(plain(), name="../theirs")
    assert not (empty.folder.parent / "theirs").exists()


def test_another_pools_entry_can_be_taken_in(own_pool, empty):
    shutil.copytree(own_pool["sentiment_films"].folder, empty.folder.parent / "entry")
    source = empty.add(empty.folder.parent / "entry", task=get_task("sentiment_films"), rows=64)
    for path, part in source.bottlenecks().items():
        assert torch.equal(part.up, own_pool["sentiment_films"].bottlenecks()[path].up)
