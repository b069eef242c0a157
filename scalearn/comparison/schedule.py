"""Hands out pieces of work as what they need is done, as many at once as an engine has room for; no piece waits for one that it does not need.

ready     the pieces whose needs are done; the first in the plan's order goes first, so that one process keeps that order
engine    who does them: this process, several processes, a cluster
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

Piece = TypeVar("Piece", bound=Hashable)
PAUSE = 2.0  # seconds between two looks at what another command works on
LOOKED_AT = 16  # ready pieces at most, each a look into the store


class Engine(Protocol):
    """Does pieces of work, several at once."""

    @property
    def room(self) -> int:
        """How many more pieces it takes now."""

    def submit(self, piece: Any) -> None:
        """Takes a piece; there must be room."""

    def next(self) -> tuple[Any, Any]:
        """A piece that is done with its outcome, waiting for one; there must be a piece that it has taken."""


def no_needs(piece: Any) -> Iterable[Any]:
    """Of independent pieces."""
    return ()


def scheduled(
    pieces: Sequence[Piece],
    engine: Engine,
    *,
    needs: Callable[[Piece], Iterable[Piece]] = no_needs,
    is_taken: Callable[[Piece], bool] | None = None,
) -> Iterator[Any]:
    """The outcome of each piece, as it ends.

    Args:
        pieces: in the order in which they go where nothing else decides; each after what it needs.
        needs: the pieces that must be done first; those that are not among `pieces` are done already.
        is_taken: whether another command works on a piece now; it is put off while there is something else to do.
    """
    order = {piece: number for number, piece in enumerate(pieces)}
    missing: dict[int, int] = {}
    followers: dict[int, list[int]] = {}
    for piece, number in order.items():
        own = {order[need] for need in needs(piece) if need in order}
        missing[number] = len(own)
        for need in own:
            followers.setdefault(need, []).append(number)
    ready = [number for number, count in missing.items() if not count]  # in order, so it is a heap
    running = 0
    while ready or running:
        running += _submit(pieces, ready, engine, is_taken)
        if not running:
            time.sleep(PAUSE)  # whatever is ready, others work on
            continue
        piece, outcome = engine.next()
        running -= 1
        for number in followers.pop(order[piece], ()):
            missing[number] -= 1
            if not missing[number]:
                heapq.heappush(ready, number)
        running += _submit(
            pieces, ready, engine, is_taken
        )  # before the outcome is looked at, so that nobody waits for that
        yield outcome


def _submit(pieces: Sequence[Any], ready: list[int], engine: Engine, is_taken: Callable[[Any], bool] | None) -> int:
    """Gives an engine as many ready pieces as it takes; returns how many."""
    count = 0
    while ready and engine.room > 0:
        first = ready[0]
        if is_taken is not None:
            some = heapq.nsmallest(LOOKED_AT, ready)
            free = next(islice((number for number in some if not is_taken(pieces[number])), 1), None)
            if free is None:
                break
            first = free
        if first == ready[0]:
            heapq.heappop(ready)
        else:
            ready.remove(first)
            heapq.heapify(ready)
        engine.submit(pieces[first])
        count += 1
    return count
