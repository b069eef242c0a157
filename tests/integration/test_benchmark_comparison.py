"""The benchmark of a whole comparison at a tiny size: every second is counted once, and the page follows. No time is judged."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import comparison, together
from benchmarks.stopwatch import Stopwatch

ROOT = Path(__file__).parents[2]
TINY = """\
name: small
base: {base}
sources: {{tasks: [sentiment_films], rows: 16, recipe: {{batch: 8, epochs: 1, max_length: 24}}}}
targets: {{tasks: [sentiment_phones], rows: 16, seeds: [0]}}
test_rows: 8
methods: [head-only]
recipe: {{batch: 8, epochs: 1, max_length: 24}}
"""


def outer():
    time.sleep(0.02)
    inner()


def inner():
    time.sleep(0.05)


def test_a_second_counts_for_the_innermost_part():
    with Stopwatch({"outer": [f"{__name__}:outer"], "inner": [f"{__name__}:inner"]}) as watch:
        sys.modules[__name__].outer()
        sys.modules[__name__].inner()
    assert watch.calls == {"outer": 1, "inner": 2}
    assert watch.seconds["inner"] >= 0.1
    assert 0.02 <= watch.seconds["outer"] < 0.05
    assert sys.modules[__name__].outer.__name__ == "outer"
    assert not hasattr(outer, "__wrapped__"), "the functions are as they were"


def test_what_a_version_does_not_have_is_named():
    with pytest.raises(AttributeError, match="no_such"), Stopwatch({"gone": ["tasksel.training.loop:no_such"]}):
        pass


def test_a_run_by_part_and_its_floor(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "SMALL", TINY)
    run = comparison.measured(comparison.small(str(tiny), tmp_path), tmp_path / "run")
    assert sum(run["parts"].values()) == pytest.approx(run["wall"])
    assert set(run["parts"]) >= {
        "import",
        "reading",
        "tokenising",
        "forward",
        "backward",
        "optimizer",
        "storing",
        "other",
    }
    assert all(seconds >= 0 for seconds in run["parts"].values())
    assert 0 < run["floor"] < run["wall"]
    assert run["parts"]["import"] < run["first"] < run["wall"]
    comparison.write_page(run, run, tmp_path)
    page = (tmp_path / "comparison.md").read_text()
    assert page.count("\n|") == len(run["parts"]) + 5
    assert f"wall time over floor: {run['wall'] / run['floor']:.2f} cold" in page


def test_every_part_is_run_though_one_fails(monkeypatch, capsys):
    called = []

    def started(command, check):
        called.append(command[2:])
        return subprocess.CompletedProcess(command, int("data" in command[2]))

    monkeypatch.setattr(subprocess, "run", started)
    assert together.main(["--out", "pages"]) == 1
    assert [command[0] for command in called] == [f"benchmarks.{module}" for module, *_ in together.PARTS.values()]
    assert [command[-2:] == ["--out", "pages"] for command in called] == [
        name not in together.PAGELESS for name in together.PARTS
    ]
    assert "failed: data\n" in capsys.readouterr().out
    assert together.main(["--only", "units"]) == 0


def test_every_part_is_a_benchmark_with_these_options():
    for module, *options in together.PARTS.values():
        source = (ROOT / "benchmarks" / f"{module}.py").read_text()
        assert all(f'"{option}"' in source for option in options if option.startswith("--"))


def test_engines_are_options_of_compare():
    assert comparison.engines_here([1, 2])[:2] == [["--jobs", "1"], ["--jobs", "2"]]
