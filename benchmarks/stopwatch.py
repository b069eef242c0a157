"""Where a program's wall time goes: seconds by part, each second counted once, and the model's passes by shape.

    with Stopwatch(PARTS) as watch:      the functions of the parts are wrapped wherever they have been imported
        run()
    watch.seconds["storing"]             without what the functions inside them that belong to other parts took

A generator that is a context manager is timed from its start to its end, less what is inside.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import torch

Shape = tuple[int, int, bool]  # sequences, tokens, whether a backward pass follows


class Stopwatch:
    """Counts seconds by part while it is open.

    Args:
        parts: each part's functions and methods, as "module:function" or "module:Class.method".
        passes: the part of the forward passes, whose shapes are counted.

    Raises:
        AttributeError: a function that its module does not have.
    """

    def __init__(self, parts: Mapping[str, Sequence[str]], *, passes: str = "forward") -> None:
        self.parts, self.passes = parts, passes
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.shapes: Counter[Shape] = Counter()
        self.first: dict[str, float] = {}  # when a part first ended, by time.perf_counter
        self._inner: list[float] = []
        self._undo: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        for part, places in self.parts.items():
            for place in places:
                self._wrap(part, place)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)

    def _wrap(self, part: str, place: str) -> None:
        """Puts the timed function in every place where the original can be found."""
        module, _, path = place.partition(":")
        holder, _, name = path.rpartition(".")
        owner = functools.reduce(getattr, holder.split(".") if holder else [], import_module(module))
        original = getattr(owner, name)
        timed = self._timed(part, original)
        owners = [owner] if holder else [m for m in list(sys.modules.values()) if vars(m).get(name) is original]
        for each in owners:
            self._undo.append((each, name, original))
            setattr(each, name, timed)

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if part == self.passes:
                ids = kwargs["input_ids"] if "input_ids" in kwargs else args[1]
                self.shapes[(ids[..., 0].numel(), ids.shape[-1], torch.is_grad_enabled())] += 1
            begun = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - begun
                self.seconds[part] += whole - self._inner.pop()
                self.calls[part] += 1
                self.first.setdefault(part, begun + whole)
                if self._inner:
                    self._inner[-1] += whole

        return timed
