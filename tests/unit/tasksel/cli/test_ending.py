"""SIGTERM and a hang-up end a command as Ctrl-C does; what is promised of the next start is what the command keeps."""

import os
import signal
import time

import pytest

from tasksel.cli.app import Commands, run_command
from tasksel.cli.ending import BEGINS_AGAIN, signals_end_the_command

KEPT = "finished rows are stored; the same command computes the others"


@pytest.fixture
def app():
    """A command line of a command that keeps its work and one that does not; each sends its own process a signal."""
    commands = Commands("demo", "A demonstration.")

    def end(number: int = int(signal.SIGTERM), /) -> None:
        """End this process."""
        os.kill(os.getpid(), number)

    commands.command("keep", kept=KEPT)(end)
    commands.command("lose")(end)
    commands.group("inner", "More.").command("keep", kept=KEPT)(end)
    return commands


@pytest.fixture(autouse=True)
def signals():
    """As a terminal leaves them, whatever the tests were started by (`nohup` has a hang-up ignored) and whichever library set its own."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "the terminal has gone")],
)
def test_a_signal_has_its_line_and_exit_code(app, capsys, number, word):
    before = signal.getsignal(number)
    assert run_command(app, ["keep", str(int(number))]) == 128 + number
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{word}: {KEPT}\n")
    assert signal.getsignal(number) is before


def test_only_what_keeps_its_work_promises_to_go_on(app, capsys):
    assert run_command(app, ["lose"]) == 143
    assert capsys.readouterr().err == f"terminated: {BEGINS_AGAIN}\n"
    assert run_command(app, ["inner", "keep"]) == 143
    assert capsys.readouterr().err == f"terminated: {KEPT}\n"


def test_a_hang_up_that_is_ignored_stays_ignored(app, capsys):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run_command(app, ["keep", str(int(signal.SIGHUP))]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err == ""


def test_only_the_main_process_says_it(app, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run_command(app, ["keep"]) == 143
    assert capsys.readouterr().err == ""


class RaisesAsItGoes:
    """An object whose `__del__` is where the signal arrives: Python lets no exception out of it."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_a_destructor_swallows_ends_the_command_all_the_same(capsys, number):
    reached = []
    with pytest.raises(KeyboardInterrupt), signals_end_the_command():  # noqa: PT012
        RaisesAsItGoes(number)
        reached.append("after the destructor")
        time.sleep(5)
        reached.append("the end")
    assert reached == ["after the destructor"]
    assert "Traceback" not in capsys.readouterr().err
