"""The benchmark of data measures what it says, on a tiny base and some hundred rows."""

import json

import pytest

from benchmarks import data
from tasksel.model import base

FEW, MANY = 200, 400


@pytest.fixture
def files(tiny, tmp_path, monkeypatch):
    """Training rows and held-out ones, and a tiny base in place of the packaged one."""
    load = base.load_base
    monkeypatch.setattr(base, "load_base", lambda name: load(tiny))
    monkeypatch.setenv("SCALEARN_CACHE", str(tmp_path / "cache"))
    return [data.write_rows(tmp_path / name, rows, seed=0) for name, rows in (("a.csv", MANY), ("b.csv", 60))]


def test_a_first_step_is_timed_by_part(files, capsys):
    data.main(["--measure", "first-step", *map(str, files)])
    row = json.loads(capsys.readouterr().out)
    assert list(row["seconds"]) == ["task", "splits", "fingerprint", "tokens", "step"]
    assert row["all"] == pytest.approx(sum(row["seconds"].values()), abs=0.01)
    assert 0 < row["peak"] <= row["epoch"]


def test_trainings_on_draws_are_timed_by_seed(files, monkeypatch, capsys):
    monkeypatch.setattr(data, "DRAWN", 50)
    data.main(["--measure", "units", *map(str, files), "--units", "2", "--steps", "1"])
    assert len(json.loads(capsys.readouterr().out)["seconds"]) == 2


def test_rows_have_the_length_and_labels_that_the_page_names(files):
    lines = files[0].read_text().splitlines()
    texts, labels = zip(*(line.rsplit(",", 1) for line in lines[1:]), strict=True)
    assert (len(texts), set(labels)) == (MANY, {"good", "poor"})
    assert {len(text) for text in texts} == {data.CHARACTERS}


def test_the_page_says_what_was_reached():
    parts = dict.fromkeys(("task", "splits", "fingerprint", "tokens", "step"), 1.0)

    def row(peak, seconds):
        return {"seconds": parts, "all": seconds, "peak": peak, "epoch": peak + 50}

    by_rows = {
        FEW: dict.fromkeys(("cold", "warm"), row(100, 3.0)),
        MANY: {"cold": row(600, 9.0), "warm": row(300, 4.0)},
    }
    page = data.report(by_rows, {"few": {"seconds": [1.0, 1.0]}, "many": {"seconds": [1.0, 1.5]}}, "")
    assert "| memory | 500 MiB | at most 400 MiB | not reached |" in page
    assert "| first step, warm | 4.0 s | at most 5 s | reached |" in page
    assert "| 2 units | 1.25 x | at most 1.2 x | not reached |" in page
    assert f"| {MANY:,} | warm | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 4.0 | 200 | 200 |" in page
