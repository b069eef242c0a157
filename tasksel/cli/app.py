"""The command line's manners: a user's mistake is one line on standard error and exit code 2, never a traceback."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from tasksel.errors import UserError, one_line, unknown
from tasksel.processes import is_main

USAGE, INTERRUPTED = 2, 130


class Commands:
    """Functions as subcommands: parsing gives the call that is asked for, still to be made."""

    def __init__(self, prog: str, about: str | None) -> None:
        self._app, self._prog, self._about = tyro.extras.SubcommandApp(), prog, about
        self._names: dict[str, Commands | None] = {}

    def command(self, name: str | None = None) -> Callable[[Callable], Callable]:
        """Registers a function, by default under its own name."""

        def register(function: Callable) -> Callable:
            @functools.wraps(function)
            def deferred(*args: Any, **kwargs: Any) -> Callable[[], Any]:
                return functools.partial(function, *args, **kwargs)

            called = (name or function.__name__).replace("_", "-")
            self._names[called] = None
            self._app.command(name=called)(deferred)
            return function

        return register

    def group(self, name: str) -> Commands:
        """Subcommands of a subcommand."""
        inner = Commands(self._prog, None)
        self._names[name] = inner
        self._app.command(inner._app, name=name)
        return inner

    def parse(self, arguments: Sequence[str]) -> Callable[[], Any]:
        """The call that these arguments ask for.

        Raises:
            UserError: an unknown command (with the nearest one).
        """
        self._check(arguments)
        return self._app.cli(prog=self._prog, description=self._about, args=arguments)

    def _check(self, arguments: Sequence[str]) -> None:
        if arguments and not arguments[0].startswith("-"):
            if arguments[0] not in self._names:
                raise unknown("command", arguments[0], self._names, f"see {self._prog} --help")
            inner = self._names[arguments[0]]
            if inner is not None:
                inner._check(arguments[1:])


def run_command(parse: Callable[[Sequence[str]], Callable[[], Any]], argv: Sequence[str] | None = None) -> int:
    """Parses and runs a command; gives its exit code.

    Args:
        parse: turns arguments into the call they ask for (and exits on a mistake, as tyro does).
    """
    warnings.filterwarnings("ignore", category=FutureWarning)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        call = _parse(parse, arguments)
        call()
        _leave_launch()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.filename is None:  # no file or folder of the user's: a fault of ours
            raise
        if is_main():
            print(f"error: {_said(error)}", file=sys.stderr)  # noqa: T201 (the command line speaks)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted: what is finished is stored; the same command goes on from there", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return 0


def _said(error: UserError | OSError) -> str:
    """A mistake in one line."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}; give another path, or make room there"
    return one_line(error)


def _parse(parse: Callable[[Sequence[str]], Callable[[], Any]], arguments: list[str]) -> Callable[[], Any]:
    """tyro's parser, with its boxed complaint put into one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return parse(arguments)
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise UserError(_flat(complaint.getvalue())) from error


def _flat(box: str) -> str:
    """The words of a box of text, with rules as semicolons.

    >>> _flat("╭─ Wrong ─╮\\n│ no  │\\n│ ──── │\\n│ Perhaps you meant: │\\n│    --lr │\\n╰──╯")
    'no; Perhaps you meant: --lr'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip(" │") for line in text.splitlines() if not line.lstrip().startswith(("╭", "╰"))]
    parts = re.split(r"[─-]{3,}", " ".join(lines))  # "-" where the terminal knows no box characters
    return "; ".join(" ".join(part.split()) for part in parts if part.strip()) or one_line(ValueError(text))


def _leave_launch() -> None:
    """Ends a launch of several processes together: gloo may abort at exit otherwise."""
    if "RANK" in os.environ:
        from accelerate import PartialState

        state = PartialState()
        state.wait_for_everyone()
        state.destroy_process_group()
