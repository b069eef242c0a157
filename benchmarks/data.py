"""Time and memory of a task's rows: a training's first step from a cold and a warm cache, and trainings on few of many rows.

    python -m benchmarks.data                                  1,000 to 1,000,000 rows of 100 characters; several minutes
    python -m benchmarks.data --most 100000 --units 2          a quick look
    python -m benchmarks.data --out docs/results/costs         also writes data.md there
    python -m benchmarks.data --measure first-step a.csv b.csv the row of one process, as JSON; the first form starts it

Each measurement is a process of its own, which has imported its libraries and loaded its base before the clock starts:

    cold, warm     seconds from the file's name to the end of the first step, of the first process that reads the file and of the next one
    memory         the most that the process held, over that of the process with the fewest rows: what the rows cost; after
                   the first step, and after every batch of an epoch has been made
    units          trainings with other seeds, each on a draw of 2,000 rows, from a file of many rows against a file of 2,000

The clock's parts: the task (kind and label names), its splits, their fingerprint, token ids, and the first step. Validation rows are in a
file of their own, the same for every size, so that all trainings score the same rows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.step import Setting, machine, packages
from tasksel.tasks import builtin_words

FEWEST, DRAWN, HELD_OUT = 1_000, 2_000, 200
CHARACTERS = 100  # of a row's text
MIB = 2**20
WANTED = {"memory": 400, "warm": 5.0, "units": 1.2}  # MiB, seconds, ratio


def write_rows(path: Path, rows: int, *, seed: int) -> Path:
    """A CSV of two classes whose texts have about `CHARACTERS` characters, of the words that the built-in suite is made of."""
    draw = random.Random(seed)
    words = sorted(set(re.findall(r"\b[a-z]{2,}\b", Path(builtin_words.__file__).read_text(encoding="utf-8"))))
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for _ in range(rows):
            text = " ".join(draw.choices(words, k=CHARACTERS // 4))[:CHARACTERS]
            file.write(f"{text},{draw.choice(('good', 'poor'))}\n")
    return path


def peak() -> float:
    """The most memory that this process held, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert match
    return int(match[1]) / 1024


class _Begun(Exception):
    """The first step is done; what comes after it does not count."""


def first_step(train: Path, held_out: Path) -> dict[str, Any]:
    """Seconds from a file's name to the end of the first step of a training on all of its rows, by part; and the most memory held."""
    from tasksel.adapters.train import SOURCE_RECIPE, adapter_model, encode_split, fit, load_data, module_name
    from tasksel.model.base import load_base
    from tasksel.model.encoding import length_batches
    from tasksel.tasks.task import Task

    base, clock = load_base("minilm"), [("begun", time.perf_counter())]
    tokenizer = base.tokenizer
    assert base.fingerprint  # both are kept, and do not depend on the rows

    def stop(step: int) -> bool:
        clock.append(("step", time.perf_counter()))
        raise _Begun

    clock[0] = ("begun", time.perf_counter())
    task = Task.from_file(train, text="text", label="label", validation=held_out, name="rows")
    clock.append(("task", time.perf_counter()))
    data = load_data(task)
    clock.append(("splits", time.perf_counter()))
    assert data.fingerprint
    clock.append(("fingerprint", time.perf_counter()))
    rows, dev = (encode_split(split, task, tokenizer, max_length=64) for split in (data.train, data.dev))
    clock.append(("tokens", time.perf_counter()))
    model = adapter_model(base, [task], module_name(task.name), seed=0)
    with contextlib.suppress(_Begun):
        fit(model, task, rows, dev, SOURCE_RECIPE, seed=0, on_step=stop)
    seconds = {name: round(end - begun, 3) for (_, begun), (name, end) in pairwise(clock)}
    begun = peak()
    for batch in length_batches(rows.lengths, SOURCE_RECIPE.batch, seed=1):
        rows.batch(batch)
    whole = round(clock[-1][1] - clock[0][1], 3)
    return {"seconds": seconds, "all": whole, "peak": round(begun, 1), "epoch": round(peak(), 1)}


def units(train: Path, held_out: Path, *, count: int, steps: int) -> dict[str, Any]:
    """Seconds of trainings on draws of `DRAWN` rows by other seeds, each from the file's name on, and the most memory held."""
    from tasksel.adapters.train import SOURCE_RECIPE, fit_adapter, load_data
    from tasksel.model.base import load_base
    from tasksel.tasks.task import Task

    base = load_base("minilm")
    assert base.fingerprint
    recipe, seconds = SOURCE_RECIPE.model_copy(update={"epochs": 1, "max_steps": steps, "max_length": 64}), []
    for seed in range(count):
        begun = time.perf_counter()
        task = Task.from_file(train, text="text", label="label", validation=held_out, name="rows")
        data = load_data(task, rows=DRAWN, seed=seed)
        assert data.fingerprint
        fit_adapter(task, data, base, recipe, seed=seed, label="unit")
        seconds.append(round(time.perf_counter() - begun, 3))
    return {"seconds": seconds, "all": round(sum(seconds), 3), "peak": round(peak(), 1)}


def measured(what: str, train: Path, held_out: Path, cache: Path, *options: str) -> dict[str, Any]:
    """The row of a process that measures, with a cache of its own place."""
    command = [sys.executable, "-m", "benchmarks.data", "--measure", what, str(train), str(held_out), *options]
    environment = {**os.environ, "SCALEARN_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def sizes(most: int) -> list[int]:
    """The numbers of rows that are measured: powers of ten."""
    return [10**power for power in range(3, 10) if 10**power <= most]


def measure_sizes(folder: Path, most: int) -> dict[int, dict[str, dict[str, Any]]]:
    """The first step by number of rows, cold and warm."""
    held_out, results = write_rows(folder / "held_out.csv", HELD_OUT, seed=1), {}
    for rows in sizes(most):
        train = write_rows(folder / f"{rows}.csv", rows, seed=0)
        runs = {when: measured("first-step", train, held_out, folder / f"cache-{rows}") for when in ("cold", "warm")}
        results[rows] = runs
        print(f"{rows:,} rows: {runs}", file=sys.stderr)
    return results


def measure_units(folder: Path, most: int, count: int, steps: int) -> dict[str, dict[str, Any]]:
    """Trainings on draws from a file of `DRAWN` rows and from one of the most rows, the cache warm as the first step left it."""
    few, options = write_rows(folder / f"{DRAWN}.csv", DRAWN, seed=2), ("--units", str(count), "--steps", str(steps))
    files = {"few": (few, folder / "cache-few"), "many": (folder / f"{most}.csv", folder / f"cache-{most}")}
    runs: dict[str, dict[str, Any]] = {}
    for name, (train, cache) in files.items():
        runs[name] = measured("units", train, folder / "held_out.csv", cache, *options)
        print(f"{name}: {runs[name]}", file=sys.stderr)
    return runs


def report(by_rows: dict[int, dict[str, dict[str, Any]]], runs: dict[str, dict[str, Any]], arguments: str) -> str:
    """The page, with what was wanted beside what was measured."""
    least = by_rows[min(by_rows)]
    parts = ("task", "splits", "fingerprint", "tokens", "step")
    lines = ["| rows | cache | " + " | ".join(parts) + " | first step [s] | memory [MiB] | after an epoch [MiB] |"]
    lines.append("|--:|---|" + "--:|" * (len(parts) + 3))
    for rows, by_cache in by_rows.items():
        for when, row in by_cache.items():
            cells = [f"{row['seconds'][part]:.2f}" for part in parts]
            extra = [f"{row[name] - least[when][name]:,.0f}" for name in ("peak", "epoch")]
            lines.append(f"| {rows:,} | {when} | {' | '.join(cells)} | {row['all']:.1f} | {' | '.join(extra)} |")
    chip = machine(Setting(), torch.get_num_threads()).split(", ")[-1]
    most = max(by_rows)
    few, many = runs["few"]["seconds"], runs["many"]["seconds"]
    ratio = sum(many) / sum(few)
    cold, warm = (by_rows[most][when] for when in ("cold", "warm"))
    memory = max(row["epoch"] - least[when]["epoch"] for when, row in (("cold", cold), ("warm", warm)))
    verdicts = [
        ("memory", f"{memory:,.0f} MiB", f"at most {WANTED['memory']} MiB", memory <= WANTED["memory"]),
        ("first step, warm", f"{warm['all']:.1f} s", f"at most {WANTED['warm']:.0f} s", warm["all"] <= WANTED["warm"]),
        (f"{len(few)} units", f"{ratio:.2f} x", f"at most {WANTED['units']} x", ratio <= WANTED["units"]),
    ]
    table = [f"| of {most:,} rows | measured | wanted | |", "|---|--:|--:|---|"]
    table += [
        f"| {name} | {value} | {goal} | {'reached' if ok else 'not reached'} |" for name, value, goal, ok in verdicts
    ]
    median = f"{statistics.median(few):.1f} s (median) from a file of {DRAWN:,} rows, {statistics.median(many):.1f} s from one of {most:,}"
    return "\n".join([
        "# Data: what a task's rows cost", "",
        f"    python -m benchmarks.data{arguments}", "",
        f"Rows of {CHARACTERS} characters in a CSV file, two classes; all-MiniLM-L6-v2, one process each; {chip}; {packages()}. The first step is counted from the",
        "file's name on, in a process that has imported its libraries and loaded its base; cold is the first process that reads the file, warm the next one.", "",
        *table, "", "## By number of rows", "", *lines, "",
        f"Memory is the most that the process held over that of the same process with {min(by_rows):,} rows: after the first step, and after every batch of an epoch has been made, without",
        "training on it. It counts the pages of mapped files that were touched, which the system takes back when it needs them.", "",
        "## Trainings on few of many rows", "",
        f"{len(few)} trainings, each on a draw of {DRAWN:,} rows by a seed of its own, from the file's name on: {median}; together {sum(few):.1f} s and {sum(many):.1f} s.", "",
    ])  # fmt: skip


def main(arguments: Iterable[str] | None = None) -> None:
    """Measures, prints the page and, with `--out`, writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000, help="the largest number of rows")
    parser.add_argument("--units", type=int, default=10, help="trainings on draws")
    parser.add_argument("--steps", type=int, default=20, help="of each of those trainings")
    parser.add_argument("--out", type=Path, help="a folder for data.md")
    parser.add_argument(
        "--measure", nargs=3, metavar=("WHAT", "TRAIN", "HELD_OUT"), help="first-step or units, of these files"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.measure:
        what, train, held_out = options.measure
        files = Path(train), Path(held_out)
        row = first_step(*files) if what == "first-step" else units(*files, count=options.units, steps=options.steps)
        print(json.dumps(row))
        return
    with tempfile.TemporaryDirectory() as folder:
        by_rows = measure_sizes(Path(folder), options.most)
        runs = measure_units(Path(folder), max(by_rows), options.units, options.steps)
    settings = {"most": (options.most, 1_000_000), "units": (options.units, 10), "steps": (options.steps, 20)}
    said = "".join(f" --{name} {value}" for name, (value, default) in settings.items() if value != default)
    page = report(by_rows, runs, said)
    print(page)
    if options.out:
        (options.out / "data.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
