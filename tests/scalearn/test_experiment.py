"""A configuration is checked whole, planned without a trace, run to its end, and goes on where it was interrupted."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from scalearn import TransferResult
from scalearn.config import RecipeChange, read_config
from scalearn.experiment import Experiment, Plan
from scalearn.report import report_rows
from tasksel import UserError
from tasksel.training import Recipe

SCRIPTS = Path(__file__).parents[2] / "scripts"
STEPS = [
    "source sentiment_films",
    "source grammar_garden",
    "source entail_travel",
    "rank sources for entail_kitchen",
    "entail_kitchen by scalearn, seed 0",
    "entail_kitchen by scalearn, seed 1",
    "entail_kitchen by head-only, seed 0",
    "entail_kitchen by head-only, seed 1",
]


def plan(config, out):
    return Plan(Experiment.model_validate(config), out)


@pytest.fixture
def own_run(experiment_run, tmp_path):
    shutil.copytree(experiment_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def write(tmp_path):
    def as_yaml(told):
        path = tmp_path / "config.yaml"
        path.write_text(told if isinstance(told, str) else yaml.safe_dump(told))
        return path

    return as_yaml


def test_a_plan_lists_every_step_and_leaves_no_trace(config, tmp_path, no_training):
    steps = plan(config, tmp_path / "out").steps()
    assert [step.name for step in steps] == STEPS
    assert not any(step.done for step in steps)
    assert list(tmp_path.iterdir()) == []


def test_a_run_stores_every_step(experiment_run, config):
    steps = plan(config, experiment_run).steps()
    assert [step.name for step in steps] == STEPS
    assert all(step.done for step in steps)
    for method, seeds in (("scalearn", [0, 1]), ("head-only", [0, 1])):
        assert list(TransferResult.load(experiment_run / "results" / "entail_kitchen" / method).scores) == seeds
    assert (experiment_run / "report.md").is_file()
    told = json.loads((experiment_run / "experiment.json").read_text())
    assert told["experiment"]["name"] == "small"
    assert told["versions"]["torch"]


def test_the_best_ranked_sources_are_the_ones_that_are_mixed(experiment_run):
    ranking = json.loads((experiment_run / "rankings" / "entail_kitchen.json").read_text())
    result = TransferResult.load(experiment_run / "results" / "entail_kitchen" / "scalearn")
    assert list(result.run.sources) == ranking["names"][:2]
    assert ranking["scores"] == sorted(ranking["scores"], reverse=True)
    assert len(ranking["names"]) == 3
    assert (ranking["made"]["rows"], ranking["made"]["seed"]) == (24, 0), "the rows of the first seed"
    assert result.run.recipe.epochs == 1
    assert result.run.recipe.lr == 6e-3, "what the configuration leaves out stays the method's"


def test_a_soup_is_weighed_by_the_rankings_scores(config, own_run):
    """From the stored ranking and pool, so that nothing but the soup is trained."""
    ranking = json.loads((own_run / "rankings" / "entail_kitchen.json").read_text())
    made = plan(config, own_run)
    made._transfer(made.targets[0], "soup-similarity", 0)
    run = TransferResult.load(own_run / "results" / "entail_kitchen" / "soup-similarity").run
    assert list(run.similarities) == ranking["scores"][:2]
    assert list(run.sources) == ranking["names"][:2]


def test_a_second_run_does_nothing(own_run, config, no_training):
    def written():
        files = [*own_run.glob("pool/**/*.*"), *own_run.glob("rankings/*.json"), *own_run.glob("results/**/*.*")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    rows = plan(config, own_run).run()
    assert written() == before
    assert [row.scores for row in rows] == [row.scores for row in report_rows(own_run)]


def test_only_what_is_missing_is_done_again(own_run, config, experiment_run, monkeypatch):
    shutil.rmtree(own_run / "results" / "entail_kitchen" / "scalearn" / "seed-1")
    (own_run / "results" / "entail_kitchen" / "scalearn" / "result.json").unlink()
    trained, module = [], sys.modules["scalearn.transfer"]
    plain = module.fit
    monkeypatch.setattr(module, "fit", lambda *a, label, **k: (trained.append(label), plain(*a, label=label, **k))[1])
    made = plan(config, own_run)
    assert [step.name for step in made.steps() if not step.done] == ["entail_kitchen by scalearn, seed 1"]
    made.run()
    assert trained == ["entail_kitchen by scalearn, seed 1"]
    assert [row.scores for row in report_rows(own_run)] == [row.scores for row in report_rows(experiment_run)]


def test_an_interrupted_run_goes_on_to_the_same_numbers(config, experiment_run, tmp_path, monkeypatch):
    source, transfer = sys.modules["scalearn.source"], sys.modules["scalearn.transfer"]
    for module, calls in ((source, 2), (transfer, 2)):
        left, plain = [1] * calls, module.fit

        def some(*args, left=left, plain=plain, **kwargs):
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return plain(*args, **kwargs)

        made = plan(config, tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(module, "fit", some)
            with pytest.raises(KeyboardInterrupt):
                made.run()
    assert [step.done for step in plan(config, tmp_path / "run").steps()] == [True] * 6 + [False] * 2
    plan(config, tmp_path / "run").run()
    for one, two in zip(report_rows(tmp_path / "run"), report_rows(experiment_run), strict=True):
        assert one.scores == two.scores
    one, two = (
        json.loads((out / "rankings" / "entail_kitchen.json").read_text()) for out in (tmp_path / "run", experiment_run)
    )
    assert (one["names"], one["scores"]) == (two["names"], two["scores"])


def test_another_configuration_in_the_folder_is_refused_and_what_differs_is_named(own_run, config):
    config["rank"]["top"], config["methods"] = 1, ["scalearn"]
    with pytest.raises(UserError, match=r"holds a different run \(it differs in rank, methods\)"):
        plan(config, own_run)


def test_a_folder_that_holds_something_else_is_refused(config, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        plan(config, tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="choose another --out"):
        plan(config, tmp_path / "file")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sources.tasks", ["sentiment_film"], "no task 'sentiment_film'; did you mean 'sentiment_films'"),
        ("targets.tasks", ["entail_kichen"], "no task 'entail_kichen'; did you mean 'entail_kitchen'"),
        ("methods", ["scalearn", "scalern++"], r"no method 'scalern\+\+'; did you mean 'scalearn\+\+'"),
        ("rank.by", "conectivity", "no way of choosing 'conectivity'; did you mean 'connectivity'"),
        ("rank.by", "text+oracle", "rank.by: the oracle knows measured transfers, and a run has none"),
        ("rank.top", 4, "rank.top is 4, but there are 3 sources for 'entail_kitchen': choose 1 to 3"),
        ("rank.top", 0, "rank.top is 0, but there are 3 sources for 'entail_kitchen': choose 1 to 3"),
        ("targets.tasks", ["entail_travel"], "rank.top is 3, but there are 2 sources for 'entail_travel'"),
        ("targets.seeds", [], r"targets.seeds: give one or more, none twice"),
        ("targets.seeds", [1, 1], r"targets.seeds: give one or more, none twice"),
        ("sources.tasks", ["sentiment_films"] * 4, r"sources.tasks: give one or more, none twice"),
        ("targets.tasks", [], r"targets.tasks: give one or more, none twice"),
        ("methods", [], r"methods: give one or more, none twice"),
        ("data", "no/such/folder", "no folder no/such/folder"),
        ("base", "no-such-base", "base 'no-such-base' cannot be loaded"),
    ],
)
def test_what_would_fail_later_is_said_before_anything_is_done(config, tmp_path, no_training, path, value, said):
    config["rank"]["top"] = 3
    *inner, last = path.split(".")
    (config[inner[0]] if inner else config)[last] = value
    with pytest.raises(UserError, match=said):
        plan(config, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_needs_more_sources_than_a_target_gets_is_refused(config, tmp_path, no_training):
    config["rank"]["top"], config["methods"] = 1, ["scalearn", "fusion"]
    with pytest.raises(UserError, match=r"methods: 'fusion' needs at least 2 sources, and rank\.top is 1"):
        plan(config, tmp_path / "out")


def test_any_way_of_choosing_may_rank(config, tmp_path, pool_folder, no_training):
    config["rank"]["by"] = "vocabulary+size"
    made = plan(config, tmp_path / "out")
    shutil.copytree(pool_folder, tmp_path / "out" / "pool")
    made.pool.reread()
    [step] = [step for step in made.steps() if step.name.startswith("rank")]
    step.run()
    ranking = json.loads((tmp_path / "out" / "rankings" / "entail_kitchen.json").read_text())
    assert (ranking["made"]["by"], len(ranking["names"])) == ("size+vocabulary", 3)


def test_a_target_may_use_a_source_of_its_own_name_if_told(config, tmp_path):
    config["rank"] = {"top": 3, "own": True}
    config["targets"]["tasks"] = ["entail_travel"]
    assert len(plan(config, tmp_path / "out").steps()) == len(STEPS)


def test_a_file_reads_as_what_it_says(write, config):
    read = read_config(write(config), Experiment)
    assert read == Experiment.model_validate(config)
    assert read.sources.recipe.of(Recipe()) == Recipe(lr=1e-3, epochs=1, batch=8, max_length=24)


def test_scientific_notation_without_a_point_is_a_number(write, config):
    text = yaml.safe_dump(config).replace("lr: 0.001", "lr: 1e-3")
    assert read_config(write(text), Experiment).sources.recipe.lr == 0.001


def test_every_wrong_field_is_said_at_once_with_its_path_and_the_nearest_key(write, config):
    config["sources"]["recipe"]["epoch"] = 3
    config["targets"]["sedes"] = [1]
    config["method"] = ["scalearn"]
    config["rank"]["top"] = "many"
    with pytest.raises(UserError) as caught:
        read_config(write(config), Experiment)
    message = str(caught.value)
    assert "sources.recipe.epoch: no key 'epoch'; did you mean 'epochs'" in message
    assert "targets.sedes: no key 'sedes'; did you mean 'seeds'" in message
    assert "method: no key 'method'; did you mean 'methods'" in message
    assert "rank.top: Input should be a valid integer" in message
    assert "(given 'many')" in message


def test_a_missing_field_is_named(write, config):
    del config["targets"]
    with pytest.raises(UserError, match="targets: Field required"):
        read_config(write(config), Experiment)


def test_broken_yaml_is_said_with_its_line(write):
    with pytest.raises(UserError, match=r"config\.yaml:4: broken YAML"):
        read_config(write("name: a\nsources:\n  tasks: [rte\n: {"), Experiment)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_configuration_is_said_to_be_none(write, text):
    with pytest.raises(UserError, match="a configuration is a mapping"):
        read_config(write(text), Experiment)


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no configuration .*none\.yaml"):
        read_config(tmp_path / "none.yaml", Experiment)
    with pytest.raises(UserError, match="no configuration"):
        read_config(tmp_path, Experiment)


def test_a_change_leaves_what_it_does_not_name():
    recipe = Recipe(lr=0.5, epochs=7, patience=2)
    assert RecipeChange(epochs=3).of(recipe) == Recipe(lr=0.5, epochs=3, patience=2)
    assert RecipeChange().of(recipe) == recipe


GLUE = {
    "mnli": ("pair_classification", ["entailment", "neutral", "contradiction"]),
    "qqp": ("pair_classification", ["different", "duplicate"]),
    "qnli": ("pair_classification", ["entailment", "not_entailment"]),
    "sst2": ("single_sentence_classification", ["negative", "positive"]),
    "stsb": ("regression", None),
    "mrpc": ("pair_classification", ["different", "same"]),
    "rte": ("pair_classification", ["entailment", "not_entailment"]),
    "cola": ("single_sentence_classification", ["unacceptable", "acceptable"]),
}


@pytest.fixture
def task_folders(tmp_path, real_data):
    """Task folders of GLUE's names: the real ones where SCALEARN_DATA names them, otherwise made up."""
    if real_data:
        return real_data
    for name, (kind, labels) in GLUE.items():
        folder = tmp_path / "tasks" / name
        folder.mkdir(parents=True)
        texts = ["sentence"] if kind.startswith("single") else ["sentence1", "sentence2"]
        told = {"name": name, "suite": "glue", "kind": kind, "text_fields": texts, "label_names": labels}
        (folder / "task.json").write_text(json.dumps(told))
        for split, size in (("train", 12), ("validation", 6)):
            rows = [
                {
                    **{text: f"{name} {split} {text} {n}" for text in texts},
                    "label": n % len(labels) if labels else n / 3,
                }
                for n in range(size)
            ]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "tasks"


RUNS = sorted(path for path in SCRIPTS.glob("*.yaml") if not path.stem.startswith("matrix"))


@pytest.mark.parametrize("script", RUNS, ids=lambda path: path.stem)
def test_every_configuration_in_the_repository_plans(script, task_folders, tmp_path):
    experiment = read_config(script, Experiment)
    if script.stem.startswith("glue"):
        experiment = experiment.model_copy(update={"data": str(task_folders)})
    steps = Plan(experiment, tmp_path / "out").steps()
    targets = len(experiment.targets.tasks)
    per_target = 1 + len(experiment.methods) * len(experiment.targets.seeds)
    assert len(steps) == len(experiment.sources.tasks) + targets * per_target
    assert not (tmp_path / "out").exists()


def test_there_are_configurations_in_the_repository():
    assert {path.stem for path in RUNS} >= {"quickstart", "glue_minilm"}


def test_task_folders_run_to_the_end(task_folders, config, tmp_path):
    config["data"] = str(task_folders)
    config["sources"]["tasks"], config["targets"]["tasks"] = ["stsb", "cola"], ["rte"]
    config["targets"]["seeds"], config["methods"] = [0], ["scalearn-uniform"]
    (row,) = plan(config, tmp_path / "out").run()
    assert (row.target, row.method, row.transfer_parameters) == ("rte", "scalearn-uniform", 4)
