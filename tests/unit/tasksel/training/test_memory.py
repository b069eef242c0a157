"""The peak of a stretch of work is that stretch's own; where nothing tells it, it is None."""

import pytest
import torch

from tasksel.training import memory
from tasksel.training.memory import PeakMemory

CPU = torch.device("cpu")
MIB = 2**20


def can_reset():
    return PeakMemory(CPU).bytes() is not None


def hold(mib):
    return float(torch.ones(mib * MIB // 4).sum())


@pytest.mark.skipif(not can_reset(), reason="this kernel does not let a process reset its high-water mark")
def test_on_a_cpu_it_sees_what_was_held_and_forgets_what_was_held_before():
    hold(600)
    rest = PeakMemory(CPU).bytes()
    peak = PeakMemory(CPU)
    hold(256)
    within = peak.bytes()
    assert within - rest > 128 * MIB
    assert within - rest < 400 * MIB, "what was held before counts"


def test_a_kernel_that_does_not_let_it_reset_gives_none(monkeypatch, tmp_path):
    (tmp_path / "status").write_text("VmHWM:\t  123 kB\n")
    (tmp_path / "clear_refs").mkdir()
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    assert PeakMemory(CPU).bytes() is None


def test_the_mark_is_read_in_kibibytes(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t  123 kB\nVmRSS:\t  7 kB\n")
    assert PeakMemory(CPU).bytes() == 123 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("Name:\tpython\n")
    assert PeakMemory(CPU).bytes() is None
    (tmp_path / "status").unlink()
    assert PeakMemory(CPU).bytes() is None


def test_a_gpu_tells_its_own_allocations_since_the_reset(monkeypatch):
    told = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: told.append(("reset", device)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: told.append(("read", device)) or 42)
    device = torch.device("cuda", 1)
    assert PeakMemory(device).bytes() == 42
    assert told == [("reset", device), ("read", device)]


def test_another_device_is_not_measured_by_the_processs_memory():
    assert PeakMemory(torch.device("meta")).bytes() is None
