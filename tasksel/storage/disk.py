"""Troubles of disks: what an error says about one, in one line; and whether there is room for what will be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from tasksel.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
WAY_OUT = {
    errno.EROFS: "give a path that can be written",
    errno.EACCES: "give another path, or change its permissions",
    errno.EPERM: "give another path, or change its permissions",
    errno.EIO: "the disk may be failing: give a path on another one",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit (ulimit -n), or use fewer --jobs",
    errno.ENFILE: "close other programs, or use fewer --jobs",
    errno.EBUSY: "a mounted folder cannot be replaced: give a folder in it",
    errno.EXDEV: "a mounted folder cannot be replaced: give a folder in it",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or give another path",
    **dict.fromkeys(FULL, "make room there, or give a path on another disk"),
}
"""What to do, by the error's number."""
_BY_TEXT = {os.strerror(number): number for number in (*FULL, errno.EROFS, errno.EIO, errno.EFBIG)}


def disk_error(error: BaseException) -> OSError | None:
    """The trouble of a disk that an error, or what caused it, speaks of; None where it speaks of none.

    Libraries that write by other languages give the system's error as text (safetensors' "(os error 28)", faiss' "No space left on device").

    >>> disk_error(RuntimeError("I/O error: No space left on device (os error 28)")).errno == errno.ENOSPC
    True
    """
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return error
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, UserError):
        if isinstance(seen, OSError) and seen.errno in WAY_OUT:
            return seen
        number = _number_in(str(seen))
        if number in WAY_OUT:
            return OSError(number, os.strerror(number))
        seen = seen.__cause__ or seen.__context__
    return None


def _number_in(text: str) -> int:
    """The system's number of the error that a text speaks of; 0 where it speaks of none."""
    if found := re.search(r"\(os error (\d+)\)", text):
        return int(found.group(1))
    if "Not enough disk space" in text:  # datasets'
        return errno.ENOSPC
    return next((number for words, number in _BY_TEXT.items() if words in text), 0)


def disk_line(error: OSError) -> str:
    """A trouble of a disk as one line: where, what, what to do.

    >>> disk_line(OSError(errno.ENAMETOOLONG, "File name too long", "pools/" + "r" * 60))[-43:]
    'rr: File name too long; give a shorter name'
    """
    number = error.errno or 0
    words = error.strerror or os.strerror(number)
    where = f"{_shown(str(error.filename))}: " if error.filename is not None else ""
    return f"{where}{words}; {WAY_OUT.get(number, 'give another path')}"


def _shown(path: str) -> str:
    return path if len(path) <= 300 else f"{path[:120]}…{path[-120:]}"


def need_space(folder: Path, size: int) -> None:
    """Refuses work whose outcome has no room, before it begins.

    Args:
        folder: where it will be written; need not be there yet. size: bytes, at least.

    Raises:
        UserError: fewer bytes are free than will be written.

    >>> need_space(Path("runs"), 1)
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:  # a file system that does not say
        return
    if free < size:
        raise UserError(f"{folder}: {_size(size)} will be written and {_size(free)} are free; {WAY_OUT[errno.ENOSPC]}")


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MB" if count >= 2**20 else f"{count / 2**10:.0f} kB"
