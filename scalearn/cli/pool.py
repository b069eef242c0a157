"""Commands about source adapters: train-source, pool ls, pool show, pool add, pool verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scalearn.comparison.config import RecipeChange
from tasksel.cli.app import show as show_result
from tasksel.cli.arguments import NO_COLUMNS, BaseName, Columns, Data, Name, Names, Rows, StoredBase
from tasksel.errors import UserError

if TYPE_CHECKING:
    from tasksel.adapters.pool import AdapterPool

PoolFolder = Annotated[Path, tyro.conf.arg(name="pool", help="the pool's folder")]
DEFAULT_POOL = Path("pools/minilm")


def train_source(
    tasks: Names, pool_folder: PoolFolder = DEFAULT_POOL, base: BaseName = None, data: Data = None, rows: Rows = None, seed: int = 0, name: str | None = None,
    columns: Columns = NO_COLUMNS, overwrite: Literal["only-missing", "always", "never"] = "only-missing", recipe: RecipeChange = RecipeChange(),
) -> None:  # fmt: skip
    """Train one source adapter per task, into a pool.

    Sources that the pool holds already are skipped.

    For example:
      scalearn train-source entail_travel sentiment_films --pool pools/mine --base minilm
      scalearn train-source rte mrpc --data path/to/tasks --rows 2000 --recipe.epochs 10
      scalearn train-source reviews.csv --text body --label stars
      accelerate launch --multi_gpu --num_processes 4 -m scalearn train-source rte --data path/to/tasks
    """
    from tasksel.adapters.train import SOURCE_RECIPE
    from tasksel.adapters.train import train_source as train

    if not tasks:
        raise UserError("name at least one task (see them: tasksel ls)")
    if name and len(tasks) > 1:
        raise UserError(f"--name goes with one task; {len(tasks)} are named")
    if columns.validation and len(tasks) > 1:
        raise UserError(f"--validation goes with one task; {len(tasks)} are named")
    resolved = columns.tasks(tasks, data=data)
    pool, source_recipe = open_pool(pool_folder, base), recipe.of(SOURCE_RECIPE)
    for task in resolved:
        source = train(task, pool, name=name, rows=rows, seed=seed, recipe=source_recipe, overwrite=overwrite)
        show_result(repr(source))


def open_pool(folder: Path, base: str | None) -> AdapterPool:
    """A pool; a new one begins with the packaged encoder where no base is named."""
    from tasksel.adapters.pool import AdapterPool, cards_in

    return AdapterPool(folder, base="minilm" if base is None and not cards_in(folder) else base)


def ls(pool_folder: PoolFolder = DEFAULT_POOL, base: StoredBase = None) -> None:
    """List a pool's sources.

    The base itself is only read where --base names it.

    Example: scalearn pool ls --pool pools/mine
    """
    from rich.table import Table

    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(pool_folder, base=base)
    record = pool.base_record
    table = Table(title=f"base {record.get('name')}, weights {record.get('fingerprint')}", title_justify="left")
    table.add_column("source", no_wrap=True)  # a name is copied whole
    for column in ("kind", "head", "rows", "scores", "seconds", "origin"):
        table.add_column(column)
    for source in pool:
        card = source.card
        scores = ", ".join(f"{metric} {value:.3f}" for metric, value in card.scores.items())
        kind = card.task.kind.replace("_", " ") if card.task else "not known"
        head = {"first": "first token", "mean": "mean of tokens", "last": "last token", None: "none"}[source.pooling]
        table.add_row(source.name, kind, head, str(card.rows or "all"), scores, f"{card.seconds or 0:.0f}", card.origin)
    show_result(table)


def show(source: Name, pool_folder: PoolFolder = DEFAULT_POOL, base: StoredBase = None) -> None:
    """Show a source's card.

    Example: scalearn pool show rte --pool pools/mine
    """
    from tasksel.adapters.pool import AdapterPool

    show_result(AdapterPool(pool_folder, base=base)[source].card.model_dump_json(indent=2))


def add(
    origin: Name, pool_folder: PoolFolder = DEFAULT_POOL, base: BaseName = None, name: str | None = None, task: str | None = None, data: Data = None,
    rows: Rows = None, columns: Columns = NO_COLUMNS, same_base: bool = False,
) -> None:  # fmt: skip
    """Add an adapter that was trained with plain `adapters`; that library need not be installed.

    ORIGIN is a folder or a hub id, owner/name or owner/name@revision; the weights are safetensors, or a .bin of tensors alone. A Trainer's output is searched for its adapter; of several, --name chooses.

    For example:
      scalearn pool add path/to/adapter --pool pools/mine --task rte --data path/to/tasks
      scalearn pool add out/checkpoint-500 --pool pools/mine --name rte
      scalearn pool add someone/their-adapter --name imported
    """
    trained_on = columns.task(task, data=data) if task else None
    pool = open_pool(pool_folder, base)
    show_result(repr(pool.add(origin, name=name, task=trained_on, rows=rows, same_base=same_base)))


def verify(pool_folder: PoolFolder = DEFAULT_POOL, base: StoredBase = None) -> None:
    """Check every file of a pool against its hash.

    The base itself is only read where --base names it.

    Example: scalearn pool verify --pool pools/mine
    """
    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(pool_folder, base=base)
    pool.verify()
    show_result(f"{len(pool)} sources, every file as it was stored")
