"""Tests of transfers on a decoder: every kind of task by the methods that need no slot, and the others refused before any work."""

import numpy as np
import pytest
from decoders import save_decoder
from refusals import refused_line

from scalearn import METHODS, AdapterPool, Recipe, TransferResult, train_source, transfer
from scalearn.results.predict import predict_text
from tasksel import Task, get_task

SHORT = {"epochs": 1, "batch": 8, "max_length": 24}
ROWS = [{"text": f"text {i}", "score": i / 10, "tags": ["a"] if i % 2 else ["a", "b"]} for i in range(30)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return {
        "single": get_task("sentiment_films"),
        "pair": get_task("entail_travel"),
        "choice": get_task("endings_daily"),
        "number": Task.from_dicts(ROWS, name="number", text="text", label="score", kind="regression", folder=folder),
        "several": Task.from_dicts(ROWS, name="several", text="text", label="tags", folder=folder),
    }


@pytest.mark.parametrize("method", ["head-only", "full", "closed-form-base"])
@pytest.mark.parametrize("kind", ["single", "pair", "choice", "number", "several"])
def test_every_kind_of_task_is_trained_stored_and_read_back(llama, tasks, tmp_path, few_strengths, kind, method):
    recipe = METHODS[method].recipe.model_copy(update=SHORT)
    result = transfer(tasks[kind], [], method=method, base=llama, rows=16, recipe=recipe, out=tmp_path / "out")
    seed = result.seeds[0]
    assert (seed.pooling, seed.parameters["transfer"] > 0) == ("last", method == "full")
    text = [("A text", ["one", "two"])] if kind == "choice" else [("A text", "B")] if kind == "pair" else ["A text"]
    again = TransferResult.load(result.folder)
    again._models.clear()
    np.testing.assert_allclose(again.predict(text), result.predict(text), atol=1e-6)


def test_a_recipe_that_asks_for_the_first_token_reads_the_last_which_the_record_says(llama, tasks, tmp_path):
    recipe = Recipe(lr=1e-3, **SHORT)
    result = transfer(tasks["single"], [], method="head-only", base=llama, rows=16, recipe=recipe, out=tmp_path / "out")
    assert (recipe.pooling, result.seeds[0].pooling) == ("first", "last")
    assert predict_text(result.folder, ["fine"])["names"] == ["negative", "positive"]


@pytest.mark.parametrize("method", ["single-adapter", "compacter++"])
def test_what_needs_a_slot_is_refused_before_any_work(llama, tasks, tmp_path, method):
    out = tmp_path / "out"
    said = refused_line(transfer, tasks["single"], [], method=method, base=llama, out=out)
    assert said.startswith(f"method '{method}' on base '{llama}': a llama is a decoder, whose layers are pre-LN")
    assert not out.exists()


def test_a_bottleneck_source_is_refused_before_any_work(llama, tasks, tmp_path):
    pool = AdapterPool(tmp_path / "pool", base=llama)
    said = refused_line(train_source, tasks["single"], pool)
    assert "a llama is a decoder, whose layers are pre-LN and have no slot for a bottleneck adapter" in said
    assert not pool.folder.exists()
