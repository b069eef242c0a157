"""When a training's state is written: now and then, and before a signal ends the process.

every     60 s after the last time; 100 times as long as writing took, where that is more; 300 s at most
signal    SIGTERM, SIGHUP and Ctrl-C wait until the step is done and the state is written; then they do what they did before. During an
          evaluation, in which nothing changes, they need not wait. A second Ctrl-C waits for nothing.

A training that takes less than that writes nothing. The processes of a launch agree: about once a second, at the same step, they ask each other
whether one of them has a signal or its time has come, by numbers on the CPU, so that no GPU is waited for.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import distributed

from tasksel.display.progress import say
from tasksel.storage.disk import disk_line
from tasksel.training.checkpoints import Checkpoint, TrainingState

EVERY, AT_MOST, SHARE = 60.0, 300.0, 0.01  # seconds, seconds, of the training's time
ASK = 1.0  # seconds between two questions among the processes of a launch
SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")
Outcome = TypeVar("Outcome")


class _Interrupted(KeyboardInterrupt):
    """A signal that came while nothing changed; the command line sends one again that was swallowed (`tasksel.cli.ending`), by its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Autosave:
    """Writes the state of one run of the loop when it is time; without a place for it, does nothing.

    Args:
        checkpoint: the place. world: the launch's accelerator. capture: gives the state; called in the main process, between two steps.
        look: called in every process before; raises where the state is not worth keeping.
        label: of the training, in what is said of it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        world: Any,
        capture: Callable[[], TrainingState],
        label: str,
        *,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self.checkpoint, self.world, self.capture, self.label, self.look = checkpoint, world, capture, label, look
        self._noted, self._signal = 0, 0  # a signal that this process got; one that all processes know of
        self._written, self._failed, self._interruptible = False, False, False
        self._before: dict[int, Any] = {}
        self._last, self._every = time.monotonic(), EVERY
        self._asked, self._asked_at, self._ask_at = self._last, 0, 0

    # signals

    @contextmanager
    def signals_wait(self) -> Iterator[None]:
        """In this block signals wait for a step's end; one that nobody waited for comes at the block's."""
        if self.checkpoint is not None and threading.current_thread() is threading.main_thread():
            self._catch()
        try:
            yield
        finally:
            self._let_through()

    def _catch(self) -> None:
        for number in [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored, as by nohup; not Python's
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, _frame: Any) -> None:
        again, self._noted = self._noted == number, number
        if again and number == signal.SIGINT:
            self._let_through()
        elif self._interruptible:
            self._interruptible = False
            raise _Interrupted(number)

    def _let_through(self) -> None:
        """Gives the signals back to whom they went before, and sends one that waits again."""
        number, self._signal, self._noted = self._signal or self._noted, 0, 0
        while self._before:
            signal.signal(*self._before.popitem())
        if number:
            signal.raise_signal(number)

    def _end(self) -> None:
        """Lets the signal do what it does elsewhere; where that is not the process's end, training goes on."""
        if not self._failed:
            say(f"{self.label}: stopped, and its state is stored")
        caught = bool(self._before)
        self.world.wait_for_everyone()  # a launcher ends all processes once one has ended, and the main one may be writing
        self._let_through()
        if caught:
            self._catch()

    def undisturbed(self, act: Callable[[], Outcome]) -> Outcome:
        """What `act` gives, which changes nothing of the state; a signal may interrupt it, after which the state is as before."""
        if self.checkpoint is None or self.world.num_processes > 1:  # the others would wait for one that has left
            return act()
        while True:
            try:
                if self._noted:
                    raise _Interrupted(self._noted)
                self._interruptible = True
                return act()
            except _Interrupted:
                self.save()
                self._end()
            finally:
                self._interruptible = False

    def discard(self) -> None:
        """Removes the state of a training that has failed, and would again."""
        if self.checkpoint is not None:
            self.checkpoint.discard()

    # writing

    def after_step(self, step: int) -> None:
        """Writes the state if it is time, and lets a signal end the process then."""
        if self.checkpoint is not None and self._is_due(step):
            self.save()
            if self._signal:
                self._end()

    def finish(self) -> None:
        """Writes the state of a training that is over, if it took long: what comes before its outcome is stored may be killed too."""
        if self.checkpoint is None:
            return
        due = self._written or time.monotonic() - self._last >= self._every / 2
        due, _ = self._together(due)
        if due or self._signal:
            self.save()
        if self._signal:
            self._end()

    def save(self) -> None:
        """Writes the state; a disk that does not take it is named once, and training goes on."""
        assert self.checkpoint is not None
        self.look()
        begun = time.monotonic()
        if self.world.is_main_process:
            try:
                self.checkpoint.write(self.capture())
                self._failed = False
            except OSError as error:
                if not self._failed:
                    say(
                        f"{disk_line(error)}: the training goes on, and if it is killed, begins again where its state was last stored"
                    )
                self._failed = True
        self._last, self._written = time.monotonic(), True
        self._every = min(max(EVERY, (self._last - begun) / SHARE), AT_MOST)

    def _is_due(self, step: int) -> bool:
        """Whether a signal came or the time has passed; the same answer in every process."""
        now = time.monotonic()
        due = now - self._last >= self._every
        if step < self._ask_at:
            return False
        due, seconds = self._together(due, now - self._asked)
        if self.world.num_processes > 1:
            steps, self._asked, self._asked_at = step - self._asked_at, now, step
            self._ask_at = step + max(1, int(steps * ASK / max(seconds, 1e-6)))
        return due or bool(self._signal)

    def _together(self, due: bool, seconds: float = 0.0) -> tuple[bool, float]:
        """Whether one of the processes says so, and the most seconds of any; a signal of one becomes the signal of all."""
        if self.world.num_processes == 1:
            self._signal = self._noted
            return due, seconds
        values = torch.tensor([due, self._noted, seconds], dtype=torch.float64)
        distributed.all_reduce(values, op=distributed.ReduceOp.MAX, group=_on_cpus())
        self._signal = int(values[1])
        return bool(values[0]), float(values[2])


@lru_cache(maxsize=1)
def _on_cpus() -> Any:
    """A group of all processes that share numbers on CPUs; None is the launch's own, where that does."""
    return None if "gloo" in distributed.get_backend() else distributed.new_group(backend="gloo")
