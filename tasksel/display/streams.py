"""Standard output and error as they are: a pipe without a width, ASCII alone, closed or full; and nothing that steers a terminal.

Words of users (labels, texts, names, cards) are printed, so every line and table goes through a `Screen`.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleDimensions
from rich.segment import Segment
from rich.text import Text

from tasksel.errors import UserError

WIDE = 10_000  # letters of a line that goes into a pipe or a file, which has no width of its own
# ECMA-48: an operating system command and the other strings up to their end, a control sequence, any other escape
ESCAPES = re.compile(r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?")  # fmt: skip
# control characters but tab and line end; line and paragraph separators; embeddings, overrides and isolates of direction
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# our own signs where a stream cannot encode them; any other character goes as its escape
SIGNS = {"█": "#", "±": "+-", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "×": "x", "≥": ">=", "≤": "<=", "·": "-"}  # fmt: skip
SIGNS |= {**dict.fromkeys("─━═╌", "-"), **dict.fromkeys("│┃║", "|"), **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╇╈┏┓┗┛┡┩", "+")}
SIGNS |= dict(zip("▁▂▃▄▅▆▇", "._-=+*%", strict=True))


def printable(text: str) -> str:
    """A text without what a terminal obeys or hides: escape sequences, control characters, overrides of direction.

    >>> printable("\\x1b[31mred\\x1b[0m\\rgreen\\u202e")
    'redgreen'
    """
    return text if text.isascii() and text.isprintable() else CONTROLS.sub("", ESCAPES.sub("", text))


def _legible(error: UnicodeError) -> tuple[str, int]:
    """What is written for characters that a stream cannot encode: our own signs in ASCII, else the escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = (SIGNS.get(sign) or ascii(sign)[1:-1] for sign in error.object[error.start : error.end])
    return "".join(signs), error.end


codecs.register_error("legible", _legible)


class Screen(Console):
    """A console for lines and tables with users' words in them.

    Compared with `rich.console.Console`: nothing in a text is markup or steers the terminal; without a terminal a line is as wide as its
    content; whoever closes a pipe ends the printing and not the work.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    @property
    def on_terminal(self) -> bool:
        """Whether a person looks at it, whatever FORCE_COLOR says."""
        try:
            return self.is_terminal and self.file.isatty() and not self.is_dumb_terminal
        except ValueError:  # a closed file
            return False

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines; without a terminal, wider than any table."""
        return super().size if self.on_terminal else ConsoleDimensions(max(WIDE, self._width or 0), 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def write(self, text: str) -> None:
        """Writes a text as it stands, with its tabs, however long its lines are."""
        with self:
            self._buffer.append(Segment(f"{text}\n"))

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text; a table measures its cells by this."""
        return super().render_str(printable(text), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        cleaned = (
            segment if segment.control else Segment(printable(segment.text), segment.style) for segment in buffer
        )
        return super()._render_buffer(cleaned)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:  # a full device: progress goes without, a result does not
            del self._buffer[:]
            _mute(self.file)
            if not self.stderr:
                raise _unwritable(error) from error

    def on_broken_pipe(self) -> None:
        """Writes to nowhere from here on: the reader wants no more, and the work goes on."""
        del self._buffer[:]
        _mute(self.file)


def as_text(shown: Any) -> str:
    """What a screen without a width shows of a table, without colour.

    >>> as_text(Text("score  80.0"))
    'score  80.0'
    """
    lines = io.StringIO()
    Screen(file=lines, no_color=True).print(shown)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines())


def _unwritable(error: OSError) -> UserError:
    return UserError(f"standard output: {error.strerror}; make room there, or write to another place")


def _mute(stream: IO[str]) -> None:
    """Lets what a stream still holds, and all that comes, go nowhere: Python would complain again as it ends."""
    with contextlib.suppress(OSError, ValueError):  # no file of the system, such as a StringIO
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def prepare_streams() -> None:
    """Standard output and error write every character, those that they cannot encode as `_legible` says."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and not stream.closed:
            stream.reconfigure(errors="legible")


def flush_output() -> None:
    """Writes what standard output still holds.

    Raises:
        UserError: it cannot be written, and not because a reader has gone.
    """
    if sys.stdout is None or sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        lose_output(error)


def lose_output(error: OSError) -> None:
    """Lets all that standard output holds go nowhere, after a failed write.

    Raises:
        UserError: the write failed for another reason than a reader that has gone.
    """
    _mute(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        raise _unwritable(error) from error


def complain(line: str) -> None:
    """A line on standard error, where there is one."""
    try:
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # none, full or closed: nobody listens
        if sys.stderr is not None:
            _mute(sys.stderr)
