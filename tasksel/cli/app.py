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
from pathlib import Path
from typing import Any

import tyro

from tasksel.cli.ending import last_line, signals_end_the_command
from tasksel.cli.failures import failure_line, plain_usage
from tasksel.display.progress import say
from tasksel.display.streams import Screen, complain, flush_output, lose_output, prepare_streams
from tasksel.errors import UserError, one_line, unknown
from tasksel.processes import is_main
from tasksel.storage.user_path import user_path

USAGE = 2
out = Screen()  # results; progress goes to standard error


def show(result: object) -> None:
    """Prints a result from the main process only: a text as it stands, or a table."""
    if is_main():
        if isinstance(result, str):
            out.write(result)
        else:
            out.print(result)


class Commands:
    """Functions as subcommands; parsing gives the call that the arguments ask for, which `run_command` then makes.

    `--help` lists each command with the first line of its docstring; a command's own `--help` shows the whole.

    >>> commands = Commands("demo", "A demonstration.")
    >>> @commands.command("double")
    ... def double(number: int) -> None:
    ...     "Double a number."
    ...     print(2 * number)
    >>> commands.parse(["double", "--number", "4"])()
    8
    """

    def __init__(self, prog: str, about: str) -> None:
        self._prog, self._about = prog, about
        self._commands: dict[str, Callable[..., Any] | Commands] = {}
        self._renamed: dict[str, str] = {}
        self._renamed_options: dict[str, Mapping[str, str]] = {}
        self._kept: dict[str, str] = {}

    def command(
        self, name: str, *, kept: str = "", formerly: str | None = None, formerly_options: Mapping[str, str] | None = None
    ) -> Callable[[Callable], Callable]:  # fmt: skip
        """Registers a function under a name.

        Args:
            kept: what is stored when it is interrupted, and what the same command does then; by default nothing is.
            formerly: the command's old name, which still works and says the new one.
            formerly_options: old options and their new names, likewise.
        """

        def register(function: Callable) -> Callable:
            self._commands[name] = function
            if kept:
                self._kept[name] = kept
            if formerly:
                self._renamed[formerly] = name
            self._renamed_options[name] = formerly_options or {}
            return function

        return register

    def group(self, name: str, about: str) -> Commands:
        """Subcommands of a subcommand; `about` is its line in the list of commands."""
        inner = Commands(f"{self._prog} {name}", about)
        self._commands[name] = inner
        return inner

    def names(self) -> list[str]:
        """Every command as it is typed, those of groups with their group's name."""
        return [
            full
            for name, command in self._commands.items()
            for full in ([f"{name} {inner}" for inner in command.names()] if isinstance(command, Commands) else [name])
        ]

    def kept(self, arguments: Sequence[str]) -> str:
        """What the command of these arguments stores before its end; empty where that is nothing."""
        name, *others = arguments or ("",)
        command = self._commands.get(name)
        return command.kept(others) if isinstance(command, Commands) else self._kept.get(name, "")

    def parse(self, arguments: Sequence[str]) -> Callable[[], Any]:
        """The call that these arguments ask for.

        Raises:
            UserError: an unknown option (with the nearest one).
            SystemExit: after `--help`; after any other mistake, which tyro has printed.
        """
        command = self._commands.get(arguments[0]) if arguments else None
        if command is None:
            return self._list().cli(prog=self._prog, description=self._about, args=arguments)
        if isinstance(command, Commands):
            return command.parse(arguments[1:])
        prog = f"{self._prog} {arguments[0]}"
        try:
            return tyro.cli(_deferred(command), prog=prog, args=arguments[1:])
        except SystemExit as error:
            if error.code not in (0, None):
                _check_options(command, arguments[1:], prog)
            raise

    def _list(self) -> tyro.extras.SubcommandApp:
        """The commands as tyro lists them, each with one line."""
        app = tyro.extras.SubcommandApp()
        for name, command in self._commands.items():
            if isinstance(command, Commands):
                app.command(command._list(), name=name, help=command._about)
            else:
                line = (command.__doc__ or "").strip().split("\n")[0]
                app.command(name=name, help=line)(_deferred(command))
        return app

    def today(self, arguments: Sequence[str]) -> list[str]:
        """The arguments with today's names for old ones, each of which is said.

        Raises:
            UserError: an unknown command (with the nearest one).
        """
        if not arguments or arguments[0].startswith("-"):
            return list(arguments)
        name = self._renamed.get(arguments[0], arguments[0])
        if name not in self._commands:
            raise unknown("command", name, self._commands, f"see {self._prog} --help")
        if name != arguments[0]:
            say(f"'{self._prog} {arguments[0]}' is now '{self._prog} {name}'")
        command = self._commands[name]
        if isinstance(command, Commands):
            return [name, *command.today(arguments[1:])]
        return [name, *(self._today(name, option) for option in arguments[1:])]

    def _today(self, command: str, option: str) -> str:
        """An option under today's name; `--old=value` keeps its value."""
        word, equals, value = option.partition("=")
        new = self._renamed_options[command].get(word)
        if new is None:
            return option
        say(f"'{word}' is now '{new}'")
        return f"{new}{equals}{value}"


def _deferred(function: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """The function with its signature and docstring, giving the call instead of making it."""

    @functools.wraps(function)
    def deferred(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        paths = {name: _expanded(value) for name, value in kwargs.items()}
        return functools.partial(function, *map(_expanded, args), **paths)

    return deferred


def _expanded(value: Any) -> Any:
    """An argument with `~` expanded in paths; a shell leaves it in quotes and after `--pool=`."""
    if isinstance(value, tuple):
        return tuple(map(_expanded, value))
    return user_path(value) if isinstance(value, Path) else value


def _check_options(command: Callable[..., Any], arguments: Sequence[str], prog: str) -> None:
    """Refuses an option that the command does not have.

    Raises:
        UserError: the first such option, with the nearest one.
    """
    # UTF-8, because tyro draws boxes around options only where these can be encoded
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        tyro.cli(_deferred(command), prog=prog, args=["--help"])
    shown.seek(0)
    known = options_in(shown.read())
    for word in arguments:
        option = word.partition("=")[0].replace("_", "-")  # tyro takes either
        if re.fullmatch(r"--[a-z][\w.-]*", option) and option not in known:
            raise unknown("option", word.partition("=")[0], known, f"see {prog} --help")


def options_in(text: str) -> list[str]:
    """The options that a command's `--help` lists, without their short forms.

    >>> options_in("│ -h, --help        show this │\\n│ --plan, --no-plan  see --jobs │\\n  demo --factor 2")
    ['--help', '--plan', '--no-plan']
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    starts = re.findall(r"^│ *((?:-\w, )?--[\w.-]+(?:, --[\w.-]+)*)", plain, flags=re.MULTILINE)
    return [option for start in starts for option in start.split(", ") if option.startswith("--")]


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
    prepare_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with signals_end_the_command():
            arguments = app.today(arguments)
            call = _parse(parse or app.parse, arguments)
            call()
            _leave_launch()
            flush_output()
    except Exception as error:
        line = failure_line(error)
        if line is None:
            raise
        if is_main():
            complain(f"error: {line}")
        return USAGE
    except KeyboardInterrupt as error:
        line, code = last_line(error, app.kept(arguments))
        if is_main():
            complain(line)
        return code
    return 0


def _parse(parse: Callable[[Sequence[str]], Callable[[], Any]], arguments: list[str]) -> Callable[[], Any]:
    """tyro's parser, with its boxed message as one line."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return parse(arguments)
    except SystemExit as error:
        if error.code in (0, None):
            flush_output()
            raise
        raise UserError(plain_usage(_flat(message.getvalue()))) from error
    except OSError as error:
        if error.filename is not None:
            raise
        lose_output(error)  # --help into a full device or a closed pipe
        raise SystemExit(0) from error


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
