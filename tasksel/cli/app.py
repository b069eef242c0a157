"""The command line's manners: a user's mistake is one line on standard error and exit code 2, never a traceback."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro
from rich.console import Console

from tasksel.display.progress import say
from tasksel.errors import UserError, one_line, unknown
from tasksel.processes import is_main

USAGE, INTERRUPTED = 2, 130
out = Console()  # results; what is said on the way goes to standard error


def show(result: object) -> None:
    """Prints a result (a text whole, whatever the terminal's width; or a table), from the main process only."""
    if is_main():
        out.print(result, markup=False, highlight=False, soft_wrap=isinstance(result, str))


class Commands:
    """Functions as subcommands: parsing gives the call that is asked for, still to be made."""

    def __init__(self, prog: str, about: str | None) -> None:
        self._app, self._prog, self._about = tyro.extras.SubcommandApp(), prog, about
        self._names: dict[str, Commands | None] = {}
        self._renamed: dict[str, str] = {}
        self._renamed_options: dict[str, Mapping[str, str]] = {}

    def command(
        self, name: str, *, formerly: str | None = None, formerly_options: Mapping[str, str] | None = None
    ) -> Callable[[Callable], Callable]:
        """Registers a function under a name.

        Args:
            formerly: the command's old name, which still works and says the new one.
            formerly_options: old options and their new names, likewise.
        """

        def register(function: Callable) -> Callable:
            @functools.wraps(function)
            def deferred(*args: Any, **kwargs: Any) -> Callable[[], Any]:
                return functools.partial(function, *args, **kwargs)

            self._names[name] = None
            self._app.command(name=name)(deferred)
            if formerly:
                self._renamed[formerly] = name
            self._renamed_options[name] = formerly_options or {}
            return function

        return register

    def group(self, name: str) -> Commands:
        """Subcommands of a subcommand."""
        inner = Commands(f"{self._prog} {name}", None)
        self._names[name] = inner
        self._app.command(inner._app, name=name)
        return inner

    def names(self) -> list[str]:
        """Every command as it is typed, those of groups with their group's name."""
        return [
            full
            for name, inner in self._names.items()
            for full in ([name] if inner is None else [f"{name} {one}" for one in inner.names()])
        ]

    def parse(self, arguments: Sequence[str]) -> Callable[[], Any]:
        """The call that these arguments ask for."""
        return self._app.cli(prog=self._prog, description=self._about, args=arguments)

    def today(self, arguments: Sequence[str]) -> list[str]:
        """The arguments with today's names for old ones, each of which is said.

        Raises:
            UserError: an unknown command (with the nearest one).
        """
        if not arguments or arguments[0].startswith("-"):
            return list(arguments)
        name = self._renamed.get(arguments[0], arguments[0])
        if name not in self._names:
            raise unknown("command", name, self._names, f"see {self._prog} --help")
        if name != arguments[0]:
            say(f"'{self._prog} {arguments[0]}' is now '{self._prog} {name}'")
        inner = self._names[name]
        if inner is not None:
            return [name, *inner.today(arguments[1:])]
        return [name, *(self._today(name, option) for option in arguments[1:])]

    def _today(self, command: str, option: str) -> str:
        """An option under today's name; `--old=value` keeps its value."""
        word, equals, value = option.partition("=")
        new = self._renamed_options[command].get(word)
        if new is None:
            return option
        say(f"'{word}' is now '{new}'")
        return f"{new}{equals}{value}"


def run_command(
    app: Commands,
    argv: Sequence[str] | None = None,
    *,
    parse: Callable[[Sequence[str]], Callable[[], Any]] | None = None,
) -> int:
    """Parses and runs a command; gives its exit code.

    Args:
        parse: turns arguments into the call they ask for (and exits on a mistake, as tyro does); by default `app.parse`.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        call = _parse(parse or app.parse, app.today(arguments))
        call()
        _leave_launch()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.filename is None:  # no file or folder of the user's: a fault of ours
            raise
        if is_main():
            sys.stderr.write(f"error: {_said(error)}\n")
        return USAGE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: what is finished is stored; the same command goes on from there\n")
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
