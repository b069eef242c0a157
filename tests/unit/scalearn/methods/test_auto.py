"""The method `auto`: the same folds for every candidate, never below the base by cross-validation, deterministic, and exact as one adapter."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scalearn import AdapterPool, TransferResult, transfer
from scalearn.layers.mix import bottleneck_layers
from scalearn.methods import auto
from scalearn.methods.auto import AUTO_RECIPE
from scalearn.methods.budget import affordable_steps
from scalearn.methods.candidate import Candidate, in_words, with_chosen
from scalearn.results.predict import Export
from tasksel import get_task, load_data
from tasksel.model.encoding import encode_split
from tasksel.tasks.examples import Split
from tasksel.training.cross_validation import CrossValidated
from tasksel.training.loop import Diverged, fit
from tasksel.training.recipe import Recipe

KINDS = ["entail_kitchen", "question_type", "similarity_market", "complaints_orders", "endings_daily"]
RECIPE = AUTO_RECIPE.model_copy(update={"max_length": 32, "batch": 8, "budget": 0.0})
TRAINED = RECIPE.model_copy(update={"budget": None, "max_steps": 6})


def run(pool, name="entail_kitchen", *, recipe=RECIPE, sources=2, rows=40, **options):
    return transfer(get_task(name), list(pool)[:sources], method="auto", rows=rows, recipe=recipe, **options)


def solved(monkeypatch, value):
    """Every closed form scores this, and is wrong on every row."""

    def solve(self, model, omega):
        auto.set_weights(model, omega)
        return CrossValidated(None, 1.0, value, -np.eye(self.task.outputs)[self.rows.labels])

    monkeypatch.setattr(auto._Trial, "_solve", solve)


@pytest.fixture(scope="module")
def trained(pool_folder, tmp_path_factory):
    pool = AdapterPool(pool_folder)
    return run(pool, recipe=TRAINED, out=tmp_path_factory.mktemp("auto") / "out")


def test_the_candidates_go_from_cheap_to_dear(trained, pool):
    first, second = list(pool)[:2]
    tried = trained.seeds[0].candidates
    assert [(one.name, one.sources, one.steps) for one in tried[:3]] == [
        ("closed form", (), 0),
        ("closed form", (first.name,), 0),
        ("closed form", (first.name, second.name), 0),
    ]
    [last] = tried[3:]
    assert (last.name, last.steps) == ("trained", 6)


def test_the_score_of_the_chosen_one_is_the_results(trained):
    [chosen] = [one for one in trained.seeds[0].candidates if one.chosen]
    assert trained.seeds[0].dev == chosen.score


def marked(*candidates):
    return [one.chosen for one in with_chosen([Candidate("closed form", (), *values) for values in candidates])]


def test_the_best_by_cross_validation_is_chosen_and_of_equal_ones_the_cheapest():
    assert marked((0.5,), (0.7,), (0.7,), (0.6,)) == [False, True, False, False]
    assert marked((None,), (None,)) == [True, False]


def test_a_training_must_be_ahead_of_every_closed_form_by_its_standard_error():
    closed = Candidate("closed form", ("mnli",), 0.70)
    tried = [closed, Candidate("trained", ("mnli",), 0.72, steps=6, margin=0.021)]
    assert [one.chosen for one in with_chosen(tried)] == [True, False]
    assert [one.chosen for one in with_chosen([closed, replace(tried[1], margin=0.019)])] == [False, True]


def test_a_source_that_says_nothing_leaves_the_base_alone(pool, monkeypatch):
    """All candidates have the same score, as where no source helps: the first, the bare base, stays."""
    solved(monkeypatch, 0.5)
    result = run(pool)
    assert [one.chosen for one in result.seeds[0].candidates] == [True, False, False]
    for _, slot in bottleneck_layers(result.model(), "entail_kitchen"):
        assert not slot.adapters["entail_kitchen"].omega().any()


def test_training_that_cannot_help_leaves_step_0(pool):
    """A rate at which training only destroys: the closed form stays."""
    result = run(pool, recipe=TRAINED.model_copy(update={"lr": 1e4, "head_lr": 1e4, "clip": 1e6}))
    [chosen] = [one for one in result.seeds[0].candidates if one.chosen]
    assert (chosen.name, chosen.steps) == ("closed form", 0)


def test_training_that_is_not_ahead_after_two_folds_is_given_up(pool, monkeypatch):
    """A rival without a mistake: two of the five folds are trained, and the result is not."""
    fits, solve = [], auto._Trial._solve

    def perfect(self, model, omega):
        return replace(solve(self, model, omega), logits=np.eye(self.task.outputs)[self.rows.labels])

    monkeypatch.setattr(auto._Trial, "_solve", perfect)
    monkeypatch.setattr(auto, "fit", lambda *given, **options: fits.append(given) or fit(*given, **options))
    [*_, last] = run(pool, recipe=TRAINED).seeds[0].candidates
    assert (last.name, last.folds, last.score, last.chosen) == ("trained", auto.FOLDS_FIRST, None, False)
    assert len(fits) == auto.FOLDS_FIRST


def test_the_margin_is_the_standard_error_of_the_difference_of_two_scores_on_the_same_rows():
    """Ahead on every row: the difference of two accuracies, 1 and 0, is the same on every draw. Behind on some: as a share's, sqrt(p (1 - p) / n)."""
    trial = object.__new__(auto._Trial)
    trial.task = get_task("entail_kitchen")
    labels = np.tile([0, 1], 100)
    trial.rows = SimpleNamespace(labels=labels)
    right = np.eye(2)[labels]
    partly = np.where((np.arange(200) < 150)[:, None], right, -right)
    assert trial._standard_error(right, -right) == 0.0
    assert trial._standard_error(right, partly) == pytest.approx((0.75 * 0.25 / 200) ** 0.5, rel=0.1)


def test_training_that_diverges_leaves_the_closed_forms(pool, monkeypatch, capsys):
    def diverge(*_, **__):
        raise Diverged("the loss became NaN")

    monkeypatch.setattr(auto, "fit", diverge)
    assert [one.name for one in run(pool, recipe=TRAINED).seeds[0].candidates] == ["closed form"] * 3
    assert "the loss became NaN; auto goes on without training" in capsys.readouterr().err


def test_training_that_helps_moves_omega_and_copies_of_the_sources(pool, tmp_path, monkeypatch):
    solved(monkeypatch, 0.0)
    result = run(pool, recipe=TRAINED, out=tmp_path / "out")
    [chosen] = [one for one in result.seeds[0].candidates if one.chosen]
    assert chosen.name == "trained"
    again = TransferResult.load(tmp_path / "out").model()
    kept = dict(bottleneck_layers(result.model(), "entail_kitchen"))
    frozen, moved = result.layers(), []
    for path, slot in bottleneck_layers(again, "entail_kitchen"):
        up = slot.adapters["entail_kitchen"].up
        assert torch.equal(up, kept[path].adapters["entail_kitchen"].up)
        moved.append(not torch.equal(up.cpu(), frozen[path].up))
    assert any(moved)
    texts = [("Two cooks peel carrots", "Nobody cooks"), ("It rains", "It is dry")]
    split = Split(texts, None, np.zeros(2, dtype=np.int64))
    exported = Export.load(result.export(tmp_path / "export"))
    np.testing.assert_allclose(exported.logits(split), result.logits(split), atol=1e-4)
    omega = result.omega()
    start = np.array(chosen.omega(2), dtype=np.float32)[:, None]
    assert not np.allclose(omega, start, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_task_is_stored_read_again_and_exported(pool, tmp_path, name):
    result = run(pool, name, rows=24, out=tmp_path / "out")
    split = load_data(get_task(name)).test.take(range(5))
    again = TransferResult.load(tmp_path / "out")
    assert again.seeds[0].candidates == result.seeds[0].candidates
    np.testing.assert_array_equal(again.logits(split), result.logits(split))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_task_is_trained_on_all_folds_and_has_a_margin(pool, monkeypatch, name):
    monkeypatch.setattr(auto, "FOLDS_FIRST", 9)  # never given up
    [*_, last] = run(pool, name, rows=24, recipe=TRAINED).seeds[0].candidates
    assert (last.name, last.folds) == ("trained", 0)
    assert np.isfinite(last.score)
    assert 0 < last.margin < 1


def test_the_same_seed_gives_the_same_result(trained, pool):
    again = run(pool, recipe=TRAINED)
    scores = [[(one.score, one.chosen) for one in result.seeds[0].candidates] for result in (trained, again)]
    assert scores[0] == scores[1]
    assert again.scores == trained.scores


def test_one_source_makes_no_mix_of_two(pool):
    assert [len(one.sources) for one in run(pool, sources=1).seeds[0].candidates] == [0, 1]


def test_two_lines_say_what_was_chosen_and_what_the_sources_gave():
    task = get_task("entail_kitchen")
    tried = [
        Candidate("closed form", (), 0.6),
        Candidate("closed form", ("mnli",), 0.72, chosen=True),
        Candidate("closed form", ("mnli", "rte"), 0.7),
    ]
    assert in_words(task, tried) == [
        "entail_kitchen: chose closed form on mnli: accuracy 0.7200 by cross-validation, 0.0200 over closed form on mnli + rte",
        "the sources gave +0.1200 over closed form on the base alone (0.6000)",
    ]
    alone = [Candidate("closed form", (), 0.6, chosen=True), Candidate("closed form", ("mnli",), 0.5)]
    assert in_words(task, alone)[1] == "the sources gave nothing over the base alone by that score, so none is used"


def test_a_training_that_is_ahead_by_chance_or_given_up_is_said():
    task = get_task("entail_kitchen")
    closed = [Candidate("closed form", (), 0.6), Candidate("closed form", ("mnli",), 0.72, chosen=True)]
    ahead = Candidate("trained", ("mnli",), 0.73, steps=40, margin=0.021)
    assert in_words(task, [*closed, ahead])[0] == (
        "entail_kitchen: chose closed form on mnli: accuracy 0.7200 by cross-validation; "
        "trained from mnli, 40 steps is 0.0100 ahead, within its standard error of 0.0210"
    )
    given_up = Candidate("trained", ("mnli",), steps=40, folds=2)
    assert in_words(task, [*closed, given_up])[0] == (
        "entail_kitchen: chose closed form on mnli: accuracy 0.7200 by cross-validation, 0.1200 over closed form on the base alone; "
        "training was not ahead after 2 folds and was given up"
    )


def test_a_budget_buys_steps_by_their_operations(pool):
    model, task = pool.base.model(), get_task("entail_kitchen")
    rows = encode_split(load_data(task, rows=40).train, task, pool.base.tokenizer, max_length=32)
    recipe = Recipe(batch=8, epochs=10**9, budget=1.0)
    once = affordable_steps(model, rows, recipe)
    assert affordable_steps(model, rows, recipe, trainings=4) == once // 4
    assert affordable_steps(model, rows, recipe.model_copy(update={"batch": 16})) == pytest.approx(once / 2, abs=1)
    assert affordable_steps(model, rows, recipe.model_copy(update={"budget": 0.0})) == 0
    assert affordable_steps(model, rows, Recipe(batch=8, max_steps=7)) == 7


def test_a_method_that_trains_stays_within_its_budget(pool):
    task = get_task("entail_kitchen")
    recipe = Recipe(batch=8, epochs=10, budget=1e-9, start="solved", max_length=32)
    with pytest.raises(Exception, match="budget 1e-09: buys no step of training"):
        transfer(task, list(pool)[:1], method="sequential", rows=40, recipe=recipe)
    assert torch.is_grad_enabled()
