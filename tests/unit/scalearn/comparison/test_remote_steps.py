"""A step on another machine begins once what it needs is seen there; what does not come is one line."""

import json

import pytest
from run_rows import made_rows

from scalearn.comparison import remote_steps
from scalearn.comparison.remote_steps import StepsByName, read_step
from scalearn.comparison.steps import Step
from tasksel.errors import UserError

SOURCE, OWN, RANK = Step("source", "mnli", 0), Step("target-adapter", "rte", 0), Step("rank", "rte", 0, by="logme")
ELSEWHERE = Step("source", "qnli", 0)
NEEDS = {RANK: [SOURCE, OWN, ELSEWHERE]}


@pytest.fixture
def looks(monkeypatch):
    """How often it was looked; a look takes no time."""
    count = []
    monkeypatch.setattr(remote_steps, "LOOK", 0.0)
    return count


def steps_by_name(looks, shown_after, row=None):
    def is_done(step):
        looks.append(step)
        return len(looks) > shown_after

    return StepsByName([SOURCE, OWN, RANK], lambda step: NEEDS.get(step, []), is_done, lambda step: row)


def test_a_step_waits_for_what_it_needs_once_and_neither_for_other_plans_steps_nor_for_an_adapter_that_may_diverge(
    looks,
):
    do = steps_by_name(looks, shown_after=3)
    assert json.loads(do(str(RANK)))["row"] is None
    assert looks == [SOURCE] * 4
    do(str(RANK))
    assert looks == [SOURCE] * 4


def test_what_is_never_seen_is_one_line_that_asks_for_a_shared_folder(looks, monkeypatch):
    monkeypatch.setattr(remote_steps, "SHOWN", 0.01)
    with pytest.raises(
        UserError,
        match="'source mnli, seed 0' is done elsewhere and is not in the store here: is it a folder of a shared",
    ):
        steps_by_name(looks, shown_after=10**9)(str(RANK))


def test_a_record_comes_back_as_it_was(looks):
    row = made_rows()[7]
    step, back, seconds = read_step(SOURCE, steps_by_name(looks, 0, row)(str(SOURCE)))
    assert (step, back) == (SOURCE, row)
    assert 0 <= seconds < 10
    assert back.model_dump_json() == row.model_dump_json()
