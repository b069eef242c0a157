"""What many units cost beside their training: handing them out, their files, reading them back, planning.

    python -m benchmarks.scheduling                               10,000 pieces that do nothing, 10,000 units in a store
    python -m benchmarks.scheduling --pieces 200 --alone          a small one
    python -m benchmarks.scheduling --out docs/results/costs      also writes scheduling.md there

The pieces do nothing, so that what is left is the engine: here one process, two processes, Ray with two workers. The units are rows of the
published comparison with new keys. `a row` is what the driver does for each finished unit (a line that is on the disk when it returns).
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.step import markdown
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.experiment_config import units
from scalearn.comparison.records import ROWS_FILE, UnitRecord, read_lines
from scalearn.comparison.remote_worker import Remote
from scalearn.comparison.sharing import Sharing, Worker
from scalearn.comparison.steps import all_steps, needs
from scalearn.comparison.unit_files import UnitFiles
from scalearn.comparison.workers import Work
from tasksel.storage.hashed import write_hashed
from tasksel.storage.jsonl import append_line

ROWS = Path(__file__).parents[1] / "docs" / "results" / "glue_minilm"
ABOUT = (
    "Pieces that do nothing: what is left is the engine. The units are rows of the published comparison under new keys; "
    '"written" and "a row" wait for the disk.'
)


def nothing() -> Callable[[Any], str]:
    """Returns what does a piece of no work."""
    return str


def nothing_read(piece: str, text: str) -> str:
    """The outcome of such a piece, which a cluster's worker did."""
    return text


def rates(pieces: int, folder: Path, *, alone: bool) -> Iterator[list[str]]:
    """Pieces per second of each engine; what starting it costs is left out."""
    worker = Worker(nothing, nothing, Remote("benchmarks.scheduling:nothing", (), nothing_read, folder))
    engines = {"this process": Sharing(1)}
    if not alone:
        engines |= {"two processes": Sharing(2), "Ray, two workers": Sharing(2, "ray")}
    for name, sharing in engines.items():
        seconds = _seconds(sharing.engine(worker, pieces), [f"piece {number}" for number in range(pieces)])
        yield [f"pieces per second, {name}", f"{pieces / seconds:,.0f}"]


def _seconds(engine: AbstractContextManager[Work], pieces: list[str]) -> float:
    with engine as work:
        list(work(pieces[:4]))  # the workers have started
        start = time.perf_counter()
        done = sum(1 for _ in work(pieces))
        assert done == len(pieces)
        return time.perf_counter() - start


def unit_records(count: int) -> Iterable[UnitRecord]:
    """So many rows of the published comparison, with keys of their own."""
    rows = islice(cycle(read_lines(ROWS / ROWS_FILE, UnitRecord)), count)
    return (row.model_copy(update={"key": f"{number:016x}"}) for number, row in enumerate(rows))


def storing(count: int, folder: Path) -> Iterator[list[str]]:
    """Files, bytes and milliseconds of units in a store, before and after they are packed."""
    files, seconds = UnitFiles(folder), {}
    start = time.perf_counter()
    for record in unit_records(count):
        write_hashed(files.path(record.key), record.model_dump(mode="json"))
    seconds["written"] = time.perf_counter() - start
    rows = list(islice(unit_records(count), min(count, 200)))
    start = time.perf_counter()
    for row in rows:
        append_line(folder / ROWS_FILE, row)
    seconds["a row"] = (time.perf_counter() - start) * count / len(rows)
    seconds["read"] = _read(folder, count)
    start = time.perf_counter()
    packing = files.pack()
    seconds["packed"] = time.perf_counter() - start
    seconds["read, packed"] = _read(folder, count)
    yield ["bytes of a unit's file", f"{packing.bytes[0] / count:,.0f}"]
    yield ["bytes of a packed unit", f"{packing.bytes[1] / count:,.0f}"]
    yield [f"files of {count:,} units, packed", f"{packing.files[1]:,}"]
    for what, taken in seconds.items():
        yield [f"milliseconds per unit, {what}", f"{1000 * taken / count:.2f}"]


def _read(folder: Path, count: int) -> float:
    files = UnitFiles(folder)
    start = time.perf_counter()
    assert all(files.read(f"{number:016x}") for number in range(count))
    return time.perf_counter() - start


def planning(seeds: int) -> Iterator[list[str]]:
    """Milliseconds per unit of a plan's graph."""
    experiment = Experiment(
        name="many",
        sources={"tasks": ("sentiment_films", "grammar_garden", "entail_travel")},
        targets={"tasks": ("entail_kitchen", "sentiment_phones"), "sizes": (16, 100), "seeds": tuple(range(seeds))},
        rank={"by": ("logme", "all"), "top": (1, 2)},
        methods=("scalearn", "scalearn-uniform", "single-adapter"),
    )
    start = time.perf_counter()
    planned = units(experiment)
    steps = all_steps(experiment, planned)
    arrows = sum(1 for step in steps for _ in needs(experiment, step))
    taken = time.perf_counter() - start
    yield [
        f"milliseconds per unit, planned ({len(planned):,} units, {arrows:,} needs)",
        f"{1000 * taken / len(planned):.3f}",
    ]


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and, if asked, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=10_000)
    parser.add_argument("--alone", action="store_true", help="no other processes and no Ray")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [
            *rates(options.pieces, folder / "rates", alone=options.alone),
            *storing(options.pieces, folder / "store"),
        ]
        rows += planning(max(1, options.pieces // 40))
    page = "\n".join(markdown([["what", "measured"], *rows]))
    print(page)
    if options.out:
        head = "# What many units cost beside their training\n\n    python -m benchmarks.scheduling --out docs/results/costs\n\n"
        (options.out / "scheduling.md").write_text(
            f"{head}{os.cpu_count()} cores, {platform.machine()}.\n\n{ABOUT}\n\n{page}\n"
        )


if __name__ == "__main__":
    main()
