"""The fault suite: what the commands do when they are killed, when files are damaged, disks full, places shared, and inputs malformed.

    python -m benchmarks.faults --work faults --out docs/reference/reliability.md
    python -m benchmarks.faults --only flips inputs --seed 1 --short

Each finished row is kept in WORK/<part>-<seed>[-short].json, so that a stopped suite goes on from there; delete a file to try its part again.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before a hub client is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must inherit no thread

import tyro

from benchmarks.faults import world
from benchmarks.faults.table import write_table
from benchmarks.faults.trial import import_everything
from benchmarks.faults.verdict import VERDICTS, Row
from benchmarks.faults.world import build_world, warm

PARTS = {"kills": "kills", "flips": "flips", "full-disk": "full_disk", "writers": "writers", "inputs": "inputs"}


def run_part(part: str, work: Path, seed: int, *, short: bool, kinds: tuple[str, ...] = ()) -> Iterator[Row]:
    """The rows of a part, each stored when it is finished; stored ones are given again."""
    path = work / f"{part}-{seed}{'-short' if short else ''}.json"
    stored = [Row.from_json(values) for values in json.loads(path.read_text())] if path.is_file() else []
    by_kind = {row.kind: row for row in stored}
    tries = getattr(importlib.import_module(f"benchmarks.faults.{PARTS[part]}"), PARTS[part])
    skipped = Row(part, "")

    def done(kind: str) -> Row | None:
        return skipped if kinds and kind not in kinds else by_kind.get(kind)

    for row in tries(work / "world", seed, short, done):
        if row is skipped:
            continue
        if row.kind not in by_kind:
            stored.append(row)
            by_kind[row.kind] = row
            path.write_text(json.dumps([each.as_json() for each in stored], indent=1))
        yield row


def main(
    only: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    seed: int = 0,
    short: bool = False,
    work: Annotated[Path | None, tyro.conf.arg(help="by default a temporary folder")] = None,
    out: Path | None = None,
) -> int:
    """Try faults, print a line per kind, and write the table.

    Args:
        only: parts: kills, flips, full-disk, writers, inputs; all where none is named.
        kinds: rows of these kinds alone, as the table names them.
        seed: of everything that is drawn.
        short: a few trials of each kind, as the tests run them.
        work: where the small world and finished rows are kept.
        out: the document whose table is written.
    """
    begun, folder = time.perf_counter(), Path(work or tempfile.mkdtemp(prefix="faults-")).resolve()
    for part in only:
        if part not in PARTS:
            raise SystemExit(f"no part '{part}'; there are {', '.join(PARTS)}")
    import_everything()
    root = build_world(folder / "world", world.SHORT if short else tuple(world.BUILD))
    warm(root)
    print(f"the world lies in {root} ({time.perf_counter() - begun:.0f} s)", flush=True)
    rows = []
    for part in only or tuple(PARTS):
        for row in run_part(part, folder, seed, short=short, kinds=kinds):
            counts = ", ".join(f"{row.counts[verdict]} {verdict}" for verdict in VERDICTS if row.counts[verdict])
            print(f"{row.part}, {row.kind}: {row.tried} tried, {counts} ({row.seconds:.0f} s)", flush=True)
            for example in row.examples:
                print(f"    {example}", flush=True)
            rows.append(row)
    unwanted = sum(row.unwanted for row in rows)
    print(f"{sum(row.tried for row in rows)} trials, {unwanted} not as wanted, {time.perf_counter() - begun:.0f} s")
    if out:
        named = "the short form" if short else "the long form"
        write_table(out, rows, f"Seed {seed}, {named}: {sum(row.tried for row in rows):,} trials.")
    return int(unwanted > 0)


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
