"""Work shared among processes: outcomes come as they end, a mistake is passed on, and nobody outlives the process that started them."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
import worker_pieces
from worker_pieces import breaker, squarer, victim

from scalearn.comparison.workers import workers
from tasksel.errors import UserError


def test_one_job_works_here_and_in_order():
    with workers(squarer, 1) as work:
        assert [(outcome, pid) for outcome, pid, _ in work([3, 1, 2])] == [(n, os.getpid()) for n in (9, 1, 4)]


def test_several_jobs_work_elsewhere_and_share_the_threads():
    with workers(squarer, 2) as work:
        done = [*work(range(6)), *work([7])]
    assert sorted(outcome for outcome, _, _ in done) == [0, 1, 4, 9, 16, 25, 49]
    assert os.getpid() not in {pid for _, pid, _ in done}
    assert {threads for _, _, threads in done} == {max(1, (os.cpu_count() or 1) // 2)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_mistake_in_a_piece_is_passed_on(jobs):
    with pytest.raises(ValueError, match="piece 5"), workers(breaker, jobs) as work:
        list(work([5]))


def test_a_worker_that_the_system_killed_is_one_line_with_the_way_out():
    with (
        pytest.raises(UserError, match="killed, most likely for want of memory: use fewer --jobs"),
        workers(victim, 2) as work,
    ):
        list(work([1]))


KILLED = """
    import sys
    from functools import partial
    from pathlib import Path

    sys.path.insert(0, sys.argv[1])
    from scalearn.comparison.workers import workers
    from worker_pieces import sleeper

    if __name__ == "__main__":
        with workers(partial(sleeper, Path(sys.argv[2])), 2) as work:
            list(work([0, 1]))
"""


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path):
    file = tmp_path / "main.py"
    file.write_text(textwrap.dedent(KILLED))
    process = subprocess.Popen([sys.executable, str(file), str(Path(worker_pieces.__file__).parent), str(tmp_path)])
    pids = [_pid(tmp_path / f"{piece}.pid") for piece in (0, 1)]
    assert all(psutil.pid_exists(pid) for pid in pids)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=30)
    assert not alive


def _pid(path):
    for _ in range(600):
        if path.is_file() and path.read_text():
            return int(path.read_text())
        time.sleep(0.1)
    raise AssertionError(f"{path.name}: no worker began")


INTERRUPTED = """
    import signal, sys
    from functools import partial
    from pathlib import Path

    sys.path.insert(0, sys.argv[1])
    from scalearn.comparison.workers import workers
    from tasksel.cli.app import Commands, run_command
    from worker_pieces import sleeper

    def work() -> None:
        "Work."
        with workers(partial(sleeper, Path(sys.argv[2])), 2) as share:
            list(share([0, 1]))

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
        app = Commands("demo", "A demonstration.")
        app.command("work", kept="finished pieces are stored")(work)
        sys.exit(run_command(app, ["work"]))
"""


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_the_workers_too_and_is_one_line(tmp_path, number, said):
    """Ctrl-C goes to every process of a terminal, so the workers get it too."""
    (tmp_path / "main.py").write_text(textwrap.dedent(INTERRUPTED))
    command = [sys.executable, str(tmp_path / "main.py"), str(Path(worker_pieces.__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    pids = [_pid(tmp_path / f"{piece}.pid") for piece in (0, 1)]
    children = [psutil.Process(pid) for pid in pids]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, f"{said}: finished pieces are stored\n")
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
