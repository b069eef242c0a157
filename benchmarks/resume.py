"""What it costs that a training can be killed: bytes and time of a state, and their share of a training's time.

    python -m benchmarks.resume                            an adapter and a whole model, on a GPU where there is one
    python -m benchmarks.resume --place /shared/disk       states are written to this disk; by default to the temporary folder's

state      a state with a best epoch in it: weights, two moments of AdamW, best weights
write      until it is on the disk, with the copy from the device and the hash: median and worst over the steps of two epochs
read       when a killed training is started again
look       what a step spends on the question whether it is time
share      of `write` in the time from one write to the next, plus that of `look` in a step

The share is computed from these. Two whole trainings, with states and without, differ by more than it from one run to the next.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.bases import base_at_hand
from benchmarks.contenders import TASK, by_method
from benchmarks.contenders import Setting as StepSetting
from benchmarks.step import aligned, machine, packages, synchronise
from benchmarks.trainings import Setting, draw_rows, launched
from tasksel.processes import accelerator
from tasksel.training import autosave
from tasksel.training.autosave import Autosave
from tasksel.training.checkpoints import Checkpoint, Checkpoints
from tasksel.training.loop import fit
from tasksel.training.recipe import Recipe

KINDS = {"an adapter": "single-adapter", "the whole model": "full"}
LOOKS = 10_000


class Killed(Exception):
    """Ends a training, as a kill does."""


@dataclass
class Cost:
    """Of one kind of training: bytes, and seconds."""

    size: int
    write: float
    worst: float
    read: float
    look: float
    step: float

    @property
    def share(self) -> float:
        """Of the training's time."""
        every = min(max(autosave.EVERY, self.write / autosave.SHARE), autosave.AT_MOST)
        return self.write / every + self.look / self.step

    def cells(self, kind: str) -> list[str]:
        """A row of the table."""
        times = [f"{1000 * seconds:,.0f}" for seconds in (self.write, self.worst, self.read, self.step)]
        return [kind, f"{self.size / 1e6:,.1f}", *times, f"{1e6 * self.look:.1f}", f"{100 * self.share:.3f}"]


CAPTIONS = ["", "state [MB]", "write [ms]", "worst", "read [ms]", "step [ms]", "look [µs]", "share [%]"]


def timed(act: Callable[..., Any], seconds: list[float], device: str) -> Callable[..., Any]:
    """A method that notes how long each of its calls takes."""

    def call(*args: Any) -> Any:
        synchronise(device)
        begun = time.perf_counter()
        outcome = act(*args)
        seconds.append(time.perf_counter() - begun)
        return outcome

    return call


@contextmanager
def always(writes: list[float], reads: list[float], device: str) -> Iterator[None]:
    """Writes the state after each step, and notes what that takes."""
    with (
        patch.object(autosave, "EVERY", 0.0),
        patch.object(autosave, "SHARE", float("inf")),
        patch.object(Autosave, "save", timed(Autosave.save, writes, device)),
        patch.object(Checkpoint, "read", timed(Checkpoint.read, reads, device)),
    ):
        yield


def measure(kind: str, setting: Setting, place: Path) -> Cost:
    """Trains two epochs without states, and again with one after each step, killed before the last."""
    model = by_method(KINDS[kind], StepSetting(base=setting.base))
    rows = draw_rows(setting, model.config.vocab_size)
    sizes = {"batch": setting.batch, "micro_batch": setting.batch, "max_length": setting.length}
    recipe = Recipe(lr=1e-6, epochs=2, patience=None, **sizes)
    last, dev = recipe.steps(len(rows)), rows.take(range(setting.batch))
    step = fit(model, TASK, rows, None, recipe, seed=0).seconds / last

    def kill(number: int) -> bool:
        if number == last:
            raise Killed
        return False

    writes: list[float] = []
    reads: list[float] = []
    with always(writes, reads, setting.device):
        with suppress(Killed):
            fit(model, TASK, rows, dev, recipe, seed=0, on_step=kill, checkpoints=Checkpoints(place / kind, kind))
        size = sum(path.stat().st_size for path in (place / kind / "1").iterdir())
        fit(model, TASK, rows, dev, recipe, seed=0, checkpoints=Checkpoints(place / kind, kind))
    whole = writes[: last - 1]  # those after it are of a training that is over: its weights alone
    return Cost(size, statistics.median(whole), max(whole), reads[-1], look(place), step)


def look(place: Path) -> float:
    """Seconds of the question whether it is time."""
    saver = Autosave(Checkpoint(place / "none", ""), accelerator(), lambda: None, "")  # type: ignore[arg-type, return-value]
    begun = time.perf_counter()
    for number in range(LOOKS):
        saver.after_step(number)
    return (time.perf_counter() - begun) / LOOKS


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__.splitlines()[0])
    default = Setting(rows=128, device="cuda" if torch.cuda.is_available() else "cpu")
    for key in ("rows", "batch", "length", "base", "device"):
        value = getattr(default, key)
        parser.add_argument(f"--{key}", type=type(value), default=value, help=f"default: {value}")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--place", type=Path, help="a folder on the disk that states are written to")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    place = Path(tempfile.mkdtemp(prefix="resume-", dir=options.place))
    try:
        with base_at_hand(options.base) as base:
            setting = Setting(options.rows, options.batch, options.length, base, options.device)
            with launched(setting):
                costs = {kind: measure(kind, setting, place) for kind in KINDS}
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{machine(setting, options.threads)}, {packages()}\n")
    print("\n".join(aligned([CAPTIONS, *(cost.cells(kind) for kind, cost in costs.items())])))


if __name__ == "__main__":
    main()
