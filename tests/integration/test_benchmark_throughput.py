"""The benchmark of whole trainings at a tiny size: every contender trains the same rows to the same weights, and the page follows. No time is judged."""

import json
import os
import re

import pytest
import torch

from benchmarks import bases, throughput, trainings
from benchmarks.contenders import HAS_LIBRARY
from benchmarks.trainings import AVAILABLE, Setting
from tasksel.training.state import trained_state

TRAINERS = [name for name in AVAILABLE if "trainer" in name]
SIZES = {
    "num_hidden_layers": 1,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 100,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base without a tokenizer, and without dropout: two loops draw other masks."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    return str(bases.random_base(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **SIZES))


@pytest.fixture(scope="module")
def rig(base):
    return trainings.Rig(Setting(rows=12, batch=4, length=12, base=base))


@pytest.fixture
def trained(rig):
    """The weights that a contender leaves, and the tokens that it read."""

    def train(name):
        with trainings.launched(rig.setting):
            rig.prepare(name)()
        return trained_state(rig.model), rig.tokens

    return train


@pytest.mark.parametrize("name", ["fit-16", "trainer", "trainer-2"])
def test_whoever_trains_reads_the_same_tokens_and_moves_the_same_weights(rig, trained, name):
    (ours, tokens), (theirs, same_tokens) = trained("fit"), trained(name)
    assert tokens == same_tokens == sum(batch["input_ids"].numel() for batch in rig.batches)
    moves = [torch.cat([(each[key] - rig.first[key]).flatten() for key in ours]) for each in (ours, theirs)]
    assert all(move.norm() > 1e-2 for move in moves)
    assert torch.nn.functional.cosine_similarity(*moves, dim=0) > 0.8  # their schedules warm up differently


@pytest.mark.parametrize(("name", "trains"), [("forward", False), ("floor", False), ("step", True)])
def test_the_limit_reads_the_same_batches_and_only_the_step_changes_a_weight(rig, trained, name, trains):
    weights, tokens = trained(name)
    assert tokens == sum(batch["input_ids"].numel() for batch in rig.batches)
    assert all(torch.equal(tensor, rig.first[key]) is not trains for key, tensor in weights.items())
    assert (name == "floor") == any(p.grad is not None for p in rig.model.parameters())


def test_the_library_s_trainer_trains_as_many_parameters_of_its_own_model(library, rig):
    with trainings.launched(rig.setting):
        train = rig.prepare("adapter-trainer")
        model = next(cell.cell_contents for cell in train.__closure__ if hasattr(cell.cell_contents, "train")).model
        train()
    counts = [[p.numel() for p in each.parameters() if p.requires_grad] for each in (model, rig.model)]
    assert sorted(counts[0]) == sorted(counts[1])
    assert rig.tokens == sum(batch["input_ids"].numel() for batch in rig.batches)


def test_bf16_computes_in_bf16_and_leaves_the_environment_as_it_was(base, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    setting = Setting(rows=4, batch=4, length=8, base=base, precision="bf16")
    rig, seen = trainings.Rig(setting), []
    linear = next(module for module in rig.model.modules() if isinstance(module, torch.nn.Linear))
    linear.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with trainings.launched(setting):
        for name in ("step", "fit", "trainer"):
            rig.prepare(name)()
    assert seen == [torch.bfloat16] * 3
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"
    assert "ACCELERATE_USE_CPU" not in os.environ


def test_the_command_prints_a_table_and_writes_the_page(base, tmp_path, capsys):
    sizes = ["--rows", "4", "--batch", "2", "--length", "8", "--device", "cpu", "--threads", "1", "--base", base]
    throughput.main([*sizes, "--rounds", "1", "--no-memory", "--out", str(tmp_path)])
    printed, page = capsys.readouterr().out, (tmp_path / "throughput.md").read_text()
    rows = [
        re.split(r"\s{2,}", line) for line in printed.splitlines() if line.split()[:1] and line.split()[0] in AVAILABLE
    ]
    assert [row[0] for row in rows] == list(AVAILABLE)
    assert {len(row) for row in rows} == {7}
    assert [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")][1:] == list(AVAILABLE)
    assert printed.count("wanted <= 1.00") == page.count("wanted <= 1.00") == len(TRAINERS)
    assert ("adapters is not installed" in printed) is not HAS_LIBRARY
    throughput.main([*sizes, "--memory-of", "fit"])
    assert 50 < json.loads(capsys.readouterr().out)["peak"] < 4_000


def test_a_step_after_the_first_is_what_the_epoch_takes_beyond_one_batch():
    measured = throughput.Measurement(Setting(rows=8, batch=2), {"fit": [7.0, 9.0]}, {"fit": [4.0, 3.0]})
    assert measured.each_more("fit") == [1.0, 2.0]


def test_a_slower_loop_is_said():
    seconds = {"fit": [2.0], "trainer": [1.0], "trainer-2": [4.0]}
    said = throughput.verdicts(throughput.Measurement(Setting(), seconds))
    assert [line.split()[-2:] for line in said] == [["NOT", "MET"], ["1.00", "met"]]


def test_rows_that_fill_no_whole_batches_are_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        throughput.parse(["--rows", "100", "--batch", "32"])
    assert refused.value.code == 2
    assert "give twice --batch 32 or another multiple" in capsys.readouterr().err


def test_minilm_s_shape_stands_for_it_where_it_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(bases, "SHAPE", SIZES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with bases.base_at_hand("minilm") as base:
        rig = trainings.Rig(Setting(rows=2, batch=2, length=8, base=base))
        assert rig.model.config.hidden_size == 128
    assert "its shape with random weights stands for it" in capsys.readouterr().out
    with bases.base_at_hand("models/mine") as base:
        assert base == "models/mine"
