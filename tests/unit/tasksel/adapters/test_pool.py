"""A pool lists whole entries of one base, names whatever is broken, and gives sources by name."""

import shutil

import pytest
import torch
from stored_edits import edit

from scalearn import AdapterPool
from tasksel import UserError
from tasksel.adapters.folder import load_adapter
from tasksel.model.base import load_base
from tasksel.storage.atomic import file_hash


def test_an_entry_is_what_the_library_writes_beside_a_card(pool):
    files = {path.name for path in pool["entail_travel"].folder.iterdir() if path.is_file()}
    assert files == {
        "adapter_config.json",
        "adapter.safetensors",
        "head_config.json",
        "model_head.safetensors",
        "card.json",
    }


def test_a_card_says_what_made_the_adapter(pool):
    card = pool["entail_travel"].card
    assert card.base == {"name": pool.base.path, "fingerprint": pool.base.fingerprint}
    assert (card.task.name, card.rows, card.seed, card.origin) == ("entail_travel", 64, 0, "trained here")
    assert card.recipe.max_length == 32
    assert card.scores.keys() == {"dev", "accuracy"}
    assert card.steps == 2
    assert card.seconds > 0
    assert card.parameters["transfer"] == 2 * (2 * 2 * 32 + 2 + 32)
    assert card.versions.keys() >= {"torch", "adapters"}
    assert card.files["adapter.safetensors"] == file_hash(pool["entail_travel"].folder / "adapter.safetensors")
    assert "card.json" not in card.files


def test_a_pool_is_a_mapping_in_name_order(pool):
    assert pool.names == sorted(pool.names) == [source.name for source in pool]
    assert len(pool) == 3
    assert "grammar_garden" in pool
    assert "rte" not in pool
    assert "entail_travel" in repr(pool)
    assert "accuracy" in repr(pool["entail_travel"])


def test_a_pool_finds_its_base_by_itself(pool_folder, tiny):
    assert AdapterPool(pool_folder).base.fingerprint == load_base(tiny).fingerprint


def test_a_new_pool_needs_a_base(tmp_path):
    with pytest.raises(UserError, match=r"no pool at .*nothing: name its base model"):
        AdapterPool(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_another_base_is_refused_by_name(pool_folder, make_base):
    other = make_base(seed=1)
    with pytest.raises(UserError) as caught:
        AdapterPool(pool_folder, base=other)
    message = str(caught.value)
    assert "source 'entail_travel'" in message
    assert f"not on '{other}'" in message


def test_a_base_with_one_weight_changed_is_another_base(own_pool, tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, tmp_path / "changed")
    tensors = load_file(tmp_path / "changed" / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] += 1e-3
    save_file(tensors, tmp_path / "changed" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="was trained on base"):
        AdapterPool(own_pool.folder, base=str(tmp_path / "changed"))


def test_the_same_base_in_another_folder_is_the_same_base(own_pool, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "moved")
    assert len(AdapterPool(own_pool.folder, base=str(tmp_path / "moved"))) == 3


def test_a_folder_without_a_card_is_no_entry(own_pool):
    (own_pool["entail_travel"].folder / "card.json").unlink()
    (own_pool.folder / "empty").mkdir()
    assert AdapterPool(own_pool.folder).names == ["grammar_garden", "sentiment_films"]


def test_what_a_killed_run_left_is_no_entry(own_pool):
    shutil.copytree(own_pool["entail_travel"].folder, own_pool.folder / ".partial-entail_travel-abcdefgh")
    assert len(AdapterPool(own_pool.folder)) == 3


def test_a_renamed_entry_goes_by_its_folders_name(own_pool):
    shutil.copytree(own_pool["entail_travel"].folder, own_pool.folder / "copy")
    assert [source.name for source in AdapterPool(own_pool.folder)] == AdapterPool(own_pool.folder).names


DAMAGES = {
    "missing": (lambda path: path.unlink(), "is missing"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is not the file that was stored"),
    "altered": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "is not the file that was stored"),
}


@pytest.mark.parametrize("file", ["adapter.safetensors", "adapter_config.json", "model_head.safetensors"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(own_pool, damage, file):
    harm, said = DAMAGES[damage]
    harm(own_pool["grammar_garden"].folder / file)
    pool = AdapterPool(own_pool.folder)
    for look in (pool.verify, pool["grammar_garden"].verify, pool["grammar_garden"].bottlenecks):
        with pytest.raises(UserError, match=f"source 'grammar_garden': .*grammar_garden/{file} {said}"):
            look()
    pool["entail_travel"].verify()


def test_a_whole_pool_verifies(pool):
    assert len(pool) == 3
    assert pool.verify() is None  # it raises where a file differs


def test_an_unknown_source_is_answered_with_the_nearest(pool):
    with pytest.raises(UserError, match="no source 'entail_travl'; did you mean 'entail_travel'"):
        pool.select(["sentiment_films", "entail_travl"])


def test_sources_are_selected_in_the_order_given(pool):
    chosen = pool.select(["sentiment_films", "entail_travel"])
    assert [source.name for source in chosen] == ["sentiment_films", "entail_travel"]


def test_a_source_chosen_twice_is_refused(pool):
    with pytest.raises(UserError, match="source 'entail_travel' is chosen more than once"):
        pool.select(["entail_travel", "sentiment_films", "entail_travel"])


def test_the_projections_are_those_of_the_stored_adapter(pool):
    source = pool["sentiment_films"]
    model = pool.base.model()
    name = load_adapter(model, source.folder)
    state, parts = model.state_dict(), source.bottlenecks()
    assert len(parts) == 2
    for path, part in parts.items():
        assert torch.equal(part.down[0], state[f"{path}.adapters.{name}.adapter_down.0.weight"])
        assert torch.equal(part.up[0], state[f"{path}.adapters.{name}.adapter_up.weight"].t())
        assert torch.equal(part.up_bias[0], state[f"{path}.adapters.{name}.adapter_up.bias"])


def test_another_process_entries_are_seen_after_reading_again(own_pool):
    other = AdapterPool(own_pool.folder)
    shutil.copytree(own_pool["entail_travel"].folder, own_pool.folder / "later")
    assert "later" not in other
    other.reread()
    assert "later" in other


def test_a_broken_card_is_named(own_pool):
    card = own_pool["entail_travel"].folder / "card.json"
    edit(card, files=3)
    with pytest.raises(UserError, match=r"entail_travel/card\.json: not a source's card \(files"):
        AdapterPool(own_pool.folder)


@pytest.mark.parametrize("name", ["../outside", "a/b", ".hidden", "", "two words"])
def test_a_name_that_is_no_folder_name_is_refused(own_pool, name, loud_adapter):
    model = loud_adapter(own_pool.base.model(), "plain")
    before = sorted(own_pool.folder.parent.rglob("*"))
    with pytest.raises(UserError, match="use letters, digits"):
        own_pool.store(model, "plain", name=name, key="k")
    assert sorted(own_pool.folder.parent.rglob("*")) == before


def test_iterating_is_in_name_order_whatever_was_stored_last(pool_folder, tmp_path):
    shutil.copytree(pool_folder, tmp_path / "pool")
    pool = AdapterPool(tmp_path / "pool")
    first = pool[pool.names[0]]
    model = pool.base.model()
    adapter = load_adapter(model, first.folder)
    pool.store(model, adapter, name="zebra", key="0")
    pool.store(model, adapter, name="aardvark", key="0")
    assert [source.name for source in pool] == ["aardvark", *sorted(AdapterPool(pool_folder).names), "zebra"]
