"""The command that predicts which transfers gain: predict-gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tasksel.bounds import check_count
from tasksel.cli.app import show
from tasksel.cli.arguments import CACHE_DIR, BaseName, CacheDir, Data, MatrixPath, PoolFolder, Rows
from tasksel.cli.evaluation import sources_and_targets, stored_scores
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.processes import is_main

if TYPE_CHECKING:
    from tasksel.evaluation.transfer_matrix import TransferMatrix
    from tasksel.gain.tradeoff import Pair


def predict_gain(
    matrix: MatrixPath, also: Annotated[tuple[str, ...], tyro.conf.arg(help="selectors whose scores are features too")] = (),
    method: Annotated[str, tyro.conf.arg(help="the transfer method whose gain is predicted")] = "sequential",
    max_loss: Annotated[float, tyro.conf.arg(help="points of score (of 1) that may be lost")] = 0.01,
    pool: PoolFolder = None, data: Data = None, base: BaseName = None, rows: Rows = None, seed: int = 0, cache_dir: CacheDir = CACHE_DIR,
    out_folder: Annotated[Path | None, tyro.conf.arg(name="out", help="a folder for benefit.md, .json and .svg")] = None,
) -> None:  # fmt: skip
    """Predict from attributions which transfers gain.

    Also says what leaving the other transfers out saves and costs. Features that are not stored yet are computed from --pool and --data.

    For example:
      tasksel predict-gain docs/results/matrix
      tasksel predict-gain runs/matrix --pool runs/matrix/pool --data path/to/tasks --rows 256 --out runs/gain
    """
    from tasksel.evaluation.foreign_matrix import read_matrix
    from tasksel.evaluation.score_records import FILE as SCORES
    from tasksel.evaluation.score_selectors import selector_names
    from tasksel.evaluation.transfer_matrix import beside
    from tasksel.gain.pair_features import FILE as PAIRS
    from tasksel.gain.pair_features import append_pair_features, read_pair_features, with_selector_scores
    from tasksel.gain.predictor import evaluate_gain_prediction
    from tasksel.gain.report import markdown, write_gain_report

    check_count(rows, "--rows")
    measured, path = read_matrix(matrix), beside(matrix, PAIRS)
    if pool:
        append_pair_features(
            sources_and_targets(measured.targets, pool, data, base, rows, cache_dir), measured.targets, path, seed=seed
        )
    known = read_pair_features(path)
    if not known:
        raise UserError(
            f"no features of pairs in {path}: compute them from trained sources (--pool POOL, --data TASKS)"
        )
    columns = selector_names(also)
    scores = stored_scores(columns, beside(matrix, SCORES)) if columns else []
    features = with_selector_scores(known, scores, columns, seed=seed)
    pairs = _pairs_with_gain(measured, features, method, path)
    sizes = {pair.source: pair.source_rows for pair in known.values()}
    evaluation = evaluate_gain_prediction(pairs, sizes=sizes, max_loss=max_loss)
    if not is_main():
        return
    show(markdown(evaluation))
    if out_folder:
        write_gain_report(evaluation, out_folder)
        show(f"benefit.md, benefit.json and benefit.svg are in {out_folder}")


def _pairs_with_gain(
    measured: TransferMatrix, features: Mapping[tuple[str, str], Mapping[str, float]], method: str, path: Path
) -> list[Pair]:
    """The pairs of the matrix with their gains and features; those that are left out are said."""
    from tasksel.gain.pair_features import rows_with_features
    from tasksel.gain.tradeoff import measured_pairs

    runs, lost = rows_with_features(measured.rows, features, method=method)
    if lost:
        say(f"left out, as {path} has no features of them (--pool and --data compute them): {', '.join(lost)}")
    pairs, diverged = measured_pairs(map(asdict, runs), features, method=method)
    for name in diverged:
        say(f"left out, as it diverged under every seed: {name}")
    return pairs
