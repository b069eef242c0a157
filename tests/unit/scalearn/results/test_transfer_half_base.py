"""A transfer on a decoder that is stored in bf16 is the one on its float32 twin, whatever trains."""

import pytest
import torch
from decoders import byte_tokenizer, tiny_decoder

from scalearn import AdapterPool, Recipe, train_source, transfer
from tasksel import Task, get_task, load_data
from tasksel.embeddings.connectivity import Connectivity
from tasksel.model.base import Base

WORDS = ("red", "blue")
RECIPE = Recipe(lr=2e-2, epochs=1, batch=8, max_length=40)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """The folders of a base that is stored in bf16, and of the same in float32."""
    folder, model = tmp_path_factory.mktemp("twins"), tiny_decoder("llama").bfloat16()
    for name in ("half", "whole"):
        model.save_pretrained(folder / name)
        byte_tokenizer().save_pretrained(folder / name)
        model = model.float()
    return Base(str(folder / "half")), Base(str(folder / "whole"))


@pytest.fixture(scope="module")
def sources(twins, tmp_path_factory):
    pool = AdapterPool(tmp_path_factory.mktemp("pool"), base=twins[0])
    for name in ("sentiment_films", "entail_travel"):
        train_source(get_task(name), pool, rows=16, lora={"r": 2}, recipe=RECIPE)
    return pool.select(["sentiment_films", "entail_travel"])


@pytest.fixture(scope="module")
def writing(tmp_path_factory):
    rows = [{"q": f"Flag {i}: {WORDS[i % 2]}", "a": WORDS[i % 2]} for i in range(16)]
    return Task.from_dicts(rows, name="Flag", text="{q}!", label="a", kind="generation", max_new_tokens=4, folder=tmp_path_factory.mktemp("rows"))  # fmt: skip


@pytest.mark.parametrize("method", ["scalearn", "full", "head-only", "single-adapter"])
@pytest.mark.parametrize("kind", ["writes", "classifies"])
def test_the_same_is_trained(twins, sources, writing, tmp_path, method, kind):
    task = writing if kind == "writes" else get_task("sentiment_phones")
    options = {"single-adapter": {"lora": {"r": 2}}}.get(method, {})
    results = [
        transfer(
            task,
            sources if method == "scalearn" else [],
            method=method,
            base=base,
            rows=16,
            recipe=RECIPE,
            out=tmp_path / f"out-{number}",
            **options,
        )
        for number, base in enumerate(twins)
    ]
    half, whole = (result.model().state_dict() for result in results)
    assert half.keys() == whole.keys()
    for name, tensor in half.items():
        torch.testing.assert_close(tensor.float(), whole[name], rtol=1e-4, atol=1e-5)
    assert results[0].seeds[0].dev == pytest.approx(results[1].seeds[0].dev, abs=1e-5)


@pytest.mark.parametrize("co_train", [False, True])
def test_the_same_heads_and_neurons_are_needed(twins, co_train):
    task, form = get_task("sentiment_films"), Connectivity(max_steps=6, batch=8, max_length=32, co_train=co_train)
    half, whole = (form.embed(task, load_data(task, rows=16), base) for base in twins)
    assert form.similarity(half, whole) == 1.0
