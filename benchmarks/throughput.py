"""Rows per second of a whole training: our loop, transformers' Trainer, the `adapters` library's, and the limit (`benchmarks.trainings`).

    python -m benchmarks.throughput                             on a GPU where there is one, there in float32 and in bf16
    python -m benchmarks.throughput --rows 4096 --batch 128     another size
    python -m benchmarks.throughput --out docs/results/costs    also writes throughput.md there
    python -m benchmarks.throughput --clock cpu --threads 1     this process's seconds of the processor, which other programs hardly touch
    python -m benchmarks.throughput --memory-of fit             one contender's peak memory on a CPU, as JSON; the first form starts it

The contenders take turns in one process, in a new order each round, after one round that does not count; each trains one epoch from the same
weights, and before it one batch alone. Timed is the whole call (`fit`, `Trainer.train`), not the making of model, rows or Trainer:

    rows/s         rows of the epoch over its seconds
    one step       seconds of the training of one batch: what a call costs however short it is
    each more      seconds of the epoch less those, over its other steps: what is compared with the floor

A ratio is taken within a round; printed are the median over rounds and the range. Memory is the accelerator's peak of an epoch, or on a CPU
that of a new process which trains four batches.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from benchmarks.bases import base_at_hand
from benchmarks.contenders import PRECISIONS
from benchmarks.step import Ratio, Seconds, aligned, interleave, machine, markdown, packages, peak, synchronise
from benchmarks.trainings import AVAILABLE, TRAININGS, Rig, Setting, launched

CPU, GPU = Setting(), Setting(rows=512, device="cuda")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
MEMORY_BATCHES = 4  # of an epoch whose memory is measured in a process of its own
LEFT_OUT = "without adapter-trainer: the package adapters is not installed (pip install 'scalearn[adapters]')"


@dataclass
class Measurement:
    """What the contenders took by round: seconds of an epoch, and of one batch alone; and their peak memory in MiB."""

    setting: Setting
    seconds: Seconds = field(default_factory=dict)
    begun: Seconds = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    def each_more(self, name: str) -> list[float]:
        """Seconds of a step after the first, by round."""
        others = self.setting.rows // self.setting.batch - 1
        return [(whole - one) / others for whole, one in zip(self.seconds[name], self.begun[name], strict=True)]


def timed(rig: Rig, name: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a contender's training by a clock, the device's queue included."""
    train = rig.prepare(name)
    gc.collect()  # the last contender's optimizer
    synchronise(rig.setting.device)
    start = clock()
    train()
    synchronise(rig.setting.device)
    return clock() - start


def measure(
    names: Iterable[str], setting: Setting, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Measurement:
    """Lets the contenders take turns."""
    measured = Measurement(setting, begun={name: [] for name in names})
    with launched(setting):
        rig = Rig(setting)
        beginning = rig.beginning()

        def act(name: str) -> float:
            measured.begun[name].append(timed(beginning, name, clock))
            if setting.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            seconds = timed(rig, name, clock)
            if setting.device != "cpu":
                measured.memory[name] = peak(setting.device)
            return seconds

        measured.seconds = interleave({name: lambda name=name: act(name) for name in names}, rounds)
    measured.begun = {name: seconds[1:] for name, seconds in measured.begun.items()}  # the first round warms up
    return measured


def memory_here(name: str, setting: Setting) -> float:
    """The peak of a few batches in MiB, to be run in a new process."""
    short = replace(setting, rows=min(setting.rows, MEMORY_BATCHES * setting.batch))
    with launched(short):
        Rig(short).prepare(name)()
    return peak(setting.device)


def memory_apart(name: str, setting: Setting, threads: int) -> float:
    """As `memory_here`, in a process of its own."""
    options = [f"--{key}={value}" for key, value in asdict(setting).items()]
    command = [sys.executable, "-m", "benchmarks.throughput", "--memory-of", name, f"--threads={threads}", *options]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["peak"])


def cells(measured: Measurement) -> list[list[str]]:
    """One row per contender under a row of captions."""
    names, seconds = list(measured.seconds), measured.seconds
    table = [["", "rows/s", "time / trainer", "one step [ms]", "each more [ms]", "each more / floor", "peak [MiB]"]]
    for name in names:
        table.append(
            [
                name,
                f"{measured.setting.rows / statistics.median(seconds[name]):,.0f}",
                str(Ratio.of(seconds[name], seconds["trainer"])) if "trainer" in names else "–",
                f"{1000 * statistics.median(measured.begun[name]):,.1f}",
                f"{1000 * statistics.median(measured.each_more(name)):,.1f}",
                str(Ratio.of(measured.each_more(name), measured.each_more("floor"))) if "floor" in names else "–",
                f"{measured.memory[name]:,.0f}" if name in measured.memory else "–",
            ]
        )
    return table


def verdicts(measured: Measurement) -> list[str]:
    """Our loop, with a micro-batch as large as the batch, against each Trainer that ran."""
    lines, seconds = [], measured.seconds
    for other in ("trainer", "trainer-2", "adapter-trainer"):
        if other in seconds and "fit" in seconds:
            ratio = Ratio.of(seconds["fit"], seconds[other]).median
            label = f"time, fit / {other}"
            lines.append(f"{label:28} {ratio:5.2f}   wanted <= 1.00   {'met' if ratio <= 1 else 'NOT MET'}")
    return lines


def conditions(setting: Setting, rounds: int, threads: int) -> str:
    """What was measured on what, in one line."""
    return f"{setting.rows:,} rows of 8 to {setting.length} tokens, {rounds} rounds, {machine(setting, threads)}, {packages()}"


def write_page(parts: list[tuple[str, Measurement]], out: Path) -> None:
    """Writes throughput.md into a folder, a table for each precision."""
    made_by = "Made by `python -m benchmarks.throughput --out FOLDER`. What its rows are: [A whole training](README.md#a-whole-training)."
    lines = ["# Rows per second of a training", "", made_by, ""]
    for about, measured in parts:
        lines += [f"{about}.", "", *markdown(cells(measured)), "", *(f"    {line}" for line in verdicts(measured)), ""]
    out.mkdir(parents=True, exist_ok=True)
    (out / "throughput.md").write_text("\n".join(lines))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.splitlines()[0])
    default = GPU if torch.cuda.is_available() else CPU
    for key in ("rows", "batch", "length", "base", "device"):
        value = getattr(default, key)
        parser.add_argument(f"--{key}", type=type(value), default=value, help=f"default: {value}")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: float32, and on a GPU that has it bf16 too")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count; default: 3")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="default: wall")
    parser.add_argument("--contenders", nargs="+", choices=AVAILABLE, help="default: all that can run here")
    parser.add_argument("--no-memory", action="store_true", help="on a CPU, time only")
    parser.add_argument("--memory-of", choices=AVAILABLE, help="only this one's peak, as JSON")
    parser.add_argument("--out", type=Path, help="folder in which throughput.md is written")
    options = parser.parse_args(arguments)
    if options.batch < 1 or options.rows < 2 * options.batch or options.rows % options.batch:
        parser.error(
            f"--rows {options.rows}: give twice --batch {options.batch} or another multiple, so that every batch is full"
        )
    return options


def precisions(options: argparse.Namespace) -> tuple[str, ...]:
    """Those to be measured."""
    if options.precision:
        return (options.precision,)
    return PRECISIONS if options.device != "cpu" and torch.cuda.is_bf16_supported() else PRECISIONS[:1]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    parts = []
    with base_at_hand(options.base) as base:
        settings = [
            Setting(options.rows, options.batch, options.length, base, options.device, precision)
            for precision in precisions(options)
        ]
        if options.memory_of:
            print(json.dumps({"peak": memory_here(options.memory_of, settings[0])}))
            return
        names = [name for name in AVAILABLE if name in (options.contenders or AVAILABLE)]
        if len(AVAILABLE) < len(TRAININGS) and not options.contenders:
            print(LEFT_OUT)
        for setting in settings:
            measured = measure(names, setting, options.rounds, CLOCKS[options.clock])
            if setting.device == "cpu" and not options.no_memory:
                measured.memory = {name: memory_apart(name, setting, options.threads) for name in names}
            about = conditions(setting, options.rounds, options.threads)
            about += ", seconds of the processor" if options.clock == "cpu" else ""
            print("\n".join([about, "", *aligned(cells(measured)), "", *verdicts(measured), ""]), flush=True)
            parts.append((about, measured))
    if options.out:
        write_page(parts, options.out)


if __name__ == "__main__":
    main()
