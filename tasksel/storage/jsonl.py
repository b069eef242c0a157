"""Records as lines of JSON, each with its hash: one is appended when its run ends, so a killed run leaves at most one line that is cut short."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from tasksel.errors import UserError, unknown
from tasksel.storage.atomic import append_bytes, write_text
from tasksel.storage.frozen import Frozen
from tasksel.storage.hashed import FORMAT, with_hash, without_hash

T = TypeVar("T")


def append_row(path: Path, row: Any) -> None:
    """Appends one dataclass instance (a `MatrixRecord`, a `SelectorScores`) as a line that is on the disk when this returns.

    One write in append mode, so that lines of two processes do not mix. A file that a killed run left needs `mend` first.
    """
    line = json.dumps(with_hash(asdict(row)), ensure_ascii=False, allow_nan=False) + "\n"
    append_bytes(path, line.encode())


def mend(path: Path) -> str | None:
    """Makes a file fit to be appended to: cuts off a broken last line, ends a whole one.

    Returns:
        What was cut off, as a line for the user; None where nothing was.

    Raises:
        UserError: a broken or altered line elsewhere.
    """
    if not path.exists():
        return None
    _, cut = whole_lines(path)
    if cut is None:
        raw = path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            with path.open("ab") as file:
                file.write(b"\n")
        return None
    where, offset = cut
    os.truncate(path, offset)
    return f"{where}: the last line was cut short (a killed run) and is removed; its run will be computed again"


def read_records(path: Path, kind: type[T], *, key: Callable[[T], Hashable]) -> tuple[list[T], str | None]:
    """The lines of a JSONL file as instances of a dataclass, equal ones of one key once.

    Returns:
        The records, and a line for the user about a last line that is cut short; None where it is whole.

    Raises:
        UserError: no such file, a line that is broken or altered, a wrong field, or two different records of one key (each with its line).
    """
    lines, cut = whole_lines(path)
    seen: dict[Hashable, tuple[str, T]] = {}
    for where, values in lines:
        record = _record(kind, values, where)
        first_place, first = seen.setdefault(key(record), (where, record))
        if first != record:
            raise UserError(
                f"{where}: {key(record)} duplicates {first_place} with different values; remove the wrong line"
            )
    complaint = (
        f"{cut[0]}: the last line is cut short (a killed run) and is left out; {len(seen)} whole rows" if cut else None
    )
    return [record for _, record in seen.values()], complaint


def whole_lines(path: Path) -> tuple[list[tuple[str, Any]], tuple[str, int] | None]:
    """(place, value) of each line, and the place and byte offset of a last line that is cut short.

    Raises:
        UserError: no such file, a line that is broken elsewhere or altered, a newer version's.
    """
    if not path.is_file():
        raise UserError(f"no file {path}")
    lines = path.read_bytes().splitlines(keepends=True)
    last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=0)
    values: list[tuple[str, Any]] = []
    offset = 0
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        try:
            value = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse) if line.strip() else None
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        except (ValueError, RecursionError) as error:
            if number == last and _is_cut(line, error):
                return values, (where, offset)
            place = "at the end" if number == last else "in the middle"
            raise UserError(f"{where}: broken JSON {place} of the file; restore or remove the line") from error
        if line.strip():
            values.append((where, without_hash(value, where)))
        offset += len(line)
    return values, None


def _is_cut(line: bytes, error: Exception) -> bool:
    """Whether a line that is not JSON is the beginning of one: a whole line has an end, and nothing follows a whole object."""
    if isinstance(error, UnicodeDecodeError):
        return error.reason == "unexpected end of data"  # within a letter
    return not line.endswith((b"\n", b"\r")) and getattr(error, "msg", "") != "Extra data"


def _refuse(constant: str) -> NoReturn:
    raise UserError(f"{constant} is not a number; write null for a run that diverged")


def _record(kind: type[T], values: Any, where: str) -> T:
    """An instance of a dataclass from a JSON object with exactly its fields."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: a row must be a JSON object, given {type(values).__name__}")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise unknown(f"field at {where}:", name, names)
    hints = get_type_hints(kind)
    for name in names:
        if name not in values:
            raise UserError(f"{where}: field '{name}' is missing; needed: {', '.join(names)}")
        if not _fits(values[name], hints[name]):
            expected = getattr(hints[name], "__name__", str(hints[name])) if not get_args(hints[name]) else hints[name]
            raise UserError(f"{where}: {name} must be {expected}, given {json.dumps(values[name])}")
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the type; a whole number counts as a float, true and false do not count as numbers."""
    if get_origin(hint) is UnionType:
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(part, get_args(hint)[1]) for part in value.values())
    accepted = (int, float) if hint is float else hint
    return isinstance(value, accepted) and not (isinstance(value, bool) and hint is not bool)


def write_lines(path: Path, rows: Iterable[Frozen]) -> None:
    """All rows at once, atomically."""
    write_text(path, "".join(map(_line, rows)))


def append_line(path: Path, row: Frozen) -> None:
    """One more row at the end of a whole file."""
    append_bytes(path, _line(row).encode())


def _line(row: Frozen) -> str:
    """A record as a line; one of version 0.1, which has no hash, as that wrote it."""
    if getattr(row, "format", FORMAT) < FORMAT:
        return row.model_dump_json() + "\n"
    return json.dumps(with_hash(row.model_dump(mode="json")), ensure_ascii=False, separators=(",", ":")) + "\n"
