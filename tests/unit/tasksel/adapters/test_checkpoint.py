"""A trained adapter: its weights by layer, its model, and what is refused."""

import shutil

import pytest
import torch
from library import library_model

from tasksel import UserError, get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.train import train_adapter
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.training.predict import evaluate
from tasksel.training.recipe import Recipe

RECIPE = Recipe(lr=1e-3, epochs=1, max_length=32)


@pytest.fixture(scope="module")
def made(make_base, tmp_path_factory):
    """A task, its rows, a base of eleven layers, and the adapter that was trained of them. Copy it before you write."""
    task, base = get_task("sentiment_films"), load_base(make_base(num_hidden_layers=11))
    data = load_data(task, rows=40)
    return task, data, base, train_adapter(task, data, base, tmp_path_factory.mktemp("kept"), recipe=RECIPE)


def test_its_tensors_stand_layer_by_layer_without_the_adapters_name(made):
    names = [name for name in made[3].tensors if name.endswith("adapter_down.0.weight")]
    assert [int(name.split("layer.")[1].split(".")[0]) for name in names] == list(range(11))
    assert not any("sentiment_films" in name for name in names)


def test_its_model_is_the_librarys(made, library):
    task, data, base, trained = made
    ours = trained.model(base)
    theirs = library_model(base)
    name = theirs.load_adapter(str(trained.folder), use_safetensors=True)
    theirs.set_active_adapters(name)
    batch = encode_split(data.dev, task, base.tokenizer, max_length=32).batch([0, 1])
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        torch.testing.assert_close(ours(**inputs).logits, theirs.eval()(**inputs).logits)
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_training_moves_the_adapter_and_tells_what_it_scored(made):
    task, data, base, trained = made
    ups = [tensor for name, tensor in trained.tensors.items() if name.endswith("adapter_up.weight")]
    assert all(float(tensor.abs().max()) > 0 for tensor in ups)
    dev = encode_split(data.dev, task, base.tokenizer, max_length=32)
    assert 0 <= evaluate(trained.model(base), task, dev) <= 1
    assert trained.seconds > 0
    assert trained.nbytes > 4 * sum(tensor.numel() for tensor in trained.tensors.values())


def test_another_seed_or_recipe_is_another_adapter(make_base, tmp_path):
    task, base = get_task("sentiment_films"), load_base(make_base())
    data = load_data(task, rows=20)
    folders = {train_adapter(task, data, base, tmp_path, seed=seed, recipe=RECIPE).folder for seed in (0, 0, 1)}
    longer = RECIPE.model_copy(update={"epochs": 2})
    assert len(folders | {train_adapter(task, data, base, tmp_path, recipe=longer).folder}) == 3


def test_an_adapter_without_its_head_cannot_run(made, tmp_path):
    shutil.copytree(made[3].folder, tmp_path / "a")
    (tmp_path / "a" / "model_head.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no head \(model_head.safetensors\)"):
        AdapterCheckpoint(tmp_path / "a", "sentiment_films").model(made[2])


def test_an_adapter_without_its_head_runs_where_none_is_needed(made, tmp_path):
    shutil.copytree(made[3].folder, tmp_path / "a")
    (tmp_path / "a" / "model_head.safetensors").unlink()
    headless = AdapterCheckpoint(tmp_path / "a", "sentiment_films")
    assert (made[3].has_head, headless.has_head) == (True, False)
    model = headless.model(made[2], head=False)
    assert model.active_head is None
    assert not list(model.heads)
    assert model.active_adapter is not None


def test_half_a_file_is_refused(made, tmp_path):
    shutil.copytree(made[3].folder, tmp_path / "a")
    path = tmp_path / "a" / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        _ = AdapterCheckpoint(tmp_path / "a", "sentiment_films").tensors
    with pytest.raises(UserError, match="the adapter cannot be loaded"):
        AdapterCheckpoint(tmp_path / "a", "sentiment_films").model(made[2])
