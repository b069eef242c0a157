"""Hands a training its batches on its device; on a GPU the next ones are made ready while it computes.

    CPU    a batch is made when it is asked for, padded to its longest row
    GPU    a thread makes the next batches in pinned memory, padded to a multiple of 8 tokens, as matrix units want; copies do not wait

What a batch holds and in which order they come is the same; padding changes sums on a GPU by their last bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tasksel.model.encoded import Encoded

if TYPE_CHECKING:
    from accelerate import Accelerator

AHEAD = 2  # batches that wait for the GPU
MULTIPLE = 8  # of tokens: half-precision matrix units take eight numbers at a time
Batch = dict[str, Tensor]
Key = tuple[int, tuple[int, ...]]  # of a micro-batch: whose rows, and which
_ready: dict[Key, Future[Batch]] = {}


def ahead(train: Encoded, batches: Iterable[list[int]], *, world: Accelerator, micro_batch: int) -> Iterator[list[int]]:
    """The rows of batches, in order; on a GPU, this process's micro-batches of those that come next are being made by then.

    >>> for rows in ahead(train, length_batches(train.lengths, 32, seed=1), world=accelerator(), micro_batch=16):  # doctest: +SKIP
    ...     tensors = on_device(train, rows[:16], torch.device("cuda"))
    """
    if world.device.type != "cuda":
        yield from batches
        return
    waiting: deque[list[int]] = deque()
    try:
        for rows in batches:
            micros = [rows[i : i + micro_batch] for i in range(0, len(rows), micro_batch)]
            for some in micros[world.process_index :: world.num_processes]:
                _ready[_key(train, some)] = _thread().submit(_pinned, train, some)
            waiting.append(rows)
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting
    finally:  # a training that ends early leaves batches that nobody asks for
        for key in [key for key in _ready if key[0] == id(train)]:
            del _ready[key]


def on_device(train: Encoded, rows: list[int], device: torch.device) -> Batch:
    """The tensors of some rows on a device; see `Encoded.batch`."""
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in train.batch(rows).items()}
    ready = _ready.pop(_key(train, rows), None)
    batch = _pinned(train, rows) if ready is None else ready.result()
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _key(train: Encoded, rows: list[int]) -> Key:
    return id(train), tuple(rows)


@cache
def _thread() -> ThreadPoolExecutor:
    """The one thread that makes batches."""
    return ThreadPoolExecutor(1, thread_name_prefix="batches")


def _pinned(train: Encoded, rows: list[int]) -> Batch:
    return {name: tensor.pin_memory() for name, tensor in train.batch(rows, multiple=MULTIPLE).items()}
