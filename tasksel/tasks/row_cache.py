"""A task's rows in the cache: its splits as mapped files, and beside them the draws that were made of them.

    <entry>/train.arrow, validation.arrow     `open_split` reads them, `write_splits` writes them
            draws/<key>.npz, .json            the row numbers of a draw; the fingerprint of its rows

Entries are made and checked by `tasksel.tasks.data_cache`.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tasksel.storage.atomic import write_bytes
from tasksel.storage.hashed import read_hashed
from tasksel.tasks.data_cache import CARD, cache_key, kept_value
from tasksel.tasks.draws import Draw
from tasksel.tasks.examples import Split
from tasksel.tasks.mapped_rows import MappedRows, MappedTable, write_batches


@lru_cache(maxsize=64)
def _table(path: Path, inode: int, written: int) -> MappedTable:
    """A table that all who ask for it share."""
    return MappedTable(path)


class KeptRows:
    """The rows of a task in the cache.

    >>> KeptRows(data_cache() / "0f6e5a4c1d2b3a49").splits()  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = read_hashed(folder / CARD)

    def splits(self) -> dict[str, Split]:
        """Every split, unshuffled and whole."""
        return {name: open_split(self.folder / f"{name}.arrow") for name in self.card["splits"]}

    def draw(self, made_of: Any, make: Callable[[], Draw]) -> Draw:
        """A draw of these rows, made where it is not kept."""
        path = self._draw_path(made_of)
        try:
            with np.load(path, allow_pickle=False) as kept:
                return _as_draw(dict(kept))
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):  # not there, or its checksum is wrong
            pass
        draw, file = make(), io.BytesIO()
        np.savez(file, **_as_arrays(draw))  # type: ignore[arg-type]
        with contextlib.suppress(OSError):
            write_bytes(path, file.getvalue())
        return draw

    def fingerprint(self, made_of: Any, make: Callable[[], str]) -> str:
        """The fingerprint of a draw's rows, made where it is not kept."""
        return str(
            kept_value(self._draw_path(made_of).with_suffix(".json"), lambda: {"fingerprint": make()})["fingerprint"]
        )

    def _draw_path(self, made_of: Any) -> Path:
        return self.folder / "draws" / f"{cache_key(made_of)}.npz"


def open_split(path: Path) -> Split:
    """The rows of a file that is whole, as a split."""
    stat = path.stat()
    return whole_split(_table(path, stat.st_ino, stat.st_mtime_ns))


def whole_split(table: MappedTable) -> Split:
    """All rows of a table."""
    texts = tuple(name for name in table.columns if name.startswith("text"))
    rows, choices = np.arange(table.starts[-1]), None
    if "choices" in table.columns:
        choices = MappedRows[list[str]](table, ("choices",), rows, single=True)
    return Split(MappedRows(table, texts, rows), choices, table.labels)


def _as_arrays(draw: Draw) -> dict[str, np.ndarray]:
    """A draw's row numbers by name; what is whole is left out."""
    parts = {"train": draw.train, "dev": draw.dev, "test": draw.test}
    parts |= {f"more/{name}": rows for name, rows in draw.more.items()}
    kept = {name: rows.astype(np.int32) for name, rows in parts.items() if rows is not None}
    return {**kept, "whole": np.array([name for name, rows in parts.items() if rows is None], dtype=str)}


def _as_draw(arrays: dict[str, np.ndarray]) -> Draw:
    whole: list[str] = arrays.pop("whole").tolist()
    parts: dict[str, Any] = {**arrays, **dict.fromkeys(whole)}
    more = {name.removeprefix("more/"): rows for name, rows in parts.items() if name.startswith("more/")}
    return Draw(parts["train"], parts["dev"], parts["test"], more)


def write_splits(path: Path, splits: Iterable[Split]) -> int:
    """Writes the rows of splits, one after the other, as a record batch each; returns how many rows.

    Raises:
        UnicodeEncodeError: a text that is no Unicode (half of a surrogate pair).
        OSError: no space, …
    """
    return write_batches(path, (_batch(split) for split in splits if len(split)))


def _batch(split: Split) -> Any:
    import pyarrow as pa

    columns = zip(*split.texts, strict=True)
    arrays = {f"text{number}": pa.array(column, pa.large_string()) for number, column in enumerate(columns)}
    if split.choices is not None:
        arrays["choices"] = pa.array(split.choices, pa.list_(pa.large_string()))
    labels = split.labels
    if labels.dtype == object:
        arrays["label"] = pa.array(labels.tolist(), pa.large_string())
    elif labels.ndim == 2:
        arrays["label"] = pa.FixedSizeListArray.from_arrays(pa.array(labels.ravel()), labels.shape[1])
    else:
        arrays["label"] = pa.array(labels)
    return pa.RecordBatch.from_pydict(arrays)
