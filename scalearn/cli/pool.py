"""Commands about source adapters: train-source, pool ls, pool show, pool add, pool verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scalearn.comparison.config import RecipeChange
from tasksel.cli.app import show as show_result
from tasksel.cli.arguments import NO_COLUMNS, BaseName, ChosenPrecision, Columns, Data, Name, Names, Rows, StoredBase
from tasksel.display.progress import say
from tasksel.errors import UserError

if TYPE_CHECKING:
    from tasksel.adapters.pool import AdapterPool, Source

PoolFolder = Annotated[Path, tyro.conf.arg(name="pool", help="the pool's folder")]
DEFAULT_POOL = Path("pools/minilm")
HEADS = {"first": "first token", "mean": "mean of tokens", "last": "last token", None: "none"}
ADAPTER = "what is trained: a bottleneck adapter, or a LoRA; by default what the pool holds"


def train_source(
    tasks: Names, pool_folder: PoolFolder = DEFAULT_POOL, base: BaseName = None, data: Data = None, rows: Rows = None, seed: int = 0, name: str | None = None,
    columns: Columns = NO_COLUMNS, overwrite: Literal["only-missing", "always", "never"] = "only-missing", recipe: RecipeChange = RecipeChange(),
    precision: ChosenPrecision = "auto",
    adapter: Annotated[Literal["bottleneck", "lora"] | None, tyro.conf.arg(help=ADAPTER)] = None,
    rank: Annotated[int | None, tyro.conf.arg(help="r of a LoRA, by default 8")] = None,
    alpha: Annotated[float | None, tyro.conf.arg(help="of a LoRA, which is scaled by alpha / rank; by default the rank")] = None,
    target_modules: Annotated[tuple[str, ...], tyro.conf.arg(help="a LoRA's Linears, by the last part of their names, or all-linear; by default query and value")] = (),
) -> None:  # fmt: skip
    """Train one source adapter per task, into a pool.

    Sources that the pool holds already are skipped.

    For example:
      scalearn train-source entail_travel sentiment_films --pool pools/mine --base minilm
      scalearn train-source rte mrpc --data path/to/tasks --rows 2000 --recipe.epochs 10
      scalearn train-source reviews.csv --text body --label stars
      scalearn train-source rte mrpc --data path/to/tasks --pool pools/loras --adapter lora --rank 8 --target-modules query value
      accelerate launch --multi_gpu --num_processes 4 -m scalearn train-source rte --data path/to/tasks
    """
    from tasksel.adapters.train import LORA_RECIPE, SOURCE_RECIPE
    from tasksel.adapters.train import train_source as train

    if not tasks:
        raise UserError("name at least one task (see them: tasksel ls)")
    if name and len(tasks) > 1:
        raise UserError(f"--name goes with one task; {len(tasks)} are named")
    if columns.validation and len(tasks) > 1:
        raise UserError(f"--validation goes with one task; {len(tasks)} are named")
    resolved = columns.tasks(tasks, data=data)
    pool = open_pool(pool_folder, base)
    lora = _lora(adapter or pool.kind or "bottleneck", rank=rank, alpha=alpha, targets=target_modules)
    source_recipe = recipe.of(LORA_RECIPE if lora is not None else SOURCE_RECIPE)
    options: dict[str, Any] = {"name": name, "rows": rows, "seed": seed, "overwrite": overwrite, "lora": lora}
    options["precision"] = None if precision == "auto" else precision
    for task in resolved:
        source = train(task, pool, recipe=source_recipe, **options)
        show_result(repr(source))


def _lora(kind: str, *, rank: int | None, alpha: float | None, targets: tuple[str, ...]) -> dict[str, Any] | None:
    """The LoRA that the options describe; None for a bottleneck.

    Raises:
        UserError: a LoRA's option without a LoRA.
    """
    options = {"--rank": rank, "--alpha": alpha, "--target-modules": targets}
    if kind != "lora":
        used = next((name for name, value in options.items() if value), None)
        if used:
            raise UserError(f"{used} is an option of a LoRA: add --adapter lora")
        return None
    if rank is not None and rank < 1:
        raise UserError(f"--rank {rank}: a LoRA's rank is 1 or more")
    settings: dict[str, Any] = {"r": rank or 8, "lora_alpha": rank or 8 if alpha is None else alpha}
    if targets:
        settings["target_modules"] = targets[0] if targets == ("all-linear",) else targets
    return settings


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

    from tasksel.adapters.kind import KINDS
    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(pool_folder, base=base)
    record = pool.base_record
    kinds = f"{KINDS[pool.kind]}; " if pool.kind else ""
    table = Table(title=f"{kinds}base {record.get('name')}, weights {record.get('fingerprint')}", title_justify="left")
    table.add_column("source", no_wrap=True)  # a name is copied whole
    ranks = ("rank", "targets") if pool.kind == "lora" else ()
    for column in (*ranks, "kind", "head", "rows", "scores", "seconds", "origin"):
        table.add_column(column, overflow="fold")  # nothing is clipped
    for source in pool:
        table.add_row(source.name, *(_rank_and_targets(source) if ranks else ()), *_described(source))
    show_result(table)


def _described(source: Source) -> tuple[str, ...]:
    """What a source's card says: its task's kind, its head, rows, scores, seconds and origin; "-" where it was added without that."""
    card = source.card
    scores = ", ".join(f"{metric} {value:.3f}" for metric, value in card.scores.items())
    kind = card.task.kind if card.task else "not known"
    head = "lm_head" if kind == "generation" else HEADS[source.pooling]
    rows = str(card.rows or "all") if card.task else "-"
    seconds = "-" if card.seconds is None else f"{card.seconds:.0f}"
    return kind.replace("_", " "), head, rows, scores, seconds, card.origin


def _rank_and_targets(source: Source) -> tuple[str, str]:
    """A LoRA's rank, or the least and the most of several, and its targets."""
    config = source.config
    ranks = sorted({config["r"], *config["rank_pattern"].values()})
    rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}"
    names = dict.fromkeys(name.rpartition(".")[2] for name in config["target_modules"])
    return rank, ", ".join(names)


def show(source: Name, pool_folder: PoolFolder = DEFAULT_POOL, base: StoredBase = None) -> None:
    """Show a source's card, with a LoRA's ranks and targets.

    Example: scalearn pool show rte --pool pools/mine
    """
    import json

    from tasksel.adapters.pool import AdapterPool

    shown = AdapterPool(pool_folder, base=base)[source]
    lora = {"lora": shown.config} if shown.kind == "lora" else {}
    show_result(json.dumps({**shown.card.model_dump(mode="json"), **lora}, indent=2, ensure_ascii=False))


def add(
    origins: Names, pool_folder: PoolFolder = DEFAULT_POOL, base: BaseName = None, name: str | None = None, task: str | None = None, data: Data = None,
    rows: Rows = None, columns: Columns = NO_COLUMNS, same_base: bool = False,
) -> None:  # fmt: skip
    """Add adapters that were trained with plain `adapters`, or LoRAs of PEFT; neither library need be installed.

    ORIGINS are folders or hub ids, owner/name or owner/name@revision; the weights are safetensors, or a .bin of tensors alone. A Trainer's output is searched for its adapter; of several, --name chooses. Of several ORIGINS files, and those whose weights the pool holds, are skipped; one that is refused does not keep the others out.

    For example:
      scalearn pool add path/to/adapter --pool pools/mine --task rte --data path/to/tasks
      scalearn pool add out/checkpoint-500 --pool pools/mine --name rte
      scalearn pool add someone/their-adapter --name imported
      scalearn pool add loras/* --pool pools/loras --base path/to/base --same-base
    """
    if not origins:
        raise UserError("name at least one folder or hub id of an adapter")
    several = len(origins) > 1
    for option, value in (("--name", name), ("--task", task)):
        if value and several:
            raise UserError(f"{option} goes with one adapter; {len(origins)} are named")
    trained_on = columns.task(task, data=data) if task else None
    pool = open_pool(pool_folder, base)
    if several:
        _add_each(pool, origins, rows=rows, same_base=same_base)
    else:
        show_result(repr(pool.add(origins[0], name=name, task=trained_on, rows=rows, same_base=same_base)))


def _add_each(pool: AdapterPool, origins: Names, **options: Any) -> None:
    """Adds several adapters; files among them, and what the pool holds, are skipped, and one that is refused does not keep the others out.

    Raises:
        UserError: how many were refused, after the others were added.
    """
    from tasksel.adapters.locating import here

    refused = 0
    pool.base  # noqa: B018  what is wrong with it is wrong for all
    for origin in origins:
        if (path := here(origin)) is not None and path.is_file():
            say(f"{origin}: a file, not an adapter's folder: skipped")
            continue
        try:
            held = _held(pool, origin)
            show_result(f"{origin}: the pool holds it, as '{held.name}'" if held else repr(pool.add(origin, **options)))
        except UserError as error:
            refused += 1
            say(f"refused: {error}")
    if refused:
        raise UserError(
            f"{refused} of {len(origins)} were refused, for the reasons above; the pool holds the others (--name goes with one that is added alone)"
        )


def _held(pool: AdapterPool, origin: str) -> Source | None:
    """The source that was added from an adapter's very weights; None if none was."""
    from tasksel.adapters.importing import outside_key

    key = outside_key(origin)
    return next((source for source in pool if source.card.key == key), None)


def verify(pool_folder: PoolFolder = DEFAULT_POOL, base: StoredBase = None) -> None:
    """Check every file of a pool against its hash.

    The base itself is only read where --base names it.

    Example: scalearn pool verify --pool pools/mine
    """
    from tasksel.adapters.pool import AdapterPool

    pool = AdapterPool(pool_folder, base=base)
    pool.verify()
    show_result(f"{len(pool)} sources, every file as it was stored")
