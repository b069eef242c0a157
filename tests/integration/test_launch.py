"""Two processes give what one gives: the same batches, the same dropout, gradients that add up; only one writes."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scalearn import TransferResult
from scalearn.comparison.records import RunFolder

SETTINGS = ["--recipe.epochs", "2", "--recipe.max-length", "32", "--recipe.lr", "1e-3"]
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def run(python, *arguments, cwd, check=True):
    """A command in a clean process; its whole output is shown when it fails."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([python, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def twice(tiny, python, tmp_path_factory):
    """The same two commands, once in one process and once in two."""
    folders = {}
    for name, launcher in (("one", []), ("two", LAUNCH)):
        cwd = folders[name] = tmp_path_factory.mktemp(name)
        train = ["train-source", "sentiment_films", "entail_travel", "--base", tiny, "--pool", "pool", "--rows", "70"]
        run(python, *launcher, "-m", "scalearn", *train, *SETTINGS, cwd=cwd)
        transfer = ["transfer", "entail_kitchen", "--pool", "pool", "--top", "2", "--out", "result", "--rows", "70"]
        run(python, *launcher, "-m", "scalearn", *transfer, *SETTINGS, cwd=cwd)
    return folders


def test_the_launcher_starts_two_processes(python, tmp_path):
    script = tmp_path / "count.py"  # a file a rank: what two processes print may come interleaved
    script.write_text(
        "from pathlib import Path\nfrom tasksel.training.loop import accelerator\na = accelerator()\n"
        "Path(f'rank-{a.process_index}').write_text(str(a.num_processes))\na.wait_for_everyone()\na.end_training()\n"
    )
    run(python, *LAUNCH, str(script), cwd=tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.glob("rank-*")} == {"rank-0": "2", "rank-1": "2"}


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


def test_two_processes_run_a_whole_configuration_to_the_same_numbers(tiny, python, tmp_path):
    config = tmp_path / "small.yaml"
    methods = ["scalearn", "head-only", "single-adapter", "full", "fusion", "search", "fixed-grid", "compacter++"]
    told = {"name": "small", "base": tiny, "rank": {"top": 2}, "methods": methods}
    # stored in another order than that of their names; batches that feed one of the two processes
    told["sources"] = {"tasks": ["sentiment_films", "entail_travel"], "rows": 40, "recipe": {"epochs": 1, "batch": 8}}
    told["targets"] = {"tasks": ["sentiment_phones"], "rows": 40, "seeds": [0]}
    config.write_text(json.dumps({**told, "recipe": {"epochs": 1, "batch": 8, "max_length": 32}}))
    for name, launcher in (("one", []), ("two", LAUNCH)):
        run(python, *launcher, "-m", "scalearn", "compare", "small.yaml", "--out", name, cwd=tmp_path)
    one, two = (RunFolder(tmp_path / name) for name in ("one", "two"))
    assert [row.method for row in one.rows] == methods
    for a, b in zip(one.rows, two.rows, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-6)
        assert a.seed == b.seed
    assert [(ranking.names, ranking.scores) for ranking in one.rankings] == [
        (ranking.names, pytest.approx(ranking.scores, abs=1e-5)) for ranking in two.rankings
    ]
    assert not list((tmp_path / "two").rglob(".partial*"))


JOINT = """
import sys
from pathlib import Path
from scalearn import AdapterPool, Recipe, transfer
from tasksel import get_task
from tasksel.processes import accelerator

world = accelerator()
Path(f"rank-{world.process_index}").write_text(str(world.num_processes))
recipe = Recipe(lr=1e-2, epochs=2, batch=8, micro_batch=4, max_length=32)
for name in ("entail_kitchen", "question_type"):
    transfer(get_task(name), list(AdapterPool(sys.argv[1])), method="joint", rows=48, recipe=recipe, out=name, store="store")
"""


def test_two_processes_train_jointly_to_the_same_numbers(pool_folder, python, tmp_path):
    """A step leaves the other tasks' heads without a gradient, in every process."""
    (tmp_path / "joint.py").write_text(JOINT)
    for name, launcher in (("one", []), ("two", LAUNCH)):
        (tmp_path / name).mkdir()
        run(python, *launcher, str(tmp_path / "joint.py"), str(pool_folder), cwd=tmp_path / name)
    ranks = {path.name: path.read_text() for path in (tmp_path / "two").glob("rank-*")}
    assert ranks == {"rank-0": "2", "rank-1": "2"}
    for target in ("entail_kitchen", "question_type"):
        one, two = (TransferResult.load(tmp_path / name / target) for name in ("one", "two"))
        a, b = (load_file(result.folder / "seed-0" / "state.safetensors") for result in (one, two))
        assert a.keys() == b.keys()
        for name, tensor in a.items():
            torch.testing.assert_close(tensor, b[name], atol=1e-4, rtol=1e-3)
        assert one.scores == pytest.approx(two.scores, abs=1e-6)
        assert one.seeds[0].dev == pytest.approx(two.seeds[0].dev, abs=1e-6)
        assert one.seeds[0].steps == two.seeds[0].steps
    assert [path.name for path in sorted((tmp_path / "one" / "store").iterdir())] == [
        path.name for path in sorted((tmp_path / "two" / "store").iterdir())
    ]


def test_only_the_main_process_writes(twice):
    one, two = (
        sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) for folder in twice.values()
    )
    assert [p for p in two if not p.endswith(".safetensors") or "embeddings" not in p] == [
        p for p in one if not p.endswith(".safetensors") or "embeddings" not in p
    ]
    assert not [p for p in two if ".partial" in p]


def test_a_mistake_in_a_launch_is_said_once(python, tmp_path, tiny):
    done = run(
        python, *LAUNCH, "-m", "scalearn", "train-source", "sentimnt_films", "--base", tiny, cwd=tmp_path, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("no task 'sentimnt_films'; did you mean 'sentiment_films'?") == 1
