"""Files and folders that are whole or absent, whoever else writes or is killed: atomic writes, hashes, JSON that says where it broke.

write     a partial neighbour, `.partial-…`, held by a lock while its writer lives, takes the place in one step
replace   a folder and its successor change places in one step (Linux's RENAME_EXCHANGE); elsewhere by two renames, in which no
          reader under `shared` can look
leftover  a partial that nobody holds: the next writer in its folder removes it
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasksel.errors import UserError
from tasksel.storage.disk import disk_error
from tasksel.storage.locks import LOCK, PARTIAL, TRAINING, alone, hold, is_left, partial_prefix, short_name

OLD = "-old"  # what two renames replace, in between


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing: a temporary sibling is renamed over `path`.

    Raises:
        UserError: text that is not Unicode (half of a surrogate pair).
        OSError: no space, no permission, …, with the path.
    """
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: text that cannot be stored as UTF-8 ({error.reason})") from error
    write_bytes(path, encoded)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing; see `write_text`."""
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = _new_partial(path.parent)
        with os.fdopen(handle, "wb") as file:  # closed last: the partial file is held until it is renamed or gone
            try:
                os.fchmod(file.fileno(), 0o644)  # others may read a pool
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                name.replace(path)
            except BaseException:
                name.unlink(missing_ok=True)
                raise


def append_bytes(path: Path, content: bytes) -> None:
    """Appends to a file, all or nothing; on the disk when this returns. One write, so that those of two processes do not mix."""
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            written = file.write(content)
            if written < len(content):  # as much as a full disk took
                os.truncate(path, os.fstat(file.fileno()).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())


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

    Of several writers at once each one's folder is whole; the last to end stays.

    >>> with whole_folder(Path(tempfile.mkdtemp()) / "result") as folder:
    ...     write_json(folder / "result.json", {"seeds": [0]})
    """
    path = path.resolve() if path.is_symlink() else path  # the place that a link names, not the link
    with partial_folder(path.parent, path.name) as partial:
        partial.chmod(0o755)
        yield partial
        with alone(path.parent):
            _swap(partial, path)


@contextmanager
def partial_folder(parent: Path, name: str = "") -> Iterator[Path]:
    """A folder in `parent` that is held while the block runs, and is gone after it; what killed runs left in `parent` is removed first.

    Args:
        name: of the place that is written, which gets back what two renames of a killed run took away.
    """
    with _named(parent / name):
        parent.mkdir(parents=True, exist_ok=True)
        handle, partial = _new_partial(parent, name, folder=True)
        try:
            yield partial
        finally:
            _remove(partial)  # in its place may lie by now what was replaced
            os.close(handle)


def is_unused(folder: Path, *, but: Path | None = None) -> bool:
    """Whether nothing lies in a folder but `but`, what is being written or trained and what killed runs left; also where there is none."""
    if not folder.is_dir():
        return not (folder.exists() or folder.is_symlink())
    other = but and but.resolve()
    return all(path.name.startswith((PARTIAL, LOCK, TRAINING)) or path.resolve() == other for path in folder.iterdir())


def _new_partial(parent: Path, name: str = "", *, folder: bool = False) -> tuple[int, Path]:
    """A new partial file or folder that this process holds, open; the leftovers beside it are removed."""
    with alone(parent):  # nobody takes it for a leftover before it is held
        _clear(parent, name)
        if not folder:
            handle, path = tempfile.mkstemp(dir=parent, prefix=partial_prefix())
        else:
            path = tempfile.mkdtemp(dir=parent, prefix=partial_prefix())
            handle = os.open(path, os.O_RDONLY)
        hold(handle)
        return handle, Path(path)


def _clear(parent: Path, name: str) -> None:
    """Removes what killed runs left; what two renames of `name` took away comes back."""
    old = re.compile(re.escape(_old_name(name, "")[: -len(OLD)]) + r"\w{8}" + OLD) if name else None
    for left in [Path(entry.path) for entry in os.scandir(parent) if entry.name.startswith(PARTIAL)]:
        if not is_left(left):
            continue
        if old and old.fullmatch(left.name) and not (parent / name).exists():
            left.replace(parent / name)
        elif not left.name.endswith(OLD) or _has_successor(left):
            _remove(left)


def _old_name(name: str, random: str) -> str:
    """The name of what two renames replace, in between; eight random letters fit into it."""
    return short_name(PARTIAL, name, "-12345678" + OLD).removesuffix("12345678" + OLD) + random + OLD


def _has_successor(left: Path) -> bool:
    """Whether the place of a folder that two renames took away holds its successor; a hash in its name names no place."""
    place = left.name.removeprefix(PARTIAL)[: -len(f"-12345678{OLD}")]
    return left.with_name(place).exists() or not place


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _swap(partial: Path, path: Path) -> None:
    """Puts a folder at `path`; what was there is where the folder was, or gone."""
    if not path.exists():
        partial.replace(path)
    elif not _exchange(partial, path):
        old = partial.with_name(_old_name(path.name, partial.name[-8:]))
        path.replace(old)
        partial.replace(path)
        _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Lets two places change their contents in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the disk, those of other libraries too, as an OSError with the path."""
    try:
        yield
    except Exception as error:
        trouble = disk_error(error)
        if trouble is None:
            raise
        if trouble is not error:
            raise OSError(trouble.errno, os.strerror(trouble.errno or 0), str(path)) from error
        if trouble.filename is None or PARTIAL in str(trouble.filename):  # a name that nobody gave
            trouble.filename = str(path)
        raise


def temporary_folder() -> Path:
    """A new folder below `scalearn-…` in the temporary directory; it may be removed once this process has ended."""
    return Path(tempfile.mkdtemp(dir=_temporary_root(os.getpid()))) / "result"


@lru_cache(maxsize=1)
def _temporary_root(process: int) -> Path:
    """This process's own folder in the temporary directory, held until it ends; those of ended processes are removed."""
    parent = Path(tempfile.gettempdir())
    with alone(parent):
        for left in parent.glob("scalearn-*"):
            if re.fullmatch(r"scalearn-\d+-\w{8}", left.name) and is_left(left):
                _remove(left)
        root = tempfile.mkdtemp(dir=parent, prefix=f"scalearn-{process}-")
        hold(os.open(root, os.O_RDONLY))  # never closed: it is held as long as this process lives
    atexit.register(_remove_if_empty, Path(root))
    return Path(root)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


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
