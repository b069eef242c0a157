"""What is printed: whole lines without a terminal, every character on any stream, and nothing that steers a terminal."""

import errno
import io
import sys

import pytest
from rich.table import Table
from rich.text import Text

from tasksel.display.streams import Screen, complain, flush_output, prepare_streams, printable
from tasksel.display.tables import Block, Sheet, Terminal, items
from tasksel.errors import UserError

HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ a\rb \x9b2Jc \u202eevil\u2066 \x08\x00[bold]x[/] \u2028d"
CLEAN = "red link ab c evil [bold]x[/] d"


class Stream(io.TextIOWrapper):
    """A stream of an encoding, a terminal or not."""

    def __init__(self, encoding="utf-8", terminal=False):
        super().__init__(io.BytesIO(), encoding=encoding, newline="")
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    @property
    def written(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


class Unwritable:
    """A stream that takes nothing."""

    encoding, closed = "utf-8", False

    def __init__(self, error):
        self.error, self.tried = error, 0

    def isatty(self):
        return False

    def write(self, text=""):
        self.tried += 1
        raise self.error

    flush = write

    def fileno(self):
        raise OSError("no file of the system")


@pytest.fixture
def stdout(monkeypatch):
    """Puts a stream in the place of standard output and gives it."""

    def replace(stream):
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return replace


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, CLEAN),
        ("plain, with tab\tand\nline", "plain, with tab\tand\nline"),
        ("späte Züge, 漢字, \u200fעברית, e\u0301, 👩\u200d👧", "späte Züge, 漢字, \u200fעברית, e\u0301, 👩\u200d👧"),
        ("\x1b]an unended title and more", "an unended title and more"),
        ("\x1b\x1b[31mtwice", "twice"),
        ("\x1bPdevice\x1b\\kept\x1b", "kept"),
        ("\x1b(0lqk", "lqk"),
        ("", ""),
    ],
)
def test_a_text_keeps_its_words_and_nothing_that_a_terminal_obeys(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def hostile_table():
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    return table


@pytest.mark.parametrize("terminal", [False, True])
def test_neither_lines_nor_tables_steer_a_terminal(stdout, monkeypatch, terminal):
    monkeypatch.setenv("TERM", "xterm")
    stream = stdout(Stream(terminal=terminal))
    screen = Screen(color_system=None)
    screen.write(HOSTILE)
    screen.print(HOSTILE, soft_wrap=True)
    screen.print(hostile_table())
    screen.print(Terminal(Sheet("a", HOSTILE, (HOSTILE, "b"), (Block("", (items(HOSTILE, "1"),)),), (HOSTILE,))))
    assert printable(stream.written) == stream.written
    assert stream.written.count("[bold]x[/]") >= 8


def test_a_table_in_a_pipe_is_as_wide_as_its_content(stdout, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = stdout(Stream())
    table = Table("name", "words")
    table.add_row("a" * 90, "many words " * 30)
    Screen().print(table)
    assert "a" * 90 in stream.written
    assert ("many words " * 30).strip() in stream.written
    assert max(map(len, stream.written.splitlines())) < 450


def test_a_table_in_a_terminal_fits_it(stdout, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    stream = stdout(Stream(terminal=True))
    table = Table("words")
    table.add_row("many words " * 30)
    Screen(color_system=None).print(table)
    assert max(map(len, stream.written.splitlines())) == 60


def test_tabs_and_long_lines_stay_as_they_are(stdout):
    stream = stdout(Stream())
    Screen().write("yes\tno\t" + "word " * 4000 + "end")
    assert stream.written == "yes\tno\t" + "word " * 4000 + "end\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_character_is_written_in_any_encoding(stdout, encoding):
    stream = stdout(Stream(encoding))
    prepare_streams()
    table = Table("0.5 ± 0.1", "漢")
    table.add_row("█ – … \udcff", "é")
    screen = Screen()
    screen.print(table)
    screen.write("█ ± – 漢 \udcff")
    assert "\\udcff" in stream.written
    assert ("漢" in stream.written) == (encoding == "utf-8")
    assert ("\\u6f22" in stream.written) == (encoding != "utf-8")
    if encoding == "ascii":
        assert "# +- - \\u6f22" in stream.written
        assert "+-------" in stream.written  # the table's lines


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_device_is_said_of_results_and_not_of_progress(stdout, monkeypatch, code):
    full = Unwritable(OSError(code, "No space left on device"))
    stdout(full)
    monkeypatch.setattr(sys, "stderr", full)
    for write in (Screen().write, Screen().print, lambda _: flush_output()):
        with pytest.raises(UserError, match="standard output: No space left on device"):
            write("a result")
    Screen(stderr=True).print("progress")
    complain("error: a mistake")
    assert full.tried == 5


def test_a_closed_pipe_is_silent_and_the_work_goes_on(stdout):
    gone = stdout(Unwritable(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    screen = Screen()
    screen.write("a result")
    screen.print(hostile_table())
    flush_output()
    assert gone.tried == 3


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_a_stream_nothing_is_said(monkeypatch, stream):
    if stream:
        stream = Stream()
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    flush_output()
    complain("error: a mistake")
    assert sys.stdout is stream
