"""Whatever trains can be killed and goes on: sources, transfers by each kind of procedure, joint trainings, embeddings, a matrix, a comparison."""

import json
import os
import shutil
import signal
import textwrap
from functools import partial

import numpy as np
import pytest
import yaml
from decoders import save_decoder

from scalearn import AdapterPool, Recipe, train_source, transfer
from scalearn.cli.main import main
from scalearn.methods import auto
from scalearn.methods.auto import AUTO_RECIPE
from scalearn.methods.candidate import Candidate
from tasksel import Task, get_embedder, get_task
from tasksel.embeddings.connectivity import Connectivity
from tasksel.model.base import load_base
from tasksel.selection.candidate import TaskCandidate, TaskOnBase
from tasksel.storage.atomic import file_hash
from tasksel.training import autosave, loop

RECIPE = Recipe(lr=1e-2, epochs=2, batch=8, max_length=32)
SHORT = ["--recipe.epochs", "3", "--recipe.max-length", "32", "--rows", "40"]
AUTO = AUTO_RECIPE.model_copy(update={"max_length": 32, "batch": 8, "budget": None, "max_steps": 6})


class Killed(Exception):
    """Stands for the end of a process: nothing in the packages handles it."""


class Kills(list):
    """After how many steps a run is killed, and those that were done."""

    def __init__(self):
        super().__init__()
        self.done = []


@pytest.fixture
def kills(monkeypatch):
    """Writes the state after each step, and ends the run after so many steps, whichever training they are of."""
    monkeypatch.setattr(autosave, "EVERY", 0.0)
    monkeypatch.setattr(autosave, "SHARE", float("inf"))
    plain, left = autosave.Autosave.after_step, Kills()

    def after_step(self, step):
        assert self.checkpoint is not None, "a training without a place for its state"
        plain(self, step)
        left.done.append(step)
        if left and len(left.done) == left[0]:
            del left[0]
            raise Killed

    monkeypatch.setattr(autosave.Autosave, "after_step", after_step)
    return left


def states_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".training-*"))


def until_done(act):
    """What an act gives, which is killed and started anew; and how often it was started."""
    for starts in range(1, 20):
        try:
            return act(), starts
        except Killed:
            pass
    raise AssertionError("never done")


class TestSources:
    def test_a_source_has_the_same_files(self, tiny, tmp_path, kills):
        hashes = []
        for kill in ((), (4, 9)):
            pool = AdapterPool(tmp_path / f"pool-{len(kill)}", base=tiny)
            kills[:] = [len(kills.done) + step for step in kill]
            source, starts = until_done(
                lambda pool=pool: train_source(get_task("sentiment_films"), pool, rows=64, recipe=RECIPE)
            )
            assert starts == len(kill) + 1
            assert sorted(path.name for path in pool.folder.iterdir()) == ["sentiment_films"]
            hashes.append(
                {name: file_hash(source.folder / name) for name in ("adapter.safetensors", "model_head.safetensors")}
            )
            hashes.append([source.card.scores, source.card.steps, source.card.epoch])
        assert hashes[:2] == hashes[2:]
        assert len(kills.done) == 2 * source.card.steps

    def test_a_pool_with_an_unfinished_one_is_read_as_before(self, tiny, pool_folder, tmp_path, kills):
        shutil.copytree(pool_folder, tmp_path / "pool")
        kills.append(2)
        with pytest.raises(Killed):
            train_source(get_task("question_type"), AdapterPool(tmp_path / "pool"), rows=64, recipe=RECIPE)
        assert states_in(tmp_path / "pool") == [".training-question_type"]
        assert [source.name for source in AdapterPool(tmp_path / "pool")] == [s.name for s in AdapterPool(pool_folder)]
        assert main(["pool", "verify", "--pool", str(tmp_path / "pool")]) == 0

    def test_one_with_other_settings_begins_anew(self, tiny, tmp_path, kills, capsys):
        pool, task = AdapterPool(tmp_path / "pool", base=tiny), get_task("sentiment_films")
        kills.append(2)
        with pytest.raises(Killed):
            train_source(task, pool, rows=64, recipe=RECIPE)
        source = train_source(task, pool, rows=64, recipe=RECIPE.model_copy(update={"lr": 1e-4}))
        assert len(kills.done) == 2 + source.card.steps
        assert "is of a training with other settings or rows: not used, this one begins anew" in capsys.readouterr().err
        assert states_in(tmp_path) == []

    def test_what_is_killed_while_it_is_scored_is_not_trained_again(self, tiny, tmp_path, kills, monkeypatch):
        pool, task = AdapterPool(tmp_path / "pool", base=tiny), get_task("sentiment_films")
        monkeypatch.setattr("tasksel.adapters.train.evaluate_all", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train_source(task, pool, rows=64, recipe=RECIPE)
        monkeypatch.undo()
        monkeypatch.setattr(loop._Loop, "_backward", lambda *_: pytest.fail("a step"))
        assert train_source(task, pool, rows=64, recipe=RECIPE).card.steps > 0

    def test_a_command_that_is_told_to_end_says_how_it_goes_on(self, tiny, tmp_path, monkeypatch, capsys):
        plain = loop._Loop._update

        def update(self):
            plain(self)
            if self.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        command = ["train-source", "sentiment_films", "--base", tiny, "--pool", str(tmp_path / "pool"), *SHORT]
        monkeypatch.setattr(loop._Loop, "_update", update)
        assert main(command) == 128 + signal.SIGTERM
        said = capsys.readouterr().err.splitlines()
        assert said[-2:] == [
            "source sentiment_films: stopped, and its state is stored",
            "terminated: finished sources are in the pool, and what another has reached; the same command goes on (all anew, with --overwrite always)",
        ]
        monkeypatch.undo()
        assert main(command) == 0
        assert "source sentiment_films: goes on from step 3 of " in capsys.readouterr().err
        assert states_in(tmp_path) == []


METHODS = {
    "single-adapter": (RECIPE, (3, 6)),
    "scalearn": (RECIPE, (5,)),
    "fusion": (RECIPE, (5,)),
    "sequential": (RECIPE, (5,)),
    "full": (RECIPE, (5,)),
    "auto": (AUTO, (8, 33)),  # within a fold, within the winner's training on all rows
    "fixed-grid": (RECIPE, (13,)),
    "search": (RECIPE, (3, 11)),
}


class TestTransfers:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_seed_ends_with_the_same_bits(self, pool, tmp_path, kills, few_strengths, monkeypatch, method):
        """Of a method with several trainings too: those that were over are not repeated."""
        recipe, steps = METHODS[method]
        monkeypatch.setattr(Candidate, "rank", property(lambda self: self.steps))  # the most trained wins
        monkeypatch.setattr(auto, "FOLDS_FIRST", 9)  # and is never given up
        number = {"sequential": 1, "auto": 2, "single-adapter": 0, "full": 0}.get(method, 2)
        results, counts = [], []
        for kill in ((), steps):
            out, before = tmp_path / str(len(results)), len(kills.done)
            kills[:] = [before + step for step in kill]
            options = {"method": method, "rows": 32, "recipe": recipe, "base": pool.base, "out": out}
            result, starts = until_done(
                lambda options=options: transfer(get_task("entail_kitchen"), list(pool)[:number], **options)
            )
            assert starts == len(kill) + 1
            assert states_in(out) == []
            results.append(result)
            counts.append(len(kills.done) - before)
        assert counts[0] == counts[1] > max(steps)
        one, two = (result.folder / "seed-0" for result in results)
        assert file_hash(one / "state.safetensors") == file_hash(two / "state.safetensors")
        told = [json.loads((folder / "seed.json").read_text()) for folder in (one, two)]
        for record in told:
            for timed in ("seconds", "peak_memory", "hash"):
                del record[timed]
            for candidate in record.get("candidates") or ():
                del candidate["seconds"]
        assert told[0] == told[1]

    def test_a_joint_training_of_a_store(self, pool, tmp_path, kills):
        hashes = []
        for kill in ((), (4,)):
            store = tmp_path / f"store-{len(kill)}"
            kills[:] = [len(kills.done) + step for step in kill]
            options = {
                "method": "joint",
                "rows": 32,
                "recipe": RECIPE,
                "out": tmp_path / f"out-{len(kill)}",
                "store": store,
            }
            _, starts = until_done(
                lambda options=options: transfer(get_task("entail_kitchen"), list(pool)[:2], **options)
            )
            assert starts == len(kill) + 1
            assert states_in(tmp_path) == []
            hashes.append({path.parent.name: file_hash(path) for path in store.glob("*/trained.safetensors")})
        assert hashes[0] == hashes[1] != {}

    def test_a_decoder_that_learns_to_write(self, shared, tmp_path, kills):
        """Its head is tied to its embeddings: one parameter of two names."""
        decoder = str(shared.fill("tied-qwen3", partial(save_decoder, kind="qwen3")))
        rows = [{"q": f"{i} is odd", "a": ("yes", "certainly not")[i % 2]} for i in range(30)]
        task = Task.from_dicts(
            rows, name="odd", text="{q}?", label="a", kind="generation", max_new_tokens=4, folder=str(tmp_path)
        )
        hashes = []
        for kill in ((), (5,)):
            kills[:] = [len(kills.done) + step for step in kill]
            options = {"method": "full", "base": decoder, "recipe": RECIPE, "out": tmp_path / f"out-{len(kill)}"}
            result, starts = until_done(lambda options=options: transfer(task, [], **options))
            assert starts == len(kill) + 1
            hashes.append(file_hash(result.folder / "seed-0" / "state.safetensors"))
        assert hashes[0] == hashes[1]

    def test_without_a_folder_nothing_is_kept(self, pool, tmp_path, monkeypatch):
        monkeypatch.setattr(autosave, "EVERY", 0.0)
        monkeypatch.setattr("tasksel.training.checkpoints.Checkpoint.write", lambda *_: pytest.fail("a state"))
        options = {"method": "head-only", "rows": 32, "recipe": RECIPE, "base": pool.base}
        assert transfer(get_task("entail_kitchen"), [], **options).scores


@pytest.mark.parametrize("name", ["connectivity", "prompt"])
def test_an_embedding_that_trains_has_the_same_arrays(tiny, tmp_path, kills, name):
    embedder = Connectivity(max_steps=12, batch=8, max_length=32, interval=0.2, patience=3, eps=0.02) if name == "connectivity" else get_embedder("prompt-max", max_steps=12, batch=8, max_length=32, tokens=2)  # fmt: skip
    arrays, steps = [], []
    for kill in ((), (3, 7)):
        folder = tmp_path / f"task-{len(kill)}"
        kills[:] = [len(kills.done) + step for step in kill]
        candidate = TaskCandidate(get_task("sentiment_films"), rows=40, folder=folder)
        embedding, starts = until_done(
            lambda candidate=candidate: TaskOnBase(candidate, load_base(tiny)).embedding(embedder)
        )
        assert starts == len(kill) + 1
        assert states_in(folder) == []
        arrays.append(embedding.arrays)
        steps.append(embedding.provenance["steps"])
    assert steps[0] == steps[1] >= 8
    for one, two in zip(arrays[0].values(), arrays[1].values(), strict=True):
        np.testing.assert_array_equal(one, two)


def comparison(tiny):
    recipe = {"epochs": 2, "batch": 8, "max_length": 32}
    return {
        "name": "small",
        "base": tiny,
        "methods": ["scalearn", "single-adapter"],
        "rank": {"by": "sentence", "top": 1},
        "sources": {"tasks": ["sentiment_films", "entail_travel"], "rows": 40, "recipe": recipe},
        "targets": {"tasks": ["sentiment_phones"], "rows": 40, "seeds": [0]},
        "test_rows": 16,
        "keep": False,
        "recipe": recipe,
    }


def scores(out):
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return sorted((row["method"], row["score"], row["dev"], row["steps"], row["omega"]) for row in rows)


@pytest.fixture(scope="module")
def config(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(comparison(tiny)))
    return path


@pytest.fixture(scope="module")
def whole(config):
    """The scores of a run that nothing disturbs."""
    assert main(["compare", str(config), "--out", str(config.parent / "run")]) == 0
    return scores(config.parent / "run")


class TestComparisons:
    def test_a_comparison_has_the_same_rows(self, config, whole, tmp_path, kills):
        """Killed while a source, the target adapter and a unit train."""
        kills[:] = [3, 26, 38]
        code, starts = until_done(lambda: main(["compare", str(config), "--out", str(tmp_path / "run")]))
        assert (code, starts) == (0, 4)
        assert states_in(tmp_path) == []
        assert scores(tmp_path / "run") == whole
        assert not list(tmp_path.glob("*/store/results/*"))

    JOBS = """
        import json, os, signal, sys, time
        from pathlib import Path
        import multiprocessing
        real = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: real("fork")
        from scalearn.cli.main import main
        from tasksel.training import loop

        config, out = json.load(sys.stdin)
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            plain = loop._Loop._update
            loop._Loop._update = lambda self: (plain(self), Path(out + "-begun").touch(), time.sleep(0.2))[0]
            code = main(["compare", config, "--out", out, "--jobs", "2"])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        deadline = time.monotonic() + 60
        while not Path(out + "-begun").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(child, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, sorted(str(path) for path in Path(out).rglob(".training-*/1/state.json"))]))
    """

    def test_the_workers_of_several_jobs_store_what_they_have_reached(self, config, whole, tmp_path, fresh_process):
        """SIGTERM to the process that started them, as `timeout` and a scheduler send it."""
        asked = json.dumps([str(config), str(tmp_path / "jobs")])
        printed = fresh_process(textwrap.dedent(self.JOBS), asked, ours=True)
        code, states = json.loads(printed.splitlines()[-1])
        assert code == 128 + signal.SIGTERM
        assert states
        assert main(["compare", str(config), "--out", str(tmp_path / "jobs")]) == 0
        assert states_in(tmp_path) == []
        assert scores(tmp_path / "jobs") == whole

    def test_a_matrix_has_the_same_rows(self, tiny, tmp_path, kills):
        config = tmp_path / "matrix.yaml"
        told = {
            "name": "m",
            "base": tiny,
            "sources": {"tasks": ["sentiment_films"], "rows": 40, "recipe": {"epochs": 1, "max_length": 32}},
        }
        told |= {
            "targets": {"tasks": ["sentiment_phones"], "rows": 40, "test_rows": 30, "seeds": [0]},
            "recipe": {"epochs": 2, "max_length": 32},
        }
        config.write_text(yaml.safe_dump(told))
        rows = []
        for name, kill in (("one", ()), ("two", (1, 7))):
            kills[:] = [len(kills.done) + step for step in kill]
            code, starts = until_done(
                lambda name=name: main(["measure-matrix", str(config), "--out", str(tmp_path / name)])
            )
            assert (code, starts) == (0, len(kill) + 1)
            lines = [json.loads(line) for line in (tmp_path / name / "matrix.jsonl").read_text().splitlines()]
            rows.append([{k: v for k, v in line.items() if k not in ("seconds", "hash")} for line in lines])
            assert states_in(tmp_path) == []
        assert rows[0] == rows[1]
