"""What this machine has, and what is missing, before hours are spent on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tasksel.adapters.pool import AdapterPool
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.storage.provenance import versions

NEEDED_GB = 2.0  # a base, a pool and a run of the size of BERT fit into this


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    found: str


def checks(pool: Path | None) -> list[Check]:
    """Versions, device, threads, disk, the packaged encoder and, where one is named, a pool."""
    found = [Check("packages", True, ", ".join(f"{name} {version}" for name, version in versions().items()))]
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found.append(Check("device", True, f"{device.type} x {torch.accelerator.device_count()}" if device else "CPU only"))
    found.append(Check("threads", True, f"{torch.get_num_threads()} of {os.cpu_count()} cores"))
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    found.append(Check("disk", free > NEEDED_GB, f"{free:.1f} GB free here, {NEEDED_GB:.0f} needed"))
    found.append(
        _try("packaged encoder", lambda: f"{load_base('minilm')!r}, weights {load_base('minilm').fingerprint}")
    )
    if pool is not None:
        found.append(_try("pool", lambda: _verified(pool)))
    return found


def _verified(folder: Path) -> str:
    pool = AdapterPool(folder)
    pool.verify()
    return f"{pool!r}, every file as it was stored"


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except UserError as error:
        return Check(name, False, str(error))
