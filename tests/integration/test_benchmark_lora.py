"""The benchmark of LoRAs at a tiny size: its contenders compute what they claim to, and its page follows from numbers. No time is judged."""

import json
import re

import pytest
import torch

from benchmarks import bases, half, lora, lora_contenders, step
from benchmarks.contenders import TASK
from benchmarks.lora_contenders import AVAILABLE, CONTENDERS, HAS_PEFT, PEFT, Setting
from scalearn.layers.folded import mixes

SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 90,
    "initializer_range": 0.3,
}
TRAINS = {
    "head": "heads.",
    "single": ".adapters.",
    "scalearn": ".omega.",
    "uniform": ".omega.",
    "loop": ".omega.",
    "peft-single": ".lora_",
    "peft": ".lora_",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(bases.random_base(tmp_path_factory.mktemp("base") / "tiny", **SIZES))


@pytest.fixture(params=["query-value", "all-linear"])
def runner(base, request, monkeypatch):
    """Makes a contender, new for each test, with sources so loud that another sum would be seen."""
    monkeypatch.setattr(lora_contenders, "STD", 0.3)
    setting = Setting(sources=3, rank=2, batch=2, length=8, base=base, targets=request.param)
    return lambda name: step.Runner(name, setting, CONTENDERS)


def set_omega(model, value):
    for _, mix in mixes(model, TASK.name):
        with torch.no_grad():
            mix.omega.weight.fill_(value)


@pytest.mark.parametrize("name", ["loop", "exported"])
def test_equal_contenders_give_equal_logits(runner, name):
    one, other = runner(name), runner("scalearn")
    for each in (one, other):
        each.model.eval()
    torch.testing.assert_close(one.infer(), other.infer(), atol=1e-5, rtol=0)
    set_omega(other.model, 3.0)
    assert (one.infer() - other.infer()).abs().max() > 1e-3
    if name == "loop":
        set_omega(one.model, 3.0)
        torch.testing.assert_close(one.infer(), other.infer(), atol=1e-5, rtol=0)


def test_peft_computes_the_sum_of_the_same_loras(peft, runner):
    theirs, ours, none = (runner(name) for name in ("peft", "scalearn", "head"))
    for each in (theirs, ours, none):
        each.model.eval()
    set_omega(ours.model, 1.0)
    torch.testing.assert_close(theirs.infer(), ours.infer(), atol=1e-5, rtol=0)
    assert (theirs.infer() - none.infer()).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in TRAINS if name not in PEFT])
def test_a_step_trains_what_it_should_and_nothing_else(runner, name):
    check_trained(runner(name), TRAINS[name])


@pytest.mark.parametrize("name", sorted(PEFT))
def test_peft_s_own_loras_train(peft, runner, name):
    check_trained(runner(name), TRAINS[name])


def check_trained(made, part):
    before = {key: value.detach().clone() for key, value in made.model.named_parameters()}
    made.model.train()
    for _ in range(2):  # B starts at zero, so that A stands still in the first
        made.train()
    changed = {key for key, value in made.model.named_parameters() if not torch.equal(value, before[key])}
    assert any(part in key for key in changed)
    assert all(part in key or key.startswith("heads.") for key in changed)
    assert {key for key in before if part in key} <= changed


def test_the_targets_leave_out_the_pooler_and_the_head(base):
    setting = Setting(base=base, targets="all-linear")
    assert len(lora_contenders.target_sizes(setting)) == 2 * 6
    assert set(lora_contenders.lora_config(setting)["target_modules"]) >= {
        "query",
        "key",
        "value",
        "intermediate.dense",
    }
    assert len(lora_contenders.target_sizes(Setting(base=base))) == 2 * 2


def test_the_command_prints_and_writes_a_table_for_each_number_of_loras(base, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        lora, "measure_memory", lambda name, setting, threads, module: {"peak": 100.0 * setting.sources}
    )
    sizes = ["--rank", "8", "--batch", "2", "--length", "8", "--device", "cpu", "--threads", "1", "--base", base]
    lora.main([*sizes, "--rounds", "1", "--counts", "1", "8", "--out", str(tmp_path)])
    printed, page = capsys.readouterr().out, (tmp_path / "lora.md").read_text()
    for text in (printed, page.replace("| ", "").replace("\n| ", "\n")):
        rows = [line.split()[0] for line in text.splitlines() if line.split()[:1] and line.split()[0] in AVAILABLE]
        assert rows == [*AVAILABLE, *AVAILABLE]
    assert "8 LoRAs of rank 8 on query and value, 1 rounds, tiny" in printed
    assert len(re.findall(r"wanted <= \d\.\d\d +(met|NOT MET)", printed)) == (5 if HAS_PEFT else 3)  # of 8 alone
    lora.main([*sizes, "--memory-of", "scalearn"])
    assert 50 < json.loads(capsys.readouterr().out)["peak"] < 4_000


def test_a_base_in_16_bits_is_set_beside_the_same_in_float32(capsys, monkeypatch):
    monkeypatch.setattr(half, "measure_memory", lambda name, setting, threads, module: {"peak": 100.0})
    half.main(["--layers", "4", "--width", "128", "--batch", "2", "--length", "8", "--device", "cpu", "--rounds", "1", "--threads", "1"])  # fmt: skip
    captions, narrow, whole = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert (captions[0], narrow[0], whole[0], narrow[2]) == ("held", "bf16", "float32", "100")
    assert int(narrow[1]) < int(whole[1])
