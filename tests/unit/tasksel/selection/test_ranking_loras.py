"""Every selector ranks LoRAs, or says before any work why it does not."""

import shutil

import numpy as np
import pytest

from scalearn import AdapterPool, Recipe, train_source
from tasksel import SELECTORS, UserError, get_task, rank
from tasksel.embeddings.adapter_units import units

READ = sorted(name for name, make in SELECTORS.items() if name not in ("oracle", "auto") and make().needs == "adapter")
PAIRED = ("fisher", "weights")  # what these begin with compares number by number
LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["query", "value"]}


@pytest.fixture(scope="module")
def alike(tiny, shared):
    """A pool of two LoRAs of one configuration."""

    def train(folder):
        pool = AdapterPool(folder, base=tiny)
        for name in ("sentiment_films", "entail_travel"):
            train_source(get_task(name), pool, rows=32, recipe=Recipe(lr=3e-3, epochs=1, max_length=32), lora=LORA)

    return shared.fill("alike-loras", train)


@pytest.fixture(scope="module")
def copied(alike, tmp_path_factory):
    """A copy that may be written to, and the folder that keeps what is computed of the target."""
    folder = tmp_path_factory.mktemp("ranked")
    shutil.copytree(alike, folder / "pool")
    return AdapterPool(folder / "pool"), folder / "cache"


@pytest.mark.usefixtures("few_strengths")
@pytest.mark.parametrize("name", [*READ, "auto"])
def test_every_selector_that_reads_adapters_ranks_loras_of_one_configuration(copied, name, monkeypatch):
    from tasksel.adapters import train

    monkeypatch.setattr(train, "TARGET_RECIPE", train.TARGET_RECIPE.model_copy(update={"epochs": 1}))
    pool, cache = copied
    ranking = rank(get_task("entail_kitchen"), pool, by=name, rows=24, cache_dir=cache)
    assert sorted(ranking.names) == sorted(pool.names)
    assert np.isfinite(ranking.scores).all()


def test_a_target_is_compared_by_a_lora_as_the_sources_are(copied):
    pool, cache = copied
    rank(get_task("entail_kitchen"), pool, by="rows-max", rows=24, cache_dir=cache)
    (folder,) = (cache / "entail_kitchen" / "trained").glob("adapter-*")
    assert (folder / "adapter_model.safetensors").is_file()
    assert not (folder / "adapter.safetensors").exists()


def test_what_pairs_numbers_refuses_loras_that_differ_before_any_work(lora_pool, tmp_path, monkeypatch):
    monkeypatch.setattr("tasksel.selection.candidate.train_adapter", lambda *_, **__: pytest.fail("trained"))
    paired = [name for name in READ if name.startswith(PAIRED)]
    assert paired
    for name in paired:
        with pytest.raises(
            UserError, match=r"compares LoRAs number by number, and '.*' and '.*' differ in targets; use rows-max"
        ):
            rank(get_task("entail_kitchen"), lora_pool, by=name, rows=24, cache_dir=tmp_path)
        with pytest.raises(UserError, match="differ in targets"):
            rank(get_task("entail_kitchen"), lora_pool, by=f"text+{name}", rows=24, cache_dir=tmp_path)


def test_units_of_any_loras_are_compared_where_they_lie_in_the_hidden_space(lora_pool, tmp_path):
    shutil.copytree(lora_pool.folder, tmp_path / "pool")
    pool = AdapterPool(tmp_path / "pool")
    ranking = rank(get_task("entail_kitchen"), pool, by="rows-max", rows=24, cache_dir=tmp_path / "cache")
    assert len(ranking) == 3
    widths = {part.shape[1] for part in units(pool["grammar_garden"].trained)}
    assert widths == {32, 64}
    names = pool["grammar_garden"].trained.tensors
    assert len(units(pool["grammar_garden"].trained)) == len([name for name in names if not name.startswith("pooler.")])
