"""A card reads back as it was written, and says what is wrong with one that cannot be read."""

import json

import pytest
import torch

from tasksel import UserError
from tasksel.adapters.card import Card, read_card
from tasksel.storage.provenance import command, versions

CARD = {"name": "rte", "key": "0" * 16, "base": {"name": "b", "fingerprint": "f"}, "adapter": "rte", "files": {}}


def test_the_command_that_is_recorded_is_the_whole_one(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/scalearn", "run", "a b.yaml"])
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert command() == "scalearn run 'a b.yaml'"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert command() == "accelerate launch --mixed_precision bf16 -m scalearn run 'a b.yaml'"


def test_a_card_reads_back_as_it_was_written(pool):
    source = pool["entail_travel"]
    assert read_card(source.folder / "card.json") == source.card
    again = Card.model_validate(json.loads(source.card.model_dump_json()))
    assert again == source.card
    assert again.task is not None
    assert again.task.name == "entail_travel"


def test_versions_name_what_decides_a_number():
    assert versions()["torch"] == torch.__version__.split("+")[0] or versions()["torch"] == torch.__version__
    assert {"python", "scalearn", "transformers", "adapters", "datasets", "accelerate"} <= versions().keys()


@pytest.mark.parametrize(
    ("change", "named"), [({"base": 3}, "base"), ({"colour": "red"}, "colour"), ({"files": None}, "files")]
)
def test_a_wrong_field_is_named(tmp_path, change, named):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(CARD | change))
    with pytest.raises(UserError, match=rf"card\.json: not a source's card \({named}"):
        read_card(path)


def test_a_card_that_was_cut_short_is_named_with_its_line(tmp_path):
    path = tmp_path / "card.json"
    path.write_text('{"name": "rte",\n "key"')
    with pytest.raises(UserError, match=r"card\.json:2: broken JSON"):
        read_card(path)


def test_a_card_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Card(**CARD).name = "other"
