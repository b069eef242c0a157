"""Pieces of work, done in this process or shared among processes that end when the process that started them ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection
from typing import Any, TypeVar

from scalearn.comparison.schedule import Engine, scheduled
from tasksel.errors import UserError

Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")
Work = Callable[..., Iterator[Any]]  # `scheduled` without its engine


@contextmanager
def workers(make: Callable[[], Callable[[Piece], Outcome]], jobs: int) -> Iterator[Work]:
    """A function that does pieces of work and gives each outcome as it ends: in this process, or in `jobs` others.

    It takes what `scheduled` takes: the pieces, and `needs` where they are not independent.

    Args:
        make: returns the function that does one piece; called once per process. With several jobs it is pickled, and so are pieces and
            outcomes.

    >>> with workers(lambda: abs, jobs=1) as work:
    ...     list(work([-1, 2]))
    [1, 2]
    """
    if jobs == 1:
        yield partial(scheduled, engine=_Here(make()))
        return
    context = multiprocessing.get_context("spawn")  # a fork would share torch's threads
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, context, _begin, (make, jobs)) as executor:
        try:
            yield partial(scheduled, engine=_Processes(executor, jobs))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # or each would first finish its piece
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
            executor.shutdown(wait=False, cancel_futures=True)
            raise


class _Here(Engine):
    """Does a piece when its outcome is asked for."""

    def __init__(self, act: Callable[[Any], Any]) -> None:
        self._act = act
        self._pieces: list[Any] = []

    @property
    def room(self) -> int:
        return 1 - len(self._pieces)

    def submit(self, piece: Any) -> None:
        self._pieces.append(piece)

    def next(self) -> tuple[Any, Any]:
        piece = self._pieces.pop()
        return piece, self._act(piece)


class _Processes(Engine):
    """Worker processes; one more piece for each lies ready, so that none waits for this process."""

    def __init__(self, executor: ProcessPoolExecutor, jobs: int) -> None:
        self._executor, self._jobs = executor, jobs
        self._futures: dict[Future[Any], Any] = {}

    @property
    def room(self) -> int:
        return 2 * self._jobs - len(self._futures)

    def submit(self, piece: Any) -> None:
        with _killed_in_one_line():
            self._futures[self._executor.submit(_do, piece)] = piece

    def next(self) -> tuple[Any, Any]:
        done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
        future = next(iter(done))
        with _killed_in_one_line():
            return self._futures.pop(future), future.result()


@contextmanager
def _killed_in_one_line() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, most likely for want of memory: use fewer --jobs or a smaller --recipe.micro-batch; "
            "finished work is stored, the same command goes on from there"
        ) from error


_act: Callable[[Any], Any] | None = None


def _begin(make: Callable[[], Callable[[Any], Any]], jobs: int) -> None:
    """Sets up a worker process: its share of the threads, and its function."""
    import torch  # not before: a command line names its mistakes without

    global _act
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
