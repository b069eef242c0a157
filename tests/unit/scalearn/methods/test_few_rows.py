"""With few rows a method that starts at the solved head has rates of its own, which a comparison and a transfer take alike."""

from scalearn.comparison.config import RecipeChange
from scalearn.comparison.experiment_config import ExperimentConfig
from scalearn.methods.few_rows import FEW_ROWS, LENGTH, RATES, recipe_for
from scalearn.methods.registry import METHODS, PEFT_MERGES


def never():
    raise AssertionError("rows are counted for nothing")


def test_a_method_has_its_rates_up_to_a_thousand_rows():
    few, many = (recipe_for(METHODS["sequential"], lambda rows=rows: rows) for rows in (FEW_ROWS, FEW_ROWS + 1))
    assert (few.lr, few.head_lr, few.max_steps) == (RATES["sequential"], 3e-4, LENGTH["max_steps"])
    assert many == METHODS["sequential"].recipe


def test_what_is_asked_for_stands_over_the_rates():
    asked = RecipeChange(lr=0.5, max_steps=7)
    recipe = recipe_for(METHODS["full"], lambda: 50, asked.of)
    assert (recipe.lr, recipe.max_steps, recipe.head_lr, recipe.patience) == (0.5, 7, 3e-4, LENGTH["patience"])


def test_a_random_head_keeps_the_recipe_of_its_authors():
    recipe = recipe_for(METHODS["scalearn"], never, RecipeChange(start="random").of)
    assert recipe == METHODS["scalearn"].recipe.model_copy(update={"start": "random"})


def test_rows_are_not_counted_for_a_method_without_rates():
    assert recipe_for(METHODS["auto"], never) == METHODS["auto"].recipe


def of(method, size, **changes):
    config = {"name": "x", "sources": {"tasks": ["a", "b"]}, "targets": {"tasks": ["c"], "sizes": [size]}}
    return ExperimentConfig.model_validate({**config, **changes}).recipe_of(METHODS[method], size)


def test_a_comparison_takes_the_rates_at_few_rows_alone():
    assert (of("fusion", 100).lr, of("fusion", 100).head_lr) == (RATES["fusion"], 3e-4)
    assert of("fusion", FEW_ROWS + 1).lr == of("fusion", "full").lr == METHODS["fusion"].recipe.lr


def test_a_comparison_of_random_heads_or_by_the_paper_keeps_its_recipes():
    assert of("fusion", 100, recipe={"start": "random"}).lr == METHODS["fusion"].recipe.lr
    assert of("fusion", 100, protocol="paper").head_lr is None


def test_a_comparison_that_names_a_rate_has_it():
    assert of("fusion", 100, lr={"fusion": 0.25}).lr == 0.25
    assert of("fusion", 100, recipe={"head_lr": 0.125}).head_lr == 0.125


def test_a_head_that_trains_alone_follows_the_closed_form_slowly():
    alone = [name for name, method in METHODS.items() if method.recipe.lr == 3e-3 and name != "compacter++"]
    assert {"head-only", "average", "search", "soup"} <= set(alone)
    for method in [*(METHODS[name] for name in alone), *PEFT_MERGES.values()]:
        few, many = (recipe_for(method, lambda rows=rows: rows) for rows in (100, FEW_ROWS + 1))
        assert (few.lr, few.head_lr, few.max_steps) == (3e-4, 3e-4, LENGTH["max_steps"]), method.name
        assert many == method.recipe, method.name
