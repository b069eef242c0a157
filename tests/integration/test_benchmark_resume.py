"""The benchmark of killed trainings at a tiny size: what a state holds, and a table. No time is judged."""

import re

import pytest

from benchmarks import bases, resume
from benchmarks.resume import Cost
from benchmarks.trainings import Setting

SIZES = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 100}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(bases.random_base(tmp_path_factory.mktemp("base") / "tiny", **SIZES))


def test_a_state_is_four_times_what_trains(base, tmp_path):
    model = resume.by_method("single-adapter", resume.StepSetting(base=base))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    cost = resume.measure("an adapter", Setting(rows=12, batch=4, length=12, base=base), tmp_path)
    assert 4 * 4 * trained < cost.size < 4 * 4 * trained + 20_000  # float32, and names
    assert 0 < cost.write <= cost.worst
    assert min(cost.read, cost.look, cost.step) > 0


def test_the_share_is_of_the_time_between_two_writes():
    assert Cost(1, 0.06, 1.0, 1.0, 0.0, 1.0).share == pytest.approx(0.001)
    assert Cost(1, 1.0, 1.0, 1.0, 0.0, 1.0).share == pytest.approx(0.005)  # which come less often
    assert Cost(1, 0.0, 1.0, 1.0, 1e-6, 1e-3).share == pytest.approx(0.001)


def test_the_table_has_both_kinds(base, tmp_path, capsys):
    resume.main(
        ["--base", base, "--rows", "8", "--batch", "4", "--length", "12", "--threads", "1", "--place", str(tmp_path)]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [re.split("  +", line.strip())[0] for line in lines[3:]] == ["an adapter", "the whole model"]
    assert list(tmp_path.iterdir()) == []
