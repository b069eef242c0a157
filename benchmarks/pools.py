"""How long one target takes to be ranked against large pools of task embeddings, beside numpy and the memory's own speed.

    python -m benchmarks.pools --out docs/results               1,000 to 100,000 tasks, 2 threads; writes docs/results/pools.md
    python -m benchmarks.pools --sizes 500 5000 --out out       other sizes
    python -m benchmarks.pools --threads 1 --rounds 21 --out out

Connectivity patterns of 37,008 bits (BERT-base) and vectors of 768 numbers, clustered as tasks are: a row lies near one of sqrt(n) centres.
The rows come from a seed, so that the process that checks by brute force draws the same ones again. Every measurement runs in a new
process, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil

from benchmarks.step import MIB, peak
from tasksel.embeddings.index import EmbeddingIndex, Kind
from tasksel.embeddings.token_similarity import max_many
from tasksel.storage.atomic import write_text

SIZES = (1_000, 10_000, 100_000)
WIDTH: dict[Kind, int] = {"binary": 37_008, "dense": 768}  # BERT-base: 144 heads and 36,864 neurons; its hidden size
TITLE = {"binary": "connectivity, 37,008 bits", "dense": "dense, 768 numbers"}
SLACK = {"binary": 0.0, "dense": 1e-6}  # what two float32 sums of the same 768 products may differ by
SOURCES, TOKENS = 1_000, 100
TARGETS, K, BLOCK = 5, 10, 1024
RANKED, MAXED = 0.5, 5.0  # seconds aimed at: one target against 100,000 tasks; MAX over 1,000 sources


@dataclass(frozen=True)
class Row:
    """One engine on one pool: seconds (median), MB of memory added, recall@10; None where it has none (numpy is the reference)."""

    kind: Kind
    tasks: int
    by: str
    nearest: float
    ranked: float
    memory: float
    recall: float | None = None
    build: float | None = None
    build_memory: float | None = None
    save: float | None = None
    load: float | None = None
    file: float | None = None


@dataclass(frozen=True)
class Limits:
    """What this machine can do at most: bytes read and float operations a second."""

    read: float
    compute: float


def near(kind: Kind, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One row near each centre: a quarter of its bits turned over (two rows of one centre then share 0.625 of them), or noise added (cosine 0.5)."""
    if kind == "binary":
        return centres ^ (random(kind, len(centres), rng) & random(kind, len(centres), rng))
    return centres + random(kind, len(centres), rng)


def random(kind: Kind, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows without any structure."""
    if kind == "binary":
        return rng.integers(0, 256, (count, WIDTH[kind] // 8), dtype=np.uint8)
    return rng.standard_normal((count, WIDTH[kind]), dtype=np.float32)


def rows_of(kind: Kind, tasks: int) -> np.ndarray:
    """The pool's rows, always the same ones; a block at a time, so that they are held once."""
    rng = np.random.default_rng(1)
    centres = centres_of(kind, tasks)
    rows = np.empty((tasks, centres.shape[1]), centres.dtype)
    for start in range(0, tasks, BLOCK):
        block = rows[start : start + BLOCK]
        block[:] = near(kind, centres[rng.integers(len(centres), size=len(block))], rng)
    return rows


def centres_of(kind: Kind, tasks: int) -> np.ndarray:
    """The sqrt(n) centres of a pool."""
    return random(kind, math.isqrt(tasks), np.random.default_rng(0))


def targets_of(kind: Kind, tasks: int) -> np.ndarray:
    """Targets near the first centres of a pool, not in it."""
    centres = centres_of(kind, tasks)
    return near(kind, centres[np.arange(TARGETS) % len(centres)], np.random.default_rng(2))


def names_of(tasks: int) -> list[str]:
    """The pool's names."""
    return [f"task-{number:06d}" for number in range(tasks)]


def resident() -> float:
    """This process's resident memory in MiB."""
    return psutil.Process().memory_info().rss / MIB


def seconds_of(act: Callable[[], Any]) -> float:
    """How long it takes once."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def median_of(act: Callable[[np.ndarray], Any], targets: np.ndarray, rounds: int) -> float:
    """Median seconds over the rounds, each with the next target; a first one does not count."""
    act(targets[-1])
    return statistics.median(seconds_of(partial(act, targets[i % len(targets)])) for i in range(rounds))


def measure_build(kind: Kind, tasks: int, folder: Path) -> dict[str, float]:
    """Builds and saves an index: seconds, memory added at the peak, bytes of all its files."""
    rows, before = rows_of(kind, tasks), resident()
    start = time.perf_counter()
    index = EmbeddingIndex.build(names_of(tasks), rows)
    built = time.perf_counter() - start
    added = peak("cpu") - before
    saved = seconds_of(lambda: index.save(folder))
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"build": built, "build_memory": megabytes(added), "save": saved, "file": size / 1e6}


def measure_index(kind: Kind, tasks: int, folder: Path, rounds: int) -> tuple[dict[str, float], list[list[str]]]:
    """Loads an index and ranks: seconds, memory added; and the nearest names of each target."""
    targets, before = targets_of(kind, tasks), resident()
    start = time.perf_counter()
    index = EmbeddingIndex.load(folder)
    measured = {"load": time.perf_counter() - start}
    measured["nearest"] = median_of(lambda target: index.nearest(target, K), targets, rounds)
    measured["ranked"] = median_of(index.rank_all, targets, rounds)
    measured["memory"] = megabytes(resident() - before)
    return measured, [index.nearest(target, K)[0] for target in targets]


def measure_numpy(kind: Kind, tasks: int, index_names: list[list[str]], rounds: int) -> tuple[dict[str, float], float]:
    """Ranks the same pool by brute force: seconds, memory added; and the recall of the names that the index returned."""
    targets, before = targets_of(kind, tasks), resident()
    rows = rows_of(kind, tasks)
    if kind == "dense":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        targets /= np.linalg.norm(targets, axis=1, keepdims=True)

    def nearest(target: np.ndarray) -> np.ndarray:
        similarity = brute_force(kind, rows, target)
        best = np.argpartition(-similarity, K - 1)[:K]
        return best[np.argsort(-similarity[best])]

    measured = {"nearest": median_of(nearest, targets, rounds)}
    measured["ranked"] = median_of(lambda target: np.argsort(-brute_force(kind, rows, target)), targets, rounds)
    measured["memory"] = megabytes(resident() - before)
    number = {name: i for i, name in enumerate(names_of(tasks))}
    each = [
        recall([number[name] for name in names], brute_force(kind, rows, target), SLACK[kind])
        for names, target in zip(index_names, targets, strict=True)
    ]
    return measured, statistics.mean(each)


def brute_force(kind: Kind, rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Similarity of every row to the target, [n]: unit rows for a dense pool. Bits by blocks that stay in the cache."""
    if kind == "dense":
        return rows @ target
    differing = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), 256):
        differing[start : start + 256] = np.bitwise_count(rows[start : start + 256] ^ target).sum(1, dtype=np.int64)
    return 1.0 - differing / WIDTH[kind]


def recall(returned: Sequence[int], similarity: np.ndarray, slack: float = 0.0) -> float:
    """The share of the k best that were returned. Of rows that tie at the k-th place any will do: it is the similarity that counts."""
    k = len(returned)
    least = np.partition(similarity, len(similarity) - k)[len(similarity) - k]
    return sum(similarity[i] >= least - slack for i in set(returned)) / k


def measure_max(sources: int, index: Any, rounds: int) -> tuple[float, float, np.ndarray]:
    """MAX of one target over sources of 100 x 768 tokens: seconds, memory added at the peak, the similarities."""
    rng = np.random.default_rng(0)
    centres = random("dense", math.isqrt(sources), rng)
    pool = [near("dense", centres[rng.integers(len(centres), size=TOKENS)], rng) for _ in range(sources)]
    target = near("dense", centres[rng.integers(len(centres), size=TOKENS)], rng)
    before = resident()
    seconds = median_of(lambda one: max_many(pool, one, index=index), target[None], rounds)
    return seconds, megabytes(peak("cpu") - before), max_many(pool, target, index=index)


def measure_limits(size: int, rounds: int) -> Limits:
    """The rate at which numpy's BLAS reads an array of `size` bytes once (a dot product with itself) and multiplies large matrices."""
    once, square = np.ones(size // 4, np.float32), np.ones((2048, 2048), np.float32)
    read = median_of(lambda a: a @ a, once[None], rounds)
    multiply = median_of(lambda a: a @ a, square[None], min(rounds, 3))
    return Limits(once.nbytes / read, 2 * 2048**3 / multiply)


def megabytes(mib: float) -> float:
    """From MiB; 0 where the difference is slightly negative."""
    return max(0.0, mib) * MIB / 1e6


def alone(act: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a function in a new process, forked from one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["benchmarks.step", "tasksel.embeddings.token_similarity", "tasksel.embeddings.index", "faiss", "psutil"]
    )
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(act, *arguments).result()


def measure(kind: Kind, tasks: int, rounds: int) -> list[Row]:
    """faiss and numpy over one pool."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "index"
        build = alone(measure_build, kind, tasks, folder)
        ranked, index_names = alone(measure_index, kind, tasks, folder, rounds)
    brute, share = alone(measure_numpy, kind, tasks, index_names, rounds)
    return [
        Row(kind, tasks, "faiss", recall=share, **build, **ranked),
        Row(kind, tasks, "numpy", **brute),
    ]


def conditions(threads: int) -> str:
    """The machine and the versions, in one line."""
    chip, cpuinfo = platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        chip = next((x.split(": ")[1] for x in cpuinfo.read_text().splitlines() if x.startswith("model name")), chip)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, faiss {faiss.__version__}"
    return f"{chip}, {os.cpu_count()} cores, {threads} thread{'s' * (threads != 1)}, {versions}"


def table(rows: Sequence[Row]) -> list[str]:
    """The pools as Markdown."""

    def cell(value: float | None, scale: float = 1.0, form: str = ",.2f") -> str:
        return "–" if value is None else format(value * scale, form)

    lines = [
        "| embeddings | tasks | by | build [s] | build, peak [MB] | save [s] | load [s] | nearest 10 [ms] | rank all [ms] | memory [MB] | files [MB] | recall@10 |",
        "|---|--:|---|" + "--:|" * 9,
    ]
    for row in rows:
        cells = [TITLE[row.kind], f"{row.tasks:,}", row.by, cell(row.build), cell(row.build_memory, form=",.0f")]
        cells += [cell(row.save), cell(row.load), cell(row.nearest, 1e3, ",.1f"), cell(row.ranked, 1e3, ",.1f")]
        cells += [cell(row.memory, form=",.0f"), cell(row.file, form=",.1f"), cell(row.recall)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def reading(rows: Sequence[Row], limits: Limits) -> list[str]:
    """The largest pools in words: the bound, the floor that reading the rows sets, and the speed of faiss beside numpy."""
    lines = []
    for kind in WIDTH:
        by = {row.by: row for row in rows if row.kind == kind and row.tasks == max(r.tasks for r in rows)}
        indexed, brute = by["faiss"], by["numpy"]
        size = indexed.tasks * WIDTH[kind] * (1 if kind == "binary" else 32) / 8
        floor = size / limits.read
        lines += [
            f"- **{TITLE[kind]}**: {indexed.tasks:,} tasks are ranked from first to last in {indexed.ranked:.3f} s ({bound(indexed.ranked, RANKED)}); the nearest {K} take "
            f"{indexed.nearest * 1e3:,.1f} ms. The rows are {size / 1e6:,.1f} MB, which this machine reads in {floor * 1e3:,.1f} ms: the nearest {K} take "
            f"{indexed.nearest / floor:.1f} times that floor, numpy {brute.nearest / floor:.1f} times. Beside numpy, faiss is {brute.nearest / indexed.nearest:.1f} times as fast.",
        ]
    return lines


def bound(seconds: float, limit: float) -> str:
    """The bound in seconds, and whether it was met."""
    return f"wanted < {limit:g} s: {'met' if seconds < limit else 'NOT MET'}"


def max_section(sources: int, measured: dict[str, tuple[float, float, np.ndarray]], limits: Limits) -> list[str]:
    """MAX: the table, and its own floor, which is arithmetic."""
    operations = 2 * sources * TOKENS**2 * WIDTH["dense"]
    lines = ["| MAX by | seconds | memory at the peak [MB] |", "|---|--:|--:|"]
    lines += [f"| {index} | {seconds:.3f} | {memory:,.0f} |" for index, (seconds, memory, _) in measured.items()]
    apart = float(np.abs(measured["exact"][2] - measured["faiss"][2]).max())
    best = min(measured, key=lambda index: measured[index][0])
    seconds, floor = measured[best][0], operations / limits.compute
    return [
        *lines,
        "",
        f"The faster is {best}: {seconds:.3f} s ({bound(seconds, MAXED)}). The products alone are {operations / 1e9:,.1f} billion operations, {floor:.3f} s at the rate of a "
        f"large matrix product here: {seconds / floor:.1f} times that floor. The two differ by at most {apart:.0e}.",
    ]


def page(rows: Sequence[Row], max_lines: Sequence[str], limits: Limits, options: argparse.Namespace) -> str:
    """docs/results/pools.md as a whole."""
    rates = f"{limits.read / 1e9:.1f} GB/s and computes {limits.compute / 1e9:,.0f} GFLOP/s"
    sizes = f"One target of {TOKENS} tokens x 768 against {options.sources:,} sources of as many"
    parts = [
        OPENING,
        f"    {command(options)}",
        f"Medians of {options.rounds} rounds over {TARGETS} targets. {conditions(options.threads)}.",
        "\n".join(table(rows)),
        "## What the largest pools say",
        f"This machine reads {rates}, both measured in the same run with numpy's BLAS.",
        "\n".join(reading(rows, limits)),
        f"## MAX over {options.sources:,} sources",
        f"{sizes} (`tasksel.embeddings.token_similarity.max_many`, direction max).",
        "\n".join(max_lines),
        METHOD,
    ]
    return "\n\n".join(parts)


def command(options: argparse.Namespace) -> str:
    """The command that writes the page, without options at their defaults."""
    default, words = parse([]), ["python -m benchmarks.pools"]
    for name, value in vars(options).items():
        if name != "out" and value != getattr(default, name):
            words.append(f"--{name} {' '.join(map(str, value if isinstance(value, list) else [value]))}")
    return " ".join([*words, "--out docs/results"])


OPENING = """# Ranking against a large pool

One target's embedding is ranked against every task of a pool (`tasksel.embeddings.index`), exactly. This page asks how long that takes, and how far it
is from what no method that looks at every row can go below."""

METHOD = """## How it is measured

- Rows are clustered: each lies near one of sqrt(n) centres. A pattern differs from its centre in a quarter of its bits, so that related tasks share 0.625 of them.
  The targets lie near centres too, and are not in the pool.
- Each row is measured in processes of its own. Memory is what the loaded index, or numpy's array, adds to the resident memory after ranking; "build,
  peak" is what building from an array adds at most, the caller's array not counted. "rank all" also sorts the whole pool: by similarity, then,
  for faiss, by name, and lists the names, which takes longer than comparing.
- faiss shares out targets, not rows, so that one target has one thread; numpy's dot products take all. numpy's bits are compared in blocks that stay in the cache.
- recall@10 compares by similarity: where rows tie at the tenth place, any of them counts. Dense similarities may differ by 1e-6 (float32 sums).
- The floor of a search is the time in which one dot product with itself reads an array of the pool's size.
- Close other programs first.
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pools", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(SIZES), help="tasks of a pool; default: 1k 10k 100k"
    )
    parser.add_argument("--sources", type=int, default=SOURCES, help=f"of MAX; default: {SOURCES}")
    parser.add_argument("--rounds", type=int, default=11, help="rounds that count; default: 11")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results"), help="folder of pools.md; default: docs/results"
    )
    options = parser.parse_args(arguments)
    if min(options.sizes) < K or min(options.sources, options.rounds, options.threads) < 1:
        parser.error(f"a pool needs at least {K} tasks, all else at least 1")
    return options


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    for library in ("OMP", "OPENBLAS"):  # read by the new processes when they import
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)
    rows: list[Row] = []
    for tasks in options.sizes:
        for kind in WIDTH:
            rows += measure(kind, tasks, options.rounds)
    largest = max(options.sizes) * WIDTH["binary"] // 8
    limits = alone(measure_limits, largest, options.rounds)
    maxed = {index: alone(measure_max, options.sources, index, min(options.rounds, 5)) for index in ("exact", "faiss")}
    section = max_section(options.sources, maxed, limits)
    print("\n".join([*table(rows), "", *reading(rows, limits), "", *section]))
    write_text(options.out / "pools.md", page(rows, section, limits, options))


if __name__ == "__main__":
    main()
