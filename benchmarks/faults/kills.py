"""Kills: a command ends at its n-th file-system event or at a random moment; the same command shall go on, and end with the same numbers.

An event is what Python audits (open for writing, rename, remove, mkdir, …), an fsync, or the start and the middle of a file of weights. A
kill is before the event; at an fsync of a file that is appended to, its last line may be cut short first, as a power cut leaves it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.commands import WRITERS, Command, finished_in, numbers_in
from benchmarks.faults.trial import Ended, attempt
from benchmarks.faults.verdict import Form, Row, refused
from benchmarks.faults.world import place_of

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
AUDITED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
LONG = {  # trials at events, at random moments, by SIGTERM, by SIGINT
    "transfer": (30, 15, 6, 6), "transfer of ranked sources": (15, 8, 0, 0), "train-source": (25, 10, 4, 4), "pool add": (10, 4, 0, 0),
    "rank": (12, 6, 0, 0), "embed": (12, 6, 0, 0), "index build": (10, 6, 0, 0), "export": (8, 4, 0, 0), "predict": (4, 2, 0, 0),
    "explain": (3, 2, 0, 0), "report": (6, 4, 0, 0), "evaluate": (10, 4, 0, 0), "predict-gain": (10, 4, 0, 0),
    "measure-matrix": (20, 8, 4, 4), "measure-matrix, jobs 2": (10, 8, 2, 2), "compare": (18, 6, 3, 3), "compare, jobs 2": (8, 5, 2, 2),
}  # fmt: skip
SHORT = {"transfer": (2, 1, 0, 1), "index build": (2, 0, 0, 0), "pool add": (1, 0, 0, 0)}


class Events:
    """Counts file-system events below a place in this process, and calls `act` before each with its number."""

    def __init__(self, place: Path, act: Callable[[int, str, Any], None]) -> None:
        self.place, self.act, self.count, self._lock = str(place), act, 0, threading.RLock()
        sys.addaudithook(self._audit)
        self._fsync, os.fsync = os.fsync, self._counted_fsync
        import safetensors.torch

        self._serialize, safetensors.torch.serialize_file = safetensors.torch.serialize_file, self._counted_file

    def happens(self, what: str, subject: Any) -> None:
        """One more event."""
        with self._lock:
            self.count += 1
            self.act(self.count, what, subject)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
        if (opens or event in AUDITED) and self._inside(arguments[0]):
            self.happens(event, arguments[0])

    def _inside(self, path: Any) -> bool:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return bool(text) and (text.startswith(self.place) or not text.startswith("/"))

    def _counted_fsync(self, handle: int) -> None:
        self.happens("fsync", handle)
        self._fsync(handle)

    def _counted_file(self, tensors: Any, filename: Any, *rest: Any, **options: Any) -> None:
        self.happens("weights", filename)
        self._serialize(tensors, filename, *rest, **options)
        self.happens("half of the weights", filename)


@dataclass(frozen=True)
class Kill:
    """Where a trial is killed: at event `event`, or after `after` seconds by a signal; `whole`: its worker processes too."""

    event: int = 0
    after: float = 0.0
    signal: int = signal.SIGKILL
    whole: bool = True
    cut: float = 1.0

    def __str__(self) -> str:
        where = (
            f"at event {self.event}"
            if self.event
            else f"by {signal.Signals(self.signal).name} after {self.after:.2f} s"
        )
        return where + ("" if self.whole else ", this process alone")  # fmt: skip

    def fault(self, place: Path) -> Callable[[], int]:
        """Sets up the kill in a child; gives what counts its events."""
        one_host()
        if not self.event:  # an audit hook in the way of a signal would be another fault
            return lambda: 0
        events = Events(place, self._act)
        return lambda: events.count

    def _act(self, number: int, what: str, subject: Any) -> None:
        if number == self.event:
            if what == "half of the weights":
                os.truncate(subject, int(self.cut * Path(subject).stat().st_size))
            elif what == "fsync":
                _cut_last_line(subject, self.cut)
            os.killpg(0, signal.SIGKILL) if self.whole else os.kill(os.getpid(), signal.SIGKILL)


def _cut_last_line(handle: int, share: float) -> None:
    """Leaves a share of the last line of a file of rows: what was not on the disk yet."""
    path = Path(f"/proc/self/fd/{handle}")
    if path.exists() and path.resolve().suffix == ".jsonl":
        raw = path.read_bytes()
        last = len(raw) - (raw.rstrip(b"\n").rfind(b"\n") + 1)
        os.truncate(path, len(raw) - last + int(share * last))


def one_host() -> None:
    """Makes workers forks of this process, which has everything imported, where they are new interpreters for a user."""
    import multiprocessing

    real = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: real("fork")  # type: ignore[assignment, misc]


def counting(place: Path) -> Callable[[], int]:
    """Sets up no fault, and counts events."""
    one_host()
    events = Events(place, lambda number, what, subject: None)
    return lambda: events.count


def kills(root: Path, form: Form, done: Callable[[str], Row | None]) -> Iterator[Row]:
    """A row per command."""
    for name, counts in (SHORT if form.short else LONG).items():
        row = done(name)
        yield row if row else _killed(root, WRITERS[name], tuple(map(form.of, counts)), form.seed)


def _killed(root: Path, command: Command, counts: tuple[int, ...], seed: int) -> Row:
    """Tries one command: the undisturbed run first, which counts events, then every kill."""
    row, place, draw = Row("kills", command.name), root.parent / "kill", random.Random(f"{seed} {command.name}")
    begun = time.perf_counter()
    place_of(root, place, *command.parts)
    whole = attempt(command, place, fault=lambda: counting(place))
    if whole.code != 0:
        raise RuntimeError(f"{command.line}: undisturbed, exit code {whole.code}\n{whole.out}{whole.err}")
    expected = numbers_in(place)
    for kill in _drawn(draw, counts, whole, jobs="jobs" in command.line):
        place_of(root, place, *command.parts)
        verdict, what = _tried(command, place, kill, expected)
        row.count(verdict, what)
        row.counts["leftovers"] += what.startswith("left ")
    row.seconds = time.perf_counter() - begun
    return row


def _drawn(draw: random.Random, counts: tuple[int, ...], whole: Ended, *, jobs: bool) -> list[Kill]:
    """The kills of a command: events without repetition while there are enough, and moments."""
    numbers = list(range(1, whole.events + 1))
    events = draw.sample(numbers, min(counts[0], len(numbers)))
    found = [Kill(event=event, whole=not (jobs and draw.random() < 0.5), cut=draw.random()) for event in events]
    for count, sent in zip(counts[1:], (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), strict=True):
        found += [Kill(after=draw.uniform(0, whole.seconds), signal=sent) for _ in range(count)]
    return found


def _tried(command: Command, place: Path, kill: Kill, expected: dict[str, Any]) -> tuple[str, str]:
    """Kills the command once and goes on; the verdict, and what happened."""
    sent = ((kill.after, kill.signal),) if not kill.event else ()
    first = attempt(command, place, fault=lambda: kill.fault(place), signals=sent)
    if "Traceback" in first.err or first.code in (None, 1):
        return "traceback", f"{kill}: {first.last}"
    before = finished_in(place)
    again = attempt(command, place, fault=one_host)
    if refused(again) and not command.keeps and numbers_in(place) == expected:
        return "harmless", ""  # what it stores was there already, whole
    if again.code != 0:
        verdict = "lost" if refused(again) else "traceback"
        return verdict, f"{kill}, then: {again.last}"
    after = finished_in(place)
    changed = [name for name, digest in before.items() if after.get(name) != digest] if command.keeps else []
    if changed:
        return "lost", f"{kill}: {changed[0]} was {'computed again' if changed[0] in after else 'removed'}"
    if numbers_in(place) != expected:
        return "silent", f"{kill}: {_difference(expected, numbers_in(place))}"
    return "harmless", _leftovers(place)


def _difference(expected: dict[str, Any], got: dict[str, Any]) -> str:
    names = [name for name in expected if got.get(name) != expected[name]] + [
        name for name in got if name not in expected
    ]
    return f"{names[0]} differs" if names else "equal"


def _leftovers(place: Path) -> str:
    """What a kill left for ever."""
    left = [path.name for path in place.rglob("*") if path.name.startswith((".partial", ".training", "scalearn-"))]
    return f"left {left[0]}" if left else ""
