"""A held file has signs of life, and another machine counts as gone when they stop, whatever its clock says."""

import os
import subprocess
import sys
import time

from tasksel.storage import machine
from tasksel.storage.machine import MARK, beating, is_alive


def test_a_machine_has_one_mark_in_all_its_processes():
    code = "from tasksel.storage.machine import MARK; print(MARK)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == MARK
    assert len(MARK) == 8


def test_a_held_file_has_signs_of_life_until_the_block_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "BEAT", 0.02)
    monkeypatch.setattr(machine, "_beater", [])
    handle = os.open(tmp_path / "held", os.O_RDWR | os.O_CREAT)
    os.utime(handle, (0, 0))
    with beating(handle):
        until = time.monotonic() + 10
        while os.fstat(handle).st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
    assert abs(os.fstat(handle).st_mtime - time.time()) < 60
    os.utime(handle, (0, 0))
    time.sleep(0.1)
    assert os.fstat(handle).st_mtime == 0
    os.close(handle)


def test_a_file_is_alive_until_its_time_has_not_changed_for_a_while_and_clocks_do_not_matter(tmp_path, monkeypatch):
    file, now = tmp_path / "lock", [1000.0]
    monkeypatch.setattr(machine.time, "monotonic", lambda: now[0])
    file.touch()
    os.utime(file, (5, 5))  # long ago by this machine's clock
    assert is_alive(file)
    now[0] += machine.SILENT - 1
    assert is_alive(file)
    os.utime(file, (6, 6))
    now[0] += 2
    assert is_alive(file)
    now[0] += machine.SILENT
    assert not is_alive(file)
    assert not is_alive(tmp_path / "none")
