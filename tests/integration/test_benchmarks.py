"""The benchmark at tiny sizes: it runs, its contenders compute what they claim to, and its documents follow from numbers. No time is judged."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import scale, startup, step
from benchmarks.contenders import CONTENDERS, TASK, UNTRAINED, Setting
from scalearn.layers.mix import bottleneck_layers

ROOT = Path(__file__).parents[2]
TINY = Setting(sources=2, batch=2, length=8)
OPTIONS = ["--sources", "2", "--batch", "2", "--length", "8", "--device", "cpu", "--threads", "1"]


def run(*options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.step", *OPTIONS, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=120).stdout


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads on two busy cores wait for each other far longer than these steps take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def runners() -> dict[str, step.Runner]:
    """Each contender, new for each test: some train them, one changes an omega."""
    return {name: step.Runner(name, TINY) for name in CONTENDERS}


def test_the_command_prints_every_contender_with_finite_ratios():
    printed = run("--rounds", "1", "--no-memory")
    rows = {
        line.split()[0]: line for line in printed.splitlines() if line.split()[:1] and line.split()[0] in CONTENDERS
    }
    assert list(rows) == list(CONTENDERS)
    for name, row in rows.items():
        numbers = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.\d+", row)]
        assert len(numbers) == (4 if name in UNTRAINED else 8)  # time, ratio, least, greatest; trained and inferred
        assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert len(re.findall(r"wanted [<>]= \d\.\d\d +(met|NOT MET)", printed)) == 3


def test_memory_of_one_contender_is_printed_as_json():
    held = json.loads(run("--memory-of", "scalearn"))
    assert 50 < held["built"] <= held["peak"] < 2_000


@pytest.mark.parametrize(("name", "same_as"), [("loop", "scalearn"), ("exported", "scalearn"), ("floor", "head")])
def test_equal_contenders_give_equal_logits(runners, name, same_as):
    a, b = (runners[each].model.eval() for each in (name, same_as))
    for mine, theirs in zip(bottleneck_layers(a, TASK.name), bottleneck_layers(b, TASK.name), strict=False):
        if hasattr(mine[1].adapters[TASK.name], "omega"):
            assert torch.equal(mine[1].adapters[TASK.name].omega.weight, theirs[1].adapters[TASK.name].omega.weight)
    torch.testing.assert_close(runners[name].infer(), runners[same_as].infer(), atol=1e-5, rtol=0)


def test_loop_and_mix_stay_equal_when_omega_changes(runners):
    for name in ("scalearn", "loop"):
        with torch.no_grad():
            for _, layer in bottleneck_layers(runners[name].model.eval(), TASK.name):
                omega = layer.adapters[TASK.name].omega.weight
                omega.copy_(torch.linspace(-2, 5, omega.numel()).view_as(omega))
    changed = runners["scalearn"].infer()
    torch.testing.assert_close(changed, runners["loop"].infer(), atol=1e-5, rtol=0)
    assert (changed - runners["exported"].infer()).abs().max() > 1e-4  # which still holds the first omega


@pytest.mark.parametrize("name", ["head", "floor", "loop", "fusion"])
def test_a_step_trains_what_it_should_and_nothing_else(name):
    runner = step.Runner(name, TINY)
    part = {"head": "heads.", "fusion": ".adapter_fusion_layer."}.get(name, ".adapters.")
    before = {key: value.detach().clone() for key, value in runner.model.named_parameters()}
    runner.model.train()
    runner.train()
    changed = {key for key, value in runner.model.named_parameters() if not torch.equal(value, before[key])}
    assert any(part in key for key in changed)
    assert all(part in key or key.startswith("heads.") for key in changed)


def test_rounds_interleave_and_the_first_does_not_count():
    called: list[str] = []

    def act(name):
        return lambda: called.append(name) or float(len(called))

    found = step.interleave({name: act(name) for name in "abc"}, 4)
    assert all(sorted(called[i : i + 3]) == ["a", "b", "c"] for i in range(0, 15, 3))
    assert len(called) == 15
    assert len({tuple(called[i : i + 3]) for i in range(0, 15, 3)}) > 1
    assert all(len(seconds) == 4 and min(seconds) > 3 for seconds in found.values())


def test_a_ratio_is_taken_within_a_round():
    ratio = step.Ratio.of([2.0, 20.0, 3.0], [1.0, 10.0, 1.0])  # a machine ten times slower in the second round
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 2.0, 3.0)


def test_a_broken_promise_is_said():
    trained = {"single": [1.0], "scalearn": [1.2], "fusion": [2.4]}
    said = step.verdicts(trained, {}, {"scalearn": 104.0, "single": 100.0})
    assert [line.endswith("NOT MET") for line in said] == [True, True, False]


def test_scale_writes_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step, "measure_memory", lambda name, setting, threads: 100.0 * setting.sources)
    step.main([*OPTIONS, "--rounds", "1", "--scale", "--counts", "1", "2", "--out", str(tmp_path)])
    lines = (tmp_path / "step.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:] == ["1", "2"]
    assert all(line.count("|") == 2 + 2 * len(scale.SCALED) for line in lines if line.startswith("|"))
    assert lines[-1].endswith("| 200 | 200 | 200 | 200 |")
    assert (tmp_path / "step.svg").read_text().count("<path") > 10
    assert "2 sources: single" in capsys.readouterr().out


def test_equal_numbers_give_an_equal_picture(tmp_path):
    points = [scale.Measurement(name, n, 10.0 * n, 1.0 * n, 100.0 + n) for name in scale.SCALED for n in (1, 2)]
    for folder in ("a", "b"):
        scale.write_scaling(points, tmp_path / folder, "invented")
    assert (tmp_path / "a/step.svg").read_bytes() == (tmp_path / "b/step.svg").read_bytes()


def test_the_published_picture_is_drawn_again_from_the_published_table(tmp_path):
    published = ROOT / "docs/results/costs"
    measurements = scale.read_scaling((published / "step.md").read_text())
    assert len(measurements) == len(scale.COUNTS) * len(scale.SCALED)
    scale.draw_scaling(measurements, tmp_path / "step.svg")
    assert (tmp_path / "step.svg").read_bytes() == (published / "step.svg").read_bytes()


def test_an_unknown_contender_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        step.main(["--contenders", "lora"])
    assert refused.value.code == 2
    assert "invalid choice: 'lora'" in capsys.readouterr().err


def test_the_commands_in_the_document_are_valid():
    commands = re.findall(
        r"^ +python -m benchmarks\.step(.*)$", (ROOT / "docs/results/costs/README.md").read_text(), re.MULTILINE
    )
    assert len(commands) >= 2
    for command in commands:
        step.parse(command.split("#")[0].split())


def test_the_start_up_benchmark_has_a_row_for_every_command(monkeypatch):
    monkeypatch.setattr(startup, "seconds", lambda arguments: (0.25, 0.5))
    lines = startup.table(startup.measure(2)).splitlines()
    assert lines[2:] == [f"| `{name}` | 0.25 (0.25 to 0.25) | 0.50 |" for name in startup.COMMANDS]
