"""Locks end with the process that holds them; who waits says so once, and nothing stale blocks."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tasksel.storage import locks
from tasksel.storage.locks import (
    LOCK,
    PARTIAL,
    alone,
    is_left,
    is_taken,
    partial_prefix,
    shared,
    short_name,
    waiting_lock,
)
from tasksel.storage.machine import MARK

HOLDER = """
import sys, time
from pathlib import Path
from tasksel.storage.locks import waiting_lock
with waiting_lock(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def fail():
    raise AssertionError("it waited")


@pytest.fixture
def holder(tmp_path):
    """Another process that works on the place `rte`."""
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path / "rte")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_lies_beside_its_place_while_it_is_held(tmp_path):
    with waiting_lock(tmp_path / "pool" / "rte", fail):
        assert [path.name for path in (tmp_path / "pool").iterdir()] == [f"{LOCK}rte"]
    assert list((tmp_path / "pool").iterdir()) == []


def test_who_comes_second_says_so_once_and_goes_on_when_the_first_is_killed(tmp_path, holder):
    said = []
    threading.Timer(0.2, holder.send_signal, [signal.SIGKILL]).start()
    with waiting_lock(tmp_path / "rte", lambda: said.append("waits")):
        assert holder.wait() == -signal.SIGKILL
    assert said == ["waits"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_does_not_block(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / f"{LOCK}rte").exists()
    with waiting_lock(tmp_path / "rte", fail):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_one_of_many_is_at_it(tmp_path):
    """Each takes the lock anew: who waited for a lock file that is gone must not join who made the next."""
    inside, most = [], []

    def work():
        for _ in range(20):
            with waiting_lock(tmp_path / "rte", lambda: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (80, 1)


def test_an_interrupt_frees_it(tmp_path):
    with pytest.raises(KeyboardInterrupt), waiting_lock(tmp_path / "rte", fail):
        raise KeyboardInterrupt
    with waiting_lock(tmp_path / "rte", fail):
        pass


def test_many_read_a_folder_at_once_and_who_swaps_waits_for_them(tmp_path):
    done = []
    with shared(tmp_path), shared(tmp_path):
        thread = threading.Thread(
            target=lambda: [done.append("swapped") for _ in [1] if alone(tmp_path).__enter__() is None]
        )
        thread.start()
        time.sleep(0.1)
        assert done == []
    thread.join()
    assert done == ["swapped"]


def test_a_folder_that_is_not_there_is_the_business_of_who_reads_it(tmp_path):
    with shared(tmp_path / "none"), alone(tmp_path / "none"):
        assert not (tmp_path / "none").exists()


def test_without_locks_work_goes_on_and_a_partial_counts_as_left_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with waiting_lock(tmp_path / "rte", fail), shared(tmp_path), alone(tmp_path):
        pass
    (tmp_path / "partial").write_text("x")
    assert not is_left(tmp_path / "partial")
    os.utime(tmp_path / "partial", (0, 0))
    assert is_left(tmp_path / "partial")


def test_what_cannot_be_opened_is_not_taken_for_a_leftover(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert not is_left(tmp_path / "link")
    assert not is_left(tmp_path / "none")


@pytest.mark.parametrize("name", ["r" * 255, "ü" * 127])
def test_a_name_without_room_is_hashed(name, tmp_path):
    short = short_name(LOCK, name, "-old")
    assert len(os.fsencode(short)) <= 255
    assert short != short_name(LOCK, name[1:] + "x", "-old")
    with waiting_lock(tmp_path / name, fail):
        pass


OTHER = "0123abcd"  # another machine's mark


def test_a_place_is_taken_while_somebody_is_at_it(tmp_path, holder):
    assert is_taken(tmp_path / "rte")
    assert not is_taken(tmp_path / "mnli")
    holder.kill()
    holder.wait()
    assert not is_taken(tmp_path / "rte")


def test_a_holder_on_another_machine_is_waited_for_where_locks_are_known_to_one_machine_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOOK", 0.01)
    (tmp_path / f"{LOCK}rte").write_text(OTHER)
    assert is_taken(tmp_path / "rte")
    said = []
    threading.Timer(0.2, (tmp_path / f"{LOCK}rte").unlink).start()
    with waiting_lock(tmp_path / "rte", lambda: said.append("waits")):
        assert (tmp_path / f"{LOCK}rte").read_text() == MARK
    assert said == ["waits"]


def test_a_machine_that_gives_no_sign_of_life_holds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOOK", 0.01)
    monkeypatch.setattr("tasksel.storage.machine.SILENT", 0.1)
    (tmp_path / f"{LOCK}rte").write_text(OTHER)
    with waiting_lock(tmp_path / "rte", lambda: None):
        assert (tmp_path / f"{LOCK}rte").read_text() == MARK
    assert list(tmp_path.iterdir()) == []


def test_what_another_machine_writes_is_not_taken_for_left(tmp_path):
    """Its locks may not be seen here."""
    for name in (f"{PARTIAL}{OTHER}-abcd1234", f"{partial_prefix()}abcd1234"):
        (tmp_path / name).mkdir()
    assert not is_left(tmp_path / f"{PARTIAL}{OTHER}-abcd1234")
    assert is_left(tmp_path / f"{partial_prefix()}abcd1234")
    os.utime(tmp_path / f"{PARTIAL}{OTHER}-abcd1234", (0, 0))
    assert is_left(tmp_path / f"{PARTIAL}{OTHER}-abcd1234"), "after a day it is"
