"""Checks what this machine has and lacks, before hours are spent on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tasksel.cli.app import show
from tasksel.errors import UserError
from tasksel.storage.provenance import NOT_INSTALLED

LIBRARY_TAKES = "4.57"  # the transformers that `adapters` 1.3 pins
NEEDED_GB = 2.0  # a base, a pool and a run of the size of BERT fit into this


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    result: str


def doctor(pool_folder: Annotated[Path | None, tyro.conf.arg(name="pool")] = None) -> None:
    """Check what this machine has, and what it lacks.

    Versions, whether the `adapters` library and Ray are beside, devices, threads, disk, the cache of rows, the packaged encoder and, with --pool,
    a pool.

    Example: scalearn doctor --pool pools/mine
    """
    from rich.table import Table

    table = Table("check", "state", "result")
    results = checks(pool_folder)
    for check in results:
        table.add_row(check.name, "ok" if check.ok else "PROBLEM", check.result)
    show(table)
    failed = [check.name for check in results if not check.ok]
    if failed:
        raise UserError(f"{len(failed)} problem(s): {', '.join(failed)}; see the table")


def checks(pool: Path | None) -> list[Check]:
    """The checks of versions, the line in use, device, cluster, threads, disk, the cache of rows, the packaged encoder and, where one is named, a pool."""
    import torch

    from tasksel.model.base import load_base
    from tasksel.storage.provenance import versions
    from tasksel.tasks.data_cache import cache_line
    from tasksel.training.precision import fastest, launched

    installed = versions()
    results = [Check("packages", True, ", ".join(f"{name} {version}" for name, version in installed.items()))]
    results.append(Check("adapters library", True, line(installed["transformers"], installed["adapters"])))
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    results.append(
        Check("device", True, f"{device.type} x {torch.accelerator.device_count()}" if device else "CPU only")
    )
    results.append(Check("precision", True, precision_line(launched(), fastest(), on_cpu=device is None)))
    results.append(Check("cluster", True, _cluster()))
    results.append(Check("threads", True, f"{torch.get_num_threads()} of {os.cpu_count()} cores"))
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    results.append(Check("disk", free > NEEDED_GB, f"{free:.1f} GB free here, {NEEDED_GB:.0f} needed"))
    results.append(Check("data cache", True, cache_line()))
    results.append(
        _try("packaged encoder", lambda: f"{load_base('minilm')!r}, weights {load_base('minilm').fingerprint}")
    )
    if pool is not None:
        results.append(_try("pool", lambda: _verify_pool(pool)))
    return results


def precision_line(launch: str | None, fast: str, *, on_cpu: bool) -> str:
    """In which precision trainings compute here where nothing else is said, and whether another is faster.

    >>> precision_line(None, "bf16", on_cpu=False)
    'bf16 in transfers and sources (--precision), float32 in comparisons'
    """
    from tasksel.training.precision import cpu_prefers_bf16

    if launch:
        return f"{launch}, as launched"
    if on_cpu and cpu_prefers_bf16():
        return f"{fast}; steps in bf16 are faster on this CPU (--precision bf16)"
    return fast if fast == "float32" else f"{fast} in transfers and sources (--precision), float32 in comparisons"


def line(transformers: str, adapters: str) -> str:
    """Which line of versions is in use, and what the extra `adapters` is for.

    >>> line("4.57.6", "1.3.0")
    'transformers 4.57.6 with adapters 1.3.0: exports can also be loaded by plain `adapters`'
    """
    if adapters != NOT_INSTALLED and transformers.startswith(f"{LIBRARY_TAKES}."):
        return f"transformers {transformers} with adapters {adapters}: exports can also be loaded by plain `adapters`"
    if adapters != NOT_INSTALLED:
        return (
            f"transformers {transformers}; adapters {adapters} takes transformers {LIBRARY_TAKES} and does not work beside it: every command does "
            "without; to load an export by plain `adapters`, make an environment of its own with pip install 'scalearn[adapters]'"
        )
    return (
        f"transformers {transformers} without adapters: every command works; the extra (pip install 'scalearn[adapters]', which takes "
        f"transformers {LIBRARY_TAKES}) adds loading an export by plain `adapters`, and the comparison with it"
    )


def _cluster() -> str:
    """Whether `--on` has its library."""
    import importlib.metadata

    try:
        return f"ray {importlib.metadata.version('ray')}: `scalearn compare --on ray` works"
    except importlib.metadata.PackageNotFoundError:
        return "no ray: --jobs and --shard work; the extra (pip install 'scalearn[ray]') adds --on ray"


def _verify_pool(folder: Path) -> str:
    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(folder)
    pool.verify()
    return f"{pool!r}, every file as it was stored, on {pool.base!r}"


def _try(name: str, describe: Callable[[], str]) -> Check:
    try:
        return Check(name, True, describe())
    except UserError as error:
        return Check(name, False, str(error))
