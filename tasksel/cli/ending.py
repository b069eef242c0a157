"""How a command ends that is told to end: SIGTERM and a hang-up as Ctrl-C, each with its line and exit code."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal has gone"}
AGAIN = 0.05  # seconds
BEGINS_AGAIN = "the same command starts from the beginning"


class Ended(KeyboardInterrupt):
    """A signal that asks this process to end; whoever cleans up after Ctrl-C cleans up after it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def signals_end_the_command() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP raise `Ended`; one that is ignored (nohup) or handled by others stays so.

    A signal that comes while a `__del__` or a callback runs, in which Python lets no exception out, is sent again a moment later.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    def swallowed(event: sys.UnraisableHookArgs) -> None:
        if isinstance(event.exc_value, KeyboardInterrupt):
            number = getattr(event.exc_value, "number", signal.SIGINT)
            again.append(threading.Timer(AGAIN, _thread.interrupt_main, (number,)))
            again[-1].start()
        else:
            hook(event)

    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    again: list[threading.Timer] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
        for timer in again:
            timer.join()  # and its signal comes here, where the block is left
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def last_line(error: KeyboardInterrupt, kept: str) -> tuple[str, int]:
    """What is said of a command that was told to end, and its exit code, 128 + the signal.

    Args:
        kept: what of the command is stored, and what the same command does then; empty where nothing is.

    >>> last_line(Ended(signal.SIGTERM), "")
    ('terminated: the same command starts from the beginning', 143)
    """
    number = signal.Signals(getattr(error, "number", signal.SIGINT))
    return f"{WORDS[number.name]}: {kept or BEGINS_AGAIN}", 128 + number
