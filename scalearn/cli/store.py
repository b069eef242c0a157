"""Commands about the folder where comparisons keep their work: what is in it, and finished units in few files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from tasksel.cli.app import show
from tasksel.errors import UserError

StoreFolder = Annotated[
    Path, tyro.conf.Positional, tyro.conf.arg(name="store", help="a store: OUT/store, or what --store named")
]


def pack(store: StoreFolder) -> None:
    """Put the records of finished units into few Parquet files.

    Each stays where `compare` finds it by its key; every record is read back before its small file goes. Trained models stay as they are.

    Example: scalearn store pack runs/store
    """
    from scalearn.comparison.unit_files import UnitFiles

    show(f"packed {UnitFiles(_store(store)).pack()}")


def unpack(store: StoreFolder) -> None:
    """Put packed records back into a small file each.

    Example: scalearn store unpack runs/store
    """
    from scalearn.comparison.unit_files import UnitFiles

    show(f"unpacked {UnitFiles(_store(store)).unpack()}")


def ls(store: StoreFolder) -> None:
    """List what a store holds: units, rankings, adapters, models; how many, files and bytes.

    Example: scalearn store ls runs/store
    """
    from rich.table import Table

    from scalearn.comparison.unit_files import UnitFiles

    folder = _store(store)
    table = Table("what", "count", "files", "bytes")
    counts = {
        "finished units": (len(UnitFiles(folder).keys()), ("units", "packed")),
        "rankings": (len(list(folder.glob("rankings/*.json"))), ("rankings",)),
        "sources": (len(list(folder.glob("sources/*/*/*/card.json"))), ("sources",)),
        "target adapters": (len(list(folder.glob("own/*/*/*/card.json"))), ("own",)),
        "trained models": (len(list(folder.glob("results/*/result.json"))), ("results",)),
    }
    for what, (count, parts) in counts.items():
        files = [path for part in parts for path in (folder / part).rglob("*") if path.is_file()]
        table.add_row(what, f"{count:,}", f"{len(files):,}", f"{sum(path.stat().st_size for path in files):,}")
    show(table)


def _store(folder: Path) -> Path:
    """The folder, if it is a store.

    Raises:
        UserError: it is none.
    """
    if (folder / "store").is_dir() and not (folder / "units").is_dir():
        raise UserError(f"{folder} is a run: its store is {folder / 'store'}, unless --store named another")
    if not any((folder / name).is_dir() for name in ("units", "packed", "sources", "rankings")):
        raise UserError(f"{folder}: no store there: `scalearn compare CONFIG.yaml --out RUN` makes RUN/store")
    return folder
