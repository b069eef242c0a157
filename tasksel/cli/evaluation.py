"""The command that evaluates selectors on a measured transfer matrix: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tasksel.bounds import check_count
from tasksel.cli.app import show
from tasksel.cli.arguments import CACHE_DIR, BaseName, CacheDir, Data, MatrixPath, PoolFolder, Rows
from tasksel.cli.selection import pool_base_or_default, tasks_of_pool
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.processes import is_main

if TYPE_CHECKING:
    from tasksel.evaluation.leaderboard import Leaderboard
    from tasksel.evaluation.score_records import SelectorScores
    from tasksel.evaluation.score_selectors import ScoringSetup


def evaluate(
    matrix: MatrixPath, by: Annotated[tuple[str, ...], tyro.conf.arg(help="selectors, or 'all'; a+b fuses")] = ("all",),
    method: Annotated[str, tyro.conf.arg(help="the transfer method whose runs are the ground truth")] = "sequential",
    pool: PoolFolder = None, data: Data = None, base: BaseName = None, rows: Rows = None,
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help="ranking seeds; by default 0 is computed, and all that are stored are evaluated")] = (),
    targets: Annotated[tuple[str, ...], tyro.conf.arg(help="evaluate on these alone")] = (), cache_dir: CacheDir = CACHE_DIR,
    sizes: Annotated[Path | None, tyro.conf.arg(help="a table of the sources' training rows: the selector 'size' without their data")] = None,
    out_folder: Annotated[Path | None, tyro.conf.arg(name="out", help="a folder for judge.md and judge.svg")] = None,
) -> None:  # fmt: skip
    """Evaluate selectors on a measured transfer matrix.

    Scores that are not stored yet are computed from --pool and --data. MATRIX may be a table that others measured: source, target,
    score and perhaps seed, or sources as rows and targets as columns.

    For example:
      tasksel evaluate docs/results/matrix
      tasksel evaluate runs/matrix --pool runs/matrix/pool --data path/to/tasks --rows 256 --seeds 0 1
      tasksel evaluate docs/results/matrix --by logme leep --targets scitail sst5 trec
      tasksel evaluate theirs.csv --sizes sizes.csv
      tasksel evaluate runs/matrix --by connectivity text connectivity+text --method scalearn --out evaluated
    """
    from tasksel.evaluation.foreign_matrix import SIZE, read_matrix, read_sizes
    from tasksel.evaluation.leaderboard import evaluate_selectors
    from tasksel.evaluation.score_records import FILE
    from tasksel.evaluation.score_selectors import append_scores, missing_scores, selector_names
    from tasksel.evaluation.transfer_matrix import beside

    check_count(rows, "--rows")
    measured, path = read_matrix(matrix).only(targets), beside(matrix, FILE)
    selectors = selector_names(by)
    sized = read_sizes(sizes, measured) if sizes else []
    selectors = [name for name in selectors if name != SIZE or not sized]
    todo = missing_scores(selectors, measured.targets, seeds or (0,), path)
    if todo and pool:
        append_scores(sources_and_targets(measured.targets, pool, data, base, rows, cache_dir), todo, path)
    stored = stored_scores(selectors, path, needed=not sized and path.name == FILE)
    scores = [scored for scored in stored if not seeds or scored.seed in seeds]
    if stored and not scores:
        raise UserError(
            f"no scores under seed {', '.join(map(str, seeds))} in {path}: compute them (--pool POOL, --data TASKS)"
        )
    used = [scored for scored in (*scores, *sized) if not targets or scored.target in targets]
    leaderboard = evaluate_selectors(measured, used, method=method)
    if not is_main():
        return
    show(leaderboard.table())
    if out_folder:
        _write(leaderboard, out_folder)


def _write(leaderboard: Leaderboard, folder: Path) -> None:
    """Writes the tables and the figure."""
    from tasksel.evaluation.leaderboard_figure import draw_leaderboard
    from tasksel.storage.atomic import write_text

    write_text(folder / "judge.md", leaderboard.markdown() + "\n" + leaderboard.per_target_markdown())
    draw_leaderboard(leaderboard, folder / "judge.svg")
    show(f"judge.md and judge.svg are in {folder}")


def stored_scores(selectors: Sequence[str], path: Path, *, needed: bool = True) -> list[SelectorScores]:
    """These selectors' scores in a file; selectors without scores are left out, with a note to the user.

    Raises:
        UserError: no scores at all, where some are needed.
    """
    from tasksel.evaluation.score_records import read_scores
    from tasksel.evaluation.score_selectors import available_scores

    scores = available_scores(selectors, read_scores(path))
    if selectors and not scores and needed:
        raise UserError(
            f"no scores by {', '.join(selectors[:3])}{', …' if len(selectors) > 3 else ''} in {path}: compute them from trained sources (--pool POOL, --data TASKS)"
        )
    scored_by = {scored.by for scored in scores}
    if without := [by for by in selectors if by not in scored_by]:
        say(f"left out, as {path} has no scores by them (--pool and --data compute them): {', '.join(without)}")
    return scores


def sources_and_targets(
    targets: Sequence[str], pool: Path, data: str | None, base: str | None, rows: int | None, cache_dir: Path
) -> ScoringSetup:
    """What scores and features are computed from: a pool's sources and the tasks of one place."""
    from tasksel.adapters.pool import pool_sources
    from tasksel.evaluation.score_selectors import ScoringSetup

    model, tasks = pool_base_or_default(base, pool), tasks_of_pool(data, pool, targets)
    return ScoringSetup(pool_sources(pool, model, tasks=tasks), tasks, model, rows, cache_dir)
