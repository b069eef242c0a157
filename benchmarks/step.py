"""Time and memory of one training step and one inference pass, against the alternatives (contenders: `benchmarks.contenders`).

    python -m benchmarks.step                              8 sources, batch 32, length 64, 2 threads
    python -m benchmarks.step --scale                      1 to 64 sources, written as step.md and step.svg into docs/results/costs
    python -m benchmarks.step --memory-of scalearn         one contender's peak memory, as JSON; the other forms start it
    python -m benchmarks.environments A/python B/python    the same in several environments, side by side

A step is zero_grad, forward, loss, backward, clipping and AdamW, in float32 (or with `--precision bf16`) on fixed random tokens. The contenders take turns in one
process, in a new order each round, after one round that does not count. A ratio is taken within a round, so that a machine that slows
down slows both sides; printed are the median over rounds and the range. Memory is that of three steps in a new process; where the library
`adapters` is installed it is imported there for every contender, so that its modules count for all alike.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmarks.bases import base_at_hand
from benchmarks.contenders import AVAILABLE, CONTENDERS, HAS_LIBRARY, LEFT_OUT, PRECISIONS, UNTRAINED, Setting, autocast
from benchmarks.scale import COUNTS, SCALED, Measurement, write_scaling
from tasksel.model.base import load_base
from tasksel.model.heads import loss_sum
from tasksel.training.predict import logits_of

UNIT = "single"
MANY, FEW_ROUNDS = 16, 5  # from 16 sources on, AdapterFusion's steps are so long that their noise is small
MIB = 2**20


@dataclass(frozen=True)
class Ratio:
    """Ratio of two contenders' seconds, round by round: median, least and greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerator: list[float], denominator: list[float]) -> Ratio:
        """From the seconds of the same rounds."""
        ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


Seconds = dict[str, list[float]]
Key = TypeVar("Key")


class Runner:
    """A contender on its device, with its optimizer and a fixed random batch."""

    def __init__(self, name: str, setting: Setting) -> None:
        self.device, self.precision = setting.device, setting.precision
        self.model = CONTENDERS[name](setting).to(setting.device)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=3e-4)
        generator = torch.Generator().manual_seed(0)
        shape, words = (setting.batch, setting.length), load_base(setting.base).config.vocab_size
        ids = torch.randint(words // 10, words, shape, generator=generator)  # above the special tokens
        self.labels = torch.randint(2, (setting.batch,), generator=generator).to(setting.device)
        self.batch = {"input_ids": ids.to(setting.device), "attention_mask": torch.ones_like(ids).to(setting.device)}

    def train(self) -> None:
        """One whole training step."""
        self.optimizer.zero_grad()
        with autocast(self.device, self.precision):
            logits = logits_of(self.model, self.batch)
        loss = loss_sum("single_sentence_classification", logits, self.labels)
        (loss / len(self.labels)).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def infer(self) -> Tensor:
        """The logits of the batch."""
        with autocast(self.device, self.precision):
            return logits_of(self.model, self.batch)

    def seconds(self, act: Callable[[], Any]) -> float:
        """How long it takes, the device's queue included."""
        synchronise(self.device)
        start = time.perf_counter()
        act()
        synchronise(self.device)
        return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Waits for an accelerator; a CPU has nothing to wait for."""
    if device != "cpu":
        torch.accelerator.synchronize()


def interleave(acts: dict[Key, Callable[[], float]], rounds: int) -> dict[Key, list[float]]:
    """Seconds of each act in each round; the order changes so that none always follows the same other."""
    order: list[Key] = list(acts)
    by_name: dict[Key, list[float]] = {name: [] for name in acts}
    shuffle = random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for name in order:
            seconds = acts[name]()
            if number:  # the first round warms up
                by_name[name].append(seconds)
    return by_name


def measure_time(names: Iterable[str], setting: Setting, rounds: int, *, infer: bool = True) -> tuple[Seconds, Seconds]:
    """Seconds of a training step and of an inference pass, by contender and round."""
    runners = {name: Runner(name, setting) for name in names}
    for runner in runners.values():
        runner.model.train()
    trainable = {name: runner for name, runner in runners.items() if name not in UNTRAINED}
    trained = interleave({name: lambda r=r: r.seconds(r.train) for name, r in trainable.items()}, rounds)
    for runner in runners.values():
        runner.model.eval()
    inferred = (
        interleave({name: lambda r=r: r.seconds(r.infer) for name, r in runners.items()}, rounds) if infer else {}
    )
    return trained, inferred


def peak(device: str) -> float:
    """This process's greatest memory so far, in MiB: resident, or the accelerator's.

    On Linux `ru_maxrss` includes what the parent used when it started this process; VmHWM does not.
    """
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / MIB
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MIB if sys.platform == "darwin" else most / 1024


def held(device: str) -> float:
    """This process's memory now, in MiB; where only the greatest so far can be read, that."""
    if device != "cpu":
        return torch.cuda.memory_allocated() / MIB
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return peak(device)


def memory_here(name: str, setting: Setting) -> dict[str, float]:
    """Memory in MiB with the model built, and the peak of three training steps; to be run in a new process."""
    if HAS_LIBRARY:
        importlib.import_module("adapters")
    runner = Runner(name, setting)
    runner.model.train()
    gc.collect()  # what only the building needed
    built = held(setting.device)
    for _ in range(3):
        runner.train()
    return {"built": built, "peak": peak(setting.device)}


def measure_memory(name: str, setting: Setting, threads: int, python: str = sys.executable) -> dict[str, float]:
    """As `memory_here`, in a process of its own."""
    arguments = [f"--{key}={value}" for key, value in asdict(setting).items()]
    command = [python, "-m", "benchmarks.step", "--memory-of", name, f"--threads={threads}", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def packages() -> str:
    """The versions that a step runs on."""
    library = f"adapters {version('adapters')}" if HAS_LIBRARY else "no adapters"
    return f"torch {torch.__version__}, transformers {version('transformers')}, {library}"


def machine(setting: Any, threads: int) -> str:
    """The conditions but the versions, in one line."""
    chip = platform.machine()
    if setting.device != "cpu":
        chip = torch.cuda.get_device_name()
    elif Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        chip = next((line.split(": ")[1] for line in lines if line.startswith("model name")), chip)
    base = Path(setting.base).name
    return f"{base}, batch {setting.batch}, length {setting.length}, {setting.precision}, {threads} threads, {chip}"


def table(names: list[str], trained: Seconds, inferred: Seconds, memory: dict[str, float]) -> list[str]:
    """One aligned row per contender: milliseconds, MiB, and each as a multiple of the unit's."""

    def timed(seconds: Seconds, name: str) -> list[str]:
        if name not in seconds:
            return ["–", "–"]
        return [f"{statistics.median(seconds[name]) * 1000:,.1f}", str(Ratio.of(seconds[name], seconds[UNIT]))]

    rows = [["", "train [ms]", f"/ {UNIT}", "infer [ms]", f"/ {UNIT}", "peak [MiB]", f"/ {UNIT}"]]
    for name in names:
        peaks = [f"{memory[name]:,.0f}", f"{memory[name] / memory[UNIT]:.2f}"] if name in memory else ["–", "–"]
        rows.append([name, *timed(trained, name), *timed(inferred, name), *peaks])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def verdicts(trained: Seconds, inferred: Seconds, memory: dict[str, float]) -> list[str]:
    """The bounds that the project promises, and what was measured, where the contenders ran."""
    bounds: list[tuple[str, Any, str, str, bool, float]] = [
        ("training step", trained, "scalearn", UNIT, True, 1.10),
        ("training step", trained, UNIT, "library-single", True, 1.05),
        ("training step", trained, "fusion", "scalearn", False, 2.50),
        ("training step", trained, "fusion", "library-fusion", True, 1.05),
        ("peak memory", memory, "scalearn", UNIT, True, 1.05),
        ("inference", inferred, "exported", UNIT, True, 1.10),
    ]
    lines = []
    for what, costs, above, below, at_most, bound in bounds:
        if above in costs and below in costs:
            ratio = costs[above] / costs[below] if costs is memory else Ratio.of(costs[above], costs[below]).median
            sign, met = ("<=", ratio <= bound) if at_most else (">=", ratio >= bound)
            label = f"{what}, {above} / {below}"
            lines.append(f"{label:38} {ratio:5.2f}   wanted {sign} {bound:.2f}   {'met' if met else 'NOT MET'}")
    return lines


def compare(names: list[str], setting: Setting, rounds: int, threads: int, *, with_memory: bool) -> None:
    """Prints the comparison at one number of sources."""
    trainable = [name for name in names if name not in UNTRAINED]
    memory = {name: measure_memory(name, setting, threads)["peak"] for name in trainable} if with_memory else {}
    trained, inferred = measure_time(names, setting, rounds)
    print(f"{setting.sources} sources, {rounds} rounds, {machine(setting, threads)}, {packages()}\n")
    print("\n".join([*table(names, trained, inferred, memory), "", *verdicts(trained, inferred, memory)]))


def scale(setting: Setting, rounds: int, threads: int, counts: list[int], out: Path) -> None:
    """Measures training at each number of sources, and rewrites the table and the figure after each."""
    measurements, few = [], min(rounds, FEW_ROUNDS)
    for count in counts:
        at_count = replace(setting, sources=count)
        trained, _ = measure_time(SCALED, at_count, few if count >= MANY else rounds, infer=False)
        for name, seconds in trained.items():
            ratio = Ratio.of(seconds, trained[UNIT]).median
            mib = measure_memory(name, at_count, threads)["peak"]
            measurements.append(Measurement(name, count, statistics.median(seconds) * 1000, ratio, mib))
        print(
            f"{count} sources: " + ", ".join(f"{p.name} {p.ms:,.0f} ms" for p in measurements[-len(trained) :]),
            flush=True,
        )
        write_scaling(
            measurements,
            out,
            f"{rounds} rounds (at most {FEW_ROUNDS} from {MANY} sources on), {machine(setting, threads)}, {packages()}",
        )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    default = Setting(device="cuda" if torch.cuda.is_available() else "cpu")
    for key, value in asdict(default).items():
        choices = PRECISIONS if key == "precision" else None
        parser.add_argument(f"--{key}", type=type(value), default=value, choices=choices, help=f"default: {value}")
    parser.add_argument("--rounds", type=int, default=20, help="rounds that count; default: 20")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="default: all that can run here")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument(
        "--memory-of",
        choices=[name for name in AVAILABLE if name not in UNTRAINED],
        help="only this one's peak, as JSON",
    )
    parser.add_argument("--scale", action="store_true", help="over several numbers of sources")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="of sources, for --scale")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/results/costs"), help="folder for --scale; default: docs/results/costs"
    )
    options = parser.parse_args(arguments)
    missing = [name for name in options.contenders or () if name not in AVAILABLE]
    if missing:
        parser.error(f"{', '.join(missing)}: {LEFT_OUT}")
    return options


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    with base_at_hand(options.base) as base:
        setting = Setting(**{**{key: getattr(options, key) for key in asdict(Setting())}, "base": base})
        if options.memory_of:
            print(json.dumps(memory_here(options.memory_of, setting)))
        elif options.scale:
            scale(setting, options.rounds, options.threads, options.counts, options.out)
        else:
            wanted = {*(options.contenders or AVAILABLE), UNIT}  # the unit always runs
            if not options.contenders and not HAS_LIBRARY:
                print(LEFT_OUT)
            names = [name for name in CONTENDERS if name in wanted]
            compare(names, setting, options.rounds, options.threads, with_memory=not options.no_memory)


if __name__ == "__main__":
    main()
