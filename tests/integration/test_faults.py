"""The fault suite's short form: every part finds nothing that should not be, and its judgement sees what it is there to see."""

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from benchmarks.faults.table import write_table
from benchmarks.faults.trial import Ended
from benchmarks.faults.verdict import VERDICTS, Row, judge
from benchmarks.faults.world import write_base, write_outside

ROOT = Path(__file__).parents[2]
SUITE = """
import sys
sys.path.insert(0, {root!r})
from benchmarks.faults.__main__ import main
main(short=True, work={work!r}, out={out!r})
"""
PARTS = {"kills", "flips", "full disk", "two writers", "malformed inputs"}


@pytest.fixture(scope="module")
def short_form(fresh_process, tmp_path_factory):
    """The folder in which the short form was run, once."""
    work = tmp_path_factory.mktemp("faults")
    said = fresh_process(SUITE.format(root=str(ROOT), work=str(work), out=str(work / "table.md")), ours=True)
    (work / "said.txt").write_text(said)
    return work


@pytest.fixture
def rows(short_form):
    return [
        Row.from_json(values) for path in short_form.glob("*-0-short.json") for values in json.loads(path.read_text())
    ]


def test_every_part_is_tried_and_nothing_ends_as_none_shall(rows):
    assert {row.part for row in rows} == PARTS
    assert all(row.tried for row in rows)
    assert {(row.part, row.kind): row.examples for row in rows if row.unwanted} == {}


def test_faults_are_met(rows):
    """Of every part but two writers some trials are refused: the faults arrive."""
    refused = {row.part for row in rows if row.counts["one-line"]}
    assert PARTS - {"kills", "two writers"} <= refused
    assert sum(row.counts["harmless"] for row in rows if row.part == "kills") > 0


def test_the_table_holds_every_row_with_its_numbers(rows, short_form):
    text = (short_form / "table.md").read_text()
    for row in rows:
        numbers = [row.tried, *(row.counts[verdict] for verdict in VERDICTS)]
        assert f"| {row.kind} | " + " | ".join(f"{number:,}" for number in numbers) + " |" in text
    assert sum(row.tried for row in rows) == int(re.search(r"short form: ([\d,]+) trials", text)[1].replace(",", ""))


def test_the_outside_adapter_is_stored_as_the_library_stores_it(library, tmp_path):
    """Names, shapes and settings are equal; the weights are drawn anew."""
    write_base(tmp_path / "base")
    write_outside(tmp_path / "ours", tmp_path / "base")
    model = library.AutoAdapterModel.from_pretrained(str(tmp_path / "base"))
    model.add_adapter("plain", config=library.SeqBnConfig(reduction_factor=4))
    model.add_classification_head("plain", num_labels=2)
    model.save_adapter(str(tmp_path / "library"), "plain", with_head=True, use_safetensors=True)
    for name in ("adapter_config.json", "head_config.json"):
        ours, expected = (json.loads((tmp_path / folder / name).read_text()) for folder in ("ours", "library"))
        assert ours == expected
    for name in ("adapter.safetensors", "model_head.safetensors"):
        ours, expected = (load_file(tmp_path / folder / name) for folder in ("ours", "library"))
        assert {key: value.shape for key, value in ours.items()} == {
            key: value.shape for key, value in expected.items()
        }


ERROR = "reading\nerror: run.json: broken JSON; restore the file\n"


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        (Ended(2, "", ERROR, 1.0), "one-line"),
        (Ended(2, "", ERROR + "and a line more\n", 1.0), "traceback"),
        (Ended(2, "", "Traceback (most recent call last)\n" + ERROR, 1.0), "traceback"),
        (Ended(1, "", "ValueError", 1.0), "traceback"),
        (Ended(None, "", "", 120.0), "traceback"),
        (Ended(-9, "", "", 1.0), "traceback"),
        (Ended(0, "", "", 1.0, value=[0.5]), "harmless"),
        (Ended(0, "", "", 1.0, value=[0.25]), "silent"),
    ],
)
def test_a_trial_is_judged_by_how_it_ended(ended, verdict):
    assert judge(ended, [0.5]) == verdict


def test_what_ended_as_none_shall_is_named_below_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Reliability\n\n<!-- written by python -m benchmarks.faults -->\nearlier rows\n<!-- end -->\n\nThe end.\n"
    )
    row = Row("kills", "transfer")
    row.count("harmless")
    row.count("lost", "at event 7: seed-0 | seed.json was computed again")
    write_table(page, [row], "Seed 0.")
    text = page.read_text()
    assert "| transfer | 2 | 0 | 1 | 0 | 0 | 1 |" in text
    assert "- kills, transfer: lost: at event 7: seed-0 \\| seed.json was computed again" in text
    assert text.startswith("# Reliability")
    assert text.endswith("\nThe end.\n")
    assert "earlier rows" not in text
