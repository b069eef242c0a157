"""Tests of adapters compared by their weights: the vectors by hand, and what the mean does not mind."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tasksel import TaskEmbedding, get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.train import train_adapter
from tasksel.embeddings.adapter_weights import AdapterWeights
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.training.recipe import Recipe

LAYERS, WIDTH, R = 2, 32, 2  # of the tiny models: 32 wide, reduction factor 16


@pytest.fixture(scope="module")
def films():
    task = get_task("sentiment_films")
    return task, load_data(task, rows=40)


def written(folder, *layers):
    """An adapter with these (down [r, d], up [d, r]) in its layers."""
    tensors = {}
    for n, (down, up) in enumerate(layers):
        place = f"bert.encoder.layer.{n}.output.adapters.x"
        tensors |= {f"{place}.adapter_down.0.weight": down, f"{place}.adapter_up.weight": up}
        tensors |= {f"{place}.adapter_down.0.bias": -torch.ones(len(down)), f"{place}.adapter_up.bias": -torch.ones(3)}
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter.safetensors")
    return AdapterCheckpoint(folder, "x")


def embedding(*numbers, task="a", base="f", key="k"):
    return TaskEmbedding(
        {"vector": np.array(numbers, np.float32)}, {"task": task, "base_fingerprint": base, "key": key}
    )


DOWN, UP = torch.tensor([[0.0, 1, 2], [4, 5, 6]]), torch.tensor([[10.0, 20], [11, 21], [12, 22]])


def test_flat_is_every_projection_and_no_bias(films, tiny, tmp_path):
    adapter = written(tmp_path / "a", (DOWN, UP), (DOWN + 100, UP + 100))
    found = AdapterWeights().embed(*films, load_base(tiny), trained=adapter)
    first = [0, 1, 2, 4, 5, 6, 10, 11, 12, 20, 21, 22]  # up unit by unit
    assert found.arrays["vector"].tolist() == [*first, *(number + 100 for number in first)]
    assert found.arrays["vector"].dtype == np.float32
    assert found.nbytes == 96


def test_mean_is_the_mean_unit_of_each_projection(films, tiny, tmp_path):
    adapter = written(tmp_path / "a", (DOWN, UP), (DOWN + 100, UP + 100))
    found = AdapterWeights(form="mean").embed(*films, load_base(tiny), trained=adapter).arrays["vector"]
    assert found.tolist() == [2, 3, 4, 15, 16, 17, 102, 103, 104, 115, 116, 117]
    assert found.dtype == np.float32


def test_mean_does_not_mind_the_order_of_units_and_flat_does(films, tiny, tmp_path):
    pair = written(tmp_path / "a", (DOWN, UP)), written(tmp_path / "b", (DOWN.flip(0), UP.flip(1)))
    near = {}
    for form in ("flat", "mean"):
        found = [AdapterWeights(form=form).embed(*films, load_base(tiny), trained=one) for one in pair]
        near[form] = AdapterWeights(form=form).similarity(*found)
    assert near["mean"] == pytest.approx(1.0, abs=1e-7)
    assert near["flat"] < 0.95


def test_the_sizes_of_a_trained_adapter(films, tiny, tmp_path):
    adapter = train_adapter(*films, load_base(tiny), tmp_path, recipe=Recipe(epochs=1, max_length=32))
    flat, mean = (
        AdapterWeights(form=form).embed(*films, load_base(tiny), trained=adapter) for form in ("flat", "mean")
    )
    assert flat.arrays["vector"].shape == (2 * LAYERS * R * WIDTH,)
    assert mean.arrays["vector"].shape == (2 * LAYERS * WIDTH,)
    assert flat.provenance["adapter"] == adapter.fingerprint
    flat.save(tmp_path / "flat.safetensors")
    back = TaskEmbedding.load(tmp_path / "flat.safetensors")
    assert AdapterWeights().similarity(back, flat) == pytest.approx(1.0)
    assert back.provenance == flat.provenance


def test_similarity_is_the_cosine():
    by = AdapterWeights()
    assert by.similarity(embedding(3, 4), embedding(4, 3)) == pytest.approx(0.96)
    assert by.similarity(embedding(3, 4), embedding(-6, -8)) == pytest.approx(-1.0)
    assert by.similarity(embedding(0, 0), embedding(4, 3)) == 0.0


def test_what_was_made_otherwise_is_refused():
    with pytest.raises(UserError, match="'a' and 'b' differ in base_fingerprint"):
        AdapterWeights().similarity(embedding(1, 2), embedding(1, 2, task="b", base="g"))
    with pytest.raises(UserError, match="'a' and 'b' differ in key"):
        AdapterWeights().similarity(embedding(1, 2), embedding(1, 2, task="b", key="l"))


def test_adapters_of_another_length_are_refused():
    with pytest.raises(
        UserError, match=r"of 'a' and 'b' have 2 and 3 numbers: train both alike \(form 'mean' compares"
    ):
        AdapterWeights().similarity(embedding(1, 2), embedding(1, 2, 3, task="b"))
    with pytest.raises(UserError, match=r"2 and 3 numbers: train both alike$"):
        AdapterWeights(form="mean").similarity(embedding(1, 2), embedding(1, 2, 3, task="b"))


def test_the_forms_have_keys_of_their_own():
    assert AdapterWeights().key == AdapterWeights(form="flat").key != AdapterWeights(form="mean").key


def test_without_an_adapter_it_says_what_it_needs(films, tiny):
    assert AdapterWeights.needs == "adapter"
    with pytest.raises(UserError, match="weights works from a trained adapter, and none of 'sentiment_films' is given"):
        AdapterWeights().embed(*films, load_base(tiny))


def test_an_unknown_form_is_refused_at_once():
    with pytest.raises(UserError, match=r"no form of weights 'flatt'; did you mean 'flat'\?"):
        AdapterWeights(form="flatt")
