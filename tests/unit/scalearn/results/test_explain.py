"""An explanation says what the stored result is: its weights, its shares, its score without each source, and how sure that is."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console
from stored_edits import edit

from scalearn import METHODS, TransferResult
from scalearn.comparison.find_result import find_result
from scalearn.comparison.records import RunFolder
from scalearn.methods.candidate import Candidate
from scalearn.results.explain import Explanation, LeftOut, explain, paired_intervals
from scalearn.results.explain_table import explanation_tables, strip
from tasksel import UserError, get_task, load_data
from tasksel.storage.hashed import read_hashed
from tasksel.tasks.metrics import score
from tasksel.training.predict import predict

DRAWS = 20


@pytest.fixture(scope="module")
def found(results):
    return explain(results["scalearn"], draws=DRAWS)


def shown(explanation, width=80, **options):
    out = io.StringIO()
    Console(file=out, width=width, **options).print(explanation_tables(explanation))
    return out.getvalue()


def made_up(layers=2, omega_rows=None, **change):
    left = (LeftOut("a", 0.6, -0.2, -0.3, -0.1), LeftOut("b", 0.8, 0.0, -0.1, 0.1), LeftOut("c", 0.9, 0.1, 0.05, 0.2))
    told = {
        "target": "t",
        "method": "scalearn",
        "seed": 1,
        "metric": "accuracy",
        "score": 0.8,
        "rows": 10,
        "dev_rows": 4,
    }
    told |= {"sources": ("a", "b", "c"), "slots": tuple(f"layer.{i}" for i in range(layers)), "left_out": left}
    told |= {"shares": ((0.5, 0.3, 0.2),) * layers, "omega": ((0.25, 0.5, 1.5),) * (omega_rows or layers)}
    return Explanation(**{**told, **change})


def test_the_full_score_is_the_stored_one(results, found):
    result = results["scalearn"]
    assert found.seed == result.best_seed
    assert found.score == pytest.approx(result.scores[found.seed], abs=1e-9)
    assert found.rows == len(load_data(result.task, rows=32).test)
    assert [one.source for one in found.left_out] == list(result.run.sources)


def test_omega_is_the_mean_of_the_stored_weights(results, found):
    stored = np.abs(results["scalearn"].omega(seed=found.seed)).mean(-1)
    np.testing.assert_allclose(found.omega, stored, rtol=1e-6)


def test_a_shared_omega_has_one_row_but_shares_by_layer(results):
    other = explain(results["scalearn++"], rows=10, draws=2)
    assert np.shape(other.omega) == (1, 3)
    assert np.shape(other.shares) == (2, 3)
    assert other.shares[0] != other.shares[1]


def test_a_normalised_omega_is_what_scales_and_not_what_is_stored(results):
    for method in ("scalearn-mean", "scalearn-softmax"):
        omega = np.array(explain(results[method], rows=10, draws=2).omega)
        np.testing.assert_allclose(omega.sum(axis=1), 1, atol=1e-5)  # all are positive here


@pytest.mark.parametrize("kind", ["single", "number", "several labels", "choices"])
def test_every_kind_of_task_can_be_explained(kinds, kind):
    result = kinds[kind]
    told = explain(result, draws=2)
    assert told.score == pytest.approx(result.scores[result.best_seed], abs=1e-9)
    np.testing.assert_allclose(np.sum(told.shares, axis=1), 1)


def test_the_cached_model_stays_as_it_was(results):
    result, texts = TransferResult.load(results["scalearn"].folder), [("a pan", "a pot"), ("b", "c")]
    before = result.predict(texts, seed=1)
    explain(result, seed=1, rows=10, draws=2)
    assert np.array_equal(result.predict(texts, seed=1), before)


def test_a_cap_takes_the_same_rows_every_time(results):
    one, two = (explain(results["scalearn"], rows=20, draws=5) for _ in range(2))
    assert one.rows == 20
    assert one == two


def test_what_cannot_be_explained_says_what_can(results):
    for method in ("head-only", "single-adapter", "sequential"):
        with pytest.raises(UserError, match=f"'{method}' has no mix .* scalearn, scalearn-uniform"):
            explain(results[method])
    with pytest.raises(UserError, match="no seed 9"):
        explain(results["scalearn"], seed=9)
    with pytest.raises(UserError, match="rows is 0; give 1 or more"):
        explain(results["scalearn"], rows=0)


def test_data_that_has_changed_since_is_refused(results):
    result = results["scalearn"]
    other = get_task("entail_travel").model_copy(update={"labels": result.task.labels})
    moved = dataclasses.replace(result, run=result.run.model_copy(update={"task": other}), _models={})
    with pytest.raises(UserError, match="has changed since it was trained on"):
        explain(moved)


# --- the interval ---


def test_the_interval_is_that_of_the_naive_bootstrap():
    rng = np.random.default_rng(5)
    full, other, labels = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    draws, naive = np.random.default_rng(7), []
    for _ in range(40):
        rows = draws.integers(0, 30, 30)
        hits = [sum(logits[i].argmax() == labels[i] for i in rows) / 30 for logits in (other, full)]
        naive.append(hits[0] - hits[1])
    expected = tuple(np.quantile(naive, [0.025, 0.975]))
    (found,) = paired_intervals("accuracy", full, [other], labels, draws=40, seed=7)
    assert found == pytest.approx(expected)


def test_the_interval_is_paired():
    logits, labels = np.eye(2)[[0, 1] * 20], np.array([0, 0, 1, 1] * 10)
    assert paired_intervals("accuracy", logits, [logits + 1], labels, draws=50) == [
        (0.0, 0.0)
    ]  # by hand: the same answers
    wrong = 1 - np.eye(2)[labels]
    assert paired_intervals("accuracy", 1 - wrong, [wrong], labels, draws=9) == [(-1.0, -1.0)]


def test_a_draw_that_lacks_a_class_is_no_warning(recwarn):
    logits, labels = np.eye(2)[[0, 1, 1]], np.array([0, 1, 1])
    for metric in ("matthews", "macro_f1", "f1"):
        assert np.isfinite(paired_intervals(metric, logits, [logits[::-1]], labels, draws=30)).all()
    assert not recwarn.list


def test_a_difference_within_its_interval_is_none():
    verdicts = {(-0.3, -0.1): "helps", (0.1, 0.2): "harms", (-0.1, 0.1): "no difference", (0.0, 0.0): "no difference"}
    verdicts |= {(-0.1, 0.0): "no difference", (0.0, 0.1): "no difference"}
    for (low, high), verdict in verdicts.items():
        assert LeftOut("a", 0.5, (low + high) / 2, low, high).verdict == verdict


def test_leaving_out_scores_what_the_model_without_it_scores(results, found):
    from scalearn.layers.attribution import without
    from tasksel.model.encoding import encode_split

    result = results["scalearn"]
    test, model = load_data(result.task, rows=32, seed=found.seed).test, result.model(seed=found.seed)
    with without(model, result.task.name, 2):
        logits = predict(model, encode_split(test, result.task, result.base.tokenizer, max_length=32))
    assert found.left_out[2].score == score("accuracy", logits, test.labels)
    assert found.left_out[2].difference == found.left_out[2].score - found.score


# --- where the result lies ---


def test_a_runs_folder_and_a_target_name_a_result(experiment_run):
    found = find_result(experiment_run, "entail_kitchen")
    rows = [row for row in RunFolder(experiment_run).rows if row.method == "scalearn"]
    best = max(rows, key=lambda row: (row.dev, -row.seed))
    assert found.folder == experiment_run / "store" / "results" / best.key
    assert find_result(found.folder).run == found.run
    assert find_result(experiment_run, "entail_kitchen", "head-only").run.method == "head-only"
    for row in rows:
        assert list(find_result(experiment_run, "entail_kitchen", seed=row.seed, size="full").seeds) == [row.seed]


@pytest.mark.parametrize(
    ("target", "method", "said"),
    [
        (None, None, "is a run: name one of its targets after it: entail_kitchen"),
        ("entail_kichen", None, "no target 'entail_kichen'; did you mean 'entail_kitchen'?"),
        ("entail_kitchen", "scalern", "no method 'scalern'; did you mean 'scalearn'?"),
        ("entail_kitchen", "scalearn++", r"no method 'scalearn\+\+'"),
    ],
)
def test_a_run_without_the_result_says_what_it_has(experiment_run, target, method, said):
    with pytest.raises(UserError, match=said):
        find_result(experiment_run, target, method)


def test_a_target_wants_a_runs_folder(results):
    with pytest.raises(UserError, match=r"is no run \(no experiment.json\)"):
        find_result(results["scalearn"].folder, "entail_kitchen")


def test_an_unfinished_run_says_so(experiment_run, tmp_path):
    path = shutil.copy(experiment_run / "experiment.json", tmp_path / "experiment.json")
    with pytest.raises(UserError, match="entail_kitchen by scalearn: it is not finished"):
        find_result(tmp_path, "entail_kitchen")
    shutil.copy(experiment_run / "rows.jsonl", tmp_path)
    with pytest.raises(UserError, match=r"entail_kitchen by scalearn, seed 1: no model of it is kept \(keep: false\)"):
        find_result(tmp_path, "entail_kitchen", seed=1)
    edit(path, experiment=read_hashed(path)["experiment"] | {"methods": ["head-only"]})
    with pytest.raises(UserError, match="have no mix; methods that have one: auto"):
        find_result(tmp_path, "entail_kitchen")


# --- how it reads ---


def test_json_holds_all_of_it_with_its_provenance(results, found):
    told = json.loads(json.dumps(found.to_json()))
    assert told["shares"] == [list(row) for row in found.shares]
    assert told["left_out"][0] == {**dataclasses.asdict(found.left_out[0]), "verdict": found.left_out[0].verdict}
    assert told["made"]["key"] == results["scalearn"].run.key
    assert told["made"]["versions"]["torch"]


def test_the_repr_names_the_largest_share_first_and_what_counts():
    assert repr(made_up()) == (
        "Explanation(t by scalearn, seed 1: accuracy 0.8000; shares: a 50 %, b 30 %, c 20 %; left out: a helps, c harms)"
    )


def test_a_strip_is_one_block_a_layer():
    assert strip([0.0, 0.25, 0.5], 0.5) == "▁▅█"
    assert strip([0.0, 0.0], 0.0) == "▁▁"


def test_the_table_reads_without_colour_and_fits_a_terminal():
    for layers in (2, 12, 24):
        text = shown(made_up(layers))
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= 80
        assert "t by scalearn, seed 1: accuracy 80.0 % on 10 validation rows" in text
        lines = [line.split() for line in text.splitlines()]
        assert ["a", "█" * layers, "50.0", "60.0", "-20.0", "-30.0", "to", "-10.0", "helps"] in lines
        assert ["b", "▅" * layers, "30.0", "80.0", "+0.0", "-10.0", "to", "+10.0", "-"] in lines
        assert ["c", *["1.50"] * min(12, layers)] in lines


def test_one_omega_for_all_layers_is_one_column():
    text = shown(made_up(layers=6, omega_rows=1))
    assert "mean |omega|, one for all layers" in text
    assert ["c", "1.50"] in [line.split() for line in text.splitlines()]


def test_the_candidates_that_were_compared_are_shown_with_the_reason_where_the_score_does_not_say_it():
    closed = [Candidate("closed form", (), 0.6, seconds=1.0), Candidate("closed form", ("a",), 0.7, chosen=True)]
    ahead = Candidate("trained", ("a",), 0.71, steps=40, seconds=90.0, margin=0.024)
    text = shown(made_up(candidates=(*closed, ahead)))
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.split() for line in text.splitlines()]
    assert ["closed", "form", "on", "the", "base", "alone", "60.0", "+0.0", "1.0"] in lines
    assert ["closed", "form", "on", "a", "70.0", "+10.0", "0.0", "chosen"] in lines
    assert ["trained", "from", "a,", "40", "steps", "71.0", "+11.0", "90.0", "within", "2.4"] in lines
    assert "within: ahead by less than its standard error, in points" in text
    text = shown(made_up(candidates=(*closed, dataclasses.replace(ahead, score=None, folds=2))))
    assert ["trained", "from", "a,", "40", "steps", "-", "-", "90.0", "given", "up"] in [
        line.split() for line in text.splitlines()
    ]
    assert "given up: not ahead of the best closed form after 2 folds" in text


def test_the_methods_that_can_be_explained_are_those_with_a_mix(results):
    for name, method in METHODS.items():
        assert method.mixes == bool(results[name].omega().size)
