"""Progress on the terminal: one live display with a bar for each running task, on the main process only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasksel.processes import is_main

console = Console(stderr=True)  # results go to standard output, progress goes here
_live: list[Progress] = []
_said: set[str] = set()


def say(message: str) -> None:
    """One line for the user, from the main process, above any bar."""
    if is_main():
        (_live[0].console if _live else console).print(message, highlight=False, markup=False, soft_wrap=True)


def say_once(message: str) -> None:
    """The same, but once while a bar is shown: what every seed and method of a run would repeat."""
    if message not in _said:
        say(message)
    if _live:
        _said.add(message)


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar. Call what it yields once per step, with a short note (a score, a loss) or an empty string.

    >>> with bar("rank", 2) as advance:
    ...     advance("rte")
    ...     advance()
    """
    outermost = not _live
    if outermost:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        _live.append(
            Progress(*columns, console=console, transient=True, disable=not is_main() or not console.is_terminal)
        )
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
