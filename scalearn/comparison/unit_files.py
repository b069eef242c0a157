"""The records of finished units in a store: a small file each, or many in a Parquet file; by its key a record is found in either.

    store/units/<key>.json              one unit, as it is finished
    store/packed/units-00001.parquet    many: `key`, and `record`, the very text of that file; sorted by key; of two parts the later one counts

A packed file is read back before the small ones go, so that readers find each record in one place or in both; a file of its own counts first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalearn.comparison.records import NO_ROW, UnitRecord, read_unit
from tasksel.errors import UserError
from tasksel.storage.atomic import partial_folder, write_text
from tasksel.storage.hashed import altered, parse_record, without_hash
from tasksel.training.exclusive import exclusive

UNITS, PACKED = "units", "packed"
PART = 20_000  # records of a file, some 50 MB of text


@dataclass(frozen=True)
class Packing:
    """What `pack` or `unpack` did: records, and files and bytes before and after."""

    records: int
    files: tuple[int, int]
    bytes: tuple[int, int]

    def __str__(self) -> str:
        files, sizes = (f"{a:,} to {b:,}" for a, b in (self.files, self.bytes))
        return f"{self.records:,} units: from {files} files, {sizes} bytes"


class UnitFiles:
    """The records of the finished units in a store.

    >>> UnitFiles(Path("runs/store")).read("9128f6500813dc56")  # doctest: +SKIP
    """

    def __init__(self, store: Path) -> None:
        self.folder, self.packed = store / UNITS, store / PACKED
        self._parts: tuple[tuple[str, int], ...] = ()  # name and time of each packed file
        self._places: dict[str, tuple[Path, int]] = {}
        self._records: dict[Path, Any] = {}

    def path(self, key: str) -> Path:
        """The file of its own that a unit has."""
        return self.folder / f"{key}.json"

    def are_there(self) -> bool:
        """Whether there may be any."""
        return self.folder.is_dir() or self.packed.is_dir()

    def read(self, key: str) -> UnitRecord | None:
        """The record of a unit; None where it is not finished.

        Raises:
            UserError: see `read_unit`; a packed file that is cut short or altered.
        """
        path = self.path(key)
        if path.is_file():
            try:
                return read_unit(path)
            except UserError:
                if path.is_file():  # or it was packed a moment ago
                    raise
        place = self._index().get(key)
        return None if place is None else _record(self._text(*place), key, f"{place[0]} ({key})")

    def keys(self) -> set[str]:
        """The keys of all records."""
        return {path.stem for path in self._files()} | self._index().keys()

    def pack(self) -> Packing:
        """Moves the records of all small files into new Parquet files.

        Raises:
            UserError: a record that cannot be read; nothing is moved then.
        """
        with exclusive(self.packed):
            files = self._files()
            texts = {path.stem: path.read_text(encoding="utf-8") for path in files}
            for path in files:
                _record(texts[path.stem], path.stem, str(path))
            keys = sorted(texts)
            parts = [self._write({key: texts[key] for key in keys[i : i + PART]}) for i in range(0, len(keys), PART)]
            before = sum(len(text.encode()) for text in texts.values())
            for path in files:
                if path.read_text(encoding="utf-8") == texts[path.stem]:  # not computed anew meanwhile
                    path.unlink()
        return Packing(len(files), (len(files), len(parts)), (before, sum(part.stat().st_size for part in parts)))

    def unpack(self) -> Packing:
        """Moves every packed record back into a file of its own.

        Raises:
            UserError: a packed file that is cut short or altered; the others are moved.
        """
        with exclusive(self.packed):
            parts, count, size = self._listed(), 0, 0
            before = sum(path.stat().st_size for path in parts)
            for part in reversed(parts):  # the later one counts
                for key, text in _read(part):
                    _record(text, key, f"{part} ({key})")
                    if not self.path(key).exists():
                        write_text(self.path(key), text)
                        count, size = count + 1, size + len(text.encode())
                part.unlink()
        return Packing(count, (len(parts), count), (before, size))

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.json") if not path.name.startswith("."))

    def _listed(self) -> list[Path]:
        return sorted(self.packed.glob("units-*.parquet"))

    def _write(self, texts: dict[str, str]) -> Path:
        """A new part, once it reads back as what went into it."""
        import pyarrow
        import pyarrow.parquet

        number = max((int(path.stem.removeprefix("units-")) for path in self._listed()), default=0) + 1
        part = self.packed / f"units-{number:05}.parquet"
        with partial_folder(self.packed) as partial:
            new = partial / part.name
            table = pyarrow.table({"key": list(texts), "record": list(texts.values())})
            pyarrow.parquet.write_table(table, new, compression="zstd", write_page_checksum=True)
            if dict(_read(new)) != texts:
                raise UserError(f"{part}: does not read back as it was written; nothing was removed")
            with new.open("rb") as file:
                os.fsync(file.fileno())
            new.replace(part)
        return part

    def _index(self) -> dict[str, tuple[Path, int]]:
        """Where each packed record is, read anew when there are other files."""
        try:
            parts = tuple(
                (entry.name, entry.stat().st_mtime_ns)
                for entry in sorted(os.scandir(self.packed), key=lambda e: e.name)
            )
        except FileNotFoundError:
            parts = ()
        if parts != self._parts:
            self._records = {}
            self._places = {
                key: (path, row) for path in self._listed() for row, key in enumerate(_column(path, "key").to_pylist())
            }
            self._parts = parts
        return self._places

    def _text(self, part: Path, row: int) -> str:
        if part not in self._records:
            self._records[part] = _column(part, "record")
        return str(self._records[part][row].as_py())


def _read(part: Path) -> Iterator[tuple[str, str]]:
    return zip(_column(part, "key").to_pylist(), _column(part, "record").to_pylist(), strict=True)


def _column(part: Path, name: str) -> Any:
    """A column of a packed file.

    Raises:
        UserError: it is cut short or altered.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(part, columns=[name], page_checksum_verification=True)[name]
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise altered(str(part)) from error


def _record(text: str, key: str, where: str) -> UnitRecord:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise altered(where) from error
    record = parse_record(without_hash(value, where), UnitRecord, where, NO_ROW)
    if record.key != key:
        raise altered(where)
    return record
