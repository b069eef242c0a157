"""Tests of a comparison whose target is a generation task from a file of one's own: it runs, and a method without meaning stops it before it begins."""

import json

import pytest
import yaml
from decoders import save_decoder

import scalearn.cli.main as cli
from scalearn.comparison.records import RunFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    save_decoder(folder / "base")
    rows = [{"q": f"{i}?", "a": ("yes", "no")[i % 2]} for i in range(20)]
    (folder / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def configured(folder, *methods):
    odd = {"path": "odd.jsonl", "text": "q", "label": "a", "kind": "generation", "max_new_tokens": 8}
    recipe = {"epochs": 1, "batch": 8, "max_length": 24}
    config = {
        "name": "odd", "base": str(folder / "base"), "methods": list(methods), "recipe": recipe, "files": {"odd": odd}, "test_rows": 4,
        "targets": {"tasks": ["odd"], "seeds": [0]}, "sources": {"tasks": ["sentiment_films"], "rows": 16, "recipe": recipe},
    }  # fmt: skip
    path = folder / f"{'-'.join(methods)}.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["compare", str(path), "--out", str(folder / path.stem)]


def test_it_is_trained_on_and_reported(folder):
    assert cli.main(configured(folder, "head-only", "full")) == 0
    rows = RunFolder(folder / "head-only-full").rows
    assert [(row.method, row.kind, row.metric) for row in rows] == [(name, "generation", "token_f1") for name in ("head-only", "full")]  # fmt: skip


def test_a_method_that_solves_a_head_is_refused_before_it_begins(folder, capsys):
    assert cli.main(configured(folder, "full", "closed-form-base")) == 2
    assert "method 'closed-form-base' solves a head in closed form" in capsys.readouterr().err
    assert not (folder / "full-closed-form-base" / "rows.jsonl").exists()
