"""A comparison over LoRAs trains its sources and the target's own as LoRAs, and refuses what takes none before any work."""

import pytest

from scalearn import AdapterPool
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.methods.registry import METHODS
from tasksel import UserError
from tasksel.adapters.train import LORA_RECIPE


@pytest.fixture
def loras(config):
    config["sources"]["lora"] = {"r": 2, "target_modules": ["query", "value"]}
    config["targets"] |= {"sizes": [8], "seeds": [0]}
    config["rank"] = {"by": "all", "order": "vocabulary"}
    config["methods"] = ["scalearn-uniform", "single-adapter", "closed-form"]
    return config


def test_sources_and_the_targets_own_adapter_are_loras(loras, tmp_path):
    run = Experiment.model_validate(loras).run(tmp_path / "run")
    assert {row.method for row in run.rows if row.score is not None} == set(loras["methods"])
    own, sources = (sorted((tmp_path / "run" / "store" / name).rglob("seed-0")) for name in ("own", "sources"))
    pool = AdapterPool(sources[0])
    assert {source.kind for source in pool} == {"lora"}
    assert {source.lora().config.lora.r for source in pool} == {2}
    (single,) = [row for row in run.rows if row.method == "single-adapter"]
    assert single.parameters["transfer"] == pool["sentiment_films"].card.parameters["transfer"]
    assert not own


def test_a_second_plan_finds_all_of_it_done(loras, tmp_path):
    Experiment.model_validate(loras).run(tmp_path / "run")
    again = Plan(Experiment.model_validate(loras), tmp_path / "run")
    assert all(again.done(step) for step in again.steps())
    loras["sources"]["lora"]["r"] = 4
    other = Plan(Experiment.model_validate(loras), tmp_path / "other", store=tmp_path / "run" / "store")
    assert not any(other.done(step) for step in other.steps() if step.kind == "source")


def test_a_new_lora_and_a_new_bottleneck_are_two_units(loras, tmp_path):
    """Neither has a source that would tell them apart, and their recipes are equal."""
    loras |= {"methods": ["single-adapter", "closed-form-base"], "lr": {"single-adapter": 1e-3}}
    keys = {}
    for name in ("lora", "bottleneck"):
        plan = Plan(Experiment.model_validate(loras), tmp_path / name)
        keys[name] = {unit.condition.method: plan.work_store.key(unit) for unit in plan.units}
        loras["sources"].pop("lora", None)
    assert keys["lora"]["single-adapter"] != keys["bottleneck"]["single-adapter"]
    assert keys["lora"]["closed-form-base"] == keys["bottleneck"]["closed-form-base"]


def test_stage_1_and_methods_have_the_rates_of_loras(loras):
    experiment = Experiment.model_validate(loras)
    assert experiment.source_recipe.lr == LORA_RECIPE.lr
    assert experiment.recipe_of(METHODS["sequential"], "full").lr == METHODS["sequential"].recipe_for("lora").lr


def test_a_method_that_takes_no_loras_is_refused_before_any_work(loras, tmp_path):
    loras["methods"] = ["fusion"]
    with pytest.raises(UserError, match="takes no LoRAs"):
        Plan(Experiment.model_validate(loras), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_wrong_key_of_a_lora_is_named(loras):
    loras["sources"]["lora"]["rank"] = 4
    with pytest.raises(UserError, match=r"sources\.lora\.rank: no key 'rank'; did you mean 'rank_pattern'"):
        Experiment(**loras)
