"""A transfer trains omega and the head and nothing else, goes on where it was killed, and refuses what cannot work."""

import json
import shutil
import signal
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scalearn import Recipe, TransferResult, transfer
from scalearn.layers.mix import ScaledMix
from tasksel import Ranking, UserError, get_task
from tasksel.model.base import weights_fingerprint
from tasksel.training.loop import Diverged

TEXTS = [("The pan is hot and clean", "The pan is clean"), ("Two cooks peel carrots", "Nobody peels")]
module = sys.modules["scalearn.results.transfer"]
procedure = sys.modules["scalearn.methods.training"]


@pytest.fixture
def go(pool, target, recipe, tmp_path):
    """Transfers to the target from the session's pool, with what is given changed."""

    def run(**change):
        given = {"sources": list(pool), "method": "scalearn", "rows": 32, "recipe": recipe, "out": tmp_path / "out"}
        given |= change
        return transfer(given.pop("target", target), given.pop("sources"), **given)

    return run


def state(result, seed):
    return load_file(result.folder / f"seed-{seed}" / "state.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_frozen_means_frozen_to_the_bit(go, pool, target, monkeypatch):
    seen, plain = {}, procedure.fit

    def watched(model, *args, **kwargs):
        slots = [m for m in model.modules() if isinstance(m, ScaledMix)]

        def snapshot():
            return {
                "base": weights_fingerprint(model),
                "buffers": {k: v.cpu().clone() for k, v in model.named_buffers()},
                "frozen": {k: v.cpu().clone() for k, v in model.named_parameters() if not v.requires_grad},
                "trained": {k: v.detach().cpu().clone() for k, v in model.named_parameters() if v.requires_grad},
            }

        assert len(slots) == 2
        seen["before"] = snapshot()
        done = plain(model, *args, **kwargs)
        seen["after"] = snapshot()
        return done

    monkeypatch.setattr(procedure, "fit", watched)
    go()
    before, after = seen["before"], seen["after"]
    assert before["base"] == after["base"] == pool.base.fingerprint
    assert any(name.endswith(".down") for name in before["buffers"])
    assert same(before["buffers"], after["buffers"])
    assert same(before["frozen"], after["frozen"])
    assert all(not torch.equal(before["trained"][name], after["trained"][name]) for name in before["trained"])
    assert all(name.endswith("omega.weight") or name.startswith(f"heads.{target.name}") for name in before["trained"])


def test_the_sources_files_are_not_touched(go, pool):
    before = {path: path.read_bytes() for path in pool.folder.rglob("*.safetensors")}
    go()
    assert {path: path.read_bytes() for path in pool.folder.rglob("*.safetensors")} == before


def test_the_same_call_again_trains_nothing(go, no_training, results, target, pool, recipe, tmp_path):
    shutil.copytree(results["scalearn"].folder, tmp_path / "out")
    assert go(seeds=[0, 1]).scores == results["scalearn"].scores


def test_an_equal_run_elsewhere_gives_the_same_weights(go, results):
    again = go(seeds=[0, 1])
    for seed in (0, 1):
        assert same(state(again, seed), state(results["scalearn"], seed))
    assert again.scores == results["scalearn"].scores
    assert not same(state(again, 0), state(again, 1))


def test_only_what_is_missing_is_trained_again(go, results, tmp_path, monkeypatch):
    shutil.copytree(results["scalearn"].folder, tmp_path / "out")
    (tmp_path / "out" / "result.json").unlink()
    shutil.rmtree(tmp_path / "out" / "seed-0")
    trained, plain = [], procedure.fit
    monkeypatch.setattr(procedure, "fit", lambda *a, seed, **k: (trained.append(seed), plain(*a, seed=seed, **k))[1])
    again = go(seeds=[0, 1])
    assert trained == [0]
    assert same(state(again, 0), state(results["scalearn"], 0))
    assert again.scores == results["scalearn"].scores


def test_more_seeds_may_come_later(go, results, tmp_path, monkeypatch):
    trained, plain = [], procedure.fit
    monkeypatch.setattr(procedure, "fit", lambda *a, seed, **k: (trained.append(seed), plain(*a, seed=seed, **k))[1])
    assert list(go(seeds=[1]).scores) == [1]
    both = go(seeds=[0])
    assert trained == [1, 0]
    assert both.scores == results["scalearn"].scores
    assert same(state(both, 0), state(results["scalearn"], 0))


KILLED = """
    import json, os, signal, sys
    from scalearn import AdapterPool, Recipe, transfer
    from tasksel import get_task

    outs, folder, recipe = json.load(sys.stdin)
    module, procedure = sys.modules["scalearn.results.transfer"], sys.modules["scalearn.methods.training"]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def run(where, out):
        fit, write = procedure.fit, module.write_hashed
        if where == "training":
            doom = lambda seed: lambda step: seed == 1 and step == 2 and die()
            procedure.fit = lambda *a, seed, **k: fit(*a, seed=seed, on_step=doom(seed), **k)
        written, last = [], {"storing": ["seed.json"] * 2, "concluding": ["result.json"]}.get(where)

        def write_or_die(path, value):
            written.append(path.name)
            if [name for name in written if last and name in last] == last:
                die()
            write(path, value)

        module.write_hashed = write_or_die
        task, sources = get_task("entail_kitchen"), list(AdapterPool(folder))
        transfer(task, sources, method="scalearn", seeds=[0, 1], rows=32, recipe=Recipe(**recipe), out=out)

    ended = {}
    for where, out in outs.items():
        child = os.fork()
        if not child:
            run(where, out)
            os._exit(0)
        ended[where] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps(ended))
"""
TRAINED_AFTER = {"training": [1], "storing": [1], "concluding": []}


@pytest.fixture(scope="module")
def killed(pool_folder, recipe, fresh_process, tmp_path_factory):
    """Three runs that were really killed: in a step of the second seed, while it was stored, before the summary."""
    outs = {where: str(tmp_path_factory.mktemp("killed") / where) for where in TRAINED_AFTER}
    asked = json.dumps([outs, str(pool_folder), recipe.model_dump()])
    ended = json.loads(fresh_process(textwrap.dedent(KILLED), asked, ours=True))
    assert ended == dict.fromkeys(TRAINED_AFTER, -signal.SIGKILL)
    return {where: Path(out) for where, out in outs.items()}


@pytest.mark.parametrize("where", TRAINED_AFTER)
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_numbers(where, killed, go, results, monkeypatch):
    assert (killed[where] / "seed-0" / "seed.json").is_file()
    with pytest.raises(UserError, match="the run is not finished"):
        TransferResult.load(killed[where])
    trained, plain = [], procedure.fit
    monkeypatch.setattr(procedure, "fit", lambda *a, seed, **k: (trained.append(seed), plain(*a, seed=seed, **k))[1])
    again = go(seeds=[0, 1], out=killed[where])
    assert trained == TRAINED_AFTER[where]
    assert again.scores == results["scalearn"].scores
    for seed in (0, 1):
        assert same(state(again, seed), state(results["scalearn"], seed))
    assert not list(killed[where].glob(".partial*"))


def test_a_run_killed_before_its_record_leaves_no_folder_that_looks_begun(go, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_hashed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        go()
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert go().scores


def test_a_seed_that_diverges_keeps_the_finished_ones_and_the_last_good_state(go, tmp_path, monkeypatch):
    import tasksel.training.loop as training

    first = go(seeds=[0])
    plain = training.loss_sum
    monkeypatch.setattr(training, "loss_sum", lambda *args: plain(*args) * float("nan"))
    with pytest.raises(Diverged, match=r"NaN at step 1 .*last good state is in .*seed-5-last-good\.safetensors"):
        go(seeds=[0, 5])
    kept = load_file(tmp_path / "out" / "seed-5-last-good.safetensors")
    assert any("omega" in name for name in kept)
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert TransferResult.load(tmp_path / "out").scores == first.scores


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rows": 30}, "rows 32, asked 30"),
        ({"method": "scalearn++"}, r"method scalearn, asked scalearn\+\+"),
        ({"recipe": Recipe(lr=1e-3, epochs=1, batch=8, max_length=32)}, r"recipe\.lr 0\.01, asked 0\.001"),
        ({"target": get_task("entail_travel")}, "target entail_kitchen, asked entail_travel"),
        ({"target": get_task("entail_kitchen").model_copy(update={"metric": "f1"})}, "metric accuracy, asked f1"),
    ],
)
def test_a_folder_with_another_run_is_refused_and_what_differs_is_named(
    go, results, tmp_path, no_training, change, named
):
    shutil.copytree(results["scalearn"].folder, tmp_path / "out")
    with pytest.raises(UserError, match=f"holds a different run .*{named}.*choose another --out"):
        go(**change)


@pytest.mark.parametrize("order", [["entail_travel"], ["sentiment_films", "grammar_garden", "entail_travel"]])
def test_other_sources_or_another_order_of_them_are_a_different_run(go, results, pool, tmp_path, no_training, order):
    shutil.copytree(results["scalearn"].folder, tmp_path / "out")
    with pytest.raises(UserError, match="sources entail_travel, grammar_garden, sentiment_films, asked"):
        go(sources=pool.select(order))


def test_a_source_that_was_trained_anew_makes_a_different_run(go, fill, tiny, tmp_path, no_training, monkeypatch):
    (old,) = fill(tmp_path / "old", tiny, "one", seed=1)
    (new,) = fill(tmp_path / "new", tiny, "one", seed=2)
    with pytest.raises(AssertionError, match="trained again"):
        go(sources=[old])
    with pytest.raises(UserError, match="a source's weights differ"):
        go(sources=[new])


def test_a_folder_that_holds_something_else_is_left_alone(go, tmp_path, no_training):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty and holds no transfer"):
        go()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_what_a_killed_run_left_is_removed_and_the_transfer_goes_on(go, tmp_path):
    (tmp_path / "out" / ".partial-abcd1234").mkdir(parents=True)
    (tmp_path / ".partial-abcd_234").mkdir()
    go()
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_a_disk_without_room_is_said_before_it_trains(go, monkeypatch):
    monkeypatch.setattr("tasksel.storage.disk.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="will be written and 0 kB are free"):
        go()


def test_a_file_in_the_place_of_the_folder_is_left_alone(go, tmp_path, no_training):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="holds no transfer"):
        go()
    assert (tmp_path / "out").read_text() == "mine"


def test_an_empty_folder_is_welcome(go, tmp_path):
    (tmp_path / "out").mkdir()
    assert go().folder == tmp_path / "out"


def test_without_a_folder_the_result_lies_in_a_temporary_one(go, tmp_path):
    result = go(out=None)
    try:
        assert result.folder.is_dir()
        assert np.array_equal(result.save(tmp_path / "kept").predict(TEXTS), result.predict(TEXTS))
    finally:
        shutil.rmtree(result.folder)


def test_a_mix_without_sources_is_refused(go, tiny, no_training):
    with pytest.raises(UserError, match="method 'scalearn' needs at least one source"):
        go(sources=[], base=tiny)


def test_neither_sources_nor_a_base_is_refused(go, no_training):
    with pytest.raises(UserError, match="name the base model"):
        go(sources=[], method="head-only")


def test_a_method_misspelt_is_answered_with_the_nearest(go, no_training):
    with pytest.raises(UserError, match="no method 'scalearn-unifrom'; did you mean 'scalearn-uniform'"):
        go(method="scalearn-unifrom")


@pytest.mark.parametrize("seeds", [[], [0, 0]])
def test_seeds_must_be_there_and_differ(go, no_training, seeds):
    with pytest.raises(UserError, match="must be a non-empty list without duplicates"):
        go(seeds=seeds)


def test_a_source_given_twice_is_refused(go, pool, no_training):
    with pytest.raises(UserError, match="source 'entail_travel' is given twice"):
        go(sources=[pool["entail_travel"], pool["grammar_garden"], pool["entail_travel"]])


def test_sources_of_another_base_are_refused_by_name(go, make_base, no_training):
    with pytest.raises(UserError, match=r"source 'entail_travel' in .* was trained on base"):
        go(base=make_base(seed=1))


def test_more_sources_than_there_are_cannot_be_asked_for():
    with pytest.raises(UserError, match="top k=3, but 2 sources are ranked for 'rte': choose 1 to 2"):
        Ranking("rte", ("mnli", "cola"), (0.7, 0.6)).top(3)


def test_a_damaged_source_is_refused_and_leaves_no_folder(go, own_pool, tmp_path):
    weights = own_pool["grammar_garden"].folder / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"source 'grammar_garden': .*is not the file that was stored"):
        go(sources=list(own_pool))
    assert not (tmp_path / "out").exists()


def test_every_kind_of_task_is_a_target(kinds):
    assert {result.task.kind for result in kinds.values()} == {
        "single_sentence_classification",
        "pair_classification",
        "regression",
        "multi_label",
        "multiple_choice",
    }
    for result in kinds.values():
        assert all(np.isfinite(score) for score in result.scores.values())
        assert result.task.metric in result.seeds[0].scores


def test_a_record_tells_what_was_computed(results, pool):
    run = results["scalearn"].run
    assert run.sources == {source.name: source.fingerprint for source in pool}
    assert run.base["fingerprint"] == pool.base.fingerprint
    assert run.versions.keys() >= {"torch", "adapters", "scalearn"}
    assert (run.rows, run.method, run.recipe.lr) == (32, "scalearn", 0.01)
    assert results["head-only"].run.sources == {}


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "deberta-v2", "xlm-roberta"])
def test_other_architectures_transfer_and_reload(architecture, make_base, fill, target, recipe, tmp_path):
    base = make_base(architecture)
    sources = fill(tmp_path / "pool", base, "one", "two")
    result = transfer(target, sources, method="scalearn++", rows=8, recipe=recipe, out=tmp_path / "out")
    assert result.omega().shape == (1, 2, 32)
    assert np.array_equal(result.predict(TEXTS), TransferResult.load(tmp_path / "out").predict(TEXTS))
