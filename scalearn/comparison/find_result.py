"""The stored transfer result of one unit of a comparison."""

from __future__ import annotations

from pathlib import Path

from scalearn.comparison.condition import FULL
from scalearn.comparison.records import EXPERIMENT_FILE, RunFolder
from scalearn.methods.registry import get_method
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
    base: str | None = None,
) -> TransferResult:
    """The transfer result in a folder; or, if that is a run's folder, the stored result of one of its units.

    If several units match: the one with the most rows, then with the most sources, then with the best dev score.

    Args:
        target, method: of the unit; by default the run's first method with a mix.
        size: "full" or a number of training rows.
        base: where its base lies now, if it was moved; its weights must be the same.

    Raises:
        UserError: a folder that is neither; a run without a target named; a target, method, size or seed that the run does not have, has
            not finished, or has not kept.

    >>> find_result(Path("runs/quickstart"), "sentiment_phones", "scalearn").mean  # doctest: +SKIP
    """
    if not (folder / EXPERIMENT_FILE).is_file():
        if target or method:
            raise UserError(
                f"{folder} is no run (no {EXPERIMENT_FILE}): name a run's folder, or a result's folder alone"
            )
        return TransferResult.load(folder, base=base)
    run = RunFolder(folder)
    if target is None:
        raise UserError(
            f"{folder} is a run: name one of its targets after it: {', '.join(run.config['targets']['tasks'])}"
        )
    return _kept(run, target, _mix_of(run, target, method), seed, size, base)


def _mix_of(run: RunFolder, target: str, method: str | None) -> str:
    """The method, if the run has it; by default its first with a mix."""
    targets, methods = run.config["targets"]["tasks"], run.config["methods"]
    if target not in targets:
        raise unknown("target", target, targets, f"run: {run.folder}")
    mixes = [name for name in methods if get_method(name).mixes]
    if method is None and not mixes:
        raise UserError(f"{run.folder}: its methods ({', '.join(methods)}) have no mix; {mixable_methods()}")
    if method is not None and method not in methods:
        raise unknown("method", method, methods, f"run: {run.folder}")
    return method or mixes[0]


def _kept(
    run: RunFolder, target: str, method: str, seed: int | None, size: str | None, base: str | None
) -> TransferResult:
    """The best result of those that match and whose models the run kept."""
    matching = [row for row in run.rows if (row.target, row.method) == (target, method)]
    matching = [row for row in matching if seed in (None, row.seed) and size in (None, str(row.size))]
    results = run.folder / run.provenance["store"] / "results"
    kept = [row for row in matching if (results / row.key / "result.json").is_file()]
    if not kept:
        wanted = (
            f"{target} by {method}"
            + (f", size {size}" if size else "")
            + (f", seed {seed}" if seed is not None else "")
        )
        why = (
            "no model of it is kept (keep: false)"
            if matching
            else "it is not finished: scalearn compare goes on where it was"
        )
        raise UserError(f"{run.folder}: {wanted}: {why}")
    best = max(kept, key=lambda row: (row.size == FULL, row.rows, row.k, row.dev or 0.0, -row.seed))
    return TransferResult.load(results / best.key, base=base)
