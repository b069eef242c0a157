"""When a state is written: now and then, before a signal ends the process, and not in a short training."""

import errno
import json
import os
import signal
import textwrap
import time
from types import SimpleNamespace

import pytest
from toy_training import same, train

from tasksel.training import autosave, loop
from tasksel.training.checkpoints import RECORD, Checkpoint


class Handled(Exception):
    """What a handler of the test raises."""


@pytest.fixture
def writes(monkeypatch):
    """The step of each state that is written."""
    steps, plain = [], Checkpoint.write
    monkeypatch.setattr(
        Checkpoint, "write", lambda self, state: (steps.append(state.progress.step), plain(self, state))[1]
    )
    return steps


@pytest.fixture
def handler():
    """A handler of SIGTERM that raises, as the command line's does."""

    def raise_it(number, _frame):
        raise Handled(number)

    before = signal.signal(signal.SIGTERM, raise_it)
    yield raise_it
    signal.signal(signal.SIGTERM, before)


def send(number, at):
    """Sends this process a signal at a step."""
    return lambda step: step == at and bool(os.kill(os.getpid(), number))


class TestTime:
    def test_a_short_training_writes_nothing(self, tiny, tmp_path, writes):
        train(tiny, "one part", tmp_path / "state")
        assert writes == []
        assert list(tmp_path.iterdir()) == []

    def test_a_long_one_writes_every_minute_and_at_its_end(self, tiny, tmp_path, writes, monkeypatch):
        clock = iter(range(0, 100_000, 5))  # each look at the clock takes five seconds: one a step, two a write
        monkeypatch.setattr(autosave, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        monkeypatch.setattr(autosave, "SHARE", 1.0)
        train(tiny, "one part", tmp_path / "state")
        assert writes == [12, 18]

    @pytest.mark.parametrize(("took", "every"), [(0.1, 60.0), (1.0, 200.0), (30.0, 300.0)])
    def test_what_takes_long_to_write_is_written_less_often(self, tmp_path, took, every, monkeypatch):
        clock = iter([0.0, 10.0, 10.0 + took])
        monkeypatch.setattr(autosave, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        saver = autosave.Autosave(_Place(), _World(), lambda: None, "a toy")
        saver.save()
        assert saver._every == pytest.approx(every)

    def test_what_took_half_the_time_is_kept_at_its_end(self, tiny, tmp_path, writes, monkeypatch):
        monkeypatch.setattr(autosave, "EVERY", 0.3)
        slow = loop._Loop._update
        monkeypatch.setattr(
            loop._Loop, "_update", lambda self: (time.sleep(0.2 if self.step == 17 else 0), slow(self))[1]
        )
        train(tiny, "one part", tmp_path / "state")
        assert writes[-1] == 18


class _Place:
    def write(self, state):
        """Takes it."""


class _World:
    is_main_process, num_processes = True, 1


class TestSignals:
    def test_it_waits_for_the_step_and_the_state(self, tiny, tmp_path, handler, writes, said):
        whole, steps = train(tiny, "one part"), []

        def on_step(step):
            send(signal.SIGTERM, 7)(step)
            steps.append(step)

        with pytest.raises(Handled):
            train(tiny, "one part", tmp_path / "state", on_step=on_step)
        assert (steps, writes) == ([*range(1, 8)], [7])
        assert said == ["a toy: stopped, and its state is stored"]
        assert signal.getsignal(signal.SIGTERM) is handler
        assert same(train(tiny, "one part", tmp_path / "state"), whole)
        assert said[1:] == ["a toy: goes on from step 7 of 18"]

    def test_an_evaluation_need_not_end_first(self, tiny, tmp_path, handler, monkeypatch):
        whole, plain, seen = train(tiny, "a solved start"), loop.dev_score, []

        def score(*args, **options):
            seen.append("begun")
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(100):
                    time.sleep(0.01)
                seen.append("ended")
            return plain(*args, **options)

        monkeypatch.setattr(loop, "dev_score", score)
        with pytest.raises(Handled):
            train(tiny, "a solved start", tmp_path / "state")
        assert seen == ["begun"] * 3
        assert same(train(tiny, "a solved start", tmp_path / "state"), whole)

    def test_that_of_the_solved_start_too(self, tiny, tmp_path, handler, monkeypatch):
        whole, plain = train(tiny, "a solved start"), loop.dev_score
        monkeypatch.setattr(loop, "dev_score", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Handled):
            train(tiny, "a solved start", tmp_path / "state")
        monkeypatch.setattr(loop, "dev_score", plain)
        assert same(train(tiny, "a solved start", tmp_path / "state"), whole)

    def test_one_at_the_last_step_keeps_the_outcome(self, tiny, tmp_path, handler, writes, monkeypatch):
        whole = train(tiny, "no dev rows")
        with pytest.raises(Handled):
            train(tiny, "no dev rows", tmp_path / "state", on_step=send(signal.SIGTERM, 12))
        monkeypatch.setattr(loop._Loop, "_backward", lambda *_: pytest.fail("a step"))
        assert same(train(tiny, "no dev rows", tmp_path / "state"), whole)

    def test_where_the_handler_ends_nothing_training_goes_on(self, tiny, tmp_path, writes):
        seen = []
        before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
        try:
            again = train(tiny, "one part", tmp_path / "state", on_step=send(signal.SIGTERM, 7))
        finally:
            signal.signal(signal.SIGTERM, before)
        assert seen == [signal.SIGTERM]
        assert writes == [7, 18]
        assert same(again, train(tiny, "one part"))

    def test_one_that_is_ignored_stays_so(self, tiny, tmp_path, writes):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            train(tiny, "one part", tmp_path / "state", on_step=send(signal.SIGHUP, 7))
        finally:
            signal.signal(signal.SIGHUP, before)
        assert writes == []

    def test_without_a_place_signals_are_left_alone(self, tiny, handler):
        steps = []

        def on_step(step):
            steps.append(step)
            send(signal.SIGTERM, 7)(step)
            steps.append("after")

        with pytest.raises(Handled):
            train(tiny, "one part", on_step=on_step)
        assert steps[-1] == 7

    def test_a_second_ctrl_c_waits_for_nothing(self, tiny, tmp_path, writes):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
        steps = []

        def on_step(step):
            for _ in range(2 if step == 7 else 0):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            steps.append(step)

        try:
            with pytest.raises(KeyboardInterrupt):
                train(tiny, "one part", tmp_path / "state", on_step=on_step)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        finally:
            signal.signal(signal.SIGINT, before)
        assert (steps[-1], writes) == (6, [])

    def test_one_that_waits_is_not_lost_to_an_error(self, tiny, tmp_path, handler):
        def on_step(step):
            send(signal.SIGTERM, 7)(step)
            assert step < 7

        with pytest.raises(Handled):
            train(tiny, "one part", tmp_path / "state", on_step=on_step)


PROCESS = """
    import json, os, signal, sys
    from pathlib import Path
    from toy_training import train
    from tasksel.training import autosave

    folder, place, number, at = json.load(sys.stdin)
    if number == signal.SIGKILL:
        autosave.EVERY, autosave.SHARE = 0.0, float("inf")
    child = os.fork()
    if not child:
        train(folder, "three parts", Path(place), on_step=lambda step: step == at and os.kill(os.getpid(), number))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_ended_leaves_what_another_goes_on_from(tiny, tmp_path, fresh_process, number, said):
    """No handler of Python's is there: SIGTERM ends the process as it always does, once the state is stored."""
    asked = json.dumps([tiny, str(tmp_path / "state"), int(number), 11])
    assert int(fresh_process(textwrap.dedent(PROCESS), asked, ours=True).splitlines()[-1]) == -number
    assert same(train(tiny, "three parts", tmp_path / "state"), train(tiny, "three parts"))
    assert said == [f"a toy: goes on from step {11 if number == signal.SIGTERM else 10} of 30"]


class TestDisk:
    def test_a_full_one_is_named_once_and_training_goes_on(self, tiny, tmp_path, said, monkeypatch):
        def full(path, *_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        monkeypatch.setattr(autosave, "EVERY", 0.0)
        monkeypatch.setattr(autosave, "SHARE", float("inf"))
        monkeypatch.setattr("tasksel.training.checkpoints.write_hashed", full)
        again = train(tiny, "one part", tmp_path / "state")
        assert same(again, train(tiny, "one part"))
        assert len(said) == 1
        assert (
            "No space left on device; make room there, or give a path on another disk: the training goes on" in said[0]
        )
        assert not list(tmp_path.rglob(RECORD))

    def test_the_state_before_stays(self, tiny, tmp_path, monkeypatch, said):
        monkeypatch.setattr(autosave, "EVERY", 0.0)
        monkeypatch.setattr(autosave, "SHARE", float("inf"))
        plain, count = Checkpoint.write, []

        def write(self, state):
            count.append(1)
            if len(count) > 5:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            plain(self, state)

        monkeypatch.setattr(Checkpoint, "write", write)
        with pytest.raises(Handled):
            train(
                tiny, "one part", tmp_path / "state", on_step=lambda step: step == 9 and (_ for _ in ()).throw(Handled)
            )
        monkeypatch.setattr(Checkpoint, "write", plain)
        assert same(train(tiny, "one part", tmp_path / "state"), train(tiny, "one part"))
        assert said[-1] == "a toy: goes on from step 5 of 18"
