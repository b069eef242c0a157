"""A full disk: every command that writes has less room than it needs; it shall say one line, keep what was there, and go on when there is room.

The disk is a small tmpfs in a mount namespace of this process alone (Linux; root, or user namespaces), which ends with the process. Where
none can be mounted, the n-th file-system event and all after it fail with "no space left" instead. Commands also print to /dev/full.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.commands import READERS, WRITERS, Command, finished_in, numbers_in
from benchmarks.faults.kills import Events, counting, one_host
from benchmarks.faults.trial import Ended, attempt
from benchmarks.faults.verdict import Form, Row, judge, refused
from benchmarks.faults.world import place_of

CLONE_NEWNS, CLONE_NEWUSER, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 32, 16384, 1 << 18
ROOMY, PAGE = 256 * 2**20, 4096
SHARES = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.97)  # of what the undisturbed command writes
SHORT = ("index build", "transfer", "predict")


class SmallDisk:
    """A tmpfs at a folder, of a size that can change; seen by this process and its children alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._libc = folder, ctypes.CDLL(None, use_errno=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._mount(b"tmpfs", 0, f"size={ROOMY}")

    @classmethod
    def private(cls) -> bool:
        """Gives this process a mount namespace of its own; whether that is allowed."""
        libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)):
            return False
        if user:
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                Path(f"/proc/self/{name}").write_text(text)
        return not libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)

    def _mount(self, kind: bytes, flags: int, options: str) -> None:
        if self._libc.mount(kind, os.fsencode(self.folder), kind, flags, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self.folder))

    def resize(self, size: int) -> None:
        """Another size; what is there stays."""
        self._mount(b"tmpfs", MS_REMOUNT, f"size={max(size, PAGE)}")

    def used(self) -> int:
        """Bytes in use."""
        status = os.statvfs(self.folder)
        return (status.f_blocks - status.f_bfree) * status.f_frsize


def full_disk(root: Path, form: Form, done: Callable[[str], Row | None]) -> Iterator[Row]:
    """A row per command that writes, and one for all that print to a full device."""
    disk = None
    if SmallDisk.private():
        try:
            disk = SmallDisk(root.parent / "disk")
        except OSError:
            disk = None
    for name in SHORT if form.short else WRITERS:
        row = done(name)
        yield row if row else _filled(root, WRITERS[name], disk, form)
    name = "printing to /dev/full"
    yield done(name) or _printed(root, name, list(READERS.values())[: 2 if form.short else None])


def _filled(root: Path, command: Command, disk: SmallDisk | None, form: Form) -> Row:
    """Tries one command with too little room, in several shares of what it needs."""
    row, begun = Row("full disk", command.name), time.perf_counter()
    place = (disk.folder if disk else root.parent) / "full"
    draw = random.Random(f"{form.seed} {command.name}")
    with _roomy(disk):
        place_of(root, place, *command.parts)
        before = disk.used() if disk else 0
        whole = attempt(command, place, fault=lambda: counting(place))
        expected = numbers_in(place)
        needed = (disk.used() if disk else 0) - before
    if whole.code != 0:
        raise RuntimeError(f"{command.line}: undisturbed, exit code {whole.code}\n{whole.out}{whole.err}")
    shares = draw.sample(SHARES, 2 if form.short else form.of(len(SHARES)))
    for share in shares:
        with _roomy(disk):
            place_of(root, place, *command.parts)
            there = finished_in(place)
        if disk:
            disk.resize(-(-disk.used() // PAGE) * PAGE + int(share * needed) // PAGE * PAGE)
            ended = attempt(command, place, fault=one_host)
        else:
            first = 1 + int(share * whole.events)
            ended = attempt(command, place, fault=lambda first=first: _fails_from(first, place))
        row.count(*_judged(command, place, disk, ended, there, expected, share))
    shutil.rmtree(place, ignore_errors=True)
    row.seconds = time.perf_counter() - begun
    return row


def _fails_from(first: int, place: Path) -> None:
    """Every event from the n-th on finds no space, where it would take some."""
    one_host()

    def act(number: int, what: str, subject: Any) -> None:
        if number >= first and what in ("open", "os.mkdir", "fsync", "weights", "os.link", "os.symlink"):
            name = None if isinstance(subject, int) else os.fspath(subject)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    Events(place, act)


@contextmanager
def _roomy(disk: SmallDisk | None) -> Iterator[None]:
    """A disk with room, for what is prepared and judged."""
    if disk:
        disk.resize(ROOMY)
    yield


def _judged(
    command: Command,
    place: Path,
    disk: SmallDisk | None,
    ended: Ended,
    there: dict[str, str],
    expected: Any,
    share: float,
) -> tuple[str, str]:
    """The verdict: what was there before is there, and with room the same command ends with the same numbers."""
    text = f"{share:.0%} of the room: {ended.last}"
    with _roomy(disk):
        if "Traceback" in ended.err or ended.code not in (0, 2):
            return "traceback", text
        gone = [name for name, digest in there.items() if finished_in(place).get(name) != digest]
        if gone and command.keeps:
            return "lost", f"{text}; {gone[0]} is gone"
        if ended.code == 0:
            return ("harmless" if numbers_in(place) == expected else "silent"), text
        if not refused(ended):
            return "traceback", text
        kept = finished_in(place)
        again = attempt(command, place, fault=one_host)
        if again.code != 0:
            return "lost", f"{text}; with room: {again.last}"
        after = finished_in(place)
        changed = [name for name, digest in kept.items() if after.get(name) != digest] if command.keeps else []
        if changed or numbers_in(place) != expected:
            return "lost", f"{text}; with room, {changed[0] if changed else 'a number'} differs"
        return "one-line", text


def _printed(root: Path, name: str, commands: list[Command]) -> Row:
    """Every command that prints, its standard output on a full device."""
    row, begun, place = Row("full disk", name), time.perf_counter(), root.parent / "full"
    for command in commands:
        place_of(root, place, *command.parts)
        ended = attempt(command, place, stdout="/dev/full")
        row.count(
            judge(ended, None, ended.code), f"{command.name}: {ended.last}"
        )  # ended well: what was printed is gone
    row.seconds = time.perf_counter() - begun
    return row
