"""A training that is killed goes on to the same bits; a state of anything else, or a damaged one, is never used."""

import contextlib
import random
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from toy_training import CASES, RECIPE, model_and_parts, same, train

from tasksel.training import autosave, loop
from tasksel.training.checkpoints import RECORD, TENSORS, Checkpoints, resumable
from tasksel.training.recipe import Recipe


class Killed(Exception):
    """Stands for the end of a process: nothing in the loop handles it."""


@pytest.fixture
def always(monkeypatch):
    """The state is written after each step."""
    monkeypatch.setattr(autosave, "EVERY", 0.0)
    monkeypatch.setattr(autosave, "SHARE", float("inf"))


def kill_at(*steps):
    """Ends the run after each of these steps, once."""
    left = set(steps)

    def on_step(step):
        if step in left:
            left.remove(step)
            raise Killed
        return False

    return on_step


def train_until_done(folder, case, place, *steps):
    """Trains a case, killed after these steps and started anew each time."""
    on_step, starts = kill_at(*steps), 0
    while True:
        starts += 1
        try:
            return train(folder, case, place, on_step=on_step), starts
        except Killed:
            assert starts <= len(steps)


class TestSameNumbers:
    @pytest.mark.parametrize("case", CASES)
    def test_however_often_it_is_killed(self, tiny, tmp_path, always, case):
        whole = train(tiny, case)
        draw, steps = random.Random(case), whole[1][4]
        kills = sorted({steps, *draw.sample(range(1, steps), min(3, steps - 1))})
        again, starts = train_until_done(tiny, case, tmp_path / "state", *kills)
        assert same(again, whole)
        assert starts == len(kills) + 1
        assert not same(train(tiny, case, seed=4), whole)

    def test_from_a_state_that_is_some_steps_old(self, tiny, tmp_path, always, monkeypatch):
        place, plain = tmp_path / "state", autosave.Autosave.after_step
        monkeypatch.setattr(autosave.Autosave, "after_step", lambda self, step: step % 4 or plain(self, step))
        again, _ = train_until_done(tiny, "three parts", place, 7, 23)
        assert same(again, train(tiny, "three parts"))

    def test_no_step_is_done_twice_but_the_one_that_was_not_written(self, tiny, tmp_path, always):
        steps = []
        on_step = kill_at(5)
        for _ in range(2):
            with contextlib.suppress(Killed):
                train(tiny, "one part", tmp_path / "state", on_step=lambda step: (steps.append(step), on_step(step))[1])
        assert steps == [1, 2, 3, 4, 5, *range(5, 19)]

    def test_a_penalty_and_groups_of_its_own(self, tiny, tmp_path, always):
        """The first rate is the bias', whose L1 term pulls at it."""

        def go(place, on_step=None):
            model, (part,) = model_and_parts(tiny, "one part")
            bias, *others = [p for p in model.parameters() if p.requires_grad]
            options = {"groups": [{"params": [bias], "lr": 1e-2, "weight_decay": 0.0}, {"params": others}], "penalty": lambda: 3 * bias.abs().sum()}  # fmt: skip
            checkpoints = Checkpoints(place, "key") if place else None
            run = loop.fit_parts(
                model, [part], Recipe(**RECIPE), seed=0, checkpoints=checkpoints, on_step=on_step, **options
            )
            return loop.trained_state(model), run.history

        whole = go(None)
        with pytest.raises(Killed):
            go(tmp_path / "state", kill_at(7))
        assert same(go(tmp_path / "state"), whole)

    def test_what_a_hook_remembers(self, tiny, tmp_path, always):
        class Counter:
            """Ends the training at the tenth step whose number is even."""

            def __init__(self, *kills):
                self.even, self.kill = torch.zeros(1), kill_at(*kills)

            def count(self, step):
                self.kill(step)
                self.even += step % 2 == 0
                return bool(self.even == 8)

            def state_dict(self):
                return {"even": self.even}

            def load_state_dict(self, state):
                self.even = state["even"].clone()

        whole, one = train(tiny, "one part", on_step=Counter().count), Counter(6)
        with pytest.raises(Killed):
            train(tiny, "one part", tmp_path / "state", on_step=one.count, stateful=one)
        another = Counter()
        again = train(tiny, "one part", tmp_path / "state", on_step=another.count, stateful=another)
        assert same(again, whole)
        assert again[1][4] == 16

    def test_in_bf16(self, tiny, tmp_path, always, monkeypatch):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            whole = train(tiny, "one part")
            assert same(train_until_done(tiny, "one part", tmp_path / "state", 8)[0], whole)
        finally:
            monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
            AcceleratorState._reset_state(reset_partial_state=True)
        assert not same(train(tiny, "one part"), whole)

    def test_a_training_that_is_over_is_not_repeated(self, tiny, tmp_path, always, monkeypatch):
        whole = train(tiny, "three parts", tmp_path / "state")
        monkeypatch.setattr(loop._Loop, "_backward", lambda *_: pytest.fail("a step"))
        monkeypatch.setattr(loop, "dev_score", lambda *_, **__: pytest.fail("an evaluation"))
        assert same(train(tiny, "three parts", tmp_path / "state"), whole)

    def test_the_seconds_of_all_starts_count(self, tiny, tmp_path, always, monkeypatch):
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=iter(range(0, 10_000, 7)).__next__))
        with pytest.raises(Killed):
            train(tiny, "one part", tmp_path / "state", on_step=kill_at(9))
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: 0))
        model, (part,) = model_and_parts(tiny, "one part")
        options = {"checkpoints": Checkpoints(tmp_path / "state", "key"), "label": "a toy"}
        assert (
            loop.fit_parts(model, [part], Recipe(**RECIPE), seed=3, **options).seconds == 8 * 7
        )  # each state's first look


class TestOtherStates:
    """A state that lies there is used only where all that decides the numbers is the same."""

    @pytest.fixture
    def state(self, tiny, tmp_path, always):
        """The state of a training that was killed after step 9."""
        with pytest.raises(Killed):
            train(tiny, "one part", tmp_path / "state", on_step=kill_at(10))
        return tmp_path / "state"

    def begins_anew(self, tiny, state, **options):
        steps = []
        train(tiny, "one part", state, on_step=lambda step: steps.append(step), **options)
        return steps[0] == 1

    def test_the_same_one_is(self, tiny, state, said):
        assert not self.begins_anew(tiny, state)
        assert said == ["a toy: goes on from step 9 of 18"]

    @pytest.mark.parametrize(
        "other",
        [{"key": "another base"}, {"seed": 4}, {"recipe": {"lr": 2e-3}}, {"recipe": {"epochs": 4}}, {"recipe": {"micro_batch": 8}}],
        ids=str,
    )  # fmt: skip
    def test_one_of_other_settings_is_not(self, tiny, state, said, other):
        assert self.begins_anew(tiny, state, **other)
        assert said == [f"{state / '1'} is of a training with other settings or rows: not used, this one begins anew"]
        assert not list(state.rglob(".partial*"))

    def test_one_of_other_rows_or_parameters_is_not(self, tiny, state, said, monkeypatch):
        monkeypatch.setitem(CASES, "one part", ({"toy": 45}, {}))
        assert self.begins_anew(tiny, state)
        monkeypatch.setitem(CASES, "one part", ({"another": 44}, {}))
        assert self.begins_anew(tiny, state)
        assert len(said) == 2

    @pytest.mark.parametrize("file", [TENSORS, RECORD])
    @pytest.mark.parametrize("damage", ["cut", "turn", "remove"])
    def test_a_damaged_one_is_not(self, tiny, state, said, file, damage):
        path = state / "1" / file
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes({"cut": raw[: len(raw) // 3], "turn": raw, "remove": b""}[damage])
        if damage == "remove":
            path.unlink()
        assert self.begins_anew(tiny, state)
        assert [line.count("the training begins anew") for line in said] == (
            [] if (damage, file) == ("remove", RECORD) else [1]
        )

    def test_a_second_run_of_the_loop_has_a_state_of_its_own(self, tiny, tmp_path, always):
        """As of a method that trains a head twice."""
        model, (part,) = model_and_parts(tiny, "one part")
        checkpoints = Checkpoints(tmp_path / "state", "key")
        for _ in range(2):
            loop.fit_parts(model, [part], Recipe(**RECIPE), seed=0, checkpoints=checkpoints)
        assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["1", "2"]


class TestResumable:
    def test_the_state_goes_when_the_outcome_is_stored_and_stays_when_it_is_not(self, tmp_path):
        place = tmp_path / "pool" / "rte"
        with contextlib.suppress(Killed), resumable(place, "key") as checkpoints:
            (checkpoints.folder / "1").mkdir(parents=True)
            raise Killed
        assert (tmp_path / "pool" / ".training-rte" / "1").is_dir()
        with resumable(place, "key"):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_what_else_lies_there_stays(self, tmp_path):
        with resumable(tmp_path / "rte", "key") as checkpoints:
            checkpoints.folder.mkdir()
            (tmp_path / "card.json").touch()
        assert [path.name for path in tmp_path.iterdir()] == ["card.json"]

    def test_a_training_that_failed_leaves_no_folder(self, tmp_path):
        """Its state was discarded."""
        (tmp_path / "pool").mkdir()
        for begun in (True, False):
            with contextlib.suppress(Killed), resumable(tmp_path / "pool" / "rte", "key") as checkpoints:
                if begun:
                    checkpoints.folder.mkdir()
                    (tmp_path / "pool" / "card.json").touch()
                raise Killed
        assert [path.name for path in tmp_path.rglob("*")] == ["pool", "card.json"]

    def test_without_a_place_nothing_is_kept(self):
        with resumable(None, "key") as checkpoints:
            assert checkpoints is None

    def test_a_long_name_fits(self, tmp_path):
        with resumable(tmp_path / ("r" * 255), "key") as checkpoints:
            assert len(checkpoints.folder.name) <= 255


def test_a_state_holds_what_trains_and_nothing_of_the_base(tiny, tmp_path, always):
    from safetensors.torch import load_file

    with pytest.raises(Killed):
        train(tiny, "one part", tmp_path / "state", on_step=kill_at(10))
    model, _ = model_and_parts(tiny, "one part")
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    tensors = load_file(tmp_path / "state" / "1" / TENSORS)
    for group in ("weights", "best"):
        assert {name.partition("/")[2] for name in tensors if name.startswith(group)} == names
    moments = {name.rpartition("/")[2] for name in tensors if name.startswith("optimizer")}
    assert moments == {"step", "exp_avg", "exp_avg_sq"}
    assert sorted(path.name for path in (tmp_path / "state" / "1").iterdir()) == [RECORD, TENSORS]


def test_a_training_that_fails_leaves_no_state(tiny, tmp_path, always, monkeypatch):
    plain, kept = loop.loss_sum, []

    def worse(*args):
        kept.append(len(list(tmp_path.rglob(TENSORS))))
        return plain(*args) * (float("nan") if len(kept) > 9 else 1.0)

    monkeypatch.setattr(loop, "loss_sum", worse)
    with pytest.raises(loop.Diverged):
        train(tiny, "one part", tmp_path / "state")
    assert kept[-1] == 1
    assert not list(tmp_path.rglob(TENSORS))
