"""Work on a real local Ray of two nodes: a worker that is killed, a node that goes, a driver that is killed; the same table as one process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray_pieces
import yaml

from scalearn.comparison import ray_cluster
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from scalearn.comparison.ray_cluster import Slots, check_address, connected, slots
from scalearn.comparison.ray_engine import ray_workers
from scalearn.comparison.records import RunFolder
from scalearn.comparison.remote_worker import Remote, probe, versions_here
from tasksel.errors import UserError

SIZE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster():
    """A head and a node beside it, with one CPU each; their workers find what this process finds. Ray's handler of SIGTERM goes with them."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        from ray.cluster_utils import Cluster

        two = Cluster(initialize_head=True, head_node_args={**SIZE, "include_dashboard": False})
        two.add_node(**SIZE)
        yield two
        two.shutdown()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def remote(tmp_path):
    return Remote("ray_pieces:writer", (str(tmp_path),), ray_pieces.read, tmp_path / "store")


def written(path):
    """What a piece wrote when it began."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.is_file() and path.read_text():
            return json.loads(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path.name}: no worker began")


def while_it_runs(act):
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_pieces_go_to_both_nodes_as_what_they_need_is_done_and_what_they_say_is_said_once(
    cluster, remote, tmp_path, capsys
):
    before = signal.getsignal(signal.SIGTERM)
    needs = {"slow-second": ["slow-first"]}
    releases = while_it_runs(
        lambda: [written(tmp_path / f"slow-{name}.json") for name in ("first", "beside")] and (tmp_path / "go").touch()
    )
    with ray_workers(remote, on=cluster.address) as work:
        assert signal.getsignal(signal.SIGTERM) is before
        done = list(work(["slow-first", "slow-second", "slow-beside"], needs=lambda piece: needs.get(piece, [])))
    releases.join()
    order = [piece for piece, _ in done]
    assert order.index("slow-first") < order.index("slow-second")
    assert len({outcome["node"] for _, outcome in done}) == 2
    assert not any(outcome["torch"] for _, outcome in done), "a worker imports what its pieces import"
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.count("on Ray: 2 nodes, 2 workers") == errors.count("slow-first is done") == 1
    assert list((tmp_path / "store").iterdir()) == [], "the questions to the nodes are taken away"


def test_the_piece_of_a_killed_worker_goes_to_another_and_one_line_says_so(cluster, remote, tmp_path, capsys):
    def kill():
        os.kill(written(tmp_path / "slow.json")["pid"], signal.SIGKILL)
        (tmp_path / "go").touch()

    killer = while_it_runs(kill)
    with ray_workers(remote, on=cluster.address) as work:
        done = dict(work(["slow", "quick"]))
    killer.join()
    assert done.keys() == {"slow", "quick"}
    out, errors = capsys.readouterr()
    assert re.search(
        r"lost the worker on \S+ \(process \d+\) at 'slow' \(its process was killed\)|lost \S+: it does not answer",
        errors,
    ), errors
    assert out == ""


def test_a_piece_that_kills_each_worker_ends_the_work_in_one_line(cluster, remote):
    with (
        pytest.raises(UserError, match=r"3 workers died at 'deadly', the last on .*smaller --recipe.micro-batch"),
        ray_workers(remote, on=cluster.address, jobs=1) as work,
    ):
        list(work(["deadly"]))


def test_a_mistake_in_a_piece_is_the_users_line_with_the_piece_and_the_place(cluster, remote):
    with (
        pytest.raises(UserError, match=r"^no task 'wrong' \(at 'wrong', .* \(process \d+\)\)$"),
        ray_workers(remote, on=cluster.address, jobs=1) as work,
    ):
        list(work(["wrong"]))


DRIVER = """
import sys
from scalearn.cli.main import main

sys.exit(main(["compare", sys.argv[1], "--out", sys.argv[2], "--on", sys.argv[3], "--jobs", "1"]))
"""


def test_a_driver_that_is_killed_and_a_worker_that_is_killed_leave_the_same_table(
    cluster, config, experiment_run, tmp_path, capsys
):
    config["targets"]["seeds"] = [0]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "small.yaml"), str(out), cluster.address])
    until = time.monotonic() + 120
    while not list(out.glob("store/sources/*/seed-*/*/card.json")) and time.monotonic() < until:
        time.sleep(0.05)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    plan = Plan(Experiment.model_validate(config), out)
    assert 0 < sum(map(plan.done, plan.steps())) < len(plan.steps())

    def kill_a_worker():
        while not list(out.glob("store/rankings/*.json")):
            time.sleep(0.02)
        own = psutil.Process().children(recursive=True)
        next(one for one in own if "ray::RemoteWorker" in " ".join(one.cmdline())).kill()

    killer = while_it_runs(kill_a_worker)
    run = plan.run(on=cluster.address, jobs=1)
    killer.join(timeout=10)
    assert capsys.readouterr().err.count("\nlost ") == 1
    same = [(row.key, row.score) for row in RunFolder(experiment_run).rows if row.seed == 0]
    assert [(row.key, row.score) for row in run.rows] == same
    assert run.missing == []


def test_a_cluster_that_does_not_fit_is_refused_before_work_begins(cluster, remote, monkeypatch, tmp_path):
    with (
        pytest.raises(UserError, match=r"--per-gpu 2: the cluster has 2 nodes, 2 CPUs and 0 GPUs; leave it out"),
        ray_workers(remote, on=cluster.address, per_gpu=2),
    ):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "versions_here", lambda: {**versions_here(), "torch": "1.0"})
        with (
            pytest.raises(UserError, match=r"^node \S+ \(\S+\): torch \S+ there, 1\.0 here; install there"),
            ray_workers(remote, on=cluster.address),
        ):
            pass
    monkeypatch.chdir(tmp_path)  # a folder that each process sees as another one
    unseen = Remote(remote.make, remote.settings, remote.read, Path("/proc/self/cwd/unseen"))
    with (
        pytest.raises(UserError, match=r"^node \S+ \(\S+\): does not see it: /proc/self/cwd/unseen; --store must be"),
        ray_workers(unseen, on=cluster.address),
    ):
        pass
    assert list((tmp_path / "unseen").iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(ray_cluster, "SEEN", 0.0)
        patch.setattr(ray_cluster, "answers", lambda folder, file: [])
        with (
            pytest.raises(
                UserError, match=r"what the nodes write there is not seen here: it must be one folder of a shared"
            ),
            ray_workers(remote, on=cluster.address),
        ):
            pass


def test_a_node_that_goes_leaves_its_piece_to_the_others(cluster, remote, tmp_path, capsys):
    """The last test on this cluster: it counts a node that is gone as alive for a while."""
    third = cluster.add_node(**SIZE)

    def remove():
        begun = [written(tmp_path / f"slow-{name}.json") for name in "abc"]
        pids = [piece["pid"] for piece in begun if piece["node"] == third.node_id]
        cluster.remove_node(third, allow_graceful=False)
        psutil.wait_procs(
            [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30
        )  # they end a little later
        (tmp_path / "go").touch()

    remover = while_it_runs(remove)
    with ray_workers(remote, on=cluster.address) as work:
        done = dict(work(["slow-a", "slow-b", "slow-c"]))
    remover.join()
    assert done.keys() == {"slow-a", "slow-b", "slow-c"}
    assert third.node_id not in {outcome["node"] for outcome in done.values()}, "they are done again elsewhere"
    out, errors = capsys.readouterr()
    assert len([line for line in errors.splitlines() if line.startswith("lost ")]) == 1
    assert out == ""


def test_an_address_where_nothing_listens_is_one_line_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with (
            pytest.raises(UserError, match=rf"--on {address}: does not answer \(Connection refused\)"),
            connected(address),
        ):
            pass


@pytest.mark.parametrize(
    "on", ["slurm", "host", "ray://", "ray://host", "host:port", "a b:1", "http://host:6379/x", "me@host:6379", ""]
)
def test_what_is_no_place_to_run_on_is_refused(on):
    with pytest.raises(UserError, match=r"--on .*"):
        check_address(on)


def test_without_ray_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"--on needs Ray, which is not installed .*: pip install 'scalearn\[ray\]'"),
        connected("ray"),
    ):
        pass


class _Ray:
    """What a cluster says of its nodes."""

    def __init__(self, *nodes):
        self.nodes = lambda: [{"Alive": True, "Resources": node} for node in nodes]


def test_workers_that_share_a_gpu_fit_into_it():
    ray = _Ray({"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 1.0})
    assert slots(ray, per_gpu=None, jobs=None) == Slots(3, 2, 1.0, 10)
    for per_gpu in range(1, 101):
        share = slots(ray, per_gpu=per_gpu, jobs=None)
        assert share.count == 3 * per_gpu
        assert round(10_000 * share.gpu) * per_gpu <= 10_000
    assert slots(ray, per_gpu=6, jobs=4).options == {"num_gpus": 0.1666, "num_cpus": 0}


def test_a_cluster_without_room_for_a_worker_is_refused():
    assert slots(_Ray({"CPU": 3.0}), per_gpu=None, jobs=None).options == {"num_cpus": 1}
    with pytest.raises(UserError, match="no worker would ever start"):
        slots(_Ray({"memory": 1.0}), per_gpu=None, jobs=None)


@pytest.mark.parametrize(
    ("folder", "content", "problem"),
    [("none", "x", "does not see it"), (".", "x", "has another folder of that name"), (".", "nonce", "")],
)
def test_a_machine_says_whether_a_store_is_the_drivers(tmp_path, folder, content, problem):
    (tmp_path / "asked").write_text("nonce")
    answer = json.loads(probe(json.dumps({"folder": str(tmp_path / folder), "file": "asked", "content": content})))
    assert answer["problem"] == problem
    assert len(list(tmp_path.glob("asked-*"))) == (not problem)
