"""An adapter of plain `adapters` is taken in, checked; pickles, other bases and other kinds are refused by name."""

import json
import shutil

import pytest
import torch
from adapters import CompacterConfig, LoRAConfig, ParBnConfig, PrefixTuningConfig, SeqBnConfig, SeqBnInvConfig
from library import library_model

from scalearn import METHODS, AdapterPool
from scalearn.layers.mix import bottleneck_layers
from scalearn.layers.stacking import stack
from tasksel import UserError, get_task


@pytest.fixture(scope="module")
def plain(tiny, loud_adapter, tmp_path_factory):
    """Saves an adapter as anyone with plain `adapters` would, and gives its folder."""

    def save(name="theirs", config=None, *, base=tiny, safetensors=True, head=False):
        model = library_model(base)
        if config is None or isinstance(config, SeqBnConfig):
            loud_adapter(model, name, config)
        else:
            model.add_adapter(name, config=config)
        if head:
            model.add_classification_head(name, num_labels=3)
        folder = tmp_path_factory.mktemp("plain") / name
        model.save_adapter(str(folder), name, with_head=head, use_safetensors=safetensors)
        return folder

    return save


@pytest.fixture
def empty(tiny, tmp_path):
    return AdapterPool(tmp_path / "pool", base=tiny)


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
    assert empty.add(plain("mine")).name == "mine"
    task = get_task("grammar_garden")
    assert empty.add(plain("mine"), task=task, rows=50).name == "grammar_garden"
    card = empty["grammar_garden"].card
    assert card.rows == 50
    assert card.data is not None


def test_a_foreign_adapter_equals_itself_in_a_mix_at_one_hot(plain, empty, pool):
    folder = plain("guest")
    empty.add(folder)
    task = get_task("entail_kitchen")
    model = METHODS["scalearn"].build(empty.base, task, *stack([pool["entail_travel"], empty["guest"]]), seed=0).eval()
    library = library_model(empty.base)
    library.load_adapter(str(folder), use_safetensors=True)
    ours, modules = dict(bottleneck_layers(model, task.name)), dict(library.named_modules())
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        for path, layer in ours.items():
            layer.adapters[task.name].omega.weight.copy_(torch.tensor([[0.0], [1.0]]).expand(2, 32))
            one, two = layer.adapters[task.name](x), modules[path].adapters["guest"](x, torch.zeros_like(x))[0]
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_pickle_is_never_read(plain, empty):
    folder = plain(safetensors=False)
    assert (folder / "pytorch_adapter.bin").is_file()
    with pytest.raises(UserError, match="pickled weights are never read"):
        empty.add(folder)
    assert len(AdapterPool(empty.folder, base=empty.base.path)) == 0


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (SeqBnConfig(reduction_factor=16, use_gating=True), "gated"),
        (ParBnConfig(), "parallel"),
        (SeqBnConfig(reduction_factor=16, ln_after=True), "layer norm after"),
        (CompacterConfig(reduction_factor=4), "PHM layers"),
        (LoRAConfig(), "lora"),
        (SeqBnInvConfig(reduction_factor=16), "invertible"),
    ],
)
def test_another_kind_of_adapter_is_refused_by_name(plain, empty, config, named):
    with pytest.raises(UserError, match=f"cannot be used as a source: .*{named}"):
        empty.add(plain(config=config))
    assert len(empty) == 0


def test_prefix_tuning_is_refused_by_name(plain, empty):  # which the library itself cannot write as safetensors
    with pytest.raises(UserError, match=r"cannot be used as a source: .*prefix_tuning"):
        empty.add(edit(plain(), config=PrefixTuningConfig().to_dict()))


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
    with pytest.raises(UserError, match=r"no file .*nothing/adapter_config\.json"):
        empty.add(tmp_path / "nothing")


def test_a_place_that_is_not_there_is_named(empty):
    with pytest.raises(UserError, match=r"neither a folder nor a repository|no network for the hub id"):
        empty.add("no/such/place/at/all")


def test_an_adapter_of_a_model_without_heads_is_taken_in(tiny, empty, tmp_path):
    import adapters
    from transformers import AutoModel

    bare = AutoModel.from_pretrained(tiny)
    adapters.init(bare)
    bare.add_adapter("bare", config=SeqBnConfig(reduction_factor=16))
    bare.save_adapter(str(tmp_path / "bare"), "bare", use_safetensors=True)
    source = empty.add(tmp_path / "bare")
    expected = bare.state_dict()["encoder.layer.1.output.adapters.bare.adapter_up.weight"].t()
    assert torch.equal(source.bottlenecks()["bert.encoder.layer.1.output"].up[0], expected)


def test_a_name_that_leads_out_of_the_pool_is_refused(plain, empty):
    with pytest.raises(UserError, match="use letters, digits"):
        empty.add(plain(), name="../theirs")
    assert not (empty.folder.parent / "theirs").exists()


def test_another_pools_entry_can_be_taken_in(own_pool, empty):
    shutil.copytree(own_pool["sentiment_films"].folder, empty.folder.parent / "entry")
    source = empty.add(empty.folder.parent / "entry", task=get_task("sentiment_films"), rows=64)
    for path, part in source.bottlenecks().items():
        assert torch.equal(part.up, own_pool["sentiment_films"].bottlenecks()[path].up)
