"""Joint training learns all the tasks at once, leaves the target an ordinary result, and is done once for all its targets."""

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scalearn import AdapterPool, TransferResult, train_source, transfer
from scalearn.methods import joint as module
from scalearn.methods.joint import RECORD, SHARED, WEIGHTS, auxiliary_sources, train_joint
from scalearn.results.predict import Export
from tasksel import UserError, get_task, load_data
from tasksel.model.encoding import encode_split
from tasksel.tasks.examples import Split
from tasksel.tasks.load import Data
from tasksel.training.loop import Diverged
from tasksel.training.predict import evaluate

NAMES = ("entail_travel", "grammar_garden", "sentiment_films")  # the pool's, 64 rows each
TEXTS = [("The pan is hot and clean", "The pan is clean"), ("Two cooks peel carrots", "Nobody peels")]


@pytest.fixture
def go(pool, target, recipe, tmp_path):
    """Transfers to the target by "joint" from the session's pool, with what is given changed."""

    def run(**change):
        given = {"target": target, "sources": list(pool), "rows": 32, "recipe": recipe, "out": tmp_path / "out"}
        given |= {"method": "joint", **change}
        return transfer(given.pop("target"), given.pop("sources"), **given)

    return run


@pytest.fixture
def runs(monkeypatch):
    """Counts trainings: gives the list that each one's tasks are added to."""
    seen, plain = [], module.fit_parts

    def watched(model, parts, *args, **kwargs):
        seen.append([part.task.name for part in parts])
        return plain(model, parts, *args, **kwargs)

    monkeypatch.setattr(module, "fit_parts", watched)
    return seen


@pytest.fixture(scope="module")
def tasks():
    """Three tasks with 32 rows each."""
    return [(get_task(name), load_data(get_task(name), rows=32)) for name in NAMES]


def state(result, seed=0):
    return load_file(result.folder / f"seed-{seed}" / "state.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


class TestTraining:
    def test_the_adapter_learns_every_task_and_every_head_its_own(self, tasks, pool, recipe):
        done = train_joint(tasks, pool.base, recipe, seed=0)
        still = train_joint(tasks, pool.base, recipe.model_copy(update={"lr": 1e-20}), seed=0)
        assert done.state.keys() == still.state.keys()
        assert all(not torch.equal(tensor, still.state[name]) for name, tensor in done.state.items())
        assert list(done.record.scores) == sorted(NAMES)
        assert done.record.steps == recipe.steps(*(len(data.train) for _, data in tasks))
        assert done.record.seconds > 0

    def test_a_task_more_changes_the_adapter(self, tasks, pool, recipe):
        three, two, one = (train_joint(tasks[:count], pool.base, recipe, seed=0) for count in (3, 2, 1))
        adapters = [{k: v for k, v in done.of(NAMES[0]).items() if ".adapters." in k} for done in (three, two, one)]
        assert not same(adapters[0], adapters[1])
        assert not same(adapters[1], adapters[2])

    def test_the_order_of_the_tasks_is_no_matter(self, tasks, pool, recipe):
        one, two = (train_joint(given, pool.base, recipe, seed=0) for given in (tasks, tasks[::-1]))
        assert same(one.state, two.state)
        assert one.record.scores == two.record.scores
        assert one.record.made_of == two.record.made_of

    def test_the_seed_decides(self, tasks, pool, recipe):
        one, again, other = (train_joint(tasks, pool.base, recipe, seed=seed) for seed in (0, 0, 1))
        assert same(one.state, again.state)
        assert not same(one.state, other.state)

    def test_heads_begin_in_the_order_of_their_names(self, tasks, pool, recipe):
        """So that a target's head does not depend on which of the tasks is the target."""
        still = recipe.model_copy(update={"lr": 1e-20, "max_steps": 1})
        first = train_joint(tasks[:1], pool.base, still, seed=0)
        both = train_joint(tasks[::-1], pool.base, still, seed=0)
        heads = [{k: v for k, v in done.of(NAMES[0]).items() if k.startswith("heads.")} for done in (first, both)]
        torch.testing.assert_close(*heads)

    def test_a_task_is_given_the_adapter_and_its_own_head_alone(self, tasks, pool, recipe):
        done = train_joint(tasks, pool.base, recipe, seed=0)
        for name in NAMES:
            found = done.of(name)
            assert {key.split(".")[1] for key in found if key.startswith("heads.")} == {name}
            assert sum(f".adapters.{name}." in key for key in found) == 8  # two layers, down and up, weight and bias
            assert not any(SHARED in key for key in found)
            for key, tensor in found.items():
                assert torch.equal(tensor, done.state[key.replace(f".adapters.{name}.", f".adapters.{SHARED}.")])


class TestResult:
    def test_the_target_has_what_was_trained_and_its_own_dev_score(self, results, target, pool, recipe):
        result = results["joint"]
        (entry,) = result.seeds.values()
        data = [
            (target, load_data(target, rows=32)),
            *((s.task, load_data(s.task, rows=s.rows, seed=s.seed)) for s in pool),
        ]
        done = train_joint(data, pool.base, recipe, seed=0)
        assert same(state(result), done.of(target.name))
        assert entry.dev == done.record.scores[target.name]
        assert entry.steps == done.record.steps > recipe.steps(28) * 3  # not the target's own rows alone
        split = encode_split(data[0][1].dev, target, pool.base.tokenizer, max_length=32)
        assert evaluate(result.model(), target, split) == pytest.approx(entry.dev, abs=1e-9)

    def test_it_counts_as_one_adapter_and_one_head(self, results):
        joint, single = (results[method].seeds[0] for method in ("joint", "single-adapter"))
        assert joint.parameters == single.parameters
        assert joint.bytes == pytest.approx(single.bytes, rel=0.05)
        assert not same(state(results["joint"]), state(results["single-adapter"]))

    def test_nothing_of_the_sources_adapters_is_read_or_kept(self, go, own_pool, results, target):
        for source in own_pool:
            (source.folder / "adapter.safetensors").write_bytes(b"gone")
        result = go(sources=list(own_pool))
        assert same(state(result), state(results["joint"]))
        assert not (result.folder / "sources.safetensors").exists()
        assert result.run.adapter_config == {}
        assert sorted(result.run.sources) == sorted(NAMES)

    def test_it_reloads_and_an_export_says_the_same(self, results, tmp_path):
        result = results["joint"]
        logits = result.predict(TEXTS)
        assert np.array_equal(TransferResult.load(result.folder).predict(TEXTS), logits)
        folder = result.export(tmp_path / "export")
        split = Split(TEXTS, None, np.zeros(2, dtype=np.int64))
        np.testing.assert_allclose(Export.load(folder).logits(split), logits, atol=1e-5)
        assert "whose tasks it was trained on" in (folder / "README.md").read_text()

    @pytest.mark.parametrize("name", ["complaints_orders", "rating_hotels", "endings_daily"])
    def test_tasks_of_other_kinds_learn_together(self, go, name):
        result = go(target=get_task(name), rows=24)
        split = load_data(get_task(name), rows=24).test.take(range(6))
        assert np.array_equal(result.logits(split), TransferResult.load(result.folder).logits(split))

    def test_what_diverges_says_so_and_keeps_nothing(self, go, recipe, tmp_path):
        with pytest.raises(Diverged, match="use a smaller lr"):
            go(recipe=recipe.model_copy(update={"lr": 1e30, "warmup": 0.0}), store=tmp_path / "store")
        assert (tmp_path / "out" / "seed-0-last-good.safetensors").is_file()
        assert not list((tmp_path / "store").glob("*/*"))


@pytest.fixture
def three(tiny, tmp_path, recipe):
    """A pool of three sources with 32 rows each, so that one training serves each of them as the target."""
    pool = AdapterPool(tmp_path / "three", base=tiny)
    for name in NAMES:
        train_source(get_task(name), pool, rows=32, recipe=recipe.model_copy(update={"max_steps": 1}))
    return pool


class TestStore:
    def each(self, go, pool, tmp_path, **options):
        """Every task of the pool as a target, from the others."""
        found = {}
        for name in NAMES:
            others = [source for source in pool if source.name != name]
            out = tmp_path / "each" / name
            found[name] = go(target=get_task(name), sources=others, out=out, store=tmp_path / "store", **options)
        return found

    def test_one_training_serves_every_target_of_the_same_tasks(self, go, three, tmp_path, runs):
        found = self.each(go, three, tmp_path)
        assert runs == [sorted(NAMES)]
        (place,) = (tmp_path / "store").glob("[0-9a-f]*")
        told = json.loads((place / RECORD).read_text())
        for name, result in found.items():
            alone = go(
                target=get_task(name), sources=[s for s in three if s.name != name], out=tmp_path / "alone" / name
            )
            assert same(state(result), state(alone))
            assert result.scores == alone.scores
            entry = result.seeds[0]
            assert entry.dev == told["scores"][name] == alone.seeds[0].dev
            assert (entry.steps, entry.seconds, entry.epoch) == (told["steps"], told["seconds"], told["epoch"])
            assert entry.peak_memory == told["peak_memory"]
        assert len(runs) == 1 + len(NAMES)

    def test_without_a_store_each_target_trains(self, go, three, tmp_path, runs):
        for name in NAMES[:2]:
            go(target=get_task(name), sources=[s for s in three if s.name != name], out=tmp_path / name)
        assert len(runs) == 2

    def test_other_rows_seeds_recipes_or_sources_are_another_training(self, go, three, recipe, tmp_path, runs):
        others = [source for source in three if source.name != NAMES[0]]
        given = {"target": get_task(NAMES[0]), "sources": others, "store": tmp_path / "store"}
        changes = [
            {},
            {"rows": 30},
            {"seeds": [1]},
            {"recipe": recipe.model_copy(update={"lr": 1e-202})},
            {"sources": others[:1]},
        ]
        for number, change in enumerate(changes):
            go(**given | change, out=tmp_path / str(number))
            assert len(runs) == number + 1
        go(**given, out=tmp_path / "again")
        assert len(runs) == len(changes)

    def test_a_run_is_named_by_the_rows_of_the_sources_and_not_by_their_weights(self, go, own_pool, tmp_path):
        before = go(out=tmp_path / "before").run.key
        sources = list(own_pool)
        card = sources[0].card
        files = dict.fromkeys(card.files, "0" * 64)
        weights = [replace(sources[0], card=card.model_copy(update={"files": files})), *sources[1:]]
        assert go(sources=weights, out=tmp_path / "weights").run.key == before
        assert go(sources=sources[::-1], out=tmp_path / "order").run.key == before
        rows = [replace(sources[0], card=card.model_copy(update={"rows": 40})), *sources[1:]]
        assert go(sources=rows, out=tmp_path / "rows").run.key != before
        with pytest.raises(UserError, match="holds a different run"):
            go(sources=rows, out=tmp_path / "before")

    @pytest.mark.parametrize("harm", ["cut", "lost", "told"])
    def test_a_damaged_training_is_not_taken_for_a_whole_one(self, go, three, tmp_path, harm):
        given = {
            "target": get_task(NAMES[0]),
            "sources": [s for s in three if s.name != NAMES[0]],
            "store": tmp_path / "store",
        }
        go(**given, out=tmp_path / "one")
        (place,) = (tmp_path / "store").glob("[0-9a-f]*")
        if harm == "cut":
            (place / WEIGHTS).write_bytes((place / WEIGHTS).read_bytes()[:-4])
        elif harm == "lost":
            (place / WEIGHTS).unlink()
        else:
            (place / RECORD).write_text("{}")
        with pytest.raises(UserError, match=f"delete {place} and run again"):
            go(**given, out=tmp_path / "two")
        shutil.rmtree(place)
        go(**given, out=tmp_path / "two")

    def test_two_runs_at_once_train_it_once(self, three, tmp_path, recipe):
        """Each asks for the same training from a process of its own; the later one waits."""
        context = multiprocessing.get_context("fork")
        asked = [
            context.Process(target=ask, args=(three.folder, name, tmp_path, recipe.model_copy(update={"epochs": 3})))
            for name in NAMES[:2]
        ]
        for process in asked:
            process.start()
        for process in asked:
            process.join(120)
            assert process.exitcode == 0
        assert len(list(tmp_path.glob("trained-*"))) == 1
        assert {TransferResult.load(tmp_path / name).seeds[0].seconds for name in NAMES[:2]} == {
            json.loads(path.read_text())["seconds"] for path in (tmp_path / "store").glob(f"*/{RECORD}")
        }


def ask(folder: Path, name: str, out: Path, recipe):
    """A run of its own, which leaves a mark when it trains."""
    plain = module.fit_parts

    def marked(*args, **kwargs):
        (out / f"trained-{name}").touch()
        return plain(*args, **kwargs)

    module.fit_parts = marked
    sources = [source for source in AdapterPool(folder) if source.name != name]
    given = {"rows": 32, "recipe": recipe, "store": out / "store", "out": out / name}
    transfer(get_task(name), sources, method="joint", **given)


class TestSources:
    def test_a_source_without_a_task_is_refused_by_name(self, go, pool, tiny, fill, tmp_path):
        (nameless,) = fill(tmp_path / "other", tiny, "nameless")
        with pytest.raises(UserError, match=r"source 'nameless' names no task.*scalearn pool add … --task") as caught:
            go(sources=[*pool, nameless])
        assert "choose another method" in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_the_targets_own_source_is_left_out(self, go, own_pool, target, recipe, results, tmp_path):
        train_source(target, own_pool, rows=48, recipe=recipe)
        renamed = tmp_path / "own-pool" / "renamed"
        (tmp_path / "own-pool" / target.name).rename(renamed)  # a task's name counts, not the folder's
        sources = list(AdapterPool(tmp_path / "own-pool"))
        assert "renamed" in [source.name for source in sources]
        result = go(sources=sources)
        assert sorted(result.run.sources) == sorted(NAMES)
        assert result.run.key == results["joint"].run.key
        assert same(state(result), state(results["joint"]))

    def test_the_targets_own_source_alone_is_too_few(self, own_pool, target, recipe):
        own = train_source(target, own_pool, rows=48, recipe=recipe)
        with pytest.raises(UserError, match=f"at least one source beside that of '{target.name}' itself"):
            auxiliary_sources(target, [own])

    def test_two_sources_of_one_task_are_refused(self, own_pool, target):
        folder = own_pool.folder
        shutil.copytree(folder / NAMES[0], folder / "twin")
        with pytest.raises(UserError, match=f"'{NAMES[0]}' and 'twin' are both of the task '{NAMES[0]}'"):
            auxiliary_sources(target, list(AdapterPool(folder)))

    def test_the_rows_are_those_that_the_card_names(self, pool):
        source = pool[NAMES[0]]
        task, data = module.joint_task(source)
        assert isinstance(data, Data)
        assert task == source.task
        assert data.fingerprint == source.data
        other = replace(source, card=source.card.model_copy(update={"seed": 1}))
        assert module.joint_task(other)[1].fingerprint != source.data

    def test_a_matrix_does_not_measure_it(self, tmp_path, tiny):
        from scalearn.comparison.measure_matrix import MatrixConfig, MatrixMeasurement

        told = {"base": tiny, "sources": {"tasks": list(NAMES)}, "targets": {"tasks": ["entail_kitchen"]}}
        config = MatrixConfig.model_validate({**told, "name": "m", "methods": ["joint"]})
        with pytest.raises(UserError, match="'joint' trains on the sources' tasks"):
            MatrixMeasurement(config, tmp_path / "matrix")
