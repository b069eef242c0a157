"""Locks that the kernel releases when their process ends, however it ends: nothing stale can block for long.

    alone(folder), shared(folder)   moments: swapping an entry of the folder; reading several files of one
    hold(handle), is_left(path)     a writer's hold on its partial file or folder; whether nobody holds it any more
    waiting_lock(place, wait)       a long piece of work at a place: `.lock-NAME` beside it, while it lasts

    is_taken(place)                 whether somebody is at such a piece of work now

They are `flock`s of files and folders. Where a file system (or the machine) has none, work goes on without, and a partial file or folder
counts as left after a day. Some file systems that several machines share know a lock on its own machine alone: so a lock file names the
machine of its holder and has signs of life from it (`machine`), and another machine waits for these to stop; and a partial file or folder
of another machine counts as left after a day. A process must not take `alone` within a `shared` of the same folder: it would wait for itself.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasksel.storage.machine import MARK, beating, is_alive

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial-"  # what is being written, or what a killed run left; never read
LOCK = ".lock-"
TRAINING = ".training-"  # the state of a training that is not finished (`tasksel.training.checkpoints`)
LOOK = 2.0  # seconds between two looks at another machine's signs of life
DAY = 24 * 60 * 60.0
NAME_BYTES = 255  # of a file's name, on every usual file system


def _flock(handle: int, *, share: bool = False, wait: bool = True) -> bool | None:
    """Takes the lock of an open file or folder; False where another has it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if share else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    return True


@contextmanager
def _folder_lock(folder: Path, *, share: bool) -> Iterator[None]:
    if folder.name.startswith(PARTIAL):  # its writer holds it, and is alone in it
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not there, or not to be read: whatever comes next says so
        yield
        return
    try:
        _flock(handle, share=share)
        yield
    finally:
        os.close(handle)


def alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """No other process reads or swaps entries of the folder while the block runs; keep it to an instant."""
    return _folder_lock(folder, share=False)


def shared(folder: Path) -> contextlib.AbstractContextManager[None]:
    """No entry of the folder is swapped while the block reads several files of one."""
    return _folder_lock(folder, share=True)


def hold(handle: int) -> None:
    """Marks an open partial file or folder as being written, until the handle is closed."""
    _flock(handle, wait=False)


def partial_prefix() -> str:
    """How a partial file or folder of this machine begins.

    >>> partial_prefix().startswith(PARTIAL)
    True
    """
    return f"{PARTIAL}{MARK}-"


def is_left(path: Path) -> bool:
    """Whether no process writes this partial file or folder any more."""
    other = re.fullmatch(re.escape(PARTIAL) + r"([0-9a-f]{8})-\w{8}", path.name)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        free = None if other and other[1] != MARK else _flock(handle, wait=False)
        return time.time() - os.fstat(handle).st_mtime > DAY if free is None else free
    finally:
        os.close(handle)


@contextmanager
def waiting_lock(place: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Only one process at a time runs a block for this place; calls `waits` once where another one is at it.

    >>> with waiting_lock(Path("pool/rte"), lambda: None):
    ...     sorted(path.name for path in Path("pool").iterdir())
    ['.lock-rte']
    """
    path = place.with_name(short_name(LOCK, place.name))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(path, waits)
    except OSError as error:
        error.filename = str(place)  # not the lock, of which nobody needs to know
        raise
    try:
        with beating(handle):
            yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is locked: who waits for it sees that it is gone, and makes a new one
        os.close(handle)


def _locked(path: Path, waits: Callable[[], None]) -> int:
    """An open lock file that this process holds, and that is still the one at its path."""
    said = False
    while True:
        handle = _open_lock(path)
        try:
            if _flock(handle, wait=False) is False:
                if not said:
                    waits()
                said = True
                _flock(handle)
            while _is_at(path, handle):
                if not _is_of_another_machine(path, handle):
                    _sign(handle)
                    return handle
                if not said:
                    waits()
                said = True
                time.sleep(LOOK)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def is_taken(place: Path) -> bool:
    """Whether a process, of whichever machine, is in a block of `waiting_lock` for this place.

    >>> with waiting_lock(Path("pool/rte"), lambda: None):
    ...     is_taken(Path("pool/rte"))
    True
    >>> is_taken(Path("pool/rte"))
    False
    """
    path = place.with_name(short_name(LOCK, place.name))
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:  # none, or another user's: who wants the place waits for it
        return False
    try:
        return _flock(handle, wait=False) is False or _is_of_another_machine(path, handle)
    finally:
        os.close(handle)


def _sign(handle: int) -> None:
    """Names this machine as the holder's."""
    with contextlib.suppress(OSError):  # another user's file
        os.ftruncate(handle, 0)
        os.pwrite(handle, MARK.encode(), 0)


def _is_of_another_machine(path: Path, handle: int) -> bool:
    """Whether a lock that is free here is held by a process of another machine, which still gives signs of life."""
    mark = os.pread(handle, len(MARK), 0).decode(errors="replace")
    return mark not in ("", MARK) and is_alive(path)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY)  # another user's


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def short_name(before: str, name: str, after: str = "") -> str:
    """A file's name from a name and what stands around it; a hash stands for a name that leaves no room.

    >>> short_name(".lock-", "rte"), len(short_name(".lock-", "r" * 255))
    ('.lock-rte', 70)
    """
    whole = f"{before}{name}{after}"
    if len(os.fsencode(whole)) <= NAME_BYTES:
        return whole
    return f"{before}{hashlib.sha256(os.fsencode(name)).hexdigest()}{after}"
