"""The fault suite: what the commands do when they are killed, when files are damaged, disks full, places shared, and inputs malformed.

    python -m benchmarks.faults --work faults --out docs/reference/reliability.md
    python -m benchmarks.faults --only flips inputs --seed 1 --short

Each finished row is kept in WORK/<part>-<seed>[-short].json, so that a stopped suite goes on from there; delete a file to try its part again.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import tyro

from benchmarks.faults import world
from benchmarks.faults.table import write_table
from benchmarks.faults.trial import import_everything
from benchmarks.faults.verdict import VERDICTS, Form, Row

# before the libraries are imported: no hub, and no thread that a fork would inherit
QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
PARTS = {"kills": "kills", "flips": "flips", "full-disk": "full_disk", "writers": "writers", "inputs": "inputs"}


def code_hash() -> str:
    """8 hex digits of the packages' and this suite's code: a table is of one state of it."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for folder in ("tasksel", "scalearn", "benchmarks/faults"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def run_part(part: str, work: Path, form: Form, kinds: tuple[str, ...] = ()) -> Iterator[Row]:
    """The rows of a part, each stored when it is finished; stored ones are given again."""
    path = work / f"{part}-{form.seed}{'-short' if form.short else ''}.json"
    stored = [Row.from_json(values) for values in json.loads(path.read_text())] if path.is_file() else []
    by_kind = {row.kind: row for row in stored}
    tries = getattr(importlib.import_module(f"benchmarks.faults.{PARTS[part]}"), PARTS[part])
    skipped = Row(part, "")

    def done(kind: str) -> Row | None:
        return skipped if kinds and kind not in kinds else by_kind.get(kind)

    for row in tries(work / "world", form, done):
        if row is skipped:
            continue
        if row.kind not in by_kind:
            row.code = code_hash()
            stored.append(row)
            by_kind[row.kind] = row
            path.write_text(json.dumps([each.as_json() for each in stored], indent=1))
        yield row


def prepare(work: Path, form: Form) -> None:
    """Imports everything, builds the small world, anew where the code is other than what built it, and loads its base."""
    import_everything()
    root, mark = work / "world", work / "world" / "code"
    if root.is_dir() and (not mark.is_file() or mark.read_text() != code_hash()):
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    mark.write_text(code_hash())
    world.build_world(root, world.SHORT if form.short else tuple(world.BUILD))
    world.warm(root)


def show(row: Row) -> None:
    """A line for a finished kind, and one for each example of what none shall end as."""
    counts = ", ".join(
        f"{row.counts[verdict]} {verdict}" for verdict in (*VERDICTS, "leftovers") if row.counts[verdict]
    )
    print(f"{row.part}, {row.kind}: {row.tried} tried, {counts} ({row.seconds:.0f} s)", flush=True)
    for example in row.examples:
        print(f"    {example}", flush=True)


def main(
    only: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    seed: int = 0,
    short: bool = False,
    share: float = 1.0,
    work: Path | None = None,
    out: Path | None = None,
) -> int:
    """Try faults, print a line per kind, and write the table; exit code 1 where something ended as none shall.

    Args:
        only: parts: kills, flips, full-disk, writers, inputs; all where none is named.
        kinds: rows of these kinds alone, as the table names them.
        seed: of everything that is drawn.
        short: a few trials of some kinds, as the tests run them.
        share: of the long form's trials of each kind.
        work: where the small world and finished rows are kept; by default a temporary folder.
        out: the document whose table is written.
    """
    os.environ.update(QUIET | os.environ)
    begun, folder = time.perf_counter(), Path(work or tempfile.mkdtemp(prefix="faults-")).resolve()
    form = Form(seed, short, share)
    for part in only:
        if part not in PARTS:
            raise SystemExit(f"no part '{part}'; there are {', '.join(PARTS)}")
    prepare(folder, form)
    print(f"the world lies in {folder / 'world'} ({time.perf_counter() - begun:.0f} s)", flush=True)
    rows = []
    for part in only or tuple(PARTS):
        for row in run_part(part, folder, form, kinds):
            show(row)
            rows.append(row)
    unwanted, tried = sum(row.unwanted for row in rows), sum(row.tried for row in rows)
    print(f"{tried} trials, {unwanted} not as wanted, {time.perf_counter() - begun:.0f} s")
    if out:
        older = sum(row.code != code_hash() for row in rows)
        write_table(
            Path(out), rows, f"{form}: {tried:,} trials" + (f"; {older} rows are of earlier code." if older else ".")
        )
    return int(unwanted > 0)


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
