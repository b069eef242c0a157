"""Numbers of a solved head are predicted and scored within the range that it was trained on; its logits are left as they are."""

import json
import shutil

import numpy as np
import pytest
from stored_edits import edit

from scalearn import Recipe, TransferResult, transfer
from scalearn.results.explain import explain
from scalearn.results.predict import Export, predict_file, predict_text
from tasksel import get_task, load_data
from tasksel.storage.hashed import read_hashed
from tasksel.tasks.builtin import builtin_rows
from tasksel.tasks.metrics import score

NUMBER = "rating_hotels"
SOLVED = Recipe(start="solved", lr=1e-2, epochs=1, batch=8, max_length=32)


@pytest.fixture(scope="module")
def solved(pool_folder, shared):
    """Solved and then trained on numbers."""
    from scalearn import AdapterPool

    def train(folder):
        sources = list(AdapterPool(pool_folder))[:2]
        transfer(get_task(NUMBER), sources, method="scalearn", rows=24, recipe=SOLVED, out=folder / "result")

    return TransferResult.load(shared.fill("result-of-solved-numbers", train) / "result")


@pytest.fixture
def narrow(solved, tmp_path):
    """The same with a range that its predictions leave."""
    logits = solved.logits(load_data(solved.task).test)
    shutil.copytree(solved.folder, tmp_path / "narrow")
    low, high = np.quantile(logits, [0.3, 0.6]).tolist()
    edit(tmp_path / "narrow" / "seed-0" / "seed.json", range=[low, high])
    return TransferResult.load(tmp_path / "narrow")


def test_the_range_is_that_of_all_rows_that_were_given(solved):
    data = load_data(solved.task, rows=24, seed=0)
    labels = [*data.train.labels.tolist(), *data.dev.labels.tolist()]
    assert solved.range() == pytest.approx((min(labels), max(labels)))


def test_a_closed_form_has_a_range_whatever_its_recipe_says(pool):
    random = Recipe(max_length=32)
    result = transfer(get_task(NUMBER), [], method="closed-form-base", base=pool.base, rows=16, recipe=random)
    assert result.range() is not None


def test_results_of_a_random_start_or_of_classes_have_none(kinds):
    for result in kinds.values():
        assert result.range() is None
        assert {entry.range for entry in result.seeds.values()} == {None}


def test_scores_count_numbers_within_the_range(solved, monkeypatch, tmp_path, pool):
    test = load_data(solved.task).test
    wanted = score(solved.task.metric, solved.logits(test).clip(*solved.range()), test.labels)
    assert solved.mean == pytest.approx(wanted, abs=1e-9)
    monkeypatch.setattr("scalearn.results.transfer.label_range", lambda kind, labels: (3.0, 3.01))
    held = transfer(solved.task, list(pool)[:2], method="scalearn", rows=24, recipe=SOLVED, out=tmp_path / "held")
    assert held.mean == pytest.approx(score(held.task.metric, held.logits(test).clip(3.0, 3.01), test.labels), abs=1e-9)
    assert held.mean != pytest.approx(solved.mean, abs=1e-6)


def test_result_and_export_predict_within_the_range_and_give_logits_beyond(narrow, tmp_path):
    (low, high), test = narrow.range(), load_data(narrow.task).test
    folder = narrow.export(tmp_path / "out")
    assert read_hashed(folder / "scalearn.json")["range"] == [low, high]
    rows = builtin_rows(NUMBER)["validation"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    logits = narrow.logits(test)
    np.testing.assert_allclose(Export.load(folder).logits(test), logits, atol=1e-4)
    assert logits.min() < low
    assert logits.max() > high
    for place in (narrow.folder, folder):
        predictions, value = predict_file(place, tmp_path / "rows.jsonl")
        numbers = np.array([row["prediction"] for row in predictions])
        np.testing.assert_allclose(numbers, logits[:, 0].clip(low, high), atol=1e-4)
        assert value == pytest.approx(score(narrow.task.metric, logits.clip(low, high), test.labels), abs=1e-4)


def test_one_text_is_predicted_within_the_range(narrow):
    edit(narrow.folder / "seed-0" / "seed.json", range=[100.0, 101.0])
    found = predict_text(narrow.folder, ["A fine room."])
    assert (found["prediction"], found["scores"]) == (100.0, [100.0])


def test_an_explanation_starts_from_the_stored_score(narrow, solved):
    assert explain(solved, draws=5).score == pytest.approx(solved.mean, abs=1e-9)
    (low, high), test = narrow.range(), load_data(narrow.task).test
    wanted = score(narrow.task.metric, narrow.logits(test).clip(low, high), test.labels)
    assert explain(narrow, draws=5).score == pytest.approx(wanted, abs=1e-6)


def test_the_card_keeps_its_number_within_the_range(narrow, tmp_path):
    low, high = narrow.range()
    text = (narrow.export(tmp_path / "out") / "README.md").read_text()
    assert f"clamp({low}, {high})" in text
    assert "its numbers may lie outside that range" in text


def test_an_export_without_a_range_has_no_such_key(kinds, tmp_path):
    assert "range" not in read_hashed(kinds["number"].export(tmp_path / "out") / "scalearn.json")
