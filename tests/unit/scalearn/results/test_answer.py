"""An answer says what the stored result comes to, is computed once for the same seeds, and has no interval where one means nothing."""

import json
import os
import warnings

import numpy as np
import pytest
from stored_edits import edit

from scalearn import METHODS, Recipe, TransferResult, answer, transfer
from scalearn.results.answer import FILE, Answer, Gain
from scalearn.results.mistakes import Confusion, Labels, Places, Residuals
from tasksel import Task, UserError, get_task, load_data
from tasksel.storage.hashed import read_hashed
from tasksel.tasks.metrics import decide, score, within

MEAN = Recipe(start="solved", pooling="mean", max_length=32)
FORMS = {
    "question_type": Confusion,
    "entail_kitchen": Confusion,
    "similarity_market": Residuals,
    "complaints_orders": Labels,
    "endings_daily": Places,
}


def solved(pool, folder, target="entail_kitchen", *, method="closed-form", rows=24, recipe=MEAN, **options):
    """A result whose head is solved, in milliseconds."""
    sources = list(pool)[:2] if METHODS[method].takes_sources else []
    task = target if isinstance(target, Task) else get_task(target)
    return transfer(task, sources, method=method, base=pool.base, rows=rows, recipe=recipe, out=folder, **options)


@pytest.fixture
def file_task(tmp_path):
    """Makes a task of a CSV of its own, with the labels of its training and validation rows."""

    def make(train, validation, **options):
        files = {}
        for name, labels in (("train", train), ("validation", validation)):
            rows = [f"a {label} thing number {number},{label}" for number, label in enumerate(labels)]
            files[name] = tmp_path / f"{name}.csv"
            files[name].write_text("\n".join(["body,stars", *rows]) + "\n")
        return Task.from_csv(files["train"], validation=files["validation"], text="body", label="stars", **options)

    return make


@pytest.fixture
def no_computing(monkeypatch):
    """From here on, whoever computes an answer fails."""
    monkeypatch.setattr("scalearn.results.answer._computed", lambda *_: pytest.fail("an answer was computed again"))


# --- what it says


@pytest.mark.parametrize("name", FORMS)
def test_the_numbers_are_the_results_own_and_those_of_the_closed_form_on_the_bare_base(pool, tmp_path, name):
    result = solved(pool, tmp_path / "out", name)
    bare = solved(pool, tmp_path / "bare", name, method="closed-form-base")
    constant = solved(pool, tmp_path / "constant", name, method="majority")
    found = answer(result)
    assert found.score == pytest.approx(result.mean, abs=1e-9)
    assert found.without.score == pytest.approx(bare.mean, abs=1e-6)
    assert found.without.gain == pytest.approx(result.mean - bare.mean, abs=1e-6)
    assert found.constant.score == pytest.approx(constant.mean, abs=1e-6)
    for value, between in ((found.score, found.interval), (found.without.gain, found.without.interval)):
        assert between is None or between[0] <= value <= between[1]  # a tiny base may say the same of all rows
    assert name not in ("similarity_market", "complaints_orders") or None not in (
        found.interval,
        found.without.interval,
    )
    assert (found.rows, found.train_rows, found.seconds > 0) == (len(load_data(result.task).test), 24, True)
    assert isinstance(found.mistakes, FORMS[name])


def test_the_bare_base_is_read_as_the_result_reads_its_rows(pool, tmp_path):
    """Pooling and length change what no sources reach."""
    for number, change in enumerate(({"pooling": "first"}, {"max_length": 6})):
        recipe = MEAN.model_copy(update=change)
        result = solved(pool, tmp_path / f"out-{number}", "similarity_market", recipe=recipe)
        bare = solved(pool, tmp_path / f"bare-{number}", "similarity_market", method="closed-form-base", recipe=recipe)
        assert answer(result).without.score == pytest.approx(bare.mean, abs=1e-6)


def test_the_best_seed_is_shown_with_its_own_rows(pool, tmp_path):
    result = solved(pool, tmp_path / "out", seeds=[0, 1, 2])
    found = answer(result)
    bare = solved(pool, tmp_path / "bare", method="closed-form-base", seeds=[0, 1, 2])
    assert found.seed == result.best_seed
    assert found.seed_scores == result.scores
    assert found.without.score == pytest.approx(bare.scores[found.seed], abs=1e-6)
    assert "over 3 seeds: " in str(found)


@pytest.mark.parametrize("method", ["closed-form-base", "majority"])
def test_what_is_no_transfer_has_no_gain_over_no_sources(pool, tmp_path, method):
    found = answer(solved(pool, tmp_path / "out", method=method))
    assert (found.without, found.sources) == (None, {})
    assert f"'{method}' has no sources to gain from" in str(found)


def test_what_trains_without_sources_says_whose_the_gain_is(pool, tmp_path):
    recipe = Recipe(epochs=1, batch=8, max_length=24)
    found = answer(solved(pool, tmp_path / "out", method="head-only", recipe=recipe))
    assert found.without is not None
    assert "'head-only' has no sources: the gain is that of its training" in str(found)


def test_sources_stand_by_their_mean_weight_or_else_in_their_order(pool, tmp_path, results):
    weighed = results["scalearn"].save(tmp_path / "weighed")
    found = answer(weighed, rows=20)
    weights = np.array(list(found.sources.values()))
    model = weighed.model(seed=found.seed)
    expected = dict(zip(weighed.run.sources, weighed.method.source_weights(model, "entail_kitchen"), strict=True))
    assert found.sources == pytest.approx(expected)
    assert (np.diff(np.abs(weights)) <= 0).all()
    merged = answer(results["soup"].save(tmp_path / "merged"), rows=20)
    assert merged.sources == dict.fromkeys(results["soup"].run.sources)


@pytest.mark.parametrize("name", FORMS)
def test_what_errs_adds_up_to_the_rows(pool, tmp_path, name):
    result = solved(pool, tmp_path / "out", name)
    found, test = answer(result).mistakes, load_data(result.task).test
    logits = result.logits(test)
    decided = decide(logits, test.labels) if result.task.kind != "regression" else None
    if isinstance(found, Confusion):
        table = np.array(found.rows)
        assert np.trace(table) / table.sum() == pytest.approx((decided == test.labels).mean())
        np.testing.assert_array_equal(table.sum(1), np.bincount(test.labels, minlength=len(found.labels)))
        np.testing.assert_array_equal(table.sum(0), np.bincount(decided, minlength=len(found.labels)))
    elif isinstance(found, Labels):
        assert np.mean([label.f1 for label in found.labels]) == pytest.approx(score("macro_f1", logits, test.labels))
        assert [label.label for label in found.labels] == list(result.task.labels)
    elif isinstance(found, Places):
        assert sum(place.right for place in found.places) == (decided == test.labels).sum()
        assert sum(place.predicted for place in found.places) == len(test)
    else:
        gaps = within(logits, result.range())[:, 0] - test.labels
        assert (found.mean_absolute, found.bias) == pytest.approx((np.abs(gaps).mean(), gaps.mean()), abs=1e-5)
        worst = found.largest[0]
        assert abs(worst.predicted - worst.label) == pytest.approx(np.abs(gaps).max())
        assert test.texts[worst.row - 1][0].startswith(worst.text[:20])


def test_a_gain_is_one_only_where_its_interval_lies_above_0():
    gains = [(0.1, (0.01, 0.2)), (0.1, (-0.01, 0.2)), (-0.1, (-0.2, -0.01)), (0.0, None), (0.1, (0.0004, 0.2))]
    verdicts = [Gain(score=0.5, gain=gain, interval=between).verdict for gain, between in gains]
    assert verdicts == ["better", "no difference", "worse", "no difference", "no difference"]


# --- few rows


def test_one_validation_row_has_no_interval(pool, tmp_path, file_task):
    result = solved(pool, tmp_path / "out", file_task(["good", "bad"] * 8, ["good"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = answer(result)
    assert (found.rows, found.interval, found.without.interval, found.constant.interval) == (1, None, None, None)
    assert "one validation row says next to nothing" in str(found)
    assert "nan" not in str(found).lower()


@pytest.mark.parametrize("metric", ["matthews", "macro_f1", "accuracy"])
def test_validation_rows_of_one_class_are_said(pool, tmp_path, file_task, metric):
    result = solved(pool, tmp_path / "out", file_task(["good", "bad"] * 8, ["good"] * 6, metric=metric))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = answer(result)
    assert f"all validation rows have the same label, of which {metric} says little" in found.notes
    assert "6 validation rows are few" in str(found)
    assert "--validation names a file" in found.notes[0]
    assert metric != "matthews" or found.interval is None
    json.dumps(found.model_dump(mode="json"), allow_nan=False)


def test_at_most_so_many_validation_rows_are_scored(pool, tmp_path):
    result = solved(pool, tmp_path / "out")
    found = answer(result, rows=20)
    assert (found.rows, found.validation_rows) == (20, 200)
    assert "20 of 200 validation rows" in str(found)
    assert not any("--validation" in note for note in found.notes)  # a built-in task has no file
    assert answer(result).rows == 200
    with pytest.raises(UserError, match="rows is 0; give 1 or more"):
        answer(result, rows=0)


# --- where it is kept


def test_a_stored_answer_is_read_and_not_computed_again(pool, tmp_path, no_computing, monkeypatch):
    result = solved(pool, tmp_path / "out")
    monkeypatch.undo()
    first = answer(result)
    monkeypatch.setattr("scalearn.results.answer._computed", lambda *_: pytest.fail("computed again"))
    again = answer(TransferResult.load(result.folder))
    assert again == first
    assert str(again) == str(first)
    assert Answer.model_validate(read_hashed(result.folder / FILE)) == first
    assert answer(result.save(tmp_path / "copy")) == first
    result.verify()


def test_another_seed_makes_another_answer(pool, tmp_path):
    first = answer(solved(pool, tmp_path / "out"))
    result = solved(pool, tmp_path / "out", seeds=[0, 1])
    second = answer(result)
    assert second.key != first.key
    assert second.seed_scores == result.scores


def test_an_altered_answer_is_computed_again_which_is_said(pool, tmp_path, capsys):
    result = solved(pool, tmp_path / "out")
    path = result.folder / FILE
    first = answer(result)
    for spoil in (
        lambda: path.write_text(path.read_text().replace('"score": 0.', '"score": 0.9')),
        lambda: path.write_text("{"),
        lambda: edit(path, of_a_newer_version=1),
    ):
        spoil()
        assert answer(result) == first
        assert "it is computed again" in capsys.readouterr().err
    assert answer(result) == first
    assert capsys.readouterr().err == ""


def test_a_folder_that_may_not_be_written_to_has_an_answer(pool, tmp_path, monkeypatch):
    result = solved(pool, tmp_path / "out")

    def refuse(path, value):
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr("scalearn.results.answer.write_hashed", refuse)
    assert answer(result).rows == 200
    assert not (result.folder / FILE).exists()

    def full(path, value):
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr("scalearn.results.answer.write_hashed", full)
    with pytest.raises(OSError, match="No space left"):
        answer(result)


def test_data_that_has_changed_is_refused(pool, tmp_path, file_task):
    result = solved(pool, tmp_path / "out", file_task(["good", "bad"] * 8, ["good", "bad"]))
    file_task(["good", "bad"] * 9, ["good", "bad"])
    with pytest.raises(UserError, match="has changed since it was trained on"):
        answer(result)
