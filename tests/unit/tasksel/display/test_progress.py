"""Progress without a terminal: plain lines, ten seconds apart at least, and one at the end of a long phase."""

import itertools
import sys

import pytest

from tasksel.display import progress
from tasksel.display.progress import bar, console


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves; it gives when each line was written."""

    class Clock:
        now, lines = 1000.0, ()

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    clock.lines = []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(progress, "say", lambda line: clock.lines.append((clock.now - 1000.0, line)))
    monkeypatch.setattr(progress, "_lines", progress._Lines())
    return clock


def run(clock, steps, seconds, label="train", note=""):
    with bar(label, steps) as advance:
        for _ in range(steps):
            clock.sleep(seconds)
            advance(note)


@pytest.mark.parametrize(
    ("steps", "seconds"), [(300, 0.1), (30, 1), (12, 2.5), (7, 9.9), (3, 11), (1, 60), (1000, 0.02)]
)
def test_lines_are_ten_seconds_apart_and_the_last_says_the_end(clock, steps, seconds):
    run(clock, steps, seconds)
    times = [0.0, *(time for time, _ in clock.lines)]
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))
    assert all(later - earlier <= 20 + seconds for earlier, later in itertools.pairwise(times))
    assert times[-1] == pytest.approx(steps * seconds)
    assert clock.lines[-1][1].startswith(f"train {steps}/{steps} in ")


def test_a_line_says_how_far_how_long_and_the_note(clock):
    run(clock, 40, 3, note="loss 0.5")
    assert clock.lines[0][1] == "train 4/40 in 0:12, about 1:48 left; loss 0.5"


def test_short_phases_are_silent_and_many_of_them_are_not(clock):
    run(clock, 4, 2)
    assert clock.lines == []
    with bar("glue", 30) as advance:
        for number in range(30):
            run(clock, 2, 1, label=f"task {number}")
            advance()
    assert len(clock.lines) in (5, 6)
    assert clock.lines[0][1].startswith("glue ")
    times = [time for time, _ in clock.lines]
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))


def test_an_inner_phase_names_the_outer_one(clock):
    with bar("glue", 3) as advance:
        advance()
        run(clock, 10, 5, label="rte")
    assert clock.lines[0][1].startswith("glue 1/3, rte 2/10 in 0:10, about 0:40 left")


def test_a_phase_that_fails_leaves_nothing_behind(clock):
    with pytest.raises(ZeroDivisionError), bar("outer", 2), bar("inner", 2):
        raise ZeroDivisionError
    run(clock, 2, 20, label="next")
    assert all(line.startswith("next") for _, line in clock.lines)


def test_a_worker_process_writes_no_lines(clock, monkeypatch):
    monkeypatch.setattr(progress.multiprocessing, "parent_process", lambda: object())
    run(clock, 10, 20)
    assert clock.lines == []


def test_a_worker_of_a_cluster_writes_no_lines_either(clock, monkeypatch):
    monkeypatch.setattr(progress, "_counted_elsewhere", False)
    progress.write_no_phases()
    run(clock, 10, 20)
    assert clock.lines == []


def test_a_forced_colour_makes_no_terminal_of_a_pipe(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not console.on_terminal
    with bar("train", 2) as advance:
        advance("[/red]")
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_live_bar_with_words_that_are_no_markup(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(console, "is_interactive", True)
    with bar("train [/red]", 2) as advance:
        advance("[bold]")
        progress._live[0].refresh()
    shown = capsys.readouterr().err
    assert "train [/red]" in shown
    assert "[bold]" in shown
