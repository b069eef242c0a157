"""Tests of the command line's manners: one line and an exit code for every mistake."""

import pytest

from tasksel.cli.app import Commands, run_command
from tasksel.display.progress import bar, console, say
from tasksel.errors import UserError, one_line, unknown
from tasksel.processes import is_main


@pytest.fixture
def app():
    """A command line of three commands, one of them in a group."""
    commands = Commands("demo", "A demonstration.")

    @commands.command("add-up", formerly="sum", formerly_options={"--times": "--factor"})
    def add_up(number: int = 1, /, factor: float = 1.0) -> None:
        """Add up.

        Example: demo add-up 4
        """
        if number == 13:
            raise UserError("thirteen is\nnot a number that we add;\n  give another")
        if number == 14:
            raise KeyboardInterrupt
        if number == 15:
            raise ZeroDivisionError("a bug of ours")
        print(number * factor)  # noqa: T201

    inner = commands.group("inner", "Two more.")

    @inner.command("list")
    def list_things() -> None:
        """List.

        Example: demo inner list
        """
        print("things")  # noqa: T201

    @inner.command("drop")
    def drop() -> None:
        """Drop."""

    return commands


def test_a_command_runs(app, capsys):
    assert run_command(app, ["add-up", "4", "--factor", "2.5"]) == 0
    assert run_command(app, ["inner", "list"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "10.0\nthings\n"
    assert captured.err == ""


def test_a_users_mistake_is_one_line_and_exit_code_2(app, capsys):
    assert run_command(app, ["add-up", "13"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: thirteen is not a number that we add; give another\n"
    assert captured.out == ""


def test_old_names_still_work_and_say_the_new_ones(app, capsys):
    assert run_command(app, ["sum", "4", "--times=2.5"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "10.0\n"
    assert captured.err == "'demo sum' is now 'demo add-up'\n'--times' is now '--factor'\n"


def test_every_command_is_named_as_it_is_typed(app):
    assert app.names() == ["add-up", "inner list", "inner drop"]


def test_only_the_main_process_says_it(app, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run_command(app, ["add-up", "13"]) == 2
    assert capsys.readouterr().err == ""


def test_an_interrupt_is_exit_code_130(app, capsys):
    assert run_command(app, ["add-up", "14"]) == 130
    assert capsys.readouterr().err == "interrupted: the same command starts from the beginning\n"


def test_a_bug_of_ours_is_not_hidden(app):
    with pytest.raises(ZeroDivisionError):
        run_command(app, ["add-up", "15"])


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["add-up", "1", "--facter", "2"], "--factor"),
        (["add-up", "one"], "one"),
        (["add-upp"], "add-up"),
        (["inner", "lst"], "list"),
        (["inner"], "list"),
        ([], "add-up"),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(app, capsys, arguments, answer):
    assert run_command(app, arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert answer in captured.err
    assert not set(captured.err) & set("╭╮╰╯│─\x1b")


def test_help_is_no_mistake(app, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(app, ["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "A demonstration." in shown


def test_help_lists_a_command_by_one_line_and_its_own_help_has_the_rest(app, capsys):
    shown = {}
    for arguments in (["--help"], ["add-up", "--help"], ["inner", "--help"]):
        with pytest.raises(SystemExit) as caught:
            run_command(app, arguments)
        assert caught.value.code == 0
        shown[arguments[0]] = capsys.readouterr().out
    assert "Add up." in shown["--help"]
    assert "Two more." in shown["--help"]
    assert "demo add-up 4" not in shown["--help"]
    assert "demo add-up 4" in shown["add-up"]
    assert "List." in shown["inner"]
    assert "demo inner list" not in shown["inner"]


@pytest.mark.parametrize("option", ["--facter", "--facter=2", "--fact", "--faktor"])
def test_an_unknown_option_is_answered_with_the_nearest(app, capsys, option):
    assert run_command(app, ["add-up", "1", option, "2"]) == 2
    word = option.partition("=")[0]
    said = f"error: no option '{word}'; did you mean '--factor'? 2 known: --factor, --help; see demo add-up --help\n"
    assert capsys.readouterr().err == said


def test_a_user_error_is_a_value_error_in_one_line():
    assert issubclass(UserError, ValueError)
    assert one_line(UserError("two\n   lines")) == "two lines"
    assert one_line(UserError("")) == "UserError"


def test_an_unknown_name_says_how_many_are_known():
    many = [f"task_{i:02}" for i in range(20)]
    said = str(unknown("task", "task_3", many, "see them all: tasksel ls"))
    assert said.startswith("no task 'task_3'; did you mean 'task_")
    assert "20 known: task_00, " in said
    assert said.endswith("task_11, …; see them all: tasksel ls")
    assert str(unknown("task", "zzz", ["a", "b"])) == "no task 'zzz'; 2 known: a, b"


class TestProgress:
    def test_speaks_on_standard_error_from_the_main_process_only(self, capsys, monkeypatch):
        say("one [bold]line[/bold]")
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "one [bold]line[/bold]\n")
        monkeypatch.setenv("RANK", "1")
        assert not is_main()
        say("unheard")
        assert capsys.readouterr().err == ""

    def test_bars_nest_and_end_after_a_failure(self, capsys):
        def fail():
            with bar("outer", 2) as advance:
                with bar("inner", 1) as step:
                    step("loss 0.1")
                    say("heard")
                advance()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with bar("again", 1) as advance:
            advance()
        assert "heard" in capsys.readouterr().err
        assert console.stderr
