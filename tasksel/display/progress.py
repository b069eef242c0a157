"""Progress on standard error, from the main process only: live bars in a terminal, else plain lines, one in ten seconds at most."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasksel.display.streams import Screen
from tasksel.processes import is_main

EVERY = 10.0  # seconds between two plain lines
console = Screen(stderr=True)  # results go to standard output, progress goes here
_live: list[Progress] = []
_said: set[str] = set()


def say(message: str) -> None:
    """One line for the user, from the main process, above any bar."""
    if is_main():
        (_live[0].console if _live else console).print(message, soft_wrap=True)


def say_once(message: str) -> None:
    """The same, but once within an outermost phase: what every seed and method of a run would repeat."""
    if message not in _said:
        say(message)
    if _live or _lines.phases:
        _said.add(message)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """The progress of a phase. Call what it yields once per step, with a short note (a score, a loss) or an empty string.

    >>> with bar("rank", 2) as advance:
    ...     advance("rte")
    ...     advance()
    """
    with (_drawn if console.on_terminal else _written)(label, total) as advance:
        yield advance


@contextmanager
def _drawn(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar of the live display, which the outermost one starts and stops."""
    outermost = not _live
    if outermost:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        _live.append(Progress(*columns, console=console, transient=True, disable=not is_main()))
        _live[0].start()
    progress = _live[0]
    task = progress.add_task(label, total=total, note="")

    def advance(note: str = "") -> None:
        progress.advance(task)
        if note:
            progress.update(task, note=note)

    try:
        yield advance
    finally:
        progress.remove_task(task)
        if outermost:
            progress.stop()
            _live.clear()
            _said.clear()


@dataclass
class _Phase:
    """A phase that runs: its steps so far, and when it began."""

    label: str
    total: int
    done: int = 0
    note: str = ""
    begun: float = field(default_factory=lambda: time.monotonic())

    def left(self, now: float) -> float:
        """Seconds that the other steps take at the pace so far."""
        return (now - self.begun) / max(self.done, 1) * (self.total - self.done)


class _Lines:
    """The phases that run, outermost first, and when a line was last written of them."""

    def __init__(self) -> None:
        self.phases: list[_Phase] = []
        self.last = 0.0

    def begin(self, label: str, total: int) -> _Phase:
        """Adds a phase, inside those that run."""
        if not self.phases:
            self.last = time.monotonic()
        self.phases.append(_Phase(label, total))
        return self.phases[-1]

    def step(self, phase: _Phase, note: str = "") -> None:
        """Counts a step, and writes a line when it is time; a line that would come shortly before the end waits for it."""
        phase.done, phase.note = phase.done + 1, note or phase.note
        now = time.monotonic()
        since = now - self.last
        if since >= EVERY and (phase.left(now) >= 1.5 * EVERY or since >= 2 * EVERY):
            self._write(phase, now)

    def end(self, phase: _Phase) -> None:
        """Takes a phase away; a long one has a line at its end."""
        now = time.monotonic()
        if min(now - phase.begun, now - self.last) >= EVERY:
            self._write(phase, now)
        self.phases.remove(phase)
        if not self.phases:
            _said.clear()

    def _write(self, phase: _Phase, now: float) -> None:
        self.last = now
        around = "".join(f"{outer.label} {outer.done}/{outer.total}, " for outer in self.phases if outer is not phase)
        left = f", about {_clock(phase.left(now))} left" if 0 < phase.done < phase.total else ""
        note = f"; {phase.note}" if phase.note else ""
        say(f"{around}{phase.label} {phase.done}/{phase.total} in {_clock(now - phase.begun)}{left}{note}")


_lines = _Lines()


def _no_line(note: str = "") -> None:
    """Writes nothing."""


def write_no_phases() -> None:
    """Makes this process one whose phases another one counts: it writes lines, and no bars or steps."""
    global _counted_elsewhere
    _counted_elsewhere = True


_counted_elsewhere = False


@contextmanager
def _written(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """A phase in plain lines; a worker process writes none, as the process that shares out the work does."""
    if _counted_elsewhere or multiprocessing.parent_process() is not None:
        yield _no_line
        return
    phase = _lines.begin(label, total)
    try:
        yield partial(_lines.step, phase)
    finally:
        _lines.end(phase)


def _clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    >>> _clock(75), _clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
