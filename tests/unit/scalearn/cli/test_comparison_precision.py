"""Tests of --precision: what trains in it, what records it, and what is left as it was where nobody says it."""

import json

import pytest
from accelerate.state import AcceleratorState

import scalearn.cli.main as cli
from scalearn import AdapterPool, Experiment
from scalearn.comparison.config import in_precision
from scalearn.methods.registry import METHODS
from tasksel.training import device
from tasksel.training.precision import LAUNCH

SMALL = ["--rows", "16", "--recipe.epochs", "1", "--recipe.batch", "8", "--recipe.max-length", "24"]
PARTS = {"name": "x", "sources": {"tasks": ["sentiment_films"]}, "targets": {"tasks": ["entail_travel"]}}


@pytest.fixture(autouse=True)
def no_launch(monkeypatch):
    monkeypatch.delenv(LAUNCH, raising=False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def gpu(monkeypatch):
    """Choices as on a machine with a GPU."""
    monkeypatch.setattr(device, "_card", lambda: ("a card", 2**36))
    monkeypatch.setattr(device, "fastest", lambda: "bf16")


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def train(tiny, tmp_path, monkeypatch):
    def call(*options):
        code = run("train-source", "grammar_school", "--pool", tmp_path / "pool", "--base", tiny, *SMALL, *options)
        return code, AdapterPool(tmp_path / "pool")["grammar_school"].card

    return call


def test_a_source_is_trained_in_it_and_says_so_in_its_card(train, capsys):
    code, card = train("--precision", "bf16")
    assert (code, card.recipe.precision, card.recipe.identity()["mixed_precision"]) == (0, "bf16", "bf16")
    assert train()[1].key == card.key, "the same command without the option goes on as it began"
    assert "in the pool already" in capsys.readouterr().err
    assert train("--precision", "float32")[0] == 2


def test_a_gpu_goes_on_with_what_a_cpu_began(train, gpu, capsys):
    with pytest.MonkeyPatch.context() as cpu:
        cpu.setattr(device, "_card", lambda: None)
        cpu.setattr(device, "fastest", lambda: "float32")
        began = train()[1]
    code, card = train()
    assert (code, card.key) == (0, began.key)
    card = train("--overwrite", "always")[1]
    assert (card.recipe.precision, card.recipe.micro_batch) == ("bf16", 8)
    assert "on a card: precision bf16, recipe.micro-batch 8" in capsys.readouterr().err


def test_a_transfer_is_recorded_with_it(pool, tmp_path, capsys):
    out = tmp_path / "out"
    call = ["transfer", "entail_kitchen", "--pool", pool.folder, "--method", "head-only", "--start", "random", *SMALL]
    assert run(*call, "--out", out, "--precision", "bf16") == 0
    assert json.loads((out / "run.json").read_text())["recipe"]["precision"] == "bf16"
    assert run(*call, "--out", out, "--seeds", 0, 1) == 0
    assert run(*call, "--out", out, "--precision", "float32") == 2
    assert "recipe.precision bf16, asked float32" in capsys.readouterr().err


def test_a_comparison_takes_it_for_sources_and_targets_alike():
    for precision, half in ((None, None), ("float32", None), ("bf16", "bf16"), ("auto", None)):
        experiment = in_precision(Experiment(**PARTS), precision)
        recipes = [experiment.source_recipe, *(experiment.recipe_of(method, 16) for method in METHODS.values())]
        assert {recipe.identity().get("mixed_precision") for recipe in recipes} == {half}


def test_a_comparison_never_asks_the_device(gpu):
    recipe = Experiment(**PARTS).recipe_of(METHODS["scalearn"], "full")
    assert device.for_device(recipe, None, None) == recipe


def test_a_configuration_without_it_is_stored_as_before():
    stored = Experiment(**PARTS).model_dump(mode="json")
    assert "precision" not in {*stored, *stored["recipe"], *stored["sources"]["recipe"]}
    changed = Experiment(**PARTS, recipe={"precision": "float32"})
    assert Experiment.model_validate_json(changed.model_dump_json()).recipe.precision == "float32"
