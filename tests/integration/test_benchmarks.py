"""The benchmark at tiny sizes: it runs, its contenders compute what they claim to, and its documents follow from numbers. No time is judged."""

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import comparison, contenders, environments, half, lora, scale, startup, step, throughput
from benchmarks.contenders import AVAILABLE, CONTENDERS, HAS_LIBRARY, LIBRARY, TASK, UNTRAINED, Setting
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
    return {name: step.Runner(name, TINY) for name in CONTENDERS if name not in LIBRARY}


def test_the_command_prints_every_contender_with_finite_ratios():
    printed = run("--rounds", "1", "--no-memory")
    rows = {
        line.split()[0]: line for line in printed.splitlines() if line.split()[:1] and line.split()[0] in CONTENDERS
    }
    assert list(rows) == list(AVAILABLE)
    for name, row in rows.items():
        numbers = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.\d+", row)]
        assert len(numbers) == (4 if name in UNTRAINED else 8)  # time, ratio, least, greatest; trained and inferred
        assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert len(re.findall(r"wanted [<>]= \d\.\d\d +(met|NOT MET)", printed)) == (5 if HAS_LIBRARY else 3)
    assert ("adapters is not installed" in printed) is not HAS_LIBRARY


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


@pytest.mark.parametrize(("name", "ours"), [("library-single", "single"), ("library-fusion", "fusion")])
def test_a_contender_of_the_library_computes_and_trains_what_ours_does(library, name, ours):
    theirs, here = step.Runner(name, TINY), step.Runner(ours, TINY)
    assert type(theirs.model).__module__.startswith("adapters.")
    assert len(theirs.trained) == len(here.trained)
    for runner in (theirs, here):  # a step without dropout, so that both take the same
        runner.model.eval()
    before = [runner.infer() for runner in (theirs, here)]
    torch.testing.assert_close(*before, atol=1e-6, rtol=0)
    for runner in (theirs, here):
        runner.train()
    after = [runner.infer() for runner in (theirs, here)]
    torch.testing.assert_close(*after, atol=1e-5, rtol=0)
    assert (after[0] - before[0]).abs().max() > 1e-4


def test_fusion_over_adapters_of_the_unnormed_branch_is_the_library_s_too(library, monkeypatch):
    monkeypatch.setitem(contenders.CONFIG, "original_ln_before", False)
    theirs, ours = (step.Runner(name, TINY) for name in ("library-fusion", "fusion"))
    for runner in (theirs, ours):
        runner.model.eval()
    torch.testing.assert_close(theirs.infer(), ours.infer(), atol=1e-6, rtol=0)


def test_what_needs_the_library_is_left_out_in_one_line_where_it_is_absent(monkeypatch, capsys):
    ours = tuple(name for name in CONTENDERS if name not in LIBRARY)
    monkeypatch.setattr(step, "HAS_LIBRARY", False)
    monkeypatch.setattr(step, "AVAILABLE", ours)
    names = []
    monkeypatch.setattr(step, "compare", lambda chosen, *rest, **options: names.extend(chosen))
    step.main(OPTIONS)
    assert capsys.readouterr().out.startswith(
        "without library-fusion and library-single: the package adapters is not installed"
    )
    assert tuple(names) == ours
    with pytest.raises(SystemExit) as refused:
        step.main(["--contenders", "library-single"])
    assert refused.value.code == 2
    assert "adapters is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["head", "floor", "loop", "soup", "fusion", "compacter"])
def test_a_step_trains_what_it_should_and_nothing_else(name):
    runner = step.Runner(name, TINY)
    part = {"head": "heads.", "soup": "heads.", "fusion": ".adapter_fusion_layer."}.get(name, ".adapters.")
    before = {key: value.detach().clone() for key, value in runner.model.named_parameters()}
    runner.model.train()
    runner.train()
    changed = {key for key, value in runner.model.named_parameters() if not torch.equal(value, before[key])}
    assert any(part in key for key in changed)
    shared = ".shared_parameters." if name == "compacter" else part
    assert all(part in key or shared in key or key.startswith("heads.") for key in changed)


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
    monkeypatch.setattr(step, "measure_memory", lambda name, setting, threads: {"peak": 100.0 * setting.sources})
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


STANDS_FOR_AN_INTERPRETER = """#!/bin/sh
case "$*" in *--memory-of*) echo '{"built": 100, "peak": @MIB@}'; exit;; esac
echo '{"name": "transformers @VERSION@", "packages": "torch 2, @VERSION@", "contenders": [@CONTENDERS@]}'
while read -r line; do echo @SECONDS@; done
"""


@pytest.fixture
def interpreter(tmp_path):
    """Writes a program that answers as an environment's process does, with made-up numbers."""

    def write(version, seconds, mib, contenders):
        path = tmp_path / f"python{len(list(tmp_path.iterdir()))}"
        names = ", ".join(f'"{name}"' for name in contenders)
        text = STANDS_FOR_AN_INTERPRETER.replace("@VERSION@", version).replace("@SECONDS@", str(seconds))
        path.write_text(text.replace("@MIB@", str(mib)).replace("@CONTENDERS@", names))
        path.chmod(0o755)
        return str(path)

    return write


def test_environments_stand_side_by_side(interpreter, tmp_path, capsys):
    pythons = [
        interpreter("4.57.6", 0.5, 300, ["single", "exported", "library-single"]),
        interpreter("5.24.0", 0.25, 200, ["single", "exported"]),
        interpreter("5.24.0", 1.0, 200, ["single", "exported"]),
    ]
    environments.main([*pythons, "--rounds", "2", "--out", str(tmp_path / "page")])
    text = (tmp_path / "page/environments.md").read_text()
    assert text == capsys.readouterr().out[:-1]
    assert (
        "- transformers 4.57.6: torch 2, 4.57.6\n- transformers 5.24.0: torch 2, 5.24.0\n- transformers 5.24.0 (2): "
        in text
    )
    half_and_double = "0.50 (0.50–0.50) | 2.00 (2.00–2.00)"
    row = f"500.0 (1.00) | 250.0 (1.00) | 1,000.0 (1.00) | {half_and_double} |"
    assert text.count(f"| single | {row}") == 2  # training and inference
    assert text.count(f"| exported | {row}") == 1  # it is not trained
    assert "| library-single | 500.0 (1.00) | – | – | – | – |" in text
    assert "| single | 300 (1.00) | 200 (1.00) | 200 (1.00) | 100 (1.00) | 200 (1.00) | 100 (1.00) |" in text
    assert "| library-single | 300 (1.00) | 200 (1.00) | – | – | – | – |" in text


def test_an_environment_answers_by_the_seconds_of_each_act():
    work = {"setting": step.asdict(TINY), "threads": 1, "contenders": ["single"]}
    lines, answers = [json.dumps(["single", act]) for act in ("train", "infer")], io.StringIO()
    environments.serve(work, lines, answers)
    about, *seconds = map(json.loads, answers.getvalue().splitlines())
    assert about["contenders"] == ["single"]
    assert re.fullmatch(r"transformers \d+\.\S+", about["name"])
    assert len(seconds) == 2
    assert all(0 < value < 60 for value in seconds)


def test_an_environment_that_ends_early_is_named(interpreter, tmp_path):
    dead = tmp_path / "dead"
    dead.write_text("#!/bin/sh\nexit 3\n")
    dead.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"dead ended with exit code 3"):
        environments.main([str(dead), "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="there is no interpreter nowhere/python"):
        environments.main(["nowhere/python"])


def test_an_unknown_contender_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        step.main(["--contenders", "lora"])
    assert refused.value.code == 2
    assert "invalid choice: 'lora'" in capsys.readouterr().err


def test_the_commands_in_the_document_are_valid():
    text = (ROOT / "docs/results/costs/README.md").read_text()
    for module in (step, environments, half, lora, throughput, comparison):
        name = module.__name__.replace(".", r"\.")
        commands = re.findall(rf"^ +(?:\S+/)?python -m {name}(.*)$", text, re.MULTILINE)
        assert commands
        for command in commands:
            module.parse(command.split("#")[0].split())


def test_the_start_up_benchmark_has_a_row_for_every_command(monkeypatch):
    monkeypatch.setattr(startup, "seconds", lambda arguments: (0.25, 0.5))
    lines = startup.table(startup.measure(2)).splitlines()
    assert lines[2:] == [f"| `{name}` | 0.25 (0.25 to 0.25) | 0.50 |" for name in startup.COMMANDS]
