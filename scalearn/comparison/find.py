"""Finds the stored result of a unit of a comparison."""

from __future__ import annotations

from pathlib import Path

from scalearn.comparison.condition import FULL
from scalearn.comparison.records import EXPERIMENT, RunFolder
from scalearn.methods import get_method
from scalearn.results.explain import mixable_methods
from scalearn.results.result import TransferResult
from tasksel.errors import UserError, unknown


def find_result(
    folder: Path,
    target: str | None = None,
    method: str | None = None,
    *,
    seed: int | None = None,
    size: str | None = None,
) -> TransferResult:
    """The result in a folder; or, where that is a run's folder, its kept result for a target by a method (by default the run's first mix).

    Of several, the one with the most rows, then with the most sources, then with the best dev score.

    Args:
        size: "full" or a number of training rows.

    Raises:
        UserError: neither; a run without a target named; a target, method, size or seed that it does not have, has not finished, or has
            not kept.
    """
    if not (folder / EXPERIMENT).is_file():
        if target or method:
            raise UserError(f"{folder} is no run (no {EXPERIMENT}): name a run's folder, or a result's folder alone")
        return TransferResult.load(folder)
    run = RunFolder(folder)
    if target is None:
        raise UserError(
            f"{folder} is a run: name one of its targets after it: {', '.join(run.config['targets']['tasks'])}"
        )
    return _kept(run, target, _mix_of(run, target, method), seed, size)


def _mix_of(run: RunFolder, target: str, method: str | None) -> str:
    """The method that is meant, of those that a run has."""
    targets, methods = run.config["targets"]["tasks"], run.config["methods"]
    if target not in targets:
        raise unknown("target", target, targets, f"run: {run.folder}")
    mixes = [name for name in methods if get_method(name).mixes]
    if method is None and not mixes:
        raise UserError(f"{run.folder}: its methods ({', '.join(methods)}) have no mix; {mixable_methods()}")
    if method is not None and method not in methods:
        raise unknown("method", method, methods, f"run: {run.folder}")
    return method or mixes[0]


def _kept(run: RunFolder, target: str, method: str, seed: int | None, size: str | None) -> TransferResult:
    """The result that is meant, of those whose models a run kept."""
    found = [row for row in run.rows if (row.target, row.method) == (target, method)]
    found = [row for row in found if seed in (None, row.seed) and size in (None, str(row.size))]
    results = run.folder / run.told["store"] / "results"
    kept = [row for row in found if (results / row.key / "result.json").is_file()]
    if not kept:
        told = (
            f"{target} by {method}"
            + (f", size {size}" if size else "")
            + (f", seed {seed}" if seed is not None else "")
        )
        why = (
            "no model of it is kept (keep: false)"
            if found
            else "it is not finished: scalearn compare goes on where it was"
        )
        raise UserError(f"{run.folder}: {told}: {why}")
    best = max(kept, key=lambda row: (row.size == FULL, row.rows, row.k, row.dev or 0.0, -row.seed))
    return TransferResult.load(results / best.key)
