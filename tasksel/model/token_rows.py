"""Token ids of many rows as a few arrays: in memory four bytes a token, or none where the arrays lie in a mapped file.

    rows       [r + 1]   a row's first sequence, and the next row's
    sequences  [s + 1]   a sequence's first token, and the next one's
    tokens     [t]

Lists of Python's integers take nine times as much; small sets are such lists all the same, and both are read alike: `rows[i]` is a row's sequences.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple, overload

import numpy as np

Row = list[list[int]]  # [sequences][tokens]


class Block(NamedTuple):
    """The arrays of some thousand rows."""

    rows: np.ndarray
    sequences: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Block:
        """From lists.

        >>> Block.of([[[101, 7], [101]], [[101, 9]]]).sequences.tolist()
        [0, 2, 3, 5]
        """
        lengths = [len(sequence) for row in rows for sequence in row]
        tokens = np.fromiter(chain.from_iterable(chain.from_iterable(rows)), np.int32, count=sum(lengths))
        return cls(_starts([len(row) for row in rows]), _starts(lengths), tokens)

    def lengths(self) -> np.ndarray:
        """Tokens of each row's longest sequence."""
        return np.maximum.reduceat(np.diff(self.sequences), self.rows[:-1])

    def first_repeated(self, times: int) -> Block:
        """The same with `times` more copies of each sequence's first token behind it.

        >>> Block.of([[[101, 7], [102]]]).first_repeated(2).tokens.tolist()
        [101, 101, 101, 7, 102, 102, 102]
        """
        copies = np.ones(len(self.tokens), dtype=np.int64)
        copies[self.sequences[:-1]] += times
        sequences = self.sequences + times * np.arange(len(self.sequences), dtype=self.sequences.dtype)
        return Block(self.rows, sequences, np.repeat(self.tokens, copies))


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32)


class TokenRows(Sequence[Row]):
    """Rows of blocks, in any order.

    >>> rows = TokenRows((Block.of([[[101, 7, 102]], [[101, 102]]]),))
    >>> rows[0], rows.take([1]).lengths.tolist()
    ([[101, 7, 102]], [2])
    """

    def __init__(self, blocks: tuple[Block, ...], numbers: np.ndarray | None = None) -> None:
        self.blocks = blocks
        self._starts = [0, *np.cumsum([len(block.rows) - 1 for block in blocks]).tolist()]
        self.numbers = np.arange(self._starts[-1]) if numbers is None else numbers

    def __repr__(self) -> str:
        return f"TokenRows({len(self)} of {self._starts[-1]} rows)"

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> TokenRows: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return TokenRows(self.blocks, self.numbers[index])
        number = int(self.numbers[index])
        at = bisect_right(self._starts, number) - 1
        block, row = self.blocks[at], number - self._starts[at]
        ends = block.sequences[block.rows[row] : block.rows[row + 1] + 1].tolist()
        tokens = block.tokens[ends[0] : ends[-1]].tolist()
        return [tokens[start - ends[0] : end - ends[0]] for start, end in pairwise(ends)]

    def __iter__(self) -> Iterator[Row]:
        return (self[i] for i in range(len(self.numbers)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row's longest sequence."""
        every = np.concatenate([block.lengths() for block in self.blocks])
        return every[self.numbers]

    def take(self, indices: Sequence[int] | np.ndarray) -> TokenRows:
        """The rows at `indices`, in that order."""
        return TokenRows(self.blocks, self.numbers[np.asarray(indices, dtype=np.int64)])

    def first_repeated(self, times: int) -> TokenRows:
        """The same with `times` more copies of each sequence's first token behind it."""
        return TokenRows(tuple(block.first_repeated(times) for block in self.blocks), self.numbers)

    def joined(self, other: TokenRows) -> TokenRows:
        """The rows of both, one after the other."""
        if other.blocks is self.blocks:
            return TokenRows(self.blocks, np.concatenate([self.numbers, other.numbers]))
        numbers = np.concatenate([self.numbers, other.numbers + self._starts[-1]])
        return TokenRows((*self.blocks, *other.blocks), numbers)


Rows = list[Row] | TokenRows


def taken(rows: Rows, indices: Sequence[int] | np.ndarray) -> Rows:
    """The rows at `indices`, in that order."""
    return rows.take(indices) if isinstance(rows, TokenRows) else [rows[i] for i in indices]


def joined(rows: Rows, others: Rows) -> Rows:
    """The rows of both, one after the other.

    >>> joined([[[101]]], TokenRows((Block.of([[[102]]]),)))[1]
    [[102]]
    """
    if not isinstance(rows, TokenRows) and not isinstance(others, TokenRows):
        return [*rows, *others]
    return _as_arrays(rows).joined(_as_arrays(others))


def _as_arrays(rows: Rows) -> TokenRows:
    return rows if isinstance(rows, TokenRows) else TokenRows((Block.of(rows),))
