"""Which machine writes: file systems that several machines share keep locks per machine, or not at all, so a held file says where its holder is.

MARK              8 hex digits of this machine, the same for all its containers, which share its kernel's locks
beating(handle)   a sign of life in a held file: its time is set anew every BEAT seconds
is_alive(path)    whether a file of another machine has had one; by this machine's clock alone, since clocks differ
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEAT = 20.0  # seconds
SILENT = 180.0  # seconds without a beat after which a machine counts as gone; NFS shows a new time after up to 60


def _mark() -> str:
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux
        machine = platform.node()
    return hashlib.sha256(machine.encode()).hexdigest()[:8]


MARK = _mark()
_held: set[int] = set()
_lock = threading.Lock()
_beater: list[threading.Thread] = []  # one, once something is held; it lives as long as this process
_seen: dict[str, tuple[int, float]] = {}  # the time of each file when it last changed, and when this process saw that


@contextmanager
def beating(handle: int) -> Iterator[None]:
    """Gives an open file signs of life while the block runs."""
    with _lock:
        _held.add(handle)
        if not _beater:
            _beater.append(threading.Thread(target=_beat, daemon=True))
            _beater[0].start()
    try:
        yield
    finally:
        with _lock:
            _held.discard(handle)


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        with _lock:
            for handle in _held:
                with contextlib.suppress(OSError):
                    os.utime(handle)


def _forget() -> None:
    """A fork has neither the thread nor the files that its parent holds."""
    global _lock
    _lock = threading.Lock()
    _held.clear()
    _beater.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def is_alive(path: Path) -> bool:
    """Whether a file's time has changed within the last SILENT seconds that this process looks at it; a first look says yes."""
    try:
        with path.open("rb") as file:  # opened anew, or NFS may show an old time
            changed = os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return False
    now = time.monotonic()
    if _seen.get(str(path), (None,))[0] != changed:
        _seen[str(path)] = changed, now
    return now - _seen[str(path)][1] < SILENT
