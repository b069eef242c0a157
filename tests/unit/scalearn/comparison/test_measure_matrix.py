"""A measured matrix: every pair once, resumable, the same with any number of jobs, and the baseline beside it."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml
from stored_edits import edit

from scalearn import AdapterPool
from scalearn.cli.main import main
from scalearn.comparison.config import of_any_version, read_config
from scalearn.comparison.matrix_config import MatrixConfig, MatrixUnit, matrix_units
from scalearn.comparison.measure_matrix import MatrixMeasurement, measure_matrix, piece_by_name, read_piece
from scalearn.layers.mix import bottleneck_layers
from scalearn.layers.stacking import stack
from scalearn.methods.registry import METHODS
from tasksel import UserError, get_task
from tasksel.evaluation.transfer_matrix import read_matrix
from tasksel.storage.hashed import read_hashed

SCRIPTS = Path(__file__).parents[4] / "scripts"
TOLD = {
    "name": "small",
    "sources": {"tasks": ["sentiment_films", "entail_travel"], "rows": 40, "recipe": {"epochs": 1, "max_length": 32}},
    "targets": {"tasks": ["sentiment_phones", "entail_travel"], "rows": 40, "test_rows": 30, "seeds": [0, 1]},
    "recipe": {"epochs": 1, "max_length": 32},
    "lr": {"sequential": 1.0e-3},
}


def config(tiny, **changes):
    return MatrixConfig.model_validate({**TOLD, "base": tiny, **changes})


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    """A whole measurement. Read it, or copy it before you write."""
    folder = tmp_path_factory.mktemp("matrix") / "run"
    MatrixMeasurement(config(tiny), folder).run()
    return folder


@pytest.fixture
def own(measured, tmp_path):
    shutil.copytree(measured, tmp_path / "run")
    return tmp_path / "run"


def untimed(folder):
    rows = [json.loads(line) for line in (folder / "matrix.jsonl").read_text().splitlines()]
    return sorted(({k: v for k, v in row.items() if k not in ("seconds", "hash")} for row in rows), key=str)


def test_the_units_are_the_baseline_and_each_source_but_the_targets_own_by_each_method(tiny):
    found = matrix_units(config(tiny, targets={**TOLD["targets"], "seeds": [7]}))
    assert found == [
        MatrixUnit("sentiment_phones", None, "single-adapter", 7),
        MatrixUnit("sentiment_phones", "sentiment_films", "sequential", 7),
        MatrixUnit("sentiment_phones", "entail_travel", "sequential", 7),
        MatrixUnit("sentiment_phones", "sentiment_films", "scalearn", 7),
        MatrixUnit("sentiment_phones", "entail_travel", "scalearn", 7),
        MatrixUnit("entail_travel", None, "single-adapter", 7),
        MatrixUnit("entail_travel", "sentiment_films", "sequential", 7),
        MatrixUnit("entail_travel", "sentiment_films", "scalearn", 7),
    ]


def test_a_measurement_holds_every_unit_once(measured, tiny):
    rows = read_matrix(measured).rows
    assert sorted((r.target, str(r.source), r.method, r.seed) for r in rows) == sorted(
        (u.target, str(u.source), u.method, u.seed) for u in matrix_units(config(tiny))
    )
    assert all(0 <= row.score <= 1 and row.steps == 2 and row.seconds > 0 for row in rows)


def test_it_says_what_made_it(measured, tiny):
    told = json.loads((measured / "provenance.json").read_text())
    assert told["config"]["targets"]["rows"] == 40
    assert set(told["identity"]["rows"]) == {"sentiment_films", "entail_travel", "sentiment_phones"}
    assert told["versions"]["torch"]


def test_a_killed_measurement_goes_on_to_the_same_rows(measured, own, tiny):
    lines = (own / "matrix.jsonl").read_text().splitlines(keepends=True)
    (own / "matrix.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    run = MatrixMeasurement(config(tiny), own)
    assert len(run.todo()) == len(lines) - 5
    run.run()
    assert untimed(own) == untimed(measured)


def test_one_that_was_killed_in_its_first_row_goes_on_and_two_jobs_measure_what_one_measures(measured, own, tiny):
    (own / "matrix.jsonl").write_text((own / "matrix.jsonl").read_text()[:10])
    run = MatrixMeasurement(config(tiny), own)
    assert len(run.todo()) == len(untimed(measured))
    run.run(jobs=2)
    assert untimed(own) == untimed(measured)


def test_a_worker_on_another_machine_does_a_piece_by_its_name_to_the_same_row(measured, own, tiny):
    unit = matrix_units(config(tiny))[1]
    do = piece_by_name(config(tiny).model_dump_json(), str(own))
    assert read_piece("sentiment_films", do("sentiment_films")) == "sentiment_films"
    row = dataclasses.asdict(read_piece(unit, do(str(unit))))
    [same] = [one for one in map(dataclasses.asdict, read_matrix(measured).rows) if str(unit) == _name(one)]
    assert {**row, "seconds": 0} == {**same, "seconds": 0}


def _name(row):
    return str(MatrixUnit(row["target"], row["source"], row["method"], row["seed"]))


def test_in_code_a_matrix_is_measured_and_given(measured, own, tiny):
    lines = (own / "matrix.jsonl").read_text().splitlines(keepends=True)
    (own / "matrix.jsonl").write_text("".join(lines[:-1]))
    matrix = measure_matrix(config(tiny), str(own))
    assert untimed(own) == untimed(measured)
    assert len(matrix.rows) == len(lines)


def test_more_seeds_may_be_added_but_nothing_else_may_differ(own, tiny):
    more = config(tiny, targets={**TOLD["targets"], "seeds": [0, 1, 2]})
    assert {unit.seed for unit in MatrixMeasurement(more, own).todo()} == {2}
    with pytest.raises(UserError, match=r"holds a different measurement \(it differs in recipe\)"):
        MatrixMeasurement(config(tiny, recipe={"epochs": 2, "max_length": 32}), own)


def test_a_run_that_diverges_is_a_row_without_a_score(own, tiny, monkeypatch):
    from scalearn.comparison import measure_matrix as matrix
    from tasksel.training.loop import Diverged

    def diverge(*args, **kwargs):
        raise Diverged("the loss became NaN")

    (own / "matrix.jsonl").unlink()
    run = MatrixMeasurement(config(tiny), own)
    monkeypatch.setattr(matrix, "fit", diverge)
    run.run()
    assert {line["score"] for line in untimed(own)} == {None}
    assert run.todo() == []


def test_a_sequential_run_starts_from_the_sources_adapter(pool):
    source = pool["sentiment_films"]
    task = get_task("sentiment_phones")
    model = METHODS["sequential"].build(pool.base, task, *stack([source]), seed=0)
    assert source.bottlenecks().keys() == dict(bottleneck_layers(model, task.name)).keys()
    for path, layer in bottleneck_layers(model, task.name):
        slot, held = layer.adapters[task.name], source.bottlenecks()[path]
        assert slot.adapter_down[0].weight.equal(held.down[0])
        assert slot.adapter_down[0].bias.equal(held.down_bias[0])
        assert slot.adapter_up.weight.equal(held.up[0].t())
        assert slot.adapter_up.bias.equal(held.up_bias[0])
        assert all(parameter.requires_grad for parameter in slot.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["head-only"]}, "'head-only' takes no source"),
        ({"methods": ["fusion"]}, "'fusion' weighs several sources; a matrix tries each alone"),
        ({"methods": ["soup-similarity"]}, "'soup-similarity' weighs several sources"),
        ({"methods": ["sequentail"]}, "did you mean 'sequential'"),
        ({"lr": {"scalern": 1.0}}, "did you mean 'scalearn'"),
        ({"methods": []}, r"methods: must be a non-empty list without duplicates \(given \[\]\)"),
        ({"sources": {"tasks": ["rte"]}}, "no task 'rte'"),
    ],
)
def test_a_mistake_in_the_configuration_is_said_before_anything_trains(tiny, tmp_path, no_training, changes, message):
    with pytest.raises(UserError, match=message):
        MatrixMeasurement(config(tiny, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_of_an_unknown_origin_are_not_added_to(own, tiny):
    (own / "provenance.json").unlink()
    with pytest.raises(UserError, match=r"has no provenance\.json beside it"):
        MatrixMeasurement(config(tiny), own)


def test_rows_are_not_mixed_with_those_of_other_adapters(own, tiny):
    path = own / "provenance.json"
    edit(path, adapters=read_hashed(path)["adapters"] | {"entail_travel": "0" * 16})
    with pytest.raises(UserError, match=r"source 'entail_travel' in .* is not the adapter that the rows"):
        MatrixMeasurement(config(tiny), own).run()


def test_no_jobs_are_refused(own, tiny):
    with pytest.raises(UserError, match="--jobs 0: give 1 or more"):
        MatrixMeasurement(config(tiny), own).run(jobs=0)


def test_a_launch_of_several_processes_is_refused(own, tiny, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start it with --num_processes 1"):
        MatrixMeasurement(config(tiny), own).run()


def test_the_command_plans_and_runs(tiny, tmp_path, capsys):
    path, out = tmp_path / "small.yaml", tmp_path / "run"
    targets = {**TOLD["targets"], "seeds": [0], "tasks": ["sentiment_phones"]}
    path.write_text(yaml.safe_dump({**TOLD, "targets": targets, "base": tiny}))
    assert main(["measure-matrix", str(path), "--out", str(out), "--plan"]) == 0
    assert "5 runs, 0 done; about" in capsys.readouterr().out
    assert not out.exists()
    assert main(["measure-matrix", str(path), "--out", str(out)]) == 0
    assert len(read_matrix(out).rows) == 5
    assert AdapterPool(out / "pool").names == ["entail_travel", "sentiment_films"]
    assert main(["measure-matrix", str(path), "--out", str(out), "--plan"]) == 0
    assert "5 runs, 5 done; about 0 minutes" in capsys.readouterr().out
    assert read_config(path, MatrixConfig).lr == {"sequential": 1.0e-3}


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("matrix_*.yaml")), ids=lambda path: path.stem)
def test_every_matrix_in_the_repository_plans(script, tmp_path):
    told = read_config(script, MatrixConfig)
    for name in {name.partition("+")[0] for name in (*told.sources.tasks, *told.targets.tasks)}:
        labels = [task.partition("+")[2] for task in told.targets.tasks if task.startswith(f"{name}+")]
        write_task(tmp_path / "tasks" / name, labels)
    run = MatrixMeasurement(told.model_copy(update={"data": str(tmp_path / "tasks")}), tmp_path / "run")
    pairs = sum(source != target for target in told.targets.tasks for source in told.sources.tasks)
    expected = len(told.targets.seeds) * (len(told.targets.tasks) + len(told.methods) * pairs)
    assert len(run.todo()) == expected
    assert not (tmp_path / "run").exists()


def write_task(folder, labels):
    """A small task folder: one of two classes, or of several labels at once."""
    folder.mkdir(parents=True)
    told = {"name": folder.name, "suite": "own", "kind": "multi_label" if labels else "single_sentence_classification"}
    told |= {"text_fields": ["text"], "label_names": labels or ["no", "yes"], "num_labels": len(labels) or 2}
    (folder / "task.json").write_text(json.dumps({**told, "metric": "macro_f1"}))
    for split, size in (("train", 12), ("validation", 6)):
        rows = [{"text": f"{split} {n}", "label": [n % 2] * len(labels) if labels else n % 2} for n in range(size)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("folder", "script"), [("matrix", "matrix_minilm.yaml"), ("matrix_trec_is", "matrix_trec_is.yaml")]
)
def test_a_published_matrix_is_whole_and_of_the_configuration_beside_it(folder, script):
    folder, told = SCRIPTS.parent / "docs" / "results" / folder, read_config(SCRIPTS / script, MatrixConfig)
    rows, provenance = read_matrix(folder).rows, json.loads((folder / "provenance.json").read_text())
    seeds = sorted({row.seed for row in rows})
    assert seeds == list(range(len(seeds)))
    measured = told.model_copy(update={"targets": told.targets.model_copy(update={"seeds": tuple(seeds)})})
    assert {(r.target, r.source, r.method, r.seed) for r in rows} == {
        (u.target, u.source, u.method, u.seed) for u in matrix_units(measured)
    }
    assert MatrixConfig.model_validate(of_any_version(provenance["config"])) == told
    assert provenance["adapters"].keys() == set(told.sources.tasks)
    assert all(row.score is not None for row in rows)
