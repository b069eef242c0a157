"""Files that are whole or absent: atomic writes, hashes, JSON that says where it broke."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasksel.errors import UserError

PARTIAL = ".partial-"  # what a killed run leaves; never read, removed by the next writer of the same place


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing: a temporary sibling is renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
    try:
        Path(name).chmod(0o644)  # others may read a pool
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: no such file, or broken JSON (file and line).
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no file {path}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of 5,000 digits; nested without end
        raise UserError(
            f"{path}:{getattr(error, 'lineno', 1)}: broken JSON; restore the file, or delete it and run again"
        ) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that appears at `path` only when the block ends well, and then replaces what was at `path`.

    >>> with whole_folder(Path(tempfile.mkdtemp()) / "result") as folder:
    ...     write_json(folder / "result.json", {"seeds": [0]})
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    leftover = re.compile(re.escape(f"{PARTIAL}{path.name}-") + r"[a-z0-9_]{8}(-old)?")  # not those of `path-2`
    for left in list(path.parent.iterdir()):
        if leftover.fullmatch(left.name):
            if left.name.endswith("-old") and not path.exists():
                left.replace(path)  # killed between the two renames below: the old folder comes back
            else:
                shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{PARTIAL}{path.name}-"))
    partial.chmod(0o755)
    try:
        yield partial
        if path.exists():
            old = partial.with_name(partial.name + "-old")
            path.replace(old)
            partial.replace(path)
            shutil.rmtree(old)
        else:
            partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_hash(value: Any) -> str:
    """16 hex digits that identify a JSON value, whatever the order of its keys.

    >>> value_hash({"a": 1, "b": 2}) == value_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
