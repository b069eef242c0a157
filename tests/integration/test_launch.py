"""Two processes give what one gives: the same batches, the same dropout, gradients that add up; only one writes.

One launch does everything that is compared: a launch costs three interpreters with torch.
"""

import json
import os
import subprocess
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
WORK = """
import gc
import json
import sys
from pathlib import Path

from scalearn import AdapterPool, Recipe, transfer
from scalearn.cli.main import main, parse
from tasksel import Task, get_task
from tasksel.processes import accelerator

gc.freeze()


def from_prompts():
    rows = [{"q": f"{i} is odd", "a": ("yes", "certainly not")[i % 2]} for i in range(30)]
    return Task.from_dicts(rows, name="odd", text="{q}?", label="a", kind="generation", max_new_tokens=16, folder=".")


world = accelerator()
Path(f"rank-{world.process_index}").write_text(str(world.num_processes))
pool, joint, decoder, commands = json.loads(Path("work.json").read_text())
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
    decoder = str(shared.fill("launched-llama", save_decoder))
    made = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    for folder in made.values():
        (folder / "work.json").write_text(json.dumps([str(pool_folder), JOINT, decoder, commands(tiny)]))
        (folder / "small.yaml").write_text(json.dumps(configuration(tiny)))
        (folder / "work.py").write_text(WORK)
    return made


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
