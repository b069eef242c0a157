"""Who shares the work is checked before anything is loaded, each mistake in one line."""

import pytest

from scalearn.cli.main import main
from scalearn.comparison.sharing import Sharing, Worker, check_engine
from scalearn.comparison.workers import workers
from tasksel.errors import UserError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jobs": 0}, "--jobs 0: give 1 or more"),
        ({"jobs": 2, "per_gpu": 2}, "--per-gpu is for a cluster: give --on too"),
        ({"on": "ray", "per_gpu": 0}, "--per-gpu is 0; give a whole number from 1"),
        ({"on": "ray", "per_gpu": 101}, "--per-gpu 101: give at most 100"),
        ({"on": "rays"}, "--on rays: give ray, auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_what_cannot_share_work_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        check_engine(**{"jobs": None, "on": None, "per_gpu": None, **options})


@pytest.mark.parametrize(
    ("options", "way"),
    [({"on": "ray"}, "--on"), ({"shard": "1/2"}, "--shard"), ({"jobs": 2}, "--jobs"), ({"jobs": 1}, "")],
)
def test_a_launch_of_several_processes_shares_batches_and_nothing_else(monkeypatch, options, way):
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = {"jobs": None, "on": None, "per_gpu": None, **options}
    if not way:
        assert check_engine(**arguments) is None
        return
    with pytest.raises(UserError, match=f"either {way} or a launch of several processes shares the work"):
        check_engine(**arguments)


def test_by_default_this_process_works_alone():
    assert Sharing() == Sharing(None, None, None)
    worker = Worker(here=lambda: abs, process=lambda: None, remote=None)
    with Sharing().engine(worker, 3) as work, workers(lambda: abs, 1) as same:
        assert list(work([-1, 2, -3])) == list(same([-1, 2, -3])) == [1, 2, 3]


@pytest.mark.parametrize("command", ["compare", "measure-matrix"])
def test_the_command_line_refuses_it_before_it_begins(command, tmp_path, capsys):
    config = "quickstart" if command == "compare" else "scripts/matrix_minilm.yaml"
    assert main([command, config, "--out", str(tmp_path / "run"), "--on", "slurm"]) == 2
    assert "--on slurm: give ray, auto, HOST:PORT" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
