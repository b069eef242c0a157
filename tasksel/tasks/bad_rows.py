"""Bad rows of a file: all are counted, and the first five are shown in one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tasksel.errors import UserError

SHOWN = 5
A = TypeVar("A")
B = TypeVar("B")


class BadRows:
    """What is wrong with rows, each with its place.

    >>> bad = BadRows()
    >>> for line in (2, 3):
    ...     bad.add(f"a.csv:{line}: the text is empty")
    >>> bad.refuse()
    Traceback (most recent call last):
    tasksel.errors.UserError: a.csv:2: the text is empty; a.csv:3: the text is empty (2 bad rows, all are shown)
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, fault: UserError | str) -> None:
        """One more bad row."""
        self.count += 1
        if self.count <= SHOWN:
            self._first.append(str(fault))

    def refuse(self) -> None:
        """Refuses the rows, where one was bad.

        Raises:
            UserError: the first five, and how many there are.
        """
        if not self.count:
            return
        first = f"the first {SHOWN} are shown" if self.count > SHOWN else "all are shown"
        raise UserError("; ".join(self._first) + (f" ({self.count:,} bad rows, {first})" if self.count > 1 else ""))


def each_row(rows: Iterable[A], read: Callable[[A], B]) -> list[B]:
    """What `read` gives for each row; all rows that it refuses are counted.

    Raises:
        UserError: see `BadRows.refuse`.
    """
    values, bad = [], BadRows()
    for row in rows:
        try:
            values.append(read(row))
        except UserError as error:
            bad.add(error)
    bad.refuse()
    return values
