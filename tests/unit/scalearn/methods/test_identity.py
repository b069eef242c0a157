"""A method whose values or version changed under the same name is another one: no key of what is stored is its key."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from stored_edits import as_version_0_1

from scalearn import METHODS, TransferResult, transfer
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.methods.base import HEAD_RECIPE
from scalearn.methods.head_only import HeadOnly
from scalearn.methods.identity import RELEASED, method_identity
from scalearn.methods.registry import register_method
from scalearn.methods.soup import Soup
from scalearn.results.transfer import TransferSpec
from tasksel import UserError, get_task

BASE = SimpleNamespace(fingerprint="b" * 16, name="stub")
SCALEARN = METHODS["scalearn"]
DROPPED = replace(SCALEARN, scaling=replace(SCALEARN.scaling, dropout=0.1))


def transfer_key(method):
    source = SimpleNamespace(name="travel", fingerprint="0" * 16, task=None, rows=32, seed=0)
    return TransferSpec(
        Path("out"), get_task("entail_kitchen"), method, BASE, (source,), 48, method.recipe, (0.5,)
    ).key  # fmt: skip


@pytest.fixture
def redefined(monkeypatch):
    """Puts another row under a method's name, as a later version of the code would."""

    def put(method):
        monkeypatch.setitem(METHODS, method.name, method)
        return method

    return put


def test_the_methods_of_version_0_1_are_known_by_their_names_alone():
    assert {name: method_identity(METHODS[name]) for name in RELEASED} == {name: name for name in RELEASED}


@dataclass(frozen=True, kw_only=True)
class Weighted(HeadOnly):
    weight: float = 0.5


class Later(Weighted):
    version = 2


class Elsewhere(Weighted):
    trained_parts = (".adapters.",)


PLAIN = Weighted(name="weighted", recipe=HEAD_RECIPE)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, weight=0.25),
        replace(PLAIN, least=1),
        HeadOnly(name="weighted", recipe=HEAD_RECIPE),
        Later(name="weighted", recipe=HEAD_RECIPE),
        Elsewhere(name="weighted", recipe=HEAD_RECIPE),
    ],
    ids=["a value of one's own", "a value of all", "another class", "another version", "other trained parts"],
)
def test_a_row_is_known_by_its_class_version_and_values(other):
    assert transfer_key(other) != transfer_key(PLAIN)
    assert transfer_key(replace(PLAIN)) == transfer_key(PLAIN)
    assert json.loads(json.dumps(method_identity(other))) == method_identity(other)


def test_a_released_row_that_changes_has_another_key_in_transfers():
    assert transfer_key(DROPPED) != transfer_key(SCALEARN)


def test_a_version_that_is_raised_is_another_key(monkeypatch):
    before = transfer_key(METHODS["soup"]), transfer_key(METHODS["sequential"])
    monkeypatch.setattr(Soup, "version", 2)
    assert transfer_key(METHODS["soup"]) != before[0]
    assert transfer_key(METHODS["sequential"]) == before[1]


def test_values_that_cannot_be_known_again_are_refused_when_registered():
    with pytest.raises(UserError, match="weight of method 'weighted' is function, by which no stored result can be"):
        register_method(replace(PLAIN, weight=lambda: 0.5))
    assert "weighted" not in METHODS


def test_a_unit_of_a_method_that_changed_is_not_taken_from_the_store(experiment_run, config, redefined):
    plan = Plan(Experiment.model_validate(config), experiment_run)
    keys = {str(unit): plan.work_store.key(unit) for unit in plan.units}
    assert all(plan.done(step) for step in plan.steps())
    redefined(DROPPED)
    later = Plan(Experiment.model_validate(config), experiment_run)
    changed = {str(unit) for unit in later.units if later.work_store.key(unit) != keys[str(unit)]}
    assert changed == {name for name in keys if " by scalearn from" in name}
    assert {str(step) for step in later.steps() if not later.done(step)} == changed


def test_rows_and_results_say_what_made_them(experiment_run, results):
    plan_rows = (experiment_run / "rows.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, plan_rows) if row["method"] == "scalearn")
    assert row["settings"] == results["scalearn"].run.settings == SCALEARN.settings()
    assert (row["settings"]["version"], row["settings"]["scaling"]["dropout"]) == (1, 0.3)


def test_a_stored_transfer_is_not_gone_on_with_by_other_values(results, pool, target, recipe, tmp_path, redefined):
    results["scalearn"].save(tmp_path / "own")
    redefined(DROPPED)
    with pytest.raises(UserError, match=r"holds a different run \(the method's scaling .*'dropout': 0\.3.*0\.1"):
        transfer(target, list(pool), method="scalearn", seeds=[0, 1], rows=32, recipe=recipe, out=tmp_path / "own")


def test_a_result_of_other_values_is_not_read_as_this_methods(results, tmp_path, redefined, monkeypatch):
    own = results["scalearn"].save(tmp_path / "own")
    monkeypatch.setattr(type(SCALEARN), "version", 2)
    assert own.method is SCALEARN  # a version is of training: what is stored is still a model
    redefined(replace(SCALEARN, scaling=replace(SCALEARN.scaling, normalise="softmax")))
    with pytest.raises(
        UserError, match=r"made by a method 'scalearn' of other values .*'softmax'.*: register that one"
    ):
        TransferResult.load(tmp_path / "own").model()
    as_version_0_1(tmp_path / "own" / "run.json", without=("settings",))
    assert TransferResult.load(tmp_path / "own").method.scaling.normalise == "softmax"
