"""Two processes give what one gives: the same batches, the same dropout, gradients that add up; only one writes.

One launch does everything that is compared: a launch costs three interpreters with torch.
"""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch
from decoders import save_decoder
from safetensors.torch import load_file

from scalearn import TransferResult
from scalearn.comparison.records import RunFolder

LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
METHODS = [
    "auto",
    "closed-form",
    "scalearn",
    "head-only",
    "single-adapter",
    "full",
    "fusion",
    "search",
    "fixed-grid",
    "compacter++",
]
JOINT = ("entail_kitchen", "question_type")
RESUMED = (
    "begun",
    "stopped",
    "left",
)  # pools of a training that was stopped in one process, in these, and is to be gone on with
WORK = """
import gc
import json
import os
import signal
import sys
from pathlib import Path

from scalearn import AdapterPool, Recipe, train_source, transfer
from scalearn.cli.main import main, parse
from tasksel import Task, get_task
from tasksel.processes import accelerator
from tasksel.training import autosave, loop

gc.freeze()


class Stopped(Exception):
    pass


def stop(number, _frame):
    raise Stopped


def train(name):
    pool = AdapterPool(name, base=base)
    recipe = Recipe(lr=1e-2, epochs=3, batch=8, micro_batch=4, max_length=32)
    train_source(get_task("question_type"), pool, rows=40, recipe=recipe)


def train_until_stopped(name):
    plain, before = loop._Loop._update, signal.signal(signal.SIGTERM, stop)

    def update(self):
        plain(self)
        if self.step == 7 and self.world.process_index == self.world.num_processes - 1:  # one alone
            os.kill(os.getpid(), signal.SIGTERM)

    loop._Loop._update = update
    try:
        train(name)
    except Stopped:
        Path(f"{name}-by-{accelerator().process_index}").touch()
    loop._Loop._update = plain
    signal.signal(signal.SIGTERM, before)


def from_prompts():
    rows = [{"q": f"{i} is odd", "a": ("yes", "certainly not")[i % 2]} for i in range(30)]
    return Task.from_dicts(rows, name="odd", text="{q}?", label="a", kind="generation", max_new_tokens=16, folder=".")


world = accelerator()
Path(f"rank-{world.process_index}").write_text(str(world.num_processes))
pool, joint, decoder, commands, base = json.loads(Path("work.json").read_text())
autosave.ASK = 0.0  # at each step
train("begun")
train_until_stopped("stopped")
train("stopped")
train_until_stopped("left")
recipe = Recipe(lr=1e-2, epochs=1, batch=8, micro_batch=4, max_length=32)
for name in joint:
    transfer(get_task(name), list(AdapterPool(pool)), method="joint", rows=48, recipe=recipe, out=name, store="store")
transfer(from_prompts(), [], method="full", base=decoder, recipe=recipe, out="written")
*first, last = commands
for arguments in first:
    parse(arguments)()
assert main(last) == 0  # ends the launch too
Path(f"done-{world.process_index}").touch()
if world.num_processes > 1:
    sys.exit(main(["train-source", "sentimnt_films"]))
"""


def commands(base):
    """Stage 1, a transfer, and a whole configuration, as a user gives them."""
    settings = ["--recipe.epochs", "2", "--recipe.max-length", "32", "--recipe.lr", "1e-3", "--rows", "40"]
    return [
        ["train-source", "sentiment_films", "entail_travel", "--base", base, "--pool", "pool", *settings],
        ["transfer", "entail_kitchen", "--pool", "pool", "--top", "2", "--out", "result", *settings],
        ["compare", "small.yaml", "--out", "run"],
    ]


def configuration(base):
    """A small comparison: stored in another order than that of its names, with batches that feed one of two processes."""
    tasks, recipe = ["sentiment_films", "entail_travel"], {"epochs": 1, "batch": 8}
    return {
        "name": "small",
        "base": base,
        "rank": {"top": 2},
        "methods": METHODS,
        "sources": {"tasks": tasks, "rows": 40, "recipe": recipe},
        "targets": {"tasks": ["sentiment_phones"], "rows": 40, "seeds": [0]},
        "test_rows": 16,
        "recipe": {**recipe, "max_length": 32},
    }


@pytest.fixture(scope="module")
def folders(tiny, pool_folder, shared, tmp_path_factory):
    """Two folders with what the same work needs."""
    decoder = str(shared.fill("launched-llama", partial(save_decoder, dtype=torch.bfloat16)))
    made = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    for folder in made.values():
        (folder / "work.json").write_text(json.dumps([str(pool_folder), JOINT, decoder, commands(tiny), tiny]))
        (folder / "small.yaml").write_text(json.dumps(configuration(tiny)))
        (folder / "work.py").write_text(WORK)
    begin(made["two"], tiny)
    return made


def begin(folder, base):
    """Leaves the state of a training that one process began; in the other folder it is not disturbed."""
    names = {"base": base}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(WORK.partition("world =")[0] + 'train_until_stopped("begun")', "work.py", "exec"), names)
    assert (folder / "begun" / ".training-question_type").is_dir()


@pytest.fixture(scope="module")
def launched(folders, python):
    """The work done in two processes, which end with a mistake."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path.cwd())}
    call = [python, *LAUNCH, "work.py"]
    done = subprocess.run(call, cwd=folders["two"], env=env, capture_output=True, text=True, timeout=300)
    assert sorted(path.name for path in folders["two"].glob("done-*")) == ["done-0", "done-1"], (
        done.stdout + done.stderr
    )
    return done


@pytest.fixture(scope="module")
def twice(folders, launched):
    """The folders of the same work, done once in this process and once in two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folders["one"])
        exec(compile(WORK, "work.py", "exec"), {})
    return folders


def test_the_launcher_starts_two_processes(twice):
    ranks = {name: {path.name: path.read_text() for path in folder.glob("rank-*")} for name, folder in twice.items()}
    assert ranks == {"one": {"rank-0": "1"}, "two": {"rank-0": "2", "rank-1": "2"}}


@pytest.mark.parametrize("source", ["sentiment_films", "entail_travel"])
def test_two_processes_train_the_same_source_adapter(twice, source):
    one, two = (load_file(folder / "pool" / source / "adapter.safetensors") for folder in twice.values())
    start = max(float(tensor.abs().max()) for tensor in one.values())
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-5 * max(1.0, start), rtol=1e-3)


def test_two_processes_learn_the_same_omega_and_score(twice):
    one, two = (TransferResult.load(folder / "result") for folder in twice.values())
    assert list(one.run.sources) == list(two.run.sources)
    torch.testing.assert_close(torch.tensor(one.omega()), torch.tensor(two.omega()), atol=1e-5, rtol=1e-4)
    assert one.scores == pytest.approx(two.scores, abs=1e-6)


def test_two_processes_run_a_whole_configuration_to_the_same_numbers(twice):
    one, two = (RunFolder(folder / "run") for folder in twice.values())
    assert [row.method for row in one.rows] == METHODS
    for a, b in zip(one.rows, two.rows, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-6)
        assert a.seed == b.seed
    assert [(ranking.names, ranking.scores) for ranking in one.rankings] == [
        (ranking.names, pytest.approx(ranking.scores, abs=1e-5)) for ranking in two.rankings
    ]


@pytest.mark.parametrize("target", JOINT)
def test_two_processes_train_jointly_to_the_same_numbers(twice, target):
    """A step leaves the other tasks' heads without a gradient, in every process."""
    one, two = (TransferResult.load(folder / target) for folder in twice.values())
    a, b = (load_file(result.folder / "seed-0" / "state.safetensors") for result in (one, two))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], atol=1e-4, rtol=1e-3)
    assert one.scores == pytest.approx(two.scores, abs=1e-6)
    assert one.seeds[0].dev == pytest.approx(two.seeds[0].dev, abs=1e-6)
    assert one.seeds[0].steps == two.seeds[0].steps


def test_two_processes_learn_to_write_the_same(twice):
    """Answers differ in length, so the processes' shares of a batch have other numbers of tokens."""
    one, two = (TransferResult.load(folder / "written") for folder in twice.values())
    a, b = (load_file(result.folder / "seed-0" / "state.safetensors") for result in (one, two))
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], atol=1e-4, rtol=1e-3)
    assert one.scores == pytest.approx(two.scores, abs=1e-6)
    assert one.predict(["3 is odd?"]).tolist() == two.predict(["3 is odd?"]).tolist()


@pytest.fixture(scope="module")
def resumed(twice, tiny):
    """The files of a source by how its training went: not disturbed, or stopped after step 7 and gone on with by 1, 2 or other processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(twice["two"])
        exec(compile(WORK.partition("world =")[0] + 'train("left")', "work.py", "exec"), {"base": tiny})
    whole = load_file(twice["one"] / "begun" / "question_type" / "adapter.safetensors")
    return whole, {name: load_file(twice["two"] / name / "question_type" / "adapter.safetensors") for name in RESUMED}


@pytest.mark.parametrize("name", RESUMED)
def test_a_training_that_was_stopped_goes_on_with_any_number_of_processes(resumed, name):
    """To what an undisturbed one gives, up to the order of sums."""
    whole, others = resumed
    for key, tensor in whole.items():
        torch.testing.assert_close(tensor, others[name][key], atol=1e-4, rtol=1e-3)


def test_a_signal_to_one_process_stops_all_at_the_same_step(resumed, twice):
    assert sorted(path.name for path in twice["two"].glob("*-by-*")) == ["begun-by-0", *(f"{name}-by-{n}" for name in ("left", "stopped") for n in (0, 1))]  # fmt: skip
    assert not list(twice["two"].rglob(".training*"))
    one = load_file(twice["one"] / "stopped" / "question_type" / "adapter.safetensors")
    assert all(torch.equal(tensor, one[key]) for key, tensor in resumed[0].items())  # in one process, to the bit


def test_only_the_main_process_writes(twice):
    def written(folder):  # the name of a stored embedding holds a hash of the weights it read
        paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        return sorted(
            path for path in paths if path.startswith(("pool", "result", "store")) and "embeddings" not in path
        )

    assert written(twice["two"]) == written(twice["one"])
    assert not list(twice["two"].rglob(".partial*"))


def test_a_mistake_in_a_launch_is_said_once(launched):
    assert launched.returncode != 0
    assert launched.stderr.count("no task 'sentimnt_films'; did you mean 'sentiment_films'?") == 1
