"""Numbers and names that mean nothing are refused in one line, wherever they are given: in every recipe, configuration and setting."""

import inspect
import math
from dataclasses import dataclass, fields

import pytest

from scalearn import METHODS, Experiment
from scalearn.comparison.config import RecipeChange
from scalearn.comparison.matrix_config import MatrixConfig
from tasksel.adapters.card import entry_name
from tasksel.bounds import Count, check_fields, check_jobs, check_name, check_seed
from tasksel.embeddings.embedders import EMBEDDERS
from tasksel.errors import UserError
from tasksel.gain.predictor import Trees
from tasksel.selection.selectors import SELECTORS, get_selector
from tasksel.tasks.load import load_data
from tasksel.tasks.registry import get_task
from tasksel.training.recipe import Recipe

SENSELESS = {
    "lr": (-1.0, 0.0, math.nan, math.inf, True, "high"),
    "epochs": (0, -1, 2**70, 2.5, True),
    "batch": (0, -8, math.inf),
    "max_length": (0, 1, 2, -5, 2**70),
    "patience": (-1, math.nan, 2**70),
    "max_steps": (0, -1),
    "micro_batch": (0, -1),
    "pooling": ("max", 1),
    "start": ("warm", True),
    "head_lr": (-1.0, 0.0, math.nan),
    "budget": (-1.0, math.nan, math.inf, True),
    "precision": ("bf8", "auto", 16),
}
MORE = {
    "warmup": (-0.1, 1.1, math.nan),
    "weight_decay": (-1.0, math.nan, math.inf),
    "clip": (0.0, -1.0, math.nan, math.inf),
    "select": ("best",),
}
ALLOWED = {"patience": 0, "warmup": 1.0, "weight_decay": 0.0, "max_steps": None, "max_length": 3, "epochs": 10_000}
PARTS = {"name": "x", "sources": {"tasks": ["sentiment_films"]}, "targets": {"tasks": ["entail_travel"]}}
ONE = {"tasks": ["entail_travel"]}


def pairs(table):
    return [(name, value) for name, values in table.items() for value in values]


def settings(constructors):
    """(constructor's name, setting, its default) of every numeric setting that a registry's constructors take."""
    for name, constructor in constructors.items():
        for setting, parameter in inspect.signature(constructor).parameters.items():
            numeric = isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)
            if numeric or setting == "rows":
                yield name, setting, parameter.default


@pytest.mark.parametrize(("field", "value"), pairs(SENSELESS | MORE))
def test_a_recipe_names_the_field_and_the_value(field, value):
    with pytest.raises(UserError, match=rf"^recipe\.{field}: must .*\(given ") as caught:
        Recipe(**{field: value})
    assert "\n" not in str(caught.value)


def test_what_means_something_is_taken():
    assert Recipe(**ALLOWED).model_dump(include=set(ALLOWED)) == ALLOWED


def test_a_copy_with_changes_is_checked_before_it_trains():
    with pytest.raises(UserError, match=r"recipe\.lr"):
        Recipe().model_copy(update={"lr": -1.0}).check()


@pytest.mark.parametrize(("field", "value"), pairs(SENSELESS))
@pytest.mark.parametrize("place", ["recipe", "few_shot", "sources"])
def test_a_configuration_names_the_path(place, field, value):
    change = {field: value}
    parts = {"sources": {**PARTS["sources"], "recipe": change}} if place == "sources" else {place: change}
    path = f"sources.recipe.{field}" if place == "sources" else f"{place}.{field}"
    with pytest.raises(UserError, match=rf"^{path}: ".replace(".", r"\.")) as caught:
        Experiment(**PARTS | parts)
    assert "\n" not in str(caught.value)


def test_a_change_has_every_bound_of_the_recipe():
    assert {name for name in RecipeChange.model_fields if name != "log_with"} <= SENSELESS.keys()


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"targets": {**ONE, "seeds": [2**70]}}, r"targets\.seeds\.0"),
        ({"targets": {**ONE, "seeds": [-1]}}, r"targets\.seeds\.0"),
        ({"targets": {**ONE, "rows": 0}}, r"targets\.rows"),
        ({"sources": {**PARTS["sources"], "seed": 2**32}}, r"sources\.seed"),
        ({"sources": {**PARTS["sources"], "rows": -5}}, r"sources\.rows"),
        ({"lr": {"scalearn": math.nan}}, r"lr\.scalearn"),
        ({"lr": {"scalearn": -1}}, r"lr\.scalearn"),
        ({"name": ""}, "name"),
        ({"name": "x" * 300}, "name"),
        ({"name": "a\x1b[2J"}, "name"),
    ],
)
@pytest.mark.parametrize("kind", [Experiment, MatrixConfig])
def test_seeds_rows_and_names_of_a_configuration(kind, parts, path):
    with pytest.raises(UserError, match=rf"^{path}: "):
        kind(**PARTS | parts)


@pytest.mark.parametrize(
    "parts",
    [
        {"test_rows": 0},
        {"targets": {**ONE, "seeds_of": {"x": [-1]}}},
    ],
)
def test_sizes_and_counts_of_a_comparison(parts):
    with pytest.raises(UserError, match="must be"):
        Experiment(**PARTS | parts)


@pytest.mark.parametrize(("name", "setting", "default"), list(settings({**EMBEDDERS, **SELECTORS})))
def test_every_numeric_setting_of_every_embedder_and_selector_has_bounds(name, setting, default):
    for value in (math.nan, math.inf, -math.inf, -1):
        with pytest.raises(UserError, match=setting):
            get_selector(name, **{setting: value})
    assert get_selector(name, **{setting: default}).name


def test_zero_is_refused_where_it_means_nothing():
    zeros = {
        (name, setting)
        for name, setting, _ in settings(SELECTORS)
        if setting not in ("l1_heads", "l1_neurons", "eps", "prune_heads", "prune_neurons")
    }
    for name, setting in zeros:
        with pytest.raises(UserError, match=f"{setting}=0"):
            get_selector(name, **{setting: 0})


@pytest.mark.parametrize("field", [field.name for field in fields(Trees)])
def test_settings_of_trees(field):
    for value in (math.nan, -1):
        with pytest.raises(UserError, match=f"trees: {field}="):
            Trees(**{field: value})


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_trains_by_a_recipe_within_its_bounds(method):
    method.recipe.check()
    with pytest.raises(UserError, match=r"recipe\.lr"):
        method.recipe.model_copy(update={"lr": math.nan}).check()


def test_a_dataclass_of_ones_own_is_checked_where_its_types_say_so():
    @dataclass
    class Own:
        rows: Count
        other: int = -1

    assert check_fields("own", Own(3)) is None
    with pytest.raises(UserError, match="rows=0 must be greater"):
        check_fields("own", Own(0))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70, True])
def test_seeds_that_a_library_does_not_take(seed):
    with pytest.raises(UserError, match=f"seed {seed}: give"):
        check_seed(seed)
    with pytest.raises(UserError, match=f"seed {seed}: give"):
        load_data(get_task("entail_travel"), seed=seed)


@pytest.mark.parametrize(("jobs", "said"), [(0, "give 1 or more"), (-2, "give 1 or more"), (10**6, "give at most")])
def test_numbers_of_processes(jobs, said):
    with pytest.raises(UserError, match=f"--jobs {jobs}: {said}"):
        check_jobs(jobs)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("r" * 275, "275 bytes"),
        ("ü" * 130, "260 bytes"),
        ("", "empty"),
        ("  ", "empty"),
        ("..", "a path"),
        (".", "a path"),
        ("a/b", "a path"),
        ("a\\b", "a path"),
        ("a\x00b", "cannot be seen"),
        ("a\x1b[31m", "cannot be seen"),
        ("a\nb", "cannot be seen"),
        ("a\u202eb", "cannot be seen"),
        ("a\ud800b", "cannot be seen"),
        ("rte.", "ends with"),
        ("rte ", "ends with"),
        ("CON", "reserved"),
        ("nul.txt", "reserved"),
    ],
)
def test_names_that_cannot_be_names_of_files(name, said):
    with pytest.raises(UserError, match=said) as caught:
        check_name(name, "source")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250
    with pytest.raises(UserError):
        entry_name(name)


@pytest.mark.parametrize("name", ["rte", "reviews.v2", "a+b-c_d", "größe", "r" * 200, "评论"])
def test_usual_names_are_taken(name):
    assert entry_name(name) == check_name(name, "source") == name


def test_a_tasks_name_is_bounded_too():
    with pytest.raises(UserError, match="275 bytes"):
        get_task("entail_travel").model_copy().__class__(**get_task("entail_travel").model_dump() | {"name": "r" * 275})
