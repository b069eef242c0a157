"""Tests of batches that are made ahead: the same ones in the same order, whoever asks for them, and nothing is left of those that nobody asks for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tasksel.model.encoded import Encoded
from tasksel.training import batches
from tasksel.training.batches import ahead, on_device

ROWS = Encoded([[[5] * (1 + i % 7)] for i in range(40)], None, np.arange(40), pad_id=0, width=1)
BATCHES = [list(range(start, min(start + 8, 40))) for start in range(0, 40, 8)]


def world(kind, process=0, processes=1):
    return SimpleNamespace(device=SimpleNamespace(type=kind), process_index=process, num_processes=processes)


@pytest.fixture
def made(monkeypatch):
    """The rows whose tensors a thread made, for a GPU that is not there."""
    seen = []
    monkeypatch.setattr(batches, "_pinned", lambda train, rows: (seen.append(rows), train.batch(rows, multiple=8))[1])
    return seen


def test_on_a_cpu_a_batch_is_made_when_it_is_asked_for(made):
    for rows in ahead(ROWS, BATCHES, world=world("cpu"), micro_batch=4):
        found, wanted = on_device(ROWS, rows[:4], torch.device("cpu")), ROWS.batch(rows[:4])
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert made == []


@pytest.mark.parametrize("process", [0, 1])
def test_a_gpu_finds_its_micro_batches_made_in_order(made, process, monkeypatch):
    given = []
    for rows in ahead(ROWS, BATCHES, world=world("cuda", process, 2), micro_batch=3):
        given.append(rows)
        micros = [rows[i : i + 3] for i in range(0, len(rows), 3)][process::2]
        for micro in micros:
            ready = batches._ready.pop((id(ROWS), tuple(micro))).result()
            assert ready["labels"].tolist() == micro
    assert given == BATCHES
    assert made == [[*rows[i : i + 3]] for rows in BATCHES for i in range(0, 8, 3)[process::2]]
    assert batches._ready == {}


def test_no_more_than_two_batches_wait(made):
    stream = ahead(ROWS, BATCHES, world=world("cuda"), micro_batch=8)
    next(stream)
    assert len(batches._ready) == 3  # the one that is asked for, and two
    batches._ready.pop((id(ROWS), tuple(BATCHES[0]))).result()
    stream.close()
    assert batches._ready == {}
