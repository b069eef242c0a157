"""Does pieces of work on a Ray cluster, by Ray's core alone: one actor per slot, which loads the base once and keeps its share of a GPU.

an actor, not a task    a GPU task's process ends with the task, and the next loads torch and the base again (10 s)
one piece at a time     an idle slot waits some milliseconds for its next piece, which takes seconds; nothing is queued on a slow or dead one
a lost worker           its piece goes to another, and a new actor takes its place as soon as the cluster has room; Ray's own retries are off,
                        since they would wait for a node that does not come back
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from scalearn.comparison.ray_cluster import Slots, check_nodes, connected, slots
from scalearn.comparison.remote_worker import Remote, RemoteWorker, settings_here
from scalearn.comparison.schedule import Engine, scheduled
from scalearn.comparison.workers import Work
from tasksel.display.progress import say, say_once
from tasksel.errors import UserError

TRIES = 3  # deaths of workers at one piece
IDLE = 1.0  # seconds after which a worker that did nothing may have died meanwhile
PATIENCE = 60.0  # seconds without any worker after which the wait is said
ENOUGH = 15  # such minutes, and nothing will come


@contextmanager
def ray_workers(
    remote: Remote, *, on: str, jobs: int | None = None, per_gpu: int | None = None, most: int | None = None
) -> Iterator[Work]:
    """As `workers`, on a Ray cluster.

    Args:
        on: see `ray_cluster`. jobs: at most so many workers. per_gpu: workers that share a GPU. most: pieces at once, however large the cluster.

    Raises:
        UserError: whatever of the cluster does not fit, before work begins; see `ray_cluster`.
    """
    with connected(on) as ray:
        room = slots(ray, per_gpu=per_gpu, jobs=min(filter(None, (jobs, most)), default=None))
        check_nodes(ray, remote.store)
        share = f", {room.gpu:g} of a GPU each" if room.gpu else ""
        say(f"on Ray: {room.nodes} {'node' if room.nodes == 1 else 'nodes'}, {room.count} workers{share}")
        engine = RayEngine(ray, remote, room)
        try:
            yield partial(scheduled, engine=engine)
        finally:
            engine.close()


@dataclass(eq=False)
class _Slot:
    """An actor; where it is, once it has started; and since when it does nothing.

    Attributes:
        sign: a call before its present piece, where it may have died while it did nothing.
    """

    actor: Any
    host: str = "a node"
    place: str = "a node"
    ready: bool = False
    since: float = 0.0
    sign: Any = None


@dataclass
class RayEngine(Engine):
    """The workers of a cluster."""

    ray: Any
    remote: Remote
    size: Slots
    _slots: list[_Slot] = field(default_factory=list)
    _idle: deque[_Slot] = field(default_factory=deque)
    _queue: deque[Any] = field(default_factory=deque)
    _calls: dict[Any, tuple[_Slot, Any]] = field(default_factory=dict)  # of a slot that starts, the piece is None
    _deaths: Counter[Any] = field(default_factory=Counter)
    _busy: int = 0  # pieces that were taken and are not done

    def __post_init__(self) -> None:
        self._actor = self.ray.remote(RemoteWorker).options(**self.size.options, max_restarts=0, max_task_retries=0)
        start: dict[str, Any] = {"make": self.remote.make, "settings": self.remote.settings, "cwd": str(Path.cwd())}
        start |= {"environment": settings_here(), "threads": self.size.threads, "gpu": bool(self.size.gpu)}
        self._start = json.dumps(start)
        for _ in range(self.size.count):
            self._add_slot()

    def _add_slot(self) -> None:
        slot = _Slot(self._actor.remote())
        self._slots.append(slot)
        self._calls[slot.actor.start.remote(self._start)] = slot, None

    @property
    def room(self) -> int:
        """How many more pieces it takes: one per worker, also of one that is starting."""
        return self.size.count - self._busy

    def submit(self, piece: Any) -> None:
        """Queues a piece for the next idle worker."""
        self._busy += 1
        self._queue.append(piece)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._queue and self._idle:
            slot, piece = self._idle.popleft(), self._queue.popleft()
            slot.sign = slot.actor.sign.remote() if time.monotonic() - slot.since > IDLE else None
            self._calls[slot.actor.do.remote(str(piece))] = slot, piece

    def next(self) -> tuple[Any, Any]:
        """A piece that is done with its outcome; meanwhile lost workers are replaced, and their pieces go to others.

        Raises:
            UserError: workers that die again and again, or none for a quarter of an hour; what a piece itself raises.
        """
        waited = 0
        while True:
            self._hand_out()
            done, _ = self.ray.wait(list(self._calls), num_returns=1, timeout=PATIENCE)
            if not done:
                waited = self._waited(waited)
                continue
            slot, piece = self._calls.pop(done[0])
            answer = self._answer(done[0], slot, piece)
            if answer is None:
                continue
            if piece is None:
                slot.host, slot.place, slot.ready = answer["host"], f"{answer['host']} (process {answer['pid']})", True
                self._deaths.pop(None, None)
                self._rest(slot)
                continue
            for line in answer["said"]:
                say_once(line)
            self._deaths.pop(piece, None)
            self._rest(slot)
            self._busy -= 1
            return piece, self.remote.read(piece, answer["outcome"])

    def _rest(self, slot: _Slot) -> None:
        slot.since = time.monotonic()
        self._idle.append(slot)

    def _waited(self, minutes: int) -> int:
        """Says that no worker is there, where none is; after a while that is the end."""
        if any(slot.ready for slot in self._slots):
            return 0
        if minutes == ENOUGH:
            raise UserError(
                "no worker of the cluster is left, and none has started for a while; finished work is stored, the same command goes on from there"
            )
        if minutes == 0:
            say("no worker has started yet: the cluster has no room for one now; waiting")
        return minutes + 1

    def _answer(self, call: Any, slot: _Slot, piece: Any) -> dict[str, Any] | None:
        """What a worker answered; None where the worker is lost, and another has its piece."""
        try:
            answer: dict[str, Any] = json.loads(self.ray.get(call))
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if isinstance(cause, UserError):
                raise UserError(f"{cause} (at '{piece}', {slot.place})" if piece else str(cause)) from error
            raise cause from error
        except self.ray.exceptions.RayError as error:
            self._replace(slot, piece, _reason(error))
            return None
        return answer

    def _replace(self, slot: _Slot, piece: Any, reason: str) -> None:
        """Gives the piece of a lost worker to the next one, and asks for a worker in its place."""
        self._deaths[piece] += not self._was_dead(slot)
        what = f"'{piece}'" if piece is not None else "its start"
        if self._deaths[piece] >= (TRIES if piece is not None else TRIES * self.size.count):
            raise UserError(
                f"{self._deaths[piece]} workers died at {what}, the last on {slot.place}: {reason}; use fewer workers on a machine (--per-gpu, "
                "--jobs) or a smaller --recipe.micro-batch; finished work is stored, the same command goes on from there"
            )
        if reason in OF_A_NODE:  # one line for all its workers
            say_once(f"lost {slot.host}: {reason}; what it was at goes to others")
        else:
            say(f"lost the worker on {slot.place} at {what} ({reason}); another goes on")
        self.ray.kill(slot.actor)  # one that only cannot be reached must not go on beside its successor
        self._slots.remove(slot)
        if piece is not None:
            self._queue.appendleft(piece)
        self._add_slot()

    def _was_dead(self, slot: _Slot) -> bool:
        """Whether a worker died before it had its piece."""
        try:
            self.ray.get([slot.sign] if slot.sign else [], timeout=PATIENCE)
        except self.ray.exceptions.RayError:
            return True
        return False

    def close(self) -> None:
        """Ends the workers, at whatever they are."""
        for slot in self._slots:
            self.ray.kill(slot.actor)


def _reason(error: Exception) -> str:
    """Why a worker is lost, in some words of Ray's long text."""
    if type(error).__name__ == "OutOfMemoryError":  # what Ray itself ends before the system does
        return "killed for want of memory"
    text = str(error)
    for words, reason in REASONS.items():
        if words in text:
            return reason
    return type(error).__name__


GONE, SILENT = "the machine is gone", "it does not answer"
OF_A_NODE = (GONE, SILENT)
REASONS = {
    "node was terminated": GONE,
    "node has died": GONE,
    "unavailable": SILENT,
    "connection error code 2": "its process was killed",
    "worker process has died": "its process was killed",
}
