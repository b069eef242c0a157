"""One trial: a call in a forked child, with a fault that is set up there, and what came of it.

The parent imports everything once and trains nothing, so that a child costs a fork and no import (7 s), and inherits no thread of torch.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_inherited: list[Any] = []
LIMIT = 120.0  # seconds; a trial of a tiny model takes about one


@dataclass(frozen=True)
class Ended:
    """What came of a trial.

    Attributes:
        code: the exit code; below 0 the signal that ended it; None where it ran past the limit.
        value: what the call returned, through JSON; None where it did not return.
        events: file-system events that the child counted, where its fault counts them.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    value: Any = None
    events: int = 0

    @property
    def last(self) -> str:
        """The last line that was printed, errors first; of a traceback, also where it arose."""
        line = next((line for line in reversed(f"{self.out}\n{self.err}".splitlines()) if line.strip()), "")
        places = re.findall(r'^  File "(?:.*/)?([^/"]+)", line (\d+)', self.err, re.MULTILINE)
        return line + (f" ({places[-1][0]}:{places[-1][1]})" if places else "")


def import_everything() -> None:
    """Imports both packages whole, so that children import nothing."""
    import torch

    torch.set_num_threads(1)
    for name in ("tasksel", "scalearn"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def command(line: str | list[str]) -> int:
    """Runs a command of either package in this process; gives its exit code, or raises `SystemExit` as it does."""
    arguments = line.split() if isinstance(line, str) else line
    main = importlib.import_module(f"{arguments[0]}.cli.main").main
    sys.argv = [arguments[0], *arguments[1:]]
    code = main(arguments[1:])
    if code:
        raise SystemExit(code)
    return 0


def attempt(
    call: Callable[[], Any],
    place: Path,
    *,
    fault: Callable[[], Any] | None = None,
    limit: float = LIMIT,
    signals: tuple[tuple[float, int], ...] = (),
    stdout: str | None = None,
    also: Callable[[], Any] | None = None,
) -> Ended:
    """Makes a call in a child whose working folder is `place`; a `UserError` is exit code 2 with its line, as on the command line.

    Args:
        fault: called in the child first; its return value, if callable, gives the number of events at the end.
        signals: (seconds, signal) that the parent sends to the child.
        stdout: a file for the child's standard output, `/dev/full` say.
        also: called in the parent while the child runs; the trial ends when it and the child have.
    """
    notes = Path(tempfile.mkdtemp(prefix="trial-"))
    for name in ("out", "err"):
        (notes / name).touch()  # a child may be killed before it writes
    (place / "tmp").mkdir(exist_ok=True)
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        _be_child(call, place, fault, notes, stdout)
    if also:
        also()
    code = _wait(child, begun, limit, signals)
    _end_group(child)
    seconds = time.perf_counter() - begun
    out, err = ((notes / name).read_text(errors="replace") for name in ("out", "err"))
    value = notes / "value.json"
    told = json.loads(value.read_text()) if value.is_file() else {}
    shutil.rmtree(notes)
    return Ended(code, out, err, seconds, told.get("value"), told.get("events", 0))


def _wait(child: int, begun: float, limit: float, signals: tuple[tuple[float, int], ...]) -> int | None:
    """The child's exit code; None where it ran past the limit and was ended."""
    pending = list(signals)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        passed = time.perf_counter() - begun
        if pending and passed >= pending[0][0]:
            os.kill(child, pending.pop(0)[1])
        elif passed > limit:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        else:
            time.sleep(0.002)


def _end_group(child: int) -> None:
    """Waits a little for the child's own children, which shall end with it, and ends those that did not."""
    for _ in range(100):
        try:
            os.killpg(child, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return


def _be_child(
    call: Callable[[], Any], place: Path, fault: Callable[[], Any] | None, notes: Path, stdout: str | None
) -> None:
    """The child's life, from the fork to its end."""
    code, value, count = 1, None, None
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the call begins
        gc.callbacks.clear()  # hypothesis's would swallow a signal that comes while it runs
        os.setsid()
        os.chdir(place)
        for number, path in enumerate((os.devnull, stdout or str(notes / "out"), str(notes / "err"))):
            handle = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        _inherited.extend((sys.stdin, sys.stdout, sys.stderr))  # or their end would close what takes their place
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")  # as Python opens it
        tempfile.tempdir = str(place / "tmp")
        count = fault() if fault else None
        code, value = _outcome(call)
    except KeyboardInterrupt:  # between the call's end and the line after which signals are ignored
        code = 130
    except BaseException as error:  # noqa: BLE001  a fault of the suite itself
        os.write(2, f"Traceback: the trial could not begin: {error!r}\n".encode())
    finally:
        events = count() if callable(count) else 0
        (notes / "value.part").write_text(json.dumps({"value": value, "events": events}))
        (notes / "value.part").rename(notes / "value.json")
        os._exit(code)


def _outcome(call: Callable[[], Any]) -> tuple[int, Any]:
    """Exit code and value of the call; what it printed is flushed, as at the end of a process."""
    from tasksel.errors import UserError, one_line

    code, value = 1, None
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        value, code = call(), 0
    except UserError as error:
        code = 2
        sys.stderr.write(f"error: {one_line(error)}\n")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001  what a user would see
        traceback.print_exc()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            code = 120  # what Python exits with
            os.write(2, f"Exception ignored: {error!r}\nTraceback at the end of the process\n".encode())
    return code, value
