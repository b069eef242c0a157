"""A configuration is read whole, every mistake is said before anything is done, and it names its units."""

from pathlib import Path

import pytest
import yaml

import scalearn as sl
from scalearn.comparison.config import RecipeChange, configuration_file, read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.experiment_config import units
from scalearn.comparison.matrix_config import MatrixConfig
from scalearn.comparison.plan import Plan
from scalearn.methods.registry import METHODS
from tasksel import UserError
from tasksel.training.recipe import Recipe

SCRIPTS = Path(__file__).parents[4] / "scripts"


def plan(config, out):
    return Plan(Experiment.model_validate(config), out)


@pytest.fixture
def write(tmp_path):
    def as_yaml(told):
        path = tmp_path / "config.yaml"
        path.write_text(told if isinstance(told, str) else yaml.safe_dump(told))
        return path

    return as_yaml


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sources.tasks", ["sentiment_film"], "no task 'sentiment_film'; did you mean 'sentiment_films'"),
        ("targets.tasks", ["entail_kichen"], "no task 'entail_kichen'; did you mean 'entail_kitchen'"),
        ("methods", ["scalearn", "scalern++"], r"no method 'scalern\+\+'; did you mean 'scalearn\+\+'"),
        ("rank.by", "conectivity", "no selector 'conectivity'; did you mean 'connectivity'"),
        ("rank.by", "text+oracle", "rank.by: the oracle knows measured transfers, and a run has none"),
        ("rank.order", "connectivty", "no selector 'connectivty'; did you mean 'connectivity'"),
        ("protocol", "papers", "no protocol 'papers'; did you mean 'paper'"),
        ("map", "logme", "map: 'logme' embeds no tasks"),
        ("targets.sizes", [0], "targets.sizes: 0; give 'full' or numbers of rows from 1 on"),
        ("targets.sizes", [1], "1 rows for .entail_kitchen., which has 2 classes"),
        ("targets.sizes", ["full", 100000], "100000 rows of 'entail_kitchen', which has"),
        ("targets.sizes", [16, 16], "targets.sizes: must be a non-empty list without duplicates"),
        ("targets.seeds_of", {"entail_kichen": [1]}, "targets.seeds_of: 'entail_kichen' is not one of the targets"),
        ("lr", {"scalern": 1.0}, "no method 'scalern'; did you mean 'scalearn'"),
        ("rank.top", 4, "rank.top is 4, but there are 3 sources for 'entail_kitchen': choose 1 to 3"),
        ("rank.top", 0, "rank.top is 0, but there are 3 sources for 'entail_kitchen': choose 1 to 3"),
        ("targets.tasks", ["entail_travel"], "rank.top is 3, but there are 2 sources for 'entail_travel'"),
        ("targets.seeds", [], r"targets.seeds: must be a non-empty list without duplicates"),
        ("targets.seeds", [1, 1], r"targets.seeds: must be a non-empty list without duplicates"),
        ("sources.tasks", ["sentiment_films"] * 4, r"sources.tasks: must be a non-empty list without duplicates"),
        ("targets.tasks", [], r"targets.tasks: must be a non-empty list without duplicates"),
        ("methods", [], r"methods: must be a non-empty list without duplicates"),
        ("data", "no/such/folder", "no folder no/such/folder"),
    ],
)
def test_what_would_fail_later_is_said_before_anything_is_done(config, tmp_path, no_training, path, value, said):
    config["rank"]["top"] = 3
    *inner, last = path.split(".")
    (config[inner[0]] if inner else config)[last] = value
    with pytest.raises(UserError, match=said):
        plan(config, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_needs_no_base_but_a_run_says_that_there_is_none_before_it_writes(config, tmp_path, no_training):
    made = plan({**config, "base": "no-such-base"}, tmp_path / "out")
    assert made.steps()
    with pytest.raises(UserError, match="base 'no-such-base' cannot be loaded"):
        made.run()
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_needs_more_sources_than_a_target_gets_is_refused(config, tmp_path, no_training):
    config["rank"]["top"], config["methods"] = 1, ["scalearn", "fusion"]
    with pytest.raises(
        UserError, match=r"methods: 'fusion' needs at least 2 sources, and rank\.top gives 'entail_kitchen' 1"
    ):
        plan(config, tmp_path / "out")


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
    assert "rank.top.0: must be a valid integer" in message
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


RUNS = [
    configuration_file("quickstart"),
    *sorted(path for path in SCRIPTS.glob("*.yaml") if not path.stem.startswith("matrix")),
]
LOCAL = {"quickstart"}
FROM_HUB = {"glue_roberta", "superglue_roberta", "humset_xlmr", "fewshot_roberta"}
CONVERGED = ("glue_minilm_converged", "glue_minilm_converged_random")
LORAS = ("default_loras", "default_loras_all_linear", "default_loras_auto")
NAMES = ("auto", "one", "trained", "trained_low", "random", "random_low", "version_0_1")
DEFAULT = tuple(f"default_{name}" for name in NAMES)
FRESH = ("default_fresh", "default_fresh_one", "default_fresh_trained")
GLUE = ("glue_minilm", "glue_minilm_k", "glue_minilm_full", "glue_minilm_two", "glue_minilm_average")


def test_there_is_a_configuration_a_table():
    assert {path.stem for path in RUNS} == LOCAL | FROM_HUB | {
        *GLUE,
        *CONVERGED,
        *LORAS,
        *DEFAULT,
        *FRESH,
        "superglue_minilm",
        "crisis_minilm",
    }


@pytest.mark.parametrize("script", RUNS, ids=lambda path: path.stem)
def test_every_configuration_plans_and_leaves_no_trace(script, all_folders, tmp_path):
    """The hub's as they are: nothing of the hub is asked for."""
    experiment = read_config(script, Experiment)
    if script.stem not in LOCAL | FROM_HUB:
        experiment = experiment.model_copy(update={"data": str(all_folders)})
    steps = Plan(experiment, tmp_path / "out").steps()
    assert [step.unit for step in steps if step.unit] == units(experiment)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(FROM_HUB))
def test_the_papers_tables_have_its_shape(name):
    experiment = read_config(SCRIPTS / f"{name}.yaml", Experiment)
    assert (experiment.protocol, experiment.data, experiment.rank.own) == ("paper", "hub", (True,))
    assert set(experiment.sources.tasks) == set(experiment.targets.tasks)
    counts = {unit.condition.k for unit in units(experiment) if unit.condition.by == "all"}
    assert counts == {len(experiment.sources.tasks)}, "all sources, the target's own among them"


def test_the_minilm_tables_share_their_sources_and_their_units():
    """So that nothing is computed twice between them."""
    main, swept, full, two, average = told = [read_config(SCRIPTS / f"{name}.yaml", Experiment) for name in GLUE]
    assert len({one.sources.model_dump_json() for one in told}) == 1
    assert len({one.source_recipe.model_dump_json() for one in told}) == 1

    def recipe(experiment, method):
        return experiment.recipe_of(METHODS[method], 100)

    for method in ("single-adapter", "scalearn-uniform"):
        assert recipe(main, method) == recipe(swept, method)
    assert full.recipe_of(METHODS["single-adapter"], "full") == full.source_recipe, "one training serves both"
    assert recipe(average, "scalearn") == recipe(main, "scalearn")
    assert recipe(average, "average").lr == recipe(main, "scalearn").lr != recipe(main, "average").lr
    for method in two.methods:
        assert recipe(two, method) == recipe(main, method)


def test_the_defaults_tables_share_their_sources_and_targets():
    told = [read_config(SCRIPTS / f"{name}.yaml", Experiment) for name in DEFAULT]
    assert len({(one.sources.model_dump_json(), one.targets.model_dump_json()) for one in told}) == 1
    assert not set(told[0].sources.tasks) & set(told[0].targets.tasks)
    assert told[0].source_recipe == read_config(SCRIPTS / "glue_minilm.yaml", Experiment).source_recipe


@pytest.mark.parametrize("name", FRESH)
def test_the_fresh_targets_runs_differ_from_the_defaults_in_their_targets_alone(name):
    fresh = read_config(SCRIPTS / f"{name}.yaml", Experiment)
    other = read_config(SCRIPTS / f"default_{name.removeprefix('default_fresh').strip('_') or 'auto'}.yaml", Experiment)
    assert not set(fresh.targets.tasks) & set(other.targets.tasks + other.sources.tasks)
    alike = {"name": other.name, "targets": other.targets}
    assert fresh.model_copy(update=alike) == other


@pytest.mark.parametrize("name", LORAS)
def test_runs_over_loras_differ_from_those_over_bottlenecks_in_their_sources_alone(name):
    beside = "default_auto" if name == "default_loras_auto" else "default_trained"
    loras, bottlenecks = (read_config(SCRIPTS / f"{one}.yaml", Experiment) for one in (name, beside))
    assert (loras.sources.tasks, loras.sources.rows) == (bottlenecks.sources.tasks, bottlenecks.sources.rows)
    assert (loras.test_rows, loras.targets.seeds) == (bottlenecks.test_rows, bottlenecks.targets.seeds)
    assert set(loras.targets.tasks) < set(bottlenecks.targets.tasks)
    for method in ("auto", "scalearn", "scalearn-uniform"):
        assert loras.recipe_of(METHODS[method], 100) == bottlenecks.recipe_of(METHODS[method], 100)


def test_units_come_size_by_size_and_seed_by_seed(config):
    config["targets"] = {"tasks": ["entail_kitchen", "grammar_garden"], "sizes": ["full", 8], "seeds": [0, 1]}
    config["methods"] = ["head-only"]
    told = [(unit.size, unit.seed, unit.target) for unit in units(Experiment.model_validate(config))]
    assert told == sorted(told, key=lambda one: (one[0] != "full", one[1]))
    assert len(told) == 8


def test_a_target_may_have_seeds_of_its_own(config):
    config["targets"] |= {"tasks": ["entail_kitchen", "grammar_garden"], "seeds_of": {"grammar_garden": [1, 7]}}
    found = units(Experiment.model_validate(config))
    assert {unit.seed for unit in found if unit.target == "grammar_garden"} == {1, 7}
    assert {unit.seed for unit in found if unit.target == "entail_kitchen"} == {0, 1}


def test_what_changes_in_a_recipe_is_layered(config):
    config |= {"recipe": {"epochs": 7, "max_length": 24}, "few_shot": {"max_steps": 5}, "lr": {"scalearn": 0.5}}
    experiment = Experiment.model_validate(config)
    few, full = (experiment.recipe_of(METHODS["scalearn"], size) for size in (16, "full"))
    assert (full.epochs, full.max_steps, full.lr, full.select) == (7, None, 0.5, "metric")
    assert (few.epochs, few.max_steps, few.lr, few.select, few.patience) == (7, 5, 0.5, "metric-loss", 20)
    assert experiment.recipe_of(METHODS["scalearn-mean"], 16).lr == METHODS["scalearn-mean"].recipe.lr


def test_an_experiment_in_code_is_the_one_in_the_file_and_mappings_stand_for_its_parts(write, config):
    assert Experiment(**config) == Experiment.from_yaml(write(config)) == read_config(write(config), Experiment)
    assert Experiment(**config).sources.recipe == RecipeChange(lr=1e-3, epochs=1, batch=8, max_length=24)


def test_an_experiment_that_comes_with_the_package_is_read_by_name():
    assert Experiment.from_yaml("quickstart").targets.tasks == ("sentiment_phones",)


@pytest.mark.parametrize("kind", [Experiment, MatrixConfig])
def test_in_code_every_wrong_field_is_said_in_one_line_with_the_nearest_key(kind, config):
    told = {"name": "a", "sources": {"tasks": ["rte"], "row": 3}, "targets": {"tasks": ["sst2"]}, "method": ["full"]}
    with pytest.raises(UserError) as caught:
        kind(**told, lr={"scalearn": "fast"})
    message = str(caught.value)
    assert "sources.row: no key 'row'; did you mean 'rows'" in message
    assert "method: no key 'method'; did you mean 'methods'" in message
    assert "lr.scalearn: must be a valid number" in message
    assert "\n" not in message


def test_a_key_that_is_no_word_is_refused(write):
    with pytest.raises(UserError, match="a configuration is a mapping"):
        read_config(write("1: 2\nname: a\n"), Experiment)


def test_in_code_an_experiment_is_planned_run_and_reported(config, tmp_path):
    config |= {"methods": ["head-only"], "targets": {"tasks": ["entail_kitchen"], "rows": 24, "seeds": [0]}}
    experiment, out, store = sl.Experiment(**config), tmp_path / "run", tmp_path / "store"
    run = experiment.run(str(out), store=str(store))
    assert isinstance(run, sl.RunFolder)
    assert [(row.method, row.target) for row in run.rows] == [("head-only", "entail_kitchen")]
    assert (run.missing, run.config["name"]) == ([], "small")
    assert {path.name for path in (out, store) if path.is_dir()} == {"run", "store"}
    assert not (out / "store").exists()
    assert sl.write_report(run) == sl.write_report(out) == out / "report" / "report.html"
    assert sl.load_run(out).rows == sl.load_run(str(out)).rows == run.rows
    assert repr(run) == f"RunFolder({str(out)!r}, 1 of 1 units finished)"
