"""What version 0.1 stored is still read and gone on with, and nothing of it is computed again.

The files, and how they were made: tests/support/stored_by_0_1/README.md.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from library import library_model
from transformers import AutoTokenizer

from scalearn import METHODS, AdapterPool, Recipe, TransferResult, train_source, transfer
from scalearn.comparison.config import of_any_version, read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.find_result import find_result
from scalearn.comparison.measure_matrix import MatrixConfig, MatrixMeasurement
from scalearn.comparison.plan import Plan
from scalearn.comparison.records import RunFolder, name_of
from scalearn.results.predict import Export, predict_text
from tasksel import EMBEDDERS, find_tasks, get_embedder, get_task, load_base, load_data, rank
from tasksel.adapters.train import source_key
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.index import EmbeddingIndex
from tasksel.evaluation.leaderboard import evaluate_selectors
from tasksel.evaluation.score_records import read_scores
from tasksel.evaluation.score_selectors import missing_scores
from tasksel.evaluation.transfer_matrix import read_matrix
from tasksel.gain.pair_features import read_pair_features
from tasksel.gain.tradeoff import measured_pairs
from tasksel.selection.selectors import get_selector
from tasksel.tasks.examples import Split
from tasksel.tasks.registry import resolve_task
from tasksel.training.recipe import UNTIL_CHANGED

STORED = Path(__file__).parents[1] / "support" / "stored_by_0_1"
EXPECTED = json.loads((STORED / "expected.json").read_text())
OF_SOURCES = json.loads((STORED / "source_logits.json").read_text())
BASE, TARGET, ROWS = "tiny_base", "entail_kitchen", 24
RECIPE = Recipe(lr=1e-2, epochs=1, batch=8, max_length=32)
SOURCE_RECIPE = RECIPE.model_copy(update={"epochs": 2})
SIMILARITIES = (0.5, 0.2, 0.1)
HASHED = ("adapter_config.json", "head_config.json")  # stand in their cards by a hash of their bytes
NOT_STORED = ("make.py", "expect.py", "README.md", "expected.json", "source_logits.json", "__pycache__")
TIMED = {"seconds", "peak_memory", "versions", "base"}


def copy_stored(folder):
    """A copy at another place, so that the place where the files were made is rewritten in them, as a move of it would be."""
    shutil.copytree(STORED, folder, ignore=lambda at, names: NOT_STORED if Path(at) == STORED else ())
    for path in folder.rglob("*.json*"):
        text = path.read_text()
        if path.name not in HASHED and EXPECTED["root"] in text:
            path.write_text(text.replace(EXPECTED["root"], str(folder)))
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return copy_stored(tmp_path_factory.mktemp("stored") / "files")


@pytest.fixture
def stored(shared, monkeypatch):
    """The stored files, in the current folder. Read them only."""
    monkeypatch.chdir(shared)
    return shared


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The stored files, in the current folder, to be written to."""
    monkeypatch.chdir(copy_stored(tmp_path / "files"))
    return tmp_path / "files"


@pytest.fixture
def no_step(monkeypatch):
    """From here on, whoever trains fails, wherever its code lies."""

    def refuse(*_args, **_options):
        raise AssertionError("something was trained again")

    monkeypatch.setattr(torch.optim.AdamW, "step", refuse)


def files_of(folder, *, but=()):
    """Every file's bytes by its path."""
    paths = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if name not in but}


def assert_close(actual, expected, digits=5):
    """Fails where two JSON values differ, numbers by more than a hardware's rounding."""
    if isinstance(expected, dict):
        assert {str(key) for key in actual} == set(expected)
        for key in actual:
            assert_close(actual[key], expected[str(key)], digits)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other, digits)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=10**-digits)
    else:
        assert actual == expected


def own_tasks():
    """The tasks in `tasks/`: a data file, a task file, and task folders."""
    reviews, stay = resolve_task("tasks/reviews.csv", text=("text",)), resolve_task("tasks/stay.yaml")
    return {"reviews": reviews, "stay": stay, **{task.name: task for task in find_tasks("tasks")}}


def logits(model, task):
    """What a result or an export gives for the stored texts of a task."""
    rows = EXPECTED["texts"][task.name]
    if task.kind == "multiple_choice":
        split = Split([(text,) for text, _ in rows], [choices for _, choices in rows], np.zeros(len(rows)))
    else:
        split = Split([(row,) if isinstance(row, str) else tuple(row) for row in rows], None, np.zeros(len(rows)))
    return model.logits(split).tolist()


def summary(result):
    """What `expected.json` holds of a result."""
    metric, omega = result.task.metric, result.omega()
    return {
        "key": result.run.key,
        "sources": result.run.sources,
        "seeds": {seed: [entry.dev, entry.scores[metric]] for seed, entry in result.seeds.items()},
        "data": {seed: entry.data for seed, entry in result.seeds.items()},
        "parameters": result.seeds[0].parameters,
        "omega": omega.mean(-1).tolist() if omega.size else None,
        "logits": logits(result, result.task),
    }


def rows_by_name(rows):
    """A run's rows without what depends on when and where they were computed; later ones without what rows have gained since."""
    dumped = {name_of(row): row.model_dump(mode="json", exclude=TIMED) for row in rows}
    gained = {name_of(row): {"format", "settings"} for row in rows if row.format > 1}
    for row in dumped.values():
        row["recipe"] = {field: value for field, value in row["recipe"].items() if field not in UNTIL_CHANGED}
    return {
        name: {field: value for field, value in row.items() if field not in gained.get(name, ())}
        | ({"format": 1} if name in gained else {})
        for name, row in dumped.items()
    }


def stored_plan(name="run"):
    return Plan(read_config(Path(f"{name}.yaml"), Experiment), Path(name))


# what names a computation


def test_the_stored_base_has_the_fingerprint_it_had(stored):
    assert load_base(BASE).fingerprint == EXPECTED["base"]


def test_every_embedder_and_selector_has_the_key_it_had():
    assert {name: get_embedder(name).key for name in EMBEDDERS} == EXPECTED["embedder_keys"]
    assert {name: get_selector(name).key for name in EXPECTED["selector_keys"]} == EXPECTED["selector_keys"]


def test_tasks_of_every_kind_and_form_give_the_rows_they_gave(stored):
    for place, tasks in {"tasks": own_tasks(), "built_in": {task.name: task for task in find_tasks()}}.items():
        assert tasks.keys() == EXPECTED[place].keys()
        for name, task in tasks.items():
            data = load_data(task, rows=ROWS)
            actual = {"kind": task.kind, "labels": list(task.labels), "metric": task.metric, "outputs": task.outputs}
            actual |= {"rows": [len(data.train), len(data.dev), len(data.test)], "data": data.fingerprint}
            assert actual == EXPECTED[place][name], name


# a pool


def test_a_stored_pool_is_read_and_each_key_of_it_is_computed_again(stored):
    pool, actual = AdapterPool("pool"), {}
    pool.verify()
    for source in pool:
        card = source.card
        actual[source.name] = {"key": card.key, "data": card.data, "weights": source.fingerprint, "origin": card.origin}
        actual[source.name] |= {"scores": card.scores, "parameters": card.parameters, "kind": card.task.kind}
        data = load_data(source.task, rows=source.rows, seed=source.seed)
        assert data.fingerprint == card.data
        if card.recipe:
            assert source_key(source.task, data, pool.base, card.recipe, source.seed) == card.key
    assert actual == EXPECTED["pool"]


def encoded_texts(task):
    texts = [row if isinstance(row, list) else [row] for row in EXPECTED["texts"][task]]
    return AutoTokenizer.from_pretrained(BASE)(*zip(*texts, strict=True), padding=True, return_tensors="pt")


def test_a_stored_source_with_its_head_gives_what_it_gave(stored):
    pool = AdapterPool("pool")
    assert set(pool.names) == set(OF_SOURCES)
    for source in pool:
        expected = OF_SOURCES[source.name]
        with torch.no_grad():
            actual = source.trained.model(pool.base)(**encoded_texts(expected["texts"])).logits
        assert_close(actual.tolist(), expected["logits"])


def test_a_stored_source_with_its_head_gives_the_same_in_plain_adapters(stored, library):
    for name, expected in OF_SOURCES.items():
        model = library_model(BASE)
        model.set_active_adapters(model.load_adapter(f"pool/{name}", use_safetensors=True))
        with torch.no_grad():
            assert_close(model.eval()(**encoded_texts(expected["texts"])).logits.tolist(), expected["logits"])


def test_a_source_that_is_stored_is_not_trained_again(own, no_step):
    pool, before = AdapterPool("pool"), files_of(own)
    for name in ("sentiment_films", "entail_travel"):
        source = train_source(get_task(name), pool, rows=ROWS, recipe=SOURCE_RECIPE)
        assert source.card.key == EXPECTED["pool"][name]["key"]
    assert files_of(own) == before


def test_a_plain_adapter_is_adopted_as_it_was(own):
    adopted = AdapterPool("another", base=BASE).add("plain_adapter", task=own_tasks()["reviews"])
    actual = {"key": adopted.card.key, "weights": adopted.fingerprint, "origin": adopted.card.origin}
    assert actual.items() <= EXPECTED["pool"]["reviews"].items()


def test_a_ranking_takes_the_stored_embeddings_and_the_stored_adapter_of_the_target(own, no_step):
    pool, before = AdapterPool("pool", base=BASE), files_of(own)
    for by, expected in EXPECTED["rankings"].items():
        options = {"by": by, "base": pool.base, "rows": ROWS, "cache_dir": Path("targets")}
        ranking = rank(get_task("sentiment_phones"), pool, **options)
        assert_close({"names": list(ranking.names), "scores": list(ranking.scores)}, expected)
    assert files_of(own) == before


def test_every_stored_embedding_is_read(stored):
    actual = {}
    for path in Path("embeddings").iterdir():
        one = TaskEmbedding.load(path)
        arrays = {name: [str(a.dtype), list(a.shape), float(a.astype(float).sum())] for name, a in one.arrays.items()}
        kept = EXPECTED["embeddings"][path.name]["made"].keys()
        actual[path.name] = {"arrays": arrays, "made": {name: one.provenance[name] for name in kept}}
    assert_close(actual, EXPECTED["embeddings"], 4)
    assert {one["made"]["key"] for one in actual.values()} == {get_embedder(name).key for name in EMBEDDERS}


def test_both_kinds_of_index_answer_as_they_did(stored):
    for folder, expected in EXPECTED["indexes"].items():
        names, near = EmbeddingIndex.load(Path(folder)).rank_all(TaskEmbedding.load(Path(expected["query"])))
        assert_close({"query": expected["query"], "names": names, "similarities": near.tolist()}, expected)


# results

LATER_METHODS = {"auto", "majority", "closed-form-base", "closed-form"}  # than 0.1


def test_a_stored_result_of_every_method_gives_what_it_gave(stored):
    assert METHODS.keys() - LATER_METHODS == EXPECTED["results"].keys()
    for method, expected in EXPECTED["results"].items():
        assert_close(summary(TransferResult.load(f"results/{method}")), expected)


def test_a_stored_result_of_every_kind_of_task_gives_what_it_gave(stored):
    for name, expected in EXPECTED["results_by_kind"].items():
        assert_close(summary(TransferResult.load(f"results_by_kind/{name}")), expected)


def test_a_stored_transfer_is_not_trained_again_whatever_its_method_and_task(own, no_step):
    pool, before = AdapterPool("pool"), files_of(own)
    for method in EXPECTED["results"]:
        options = {"method": method, "seeds": [0, 1] if method == "scalearn" else [0], "similarities": SIMILARITIES}
        transfer(
            get_task(TARGET), list(pool), rows=ROWS, recipe=RECIPE, base=pool.base, out=f"results/{method}", **options
        )
    for name, task in own_tasks().items():
        transfer(task, list(pool), method="scalearn", rows=ROWS, recipe=RECIPE, out=f"results_by_kind/{name}")
    assert files_of(own) == before


def test_a_stored_joint_training_serves_another_result(own, no_step):
    pool, before = AdapterPool("pool"), files_of("joint")
    options = {"method": "joint", "rows": ROWS, "recipe": RECIPE, "store": "joint", "out": "another"}
    assert_close(summary(transfer(get_task(TARGET), list(pool), **options)), EXPECTED["results"]["joint"])
    assert files_of("joint") == before


def test_a_stored_export_predicts_what_it_predicted(stored):
    for folder in Path("exported").iterdir():
        export = Export.load(folder)
        expected = EXPECTED["exported"][export.task.name]
        texts = [row if isinstance(row, list) else [row] for row in EXPECTED["texts"][export.task.name]]
        assert_close(logits(export, export.task), expected)
        best = [export.task.labels[line.index(max(line))] for line in expected]
        if export.task.kind != "multi_label":
            assert [predict_text(folder, row)["prediction"] for row in texts] == best
        assert (folder / "README.md").read_text().startswith("---\n")


def test_a_stored_export_predicts_without_this_package(stored, library):
    for folder in Path("exported").iterdir():
        task, model = Export.load(folder).task, library_model(BASE)
        model.set_active_adapters(model.load_adapter(str(folder), use_safetensors=True))
        with torch.no_grad():
            actual = model.eval()(**encoded_texts(task.name)).logits
        assert_close(actual.tolist(), EXPECTED["exported"][task.name])


# a comparison


def test_a_stored_run_is_read_whole(stored):
    run, expected = RunFolder(Path("run")), EXPECTED["run"]
    assert run.missing == []
    assert_close(rows_by_name(run.rows), expected["rows"])
    assert_close([row.model_dump(mode="json", exclude={"seconds"}) for row in run.rankings], expected["rankings"])
    assert_close(json.loads(Path("run/map.json").read_text()), expected["map"])
    result = find_result(Path("run"), "sentiment_phones", "scalearn", seed=0)
    assert result.folder.name == next(iter(expected["units"].values()))
    assert_close(logits(result, result.task), expected["first"]["logits"])


def test_the_units_sources_and_rankings_of_a_stored_run_have_the_keys_they_had(stored):
    plan, expected = stored_plan(), EXPECTED["run"]
    shop, wanted = plan.work_store, plan.experiment
    assert {str(unit): shop.key(unit) for unit in plan.units} == expected["units"]
    seeds = [(name, seed) for name in wanted.sources.tasks for seed in (0, 1)]
    assert {f"{name}/{seed}": shop.source_key(name, seed) for name, seed in seeds} == expected["sources"]
    seeds = [(name, seed) for name in wanted.targets.tasks for seed in (0, 1)]
    assert {f"{name}/{seed}": shop.target_adapter_key(name, 12, seed) for name, seed in seeds} == expected["own"]
    assert all(plan.done(step) for step in plan.steps())


def test_a_stored_run_computes_nothing_again(own, no_step):
    before = files_of(own, but=["run/experiment.json"])
    stored_plan().run()
    assert files_of(own, but=["run/experiment.json"]) == before


def test_a_unit_that_is_lost_is_made_again_from_the_stored_joint_training(own, no_step):
    plan, expected = stored_plan(), EXPECTED["run"]
    before = files_of("run/store/joint")
    assert {name.split("/")[0] for name in before if name.endswith(".json")} == set(expected["joint"])
    for unit in plan.units:
        if unit.condition.method == "joint":
            key = expected["units"][str(unit)]
            Path(f"run/store/units/{key}.json").unlink()
            shutil.rmtree(f"run/store/results/{key}")
    plan.run()
    assert files_of("run/store/joint") == before
    assert_close(rows_by_name(RunFolder(Path("run")).rows), expected["rows"])


def test_an_interrupted_run_is_read_up_to_the_line_that_is_cut_short(stored):
    run, expected = RunFolder(Path("interrupted")), EXPECTED["interrupted"]
    assert run.missing == expected["missing"]
    assert len(run.rows) == len(expected["rows"]) - len(expected["missing"]) > 0


def test_an_interrupted_run_goes_on_where_it_stopped(own):
    plan, expected = stored_plan("interrupted"), EXPECTED["interrupted"]
    assert (sum(map(plan.done, plan.steps())), len(plan.steps())) == (expected["done"], expected["steps"])
    before = files_of("interrupted/store")
    whole = {name: content for name, content in before.items() if ".partial-" not in name}
    assert len(whole) < len(before)
    plan.run()
    after = files_of("interrupted/store")
    assert {name: after.get(name) for name in whole} == whole
    assert not [name for name in after if ".partial-" in name]
    run = RunFolder(Path("interrupted"))
    assert run.missing == []
    assert_close(rows_by_name(run.rows), expected["rows"], 3)  # two of them are trained here
    assert [name_of(row) for row in run.rows] == list(expected["rows"])


# a matrix


def test_a_stored_matrix_its_scores_and_its_pairs_are_read(stored):
    matrix, expected = read_matrix(Path("matrix")), EXPECTED["matrix"]
    truth = {}
    for target in matrix.targets:
        sources, scores = matrix.ground_truth(target)
        truth[target] = {"sources": list(sources), "scores": scores.tolist()}
        truth[target]["baseline"] = matrix.baseline(target).tolist()
    assert_close(truth, expected["truth"])
    scores, pairs = read_scores(Path("matrix")), read_pair_features(Path("matrix/pairs.jsonl"))
    assert_close({"/".join(map(str, key)): one.scores for key, one in scores.items()}, expected["scores"])
    features = {f"{target} <- {source}": [one.source_rows, one.features] for (target, source), one in pairs.items()}
    assert_close(features, expected["pairs"])
    assert missing_scores({key[0] for key in scores}, matrix.targets, [0], Path("matrix/scores.jsonl")) == []


def test_a_stored_matrix_judges_selectors_and_gives_gains_as_it_did(stored):
    matrix, expected = read_matrix(Path("matrix")), EXPECTED["matrix"]
    judged = evaluate_selectors(matrix, list(read_scores(Path("matrix")).values()))
    actual = {row.by: {name: value.mean for name, value in row.values.items()} for row in judged.rows}
    assert_close({by: actual[by] for by in expected["judgement"]}, expected["judgement"])
    features = {key: pair.features for key, pair in read_pair_features(Path("matrix/pairs.jsonl")).items()}
    gains, _ = measured_pairs(map(asdict, matrix.rows), features, method="sequential")
    assert_close({pair.name: pair.gain for pair in gains}, expected["gains"])


def test_a_stored_matrix_measures_nothing_again(own, no_step):
    before = files_of(own, but=["matrix/provenance.json"])
    measurement = MatrixMeasurement(read_config(Path("matrix.yaml"), MatrixConfig), Path("matrix"))
    assert measurement.todo() == []
    measurement.run()
    assert files_of(own, but=["matrix/provenance.json"]) == before


def test_what_a_stored_matrix_says_of_itself_is_still_what_decides_it(own):
    def decides():
        provenance = json.loads(Path("matrix/provenance.json").read_text())
        decisive = {name: of_any_version(provenance[name]) for name in ("config", "identity")}
        return {**decisive, "adapters": provenance["adapters"]}

    before = decides()
    MatrixMeasurement(read_config(Path("matrix.yaml"), MatrixConfig), Path("matrix")).run()
    assert decides() == before
