"""The command that ranks sources for a target: rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tasksel.cli.app import show
from tasksel.cli.arguments import (
    CACHE_DIR,
    NO_COLUMNS,
    BaseName,
    By,
    CacheDir,
    Columns,
    Data,
    Name,
    Names,
    PoolFolder,
    Rows,
    Settings,
)
from tasksel.errors import unknown

if TYPE_CHECKING:
    from tasksel.model.base import Base
    from tasksel.tasks.task import Task


def rank(
    target: Name, sources: Names = (), data: Data = None, by: By = "auto", settings: Settings = (), base: BaseName = None, rows: Rows = None, seed: int = 0,
    pool: PoolFolder = None, matrix: Annotated[Path | None, tyro.conf.arg(help="for --by oracle: the measured transfer matrix")] = None,
    cache_dir: CacheDir = CACHE_DIR, columns: Columns = NO_COLUMNS,
) -> None:  # fmt: skip
    """Rank source tasks, or a pool's sources, for a target.

    Without SOURCES, all other tasks of the same place, or the whole pool. What holds the target's own rows is left out.
    Sources that are data files are read by the same columns; a file with others needs a task file.

    For example:
      tasksel rank entail_travel
      tasksel rank reviews.csv hotels.csv films.jsonl --text body --label stars
      tasksel rank reviews.csv sst2 imdb rte --text body --label stars --data path/to/tasks
      tasksel rank rte --data path/to/tasks --pool pools/mine --by logme
      tasksel rank rte --data path/to/tasks --pool pools/mine --by connectivity+text
      tasksel rank rte --data path/to/tasks --by oracle --matrix runs/matrix
    """
    from tasksel.evaluation.foreign_matrix import read_matrix
    from tasksel.selection.ranking import rank as rank_sources
    from tasksel.selection.selectors import get_selector, parse_settings

    task, *named = columns.tasks((target, *(() if pool else sources)), data=data)
    selector = get_selector(by, **parse_settings(settings))
    if matrix:
        measured, scores = read_matrix(matrix).ground_truth(task.name)
        selector = selector.with_ground_truth(
            {task.name: dict(zip(measured, scores.mean(axis=0).tolist(), strict=True))}
        )
        if not sources and not pool:
            named = columns.tasks(measured, data=data)
    model = pool_base_or_default(base, pool)
    candidates = _candidates(sources, data, pool, model) if pool or not named else named
    ranking = rank_sources(task, candidates, by=selector, base=model, rows=rows, seed=seed, cache_dir=cache_dir)
    show(str(ranking))


def _candidates(sources: Sequence[str], data: str | None, pool: Path | None, model: Base) -> list[Any]:
    """A pool's sources of these names, all where no name is given; without a pool all tasks of the place."""
    from tasksel.adapters.pool import pool_sources
    from tasksel.tasks.registry import find_tasks

    if not pool:
        return list(find_tasks(data))
    stored = pool_sources(pool, model, tasks=tasks_of_pool(data, pool) if data else None)
    for name in sources:
        if name not in [source.name for source in stored]:
            raise unknown("source", name, [source.name for source in stored], f"pool: {pool}")
    return [source for source in stored if not sources or source.name in sources]


def pool_base_or_default(name: str | None, pool: Path | None) -> Base:
    """The base of that name; else the one that a pool's sources were trained on; else MiniLM."""
    from tasksel.adapters.pool import AdapterPool, cards_in
    from tasksel.model.base import load_base

    if name is None and pool and cards_in(pool):
        return AdapterPool(pool).base
    return load_base(name or "minilm")


def tasks_of_pool(data: str | None, pool: Path, targets: Sequence[str] = ()) -> dict[str, Task]:
    """The tasks of one place that have the name of a target or of a pool's source."""
    from tasksel.adapters.pool import cards_in
    from tasksel.tasks.registry import find_tasks

    tasks = find_tasks(data)
    names = {*targets, *(path.parent.name for path in cards_in(pool))}
    return {name: tasks[name] for name in sorted(names) if name in tasks}
