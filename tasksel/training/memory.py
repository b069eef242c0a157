"""The peak memory of a stretch of work: a GPU's allocations, or on a CPU the whole process's resident memory.

In a launch of several processes, that of this process alone. What cannot be measured is None, never a guess.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


class PeakMemory:
    """Measures on a device from its construction on; `bytes()` is the most held since then.

    >>> peak = PeakMemory(torch.device("meta"))
    >>> print(peak.bytes())  # neither a CPU nor a GPU
    None
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.can_measure = device, True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self.can_measure = device.type == "cpu" and _reset_high_water()

    def bytes(self) -> int | None:
        """Bytes, or None where neither the kernel nor the device tells."""
        if not self.can_measure:
            return None
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _high_water()


def _reset_high_water() -> bool:
    """Sets the process's high-water mark to what it holds now; False where the kernel does not let it."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    try:
        line = re.search(r"^VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(line[1]) * 1024 if line else None
