"""A comparison runs to its end, goes on where it was interrupted, shares its work, and computes nothing twice."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from scalearn import AdapterPool, TransferResult
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.comparison.records import RunFolder
from tasksel import UserError, get_task
from tasksel.tasks.load import load_data

STEPS = [
    *(
        f"source {name}, seed {seed}"
        for seed in (0, 1)
        for name in ("sentiment_films", "grammar_garden", "entail_travel")
    ),
    *(f"rank sources for entail_kitchen with all rows by connectivity, seed {seed}" for seed in (0, 1)),
    *(
        f"entail_kitchen with all rows by {method}, seed {seed}"
        for seed in (0, 1)
        for method in ("scalearn from 2 sources by connectivity", "head-only")
    ),
]


def plan(config, out, **options):
    return Plan(Experiment.model_validate(config), out, **options)


def names(steps):
    return [str(step) for step in steps]


def to_do(made):
    return names(step for step in made.steps() if not made.done(step))


def scores(out):
    return {(row.target, row.method, row.size, row.by, row.k, row.seed): row.score for row in RunFolder(out).rows}


@pytest.fixture
def own_run(experiment_run, tmp_path):
    shutil.copytree(experiment_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def quick(config):
    """Without anything to rank."""
    config["rank"] = {"by": "all", "order": "vocabulary"}
    config["targets"]["seeds"] = [0]
    return config


def test_a_plan_lists_every_step_and_leaves_no_trace(config, tmp_path, no_training):
    made = plan(config, tmp_path / "out")
    assert names(made.steps()) == STEPS
    assert to_do(made) == STEPS
    assert list(tmp_path.iterdir()) == []


def test_a_plan_prints_what_is_done_and_what_is_to_do(own_run, config, no_training):
    made = plan(config, own_run)
    row = next(row for row in RunFolder(own_run).rows if row.method == "head-only")
    (own_run / "store" / "units" / f"{row.key}.json").unlink()
    lines = str(made).splitlines()
    to_do = [f"{len(STEPS) - 2:>4}  to do  {STEPS[-3]}"]
    assert [line for line in lines if "  to do  " in line] == to_do
    assert lines[0] == f"   1  done   {STEPS[0]}"
    assert lines[-1] == f"{len(STEPS)} steps, {len(STEPS) - 1} done"
    assert repr(made) == f"Plan('small', {str(own_run)!r}, {len(STEPS)} steps)"


def test_a_run_stores_every_step(experiment_run, config):
    made = plan(config, experiment_run)
    assert names(made.steps()) == STEPS
    assert to_do(made) == []
    run = RunFolder(experiment_run)
    assert [str(unit) for unit in made.units] == run.planned
    assert run.missing == []
    assert [(row.method, row.seed) for row in run.rows] == [(unit.condition.method, unit.seed) for unit in made.units]
    assert (run.config["name"], len(run.rankings)) == ("small", 2)
    assert run.provenance["versions"]["torch"]


def test_a_row_tells_what_was_done(experiment_run):
    row = next(row for row in RunFolder(experiment_run).rows if row.method == "scalearn" and row.seed == 1)
    result = TransferResult.load(experiment_run / "store" / "results" / row.key)
    assert row.score == result.scores[1]
    assert row.sources == result.run.sources
    assert (row.rows, row.dev_rows, row.test_rows) == (22, 2, len(load_data(get_task("entail_kitchen")).test))
    assert (len(row.omega), len(row.omega[0])) == (result.omega().shape[0], 2)
    assert row.omega[0][0] == pytest.approx(float(result.omega()[0, 0].mean()), abs=1e-6)
    assert (row.by, row.k, row.own, row.size, row.protocol) == ("connectivity", 2, False, "full", "sound")
    assert row.parameters["transfer"] == result.omega().size


def test_the_best_ranked_sources_are_mixed_and_each_seed_has_sources_of_its_own(experiment_run):
    run = RunFolder(experiment_run)
    for seed in (0, 1):
        ranking = next(one for one in run.rankings if one.seed == seed)
        row = next(row for row in run.rows if row.method == "scalearn" and row.seed == seed)
        assert list(row.sources) == list(ranking.names[:2])
        [folder] = (experiment_run / "store" / "sources").glob(f"*/seed-{seed}")
        pool = AdapterPool(folder)
        assert {source.seed for source in pool} == {seed}
        assert row.sources == {name: pool[name].fingerprint for name in row.sources}


def test_the_papers_protocol_shares_one_seeds_sources_and_rows(config, tmp_path):
    config |= {"protocol": "paper", "rank": {"by": "all"}, "methods": ["scalearn-uniform"]}
    made = plan(config, tmp_path / "run")
    assert [name for name in names(made.steps()) if name.startswith("source")] == STEPS[:3]
    made.run()
    one, two = RunFolder(tmp_path / "run").rows
    assert one.sources == two.sources
    assert one.data == two.data
    assert one.key != two.key


def test_the_papers_own_source_is_of_its_one_seed_and_single_adapters_of_every(config, tmp_path):
    config |= {"protocol": "paper", "methods": ["single-adapter", "scalearn-uniform"]}
    config["rank"] = {"by": "all", "own": True}
    told = [name for name in names(plan(config, tmp_path / "run").steps()) if name.startswith("target adapter")]
    assert told == [f"target adapter of entail_kitchen with all rows, seed {seed}" for seed in (0, 1)]
    plan(config, tmp_path / "run").run()
    one, two = (row for row in RunFolder(tmp_path / "run").rows if row.method == "scalearn-uniform")
    assert one.sources == two.sources
    assert list(one.sources)[-1] == "entail_kitchen"


def test_a_second_run_does_nothing(own_run, config, no_training):
    def written():
        return {path: path.stat().st_mtime_ns for path in (own_run / "store").glob("**/*.*")}

    before, told = written(), scores(own_run)
    plan(config, own_run).run()
    assert written() == before
    assert scores(own_run) == told


def test_only_what_is_missing_is_done_again(own_run, config, experiment_run, monkeypatch):
    row = next(row for row in RunFolder(own_run).rows if row.method == "scalearn" and row.seed == 1)
    shutil.rmtree(own_run / "store" / "results" / row.key)
    trained, module = [], sys.modules["scalearn.methods.training"]
    plain = module.fit
    monkeypatch.setattr(module, "fit", lambda *a, label, **k: (trained.append(label), plain(*a, label=label, **k))[1])
    made = plan(config, own_run)
    assert to_do(made) == ["entail_kitchen with all rows by scalearn from 2 sources by connectivity, seed 1"]
    made.run()
    assert trained == ["entail_kitchen by scalearn, seed 1"]
    assert scores(own_run) == scores(experiment_run)


def test_an_interrupted_run_goes_on_to_the_same_numbers(config, experiment_run, tmp_path, monkeypatch):
    source, transfer = sys.modules["tasksel.adapters.train"], sys.modules["scalearn.methods.training"]
    for module, calls in ((source, 2), (transfer, 2)):
        left, plain = [1] * calls, module.fit

        def some(*args, left=left, plain=plain, **kwargs):
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return plain(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module, "fit", some)
            with pytest.raises(KeyboardInterrupt):
                plan(config, tmp_path / "run").run()
    assert to_do(plan(config, tmp_path / "run")) == STEPS[-2:]
    assert len(RunFolder(tmp_path / "run").rows) == 2, "a killed run's rows are there for a report"
    assert RunFolder(tmp_path / "run").missing == STEPS[-2:]
    plan(config, tmp_path / "run").run()
    assert scores(tmp_path / "run") == scores(experiment_run)
    one, two = ([(r.names, r.scores) for r in RunFolder(out).rankings] for out in (tmp_path / "run", experiment_run))
    assert one == two


def test_several_processes_give_the_same_numbers(config, experiment_run, tmp_path):
    plan(config, tmp_path / "run").run(jobs=2)
    assert scores(tmp_path / "run") == pytest.approx(scores(experiment_run))
    assert RunFolder(tmp_path / "run").missing == []


@pytest.mark.parametrize(
    ("jobs", "world", "said"), [(0, "1", "--jobs 0: give 1 or more"), (2, "2", "either --jobs or a launch")]
)
def test_wrong_numbers_of_processes_are_refused(config, tmp_path, monkeypatch, jobs, world, said):
    made = plan(config, tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(UserError, match=said):
        made.run(jobs=jobs)


def test_two_tables_that_share_a_store_compute_nothing_twice(own_run, config, tmp_path, monkeypatch, request):
    config |= {"methods": ["head-only", "scalearn-uniform"], "name": "another"}
    made = plan(config, tmp_path / "other", store=own_run / "store")
    assert to_do(made) == [
        f"entail_kitchen with all rows by scalearn-uniform from 2 sources by connectivity, seed {s}" for s in (0, 1)
    ]
    made.run()
    assert len(scores(tmp_path / "other")) == 4
    assert plan(config, tmp_path / "third", store=own_run / "store").rows() == RunFolder(tmp_path / "other").rows


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"epochs": 1, "batch": 8, "max_length": 20}},
        {"lr": {"head-only": 0.5}},
        {"protocol": "paper"},
        {"test_rows": 10},
        {"targets": {"tasks": ["entail_kitchen"], "rows": 20, "seeds": [0, 1]}},
    ],
    ids=str,
)
def test_a_unit_is_named_by_all_that_decides_it(own_run, config, tmp_path, change):
    made = plan({**config, **change}, tmp_path / "other", store=own_run / "store")
    assert not any(made.done(step) for step in made.steps() if step.unit and step.unit.condition.method == "head-only")


def test_other_sources_leave_a_method_without_sources_alone(own_run, config, tmp_path):
    config["sources"]["rows"] = 20
    made = plan(config, tmp_path / "other", store=own_run / "store")
    done = {step.unit.condition.method for step in made.steps() if step.unit and made.done(step)}
    assert done == {"head-only"}


def test_a_single_adapter_and_the_own_source_are_one_training(quick, tmp_path, monkeypatch):
    quick["targets"] = {"tasks": ["entail_kitchen"], "sizes": [6], "seeds": [0]}
    quick |= {"methods": ["single-adapter", "scalearn-uniform"], "test_rows": 20}
    quick["rank"] |= {"own": True}
    made = plan(quick, tmp_path / "run")
    made.run()
    single, mixed = RunFolder(tmp_path / "run").rows
    [folder] = (tmp_path / "run" / "store" / "own").glob("*/*")
    own = AdapterPool(folder)["entail_kitchen"]
    assert list(mixed.sources) == [*quick["sources"]["tasks"], "entail_kitchen"], "it comes last"
    assert mixed.sources["entail_kitchen"] == own.fingerprint
    assert (mixed.k, mixed.own, mixed.rows, mixed.dev_rows, mixed.test_rows) == (4, True, 6, 6, 20)
    assert single.score == own.card.scores["accuracy"]
    assert (single.steps, single.parameters, single.dev) == (
        own.card.steps,
        own.card.parameters,
        own.card.scores["dev"],
    )
    assert (own.card.task.draw.shots, single.bytes, single.epoch) == (6, own.trained.nbytes, own.card.epoch)


def test_an_own_source_is_trained_again_only_where_an_unfinished_unit_asks_for_it(quick, tmp_path):
    quick["targets"] = {"tasks": ["entail_kitchen"], "sizes": [6], "seeds": [0]}
    quick |= {"methods": ["single-adapter", "scalearn-uniform"], "keep": False, "test_rows": 20}
    quick["rank"] |= {"own": True}
    made = plan(quick, tmp_path / "run")
    made.run()
    shutil.rmtree(tmp_path / "run" / "store" / "own")
    assert to_do(made) == []
    unit = made.units[-1]
    made.work_store.unit_path(unit).unlink()
    assert to_do(made) == ["target adapter of entail_kitchen with 6 rows, seed 0", str(unit)]


def test_a_source_that_was_trained_just_so_is_the_single_adapter(quick, tmp_path):
    quick["targets"] = {"tasks": ["grammar_garden"], "rows": 24, "seeds": [0]}
    quick |= {
        "methods": ["single-adapter"],
        "recipe": {**quick["sources"]["recipe"], "start": "random", "pooling": "first"},
    }
    quick["rank"] |= {"own": True}
    made = plan({**quick, "map": "vocabulary"}, tmp_path / "run")
    made.run()
    assert not (tmp_path / "run" / "store" / "own").exists()
    [row] = RunFolder(tmp_path / "run").rows
    [folder] = (tmp_path / "run" / "store" / "sources").glob("*/seed-0")
    assert row.score == AdapterPool(folder)["grammar_garden"].card.scores["accuracy"]
    told = json.loads((tmp_path / "run" / "map.json").read_text())
    assert (told["by"], told["names"]) == ("vocabulary", quick["sources"]["tasks"])
    assert [told["similarity"][i][i] for i in range(3)] == pytest.approx([1.0] * 3)
    assert told["similarity"][0][1] == told["similarity"][1][0] < 1


def test_each_source_alone_and_a_sweep_over_k(quick, tmp_path):
    quick["rank"] = {"by": ["vocabulary", "each"], "top": [1, 3]}
    quick |= {"methods": ["scalearn-uniform"], "keep": False}
    plan(quick, tmp_path / "run").run()
    rows = RunFolder(tmp_path / "run").rows
    assert [(row.by, row.k) for row in rows] == [("vocabulary", 1), ("vocabulary", 3), *[("each", 1)] * 3]
    assert [next(iter(row.sources)) for row in rows[2:]] == quick["sources"]["tasks"]
    best = next(row for row in rows[2:] if row.sources.keys() == rows[0].sources.keys())
    assert best.score == rows[0].score, "the ranking's first alone is that source alone"
    assert not (tmp_path / "run" / "store" / "results").exists(), "no model is kept"


def test_a_soup_is_weighed_by_the_rankings_scores_and_what_is_unlike_has_none(quick, tmp_path, monkeypatch):
    quick |= {"methods": ["soup-similarity"]}
    made = plan(quick, tmp_path / "run")
    told = {"sentiment_films": 0.5, "grammar_garden": -0.25, "entail_travel": 0.25}
    ranking = sys.modules["tasksel.selection.selectors"].TaskBaseline
    monkeypatch.setattr(ranking, "scores", lambda self, target, sources: [told[s.name] for s in sources], raising=True)
    config = {**quick, "rank": {"by": "all", "order": "kind"}}
    made = plan(config, tmp_path / "run")
    made.run()
    [row] = RunFolder(tmp_path / "run").rows
    run = TransferResult.load(tmp_path / "run" / "store" / "results" / row.key).run
    assert list(zip(run.sources, run.similarities, strict=True)) == [
        ("sentiment_films", 0.5),
        ("entail_travel", 0.25),
        ("grammar_garden", 0.0),
    ]


def test_a_run_that_diverges_is_a_row_without_a_score_and_the_rest_goes_on(quick, tmp_path):
    quick |= {"methods": ["single-adapter", "full", "head-only"], "lr": {"single-adapter": 1e30, "full": 1e30}}
    plan(quick, tmp_path / "run").run()
    told = {row.method: row.score for row in RunFolder(tmp_path / "run").rows}
    assert told["single-adapter"] is told["full"] is None
    assert told["head-only"] is not None
    assert RunFolder(tmp_path / "run").missing == []


def test_another_configuration_in_the_folder_is_refused_and_what_differs_is_named(own_run, config):
    config["rank"]["top"], config["methods"] = 1, ["scalearn"]
    with pytest.raises(UserError, match=r"holds a different run \(it differs in rank, methods\)"):
        plan(config, own_run)


def test_a_base_that_was_moved_and_renamed_goes_on_with_what_is_done(own_run, config, tiny, make_base, tmp_path):
    moved = shutil.copytree(tiny, tmp_path / "renamed")
    assert to_do(plan({**config, "base": str(moved)}, own_run)) == []
    with pytest.raises(UserError, match=r"holds a different run \(it differs in base\)"):
        plan({**config, "base": make_base(seed=1)}, own_run)
    shutil.copytree(own_run / "store", tmp_path / "store")
    assert to_do(plan({**config, "base": str(moved)}, tmp_path / "other", store=tmp_path / "store")) == []


def test_a_folder_that_holds_something_else_is_refused(config, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        plan(config, tmp_path)


def test_what_a_run_killed_at_its_first_write_left_is_no_hindrance(config, tmp_path):
    (tmp_path / ".partial-abcd1234").write_text("half")
    (tmp_path / ".lock-experiment.json").touch()
    assert plan(config, tmp_path).steps()


def test_a_file_in_the_place_of_the_folder_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="choose another --out"):
        plan(config, tmp_path / "file")


def test_a_unit_of_a_newer_version_is_refused(own_run, config):
    path = next((own_run / "store" / "units").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    with pytest.raises(UserError, match=rf"{path.name}: written by a newer version"):
        plan(config, own_run).run()


def test_no_run_is_said_to_be_none(tmp_path):
    with pytest.raises(UserError, match=r"no run there \(no experiment\.json\)"):
        RunFolder(tmp_path)


def test_task_folders_run_to_the_end(all_folders, config, tmp_path):
    config["data"] = str(all_folders)
    config["sources"]["tasks"] = ["stsb", "cola"]
    config["targets"] = {"tasks": ["rte"], "rows": 24, "seeds": [0]}
    config |= {"methods": ["scalearn-uniform"], "test_rows": 12}
    plan(config, tmp_path / "out").run()
    [row] = RunFolder(tmp_path / "out").rows
    assert (row.target, row.method, row.parameters["transfer"], row.test_rows) == ("rte", "scalearn-uniform", 4, 12)
    assert Path(tmp_path / "out" / "rankings.jsonl").read_text().count("\n") == 1
