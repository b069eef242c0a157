"""Tests of adapters compared unit by unit: which numbers become tokens, and in what order."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasksel import TaskEmbedding, get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.train import train_adapter
from tasksel.embeddings.adapter_units import AdapterUnits, units
from tasksel.embeddings.token_similarity import TOKEN_SIMILARITIES, feature, max_forward
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.training.recipe import Recipe

LAYERS, WIDTH, R = 2, 32, 2  # of the tiny models: 32 wide, reduction factor 16


@pytest.fixture(scope="module")
def films():
    task = get_task("sentiment_films")
    return task, load_data(task, rows=40)


@pytest.fixture(scope="module")
def trained(tiny, films, tmp_path_factory):
    recipe = Recipe(epochs=1, max_length=32)
    return train_adapter(*films, load_base(tiny), tmp_path_factory.mktemp("rows"), recipe=recipe)


@pytest.fixture
def adapter(tmp_path):
    """An adapter of two layers and two units by hand, d = 3; the tenth layer's name sorts before the ninth's as text."""
    tensors = {}
    for layer, start in (("9", 0), ("10", 100)):
        place = f"bert.encoder.layer.{layer}.output.adapters.x"
        tensors[f"{place}.adapter_down.0.weight"] = torch.arange(6.0).view(2, 3) + start
        tensors[f"{place}.adapter_down.0.bias"] = torch.full((2,), -1.0)
        tensors[f"{place}.adapter_up.weight"] = torch.arange(6.0).view(3, 2) + start + 10
        tensors[f"{place}.adapter_up.bias"] = torch.full((3,), -1.0)
        tensors[f"{place}.gate.weight"] = torch.full((1, 3), -1.0)
    save_file(tensors, tmp_path / "adapter.safetensors")
    return AdapterCheckpoint(tmp_path, "x")


def test_a_pool_is_ranked_as_its_pairs_are_by_either_index(films, trained, tiny):
    embedding = AdapterUnits().embed(*films, load_base(tiny), trained=trained)
    other = TaskEmbedding({"tokens": np.roll(embedding.arrays["tokens"], 3, axis=1)}, embedding.provenance)
    for form in ("max", "max-backward", "max-mean", "feature"):
        pairs = [AdapterUnits(form).similarity(source, embedding) for source in (embedding, other)]
        for index in ("exact", "faiss"):
            assert AdapterUnits(form, index).similarities([embedding, other], embedding) == pytest.approx(
                pairs, abs=1e-5
            )
    with pytest.raises(UserError, match="no index 'fais'; did you mean 'faiss'"):
        AdapterUnits("max", "fais")


def test_a_token_is_a_row_of_down_or_a_column_of_up_layer_by_layer(adapter, films, tiny):
    found = AdapterUnits().embed(*films, load_base(tiny), trained=adapter).arrays["tokens"]
    first = [[0, 1, 2], [3, 4, 5], [10, 12, 14], [11, 13, 15]]
    assert found.tolist() == [*first, *([number + 100 for number in row] for row in first)]
    assert found.dtype == np.float32


def test_half_precision_weights_become_float32(tmp_path):
    weight = torch.ones(2, 3, dtype=torch.bfloat16)
    save_file({"layer.0.output.adapters.x.adapter_up.weight": weight}, tmp_path / "adapter.safetensors")
    assert [part.dtype for part in units(AdapterCheckpoint(tmp_path, "x"))] == [np.float32]
    assert units(AdapterCheckpoint(tmp_path, "x"))[0].shape == (3, 2)


def test_a_trained_adapter_gives_every_unit_of_every_layer(trained, films, tiny):
    found = AdapterUnits().embed(*films, load_base(tiny), seed=4, trained=trained)
    assert found.arrays["tokens"].shape == (2 * LAYERS * R, WIDTH)
    last = trained.tensors["bert.encoder.layer.1.output.adapter_up.weight"].numpy()
    np.testing.assert_array_equal(found.arrays["tokens"][-1], last[:, -1])
    stated = (
        found.provenance["method"],
        found.provenance["key"],
        found.provenance["adapter"],
        found.provenance["seed"],
    )
    assert stated == ("rows", AdapterUnits().key, trained.fingerprint, 4)


def test_it_comes_back_from_its_file(trained, films, tiny, tmp_path):
    found = AdapterUnits().embed(*films, load_base(tiny), trained=trained)
    found.save(tmp_path / "a.safetensors")
    back = TaskEmbedding.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(back.arrays["tokens"], found.arrays["tokens"])
    assert AdapterUnits().similarity(back, found) == pytest.approx(1.0)


def test_the_similarity_is_the_named_one_from_source_to_target():
    draw = np.random.default_rng(0)
    provenance = {"base_fingerprint": "f", "key": AdapterUnits().key}
    source = TaskEmbedding({"tokens": draw.normal(size=(5, 3))}, {**provenance, "task": "a"})
    target = TaskEmbedding({"tokens": draw.normal(size=(5, 3))}, {**provenance, "task": "b"})
    for by, wanted in TOKEN_SIMILARITIES.items():
        assert AdapterUnits(similarity_by=by).similarity(source, target) == wanted(
            source.arrays["tokens"], target.arrays["tokens"]
        )
    assert AdapterUnits().similarity(source, target) == feature(source.arrays["tokens"], target.arrays["tokens"])
    one_way, back = (
        AdapterUnits(similarity_by="max").similarity(*pair) for pair in ((source, target), (target, source))
    )
    assert one_way == max_forward(source.arrays["tokens"], target.arrays["tokens"]) != back


def test_the_similarity_does_not_change_the_key():
    assert len({AdapterUnits(similarity_by=by).key for by in TOKEN_SIMILARITIES}) == 1


def test_adapters_of_unequal_width_are_compared_where_the_formula_can():
    provenance = {"base_fingerprint": "f", "key": AdapterUnits().key, "task": "a"}
    wide, narrow = (TaskEmbedding({"tokens": np.ones((n, 3))}, provenance) for n in (8, 4))
    assert AdapterUnits(similarity_by="max").similarity(wide, narrow) == pytest.approx(1.0)
    with pytest.raises(UserError, match="flatten compares tokens position by position: 8 source tokens, 4 target"):
        AdapterUnits(similarity_by="flatten").similarity(wide, narrow)


def test_another_base_is_refused():
    a, b = (TaskEmbedding({"tokens": np.ones((2, 3))}, {"task": t, "base_fingerprint": t, "key": "k"}) for t in "ab")
    with pytest.raises(UserError, match="embeddings of 'a' and 'b' differ in base_fingerprint"):
        AdapterUnits().similarity(a, b)


def test_without_an_adapter_it_says_what_it_needs(films, tiny):
    assert AdapterUnits.needs == "adapter"
    with pytest.raises(UserError, match="rows works from a trained adapter, and none of 'sentiment_films' is given"):
        AdapterUnits().embed(*films, load_base(tiny))


def test_an_adapter_without_projections_is_refused(tmp_path):
    save_file({"layer.0.prefix_tunings.x.wte": torch.ones(2, 2)}, tmp_path / "adapter.safetensors")
    with pytest.raises(UserError, match="has no projections"):
        units(AdapterCheckpoint(tmp_path, "x"))


def test_an_unknown_similarity_is_refused_at_once():
    with pytest.raises(UserError, match=r"no token similarity 'flaten'; did you mean 'flatten'\?"):
        AdapterUnits(similarity_by="flaten")
