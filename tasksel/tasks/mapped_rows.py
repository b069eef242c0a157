"""Rows in an Arrow file that stay on the disk: a row is read when it is asked for.

    text0, text1   large_string       choices   list of large_string       label   int64, float32, a list of float32, or large_string

The file is a stream of record batches, the form that `datasets.Dataset.from_file` opens too. It is memory mapped, so that the processes of a
machine share its pages; a split's row numbers (`MappedRows.rows`) are all that a process holds itself.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

A = TypeVar("A")
AT_ONCE = 1_024  # rows that are read when all are wanted


class MappedTable:
    """An Arrow file of rows, opened when a row or label of it is first asked for.

    >>> MappedTable(Path("train.arrow"))  # doctest: +SKIP
    MappedTable(train.arrow)
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"MappedTable({self.path})"

    @cached_property
    def batches(self) -> list[Any]:
        """The record batches, whose values lie in the mapped file."""
        import pyarrow as pa

        with pa.memory_map(str(self.path)) as file:
            return list(pa.ipc.open_stream(file))

    @cached_property
    def starts(self) -> list[int]:
        """The number of the first row of each batch, and at the end the number of rows."""
        return [0, *np.cumsum([len(batch) for batch in self.batches]).tolist()]

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """A column's arrays, one for each batch."""
        names = self.batches[0].schema.names if self.batches else []
        return {name: [batch.column(name) for batch in self.batches] for name in names}

    def value(self, column: str, row: int) -> Any:
        """What a column holds in a row."""
        number = bisect_right(self.starts, row) - 1
        return self.columns[column][number][row - self.starts[number]].as_py()

    def values(self, column: str, rows: np.ndarray) -> list[Any]:
        """What a column holds in rows: those that follow one another in a batch are read together."""
        import pyarrow as pa

        batches = np.searchsorted(self.starts, rows, side="right") - 1
        ends = [0, *(np.flatnonzero(np.diff(batches)) + 1).tolist(), len(rows)]
        values: list[Any] = []
        for start, end in pairwise(ends):
            if start < end:
                number = int(batches[start])
                array = self.columns[column][number]
                values += array.take(pa.array(rows[start:end] - self.starts[number])).to_pylist()
        return values

    @cached_property
    def labels(self) -> np.ndarray:
        """The labels of all rows, as in `tasksel.tasks.examples.Split`; those are held in memory."""
        import pyarrow as pa

        arrays = self.columns["label"]
        if pa.types.is_fixed_size_list(arrays[0].type):
            width = arrays[0].type.list_size
            return np.concatenate([array.flatten().to_numpy().reshape(-1, width) for array in arrays])
        if pa.types.is_large_string(arrays[0].type):
            return np.array([text for array in arrays for text in array.to_pylist()], dtype=object)
        return np.concatenate([array.to_numpy() for array in arrays])


class MappedRows(Sequence[A]):
    """A column of a table by row, or a tuple of columns, of some of its rows, in any order.

    >>> texts = MappedRows(table, ("text0",), np.array([7, 3]))  # doctest: +SKIP
    >>> texts[1], len(texts.take([1]))  # doctest: +SKIP
    (('rich and hot',), 1)
    """

    def __init__(self, table: MappedTable, columns: tuple[str, ...], rows: np.ndarray, *, single: bool = False) -> None:
        self.table, self.columns, self.rows, self.single = table, columns, rows, single

    def __repr__(self) -> str:
        return f"MappedRows({self.table.path}, {len(self)} rows)"

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> A: ...
    @overload
    def __getitem__(self, index: slice) -> MappedRows[A]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._of(self.rows[index])
        row = int(self.rows[index])
        values = tuple(self.table.value(column, row) for column in self.columns)
        return values[0] if self.single else values

    def __iter__(self) -> Iterator[A]:
        for start in range(0, len(self.rows), AT_ONCE):
            rows = self.rows[start : start + AT_ONCE]
            columns = [self.table.values(column, rows) for column in self.columns]
            yield from columns[0] if self.single else zip(*columns, strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: Sequence[int] | np.ndarray) -> MappedRows[A]:
        """The rows at `indices`, in that order."""
        return self._of(self.rows[np.asarray(indices, dtype=np.int64)])

    def _of(self, rows: np.ndarray) -> MappedRows[A]:
        return MappedRows(self.table, self.columns, rows, single=self.single)


def taken(rows: Sequence[A], indices: Sequence[int] | np.ndarray) -> Sequence[A]:
    """The rows at `indices`: a list of them, or of mapped rows their numbers.

    >>> taken(["a", "b", "c"], [2, 0])
    ['c', 'a']
    """
    return rows.take(indices) if isinstance(rows, MappedRows) else [rows[i] for i in indices]


def joined(rows: Sequence[A], others: Sequence[A]) -> Sequence[A]:
    """The rows of both, one after the other: of one table's rows their numbers.

    >>> joined(["a"], ["b", "c"])
    ['a', 'b', 'c']
    """
    if isinstance(rows, MappedRows) and isinstance(others, MappedRows) and rows.table is others.table:
        return MappedRows(rows.table, rows.columns, np.concatenate([rows.rows, others.rows]), single=rows.single)
    return [*rows, *others]


def write_batches(path: Path, batches: Iterable[Any]) -> int:
    """Writes record batches as a stream that is on the disk when this returns; returns how many rows."""
    import pyarrow as pa

    writer, rows = None, 0
    with path.open("wb") as file:
        for batch in batches:
            writer = writer or pa.ipc.new_stream(file, batch.schema)
            writer.write_batch(batch)
            rows += len(batch)
        if writer is not None:
            writer.close()
        file.flush()
        os.fsync(file.fileno())
    return rows
