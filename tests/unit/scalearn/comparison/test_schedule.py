"""Pieces begin when what they need is done, in the plan's order where nothing else decides, and never more at once than there is room."""

import random
from types import SimpleNamespace

import pytest

from scalearn.comparison import schedule
from scalearn.comparison.schedule import scheduled
from scalearn.comparison.workers import workers


class Slots:
    """An engine with some room; which of its pieces ends next is drawn."""

    def __init__(self, size, seed=0):
        self.size, self.running, self.begun, self.most = size, [], [], 0
        self.draw = random.Random(seed)

    @property
    def room(self):
        return self.size - len(self.running)

    def submit(self, piece):
        assert self.room > 0
        self.running.append(piece)
        self.begun.append(piece)
        self.most = max(self.most, len(self.running))

    def next(self):
        piece = self.running.pop(self.draw.randrange(len(self.running)))
        return piece, piece


def test_one_process_keeps_the_plans_order():
    needs = {5: [0, 3], 4: [2], 3: [0]}
    assert list(scheduled(range(6), Slots(1), needs=lambda piece: needs.get(piece, []))) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_begins_before_what_it_needs_is_done(size, seed):
    draw = random.Random(seed)
    needs = {piece: draw.sample(range(piece), min(piece, draw.randrange(4))) for piece in range(60)}
    engine, done = Slots(size, seed), set()
    submit = engine.submit

    def checked(piece):
        assert done.issuperset(needs[piece])
        submit(piece)

    def ended():
        piece = Slots.next(engine)[0]
        done.add(piece)
        return piece, piece

    engine.submit, engine.next = checked, ended
    assert sorted(scheduled(range(60), engine, needs=needs.__getitem__)) == list(range(60))
    assert engine.most <= size


def test_a_unit_does_not_wait_for_sources_that_it_does_not_need():
    needs = {"unit a": ["a"], "unit b": ["b"]}
    engine = Slots(3)
    engine.next = lambda: (engine.running[0], engine.running.pop(0))  # the slow source "b" ends last
    work = scheduled(["a", "b", "unit a", "unit b"], engine, needs=lambda piece: needs.get(piece, []))
    assert next(work) == "a"
    assert engine.begun == ["a", "b", "unit a"]
    assert list(work) == ["b", "unit a", "unit b"]


def test_what_another_command_works_on_is_put_off_and_waited_for_where_there_is_nothing_else(monkeypatch):
    slept = []
    monkeypatch.setattr(schedule, "time", SimpleNamespace(sleep=slept.append))
    taken = {"a"}

    def is_taken(piece):
        if len(slept) == 3:
            taken.clear()
        return piece in taken

    assert list(scheduled(["a", "b", "c"], Slots(1), is_taken=is_taken)) == ["b", "c", "a"]
    assert slept == [schedule.PAUSE] * 3


def test_what_a_piece_needs_may_be_done_already():
    assert list(scheduled(["unit"], Slots(2), needs=lambda piece: ["a source of an earlier run"])) == ["unit"]
    assert list(scheduled([], Slots(2))) == []


def test_pieces_in_this_process_are_done_one_by_one_as_they_are_asked_for():
    done = []
    with workers(lambda: done.append, 1) as work:
        outcomes = work(["source", "unit"], needs=lambda piece: ["source"] if piece == "unit" else [])
        assert done == []
        next(outcomes)
        assert done == ["source"]
        list(outcomes)
    assert done == ["source", "unit"]
