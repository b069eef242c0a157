"""The hash of a file's content, kept with what changes when the file does, so that a file that stayed as it is is not read again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tasksel.errors import UserError
from tasksel.storage.atomic import file_hash, value_hash
from tasksel.storage.hashed import read_hashed, write_hashed
from tasksel.tasks.stored_rows import cache_root

SETTLED = 2.0  # seconds: of a file that was just written the clock may not tell the next change
_known: dict[Stamp, str] = {}


class Stamp(NamedTuple):
    """What changes when a file does."""

    path: str
    inode: int
    written: int  # ns
    changed: int  # ns: of the inode, which no program can set
    size: int

    @classmethod
    def of(cls, file: Path) -> Stamp:
        """A file's, now.

        Raises:
            UserError: it cannot be read.
        """
        try:
            stat = file.stat()
        except OSError as error:
            raise _unread(file, error) from error
        return cls(str(file.absolute()), stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


def need_unchanged(stamps: Iterable[Stamp]) -> None:
    """Refuses files that changed since their stamps were taken: what was read of them is of no content.

    Raises:
        UserError: names the file.
    """
    for stamp in stamps:
        if Stamp.of(Path(stamp.path)) != stamp:
            raise UserError(f"{stamp.path} changed while it was read; run again")


def content_hash(file: Path) -> str:
    """sha256 of a file's bytes, from the index where the file has not changed since it was put there.

    Raises:
        UserError: the file cannot be read.
    """
    stamp = Stamp.of(file)
    if stamp in _known:
        return _known[stamp]
    place = cache_root() / "data" / "files" / f"{value_hash(stamp.path)}.json"
    sha256 = _kept(place, stamp)
    if sha256 is None:
        try:
            sha256 = file_hash(file)
        except OSError as error:
            raise _unread(file, error) from error
        if time.time_ns() - max(stamp.written, stamp.changed) < SETTLED * 1e9 or Stamp.of(file) != stamp:
            return sha256
        with contextlib.suppress(
            OSError, UserError
        ):  # a full disk is said where rows are stored; a path may be no UTF-8
            write_hashed(place, {"stamp": list(stamp), "sha256": sha256})
    _known[stamp] = sha256
    return sha256


def _unread(file: Path, error: OSError) -> UserError:
    return UserError(f"{file}: cannot be read ({error.strerror})")


def _kept(place: Path, stamp: Stamp) -> str | None:
    """The hash in the index, if it is of the file as it is."""
    try:
        kept = read_hashed(place)
        return str(kept["sha256"]) if kept["stamp"] == list(stamp) else None
    except (UserError, OSError, LookupError, TypeError):  # not there, or damaged: the file is read again
        return None
