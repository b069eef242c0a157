"""Independent pieces of work, shared among processes that end when the process that started them ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, TypeVar

import torch

from tasksel.errors import UserError

LAST_STEP = 60.0  # seconds in which a worker that is told to end ends its step and stores its training's state
Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")


@contextmanager
def workers(
    make: Callable[[], Callable[[Piece], Outcome]], jobs: int
) -> Iterator[Callable[[Sequence[Piece]], Iterator[Outcome]]]:
    """A function that does pieces of work and gives each outcome as it ends: in this process, or in `jobs` others.

    Args:
        make: returns the function that does one piece; called once per process. With several jobs it is pickled, and so are pieces and
            outcomes.

    >>> with workers(lambda: abs, jobs=1) as work:
    ...     list(work([-1, 2]))
    [1, 2]
    """
    if jobs == 1:
        act = make()
        yield lambda todo: map(act, todo)
        return
    context = multiprocessing.get_context("spawn")  # a fork would share torch's threads
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, context, _begin, (make, jobs)) as executor:
        try:
            yield lambda todo: _finished(executor, todo)
        except BaseException as error:
            ended = set(multiprocessing.active_children()) - others if isinstance(error, KeyboardInterrupt) else set()
            for process in ended:  # or each would first finish its piece
                process.terminate()
            executor.shutdown(wait=False, cancel_futures=True)
            for process in ended:
                process.join(LAST_STEP)
            raise


def _finished(executor: ProcessPoolExecutor, todo: Sequence[Any]) -> Iterator[Any]:
    try:
        for future in as_completed([executor.submit(_do, piece) for piece in todo]):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, most likely for want of memory: use fewer --jobs or a smaller --recipe.micro-batch; "
            "finished work is stored, the same command goes on from there"
        ) from error


_act: Callable[[Any], Any] | None = None


def _begin(make: Callable[[], Callable[[Any], Any]], jobs: int) -> None:
    """Sets up a worker process: its share of the threads, and its function."""
    global _act
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork would take it for an error of its piece, and go on
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all; the process that started them ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    _act = make()


def _end_with_parent() -> None:
    """Ends this process when the one that started it ends: a killed parent tells nobody, and its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _do(piece: Any) -> Any:
    assert _act is not None
    return _act(piece)
