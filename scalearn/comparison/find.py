"""Finds the stored result of a unit of a comparison."""

from __future__ import annotations

from pathlib import Path

from scalearn.comparison.records import EXPERIMENT, Run
from scalearn.results.explain import _kept, _mix_of
from scalearn.results.result import TransferResult
from tasksel.errors import UserError


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
    run = Run(folder)
    if target is None:
        raise UserError(
            f"{folder} is a run: name one of its targets after it: {', '.join(run.config['targets']['tasks'])}"
        )
    return _kept(run, target, _mix_of(run, target, method), seed, size)
