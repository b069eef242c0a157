"""The code of a guide runs: an architecture that is added by one row trains, transfers and exports like any other."""

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

from scalearn import Recipe, predict_text, transfer
from tasksel import UserError, get_task, load_base
from tasksel.model.slot import FAMILIES, Family, Place

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "add_an_architecture.md"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 30522, "max_position_embeddings": 80}  # fmt: skip


@pytest.fixture
def ernie(tmp_path, monkeypatch):
    """The folder of a tiny Ernie, which has no row, where the guide's reader has one."""
    torch.manual_seed(0)
    folder = tmp_path / "models" / "my-ernie"
    AutoModel.from_config(AutoConfig.for_model("ernie", **SIZES)).save_pretrained(folder)
    load_base("minilm").tokenizer.save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FAMILIES, "ernie", None)  # whatever the test puts there is gone afterwards
    del FAMILIES["ernie"]
    yield "models/my-ernie"
    load_base.cache_clear()


def guide_rows():
    return re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_both_rows_of_the_guide_are_the_same_and_a_base_of_it_is_used_to_the_end(ernie, capsys):
    with pytest.raises(UserError, match="is a ernie: an encoder whose slot is not known here"):
        load_base(ernie)
    short, whole = guide_rows()
    exec(whole, {})
    written_out = FAMILIES["ernie"]
    exec(short, {})
    assert FAMILIES["ernie"] == written_out
    assert "my-ernie': ernie, 2 layers" in capsys.readouterr().out
    recipe = Recipe(lr=1e-3, epochs=1, batch=8, max_length=24)
    target = get_task("entail_kitchen")
    result = transfer(target, [], method="single-adapter", base=ernie, rows=16, recipe=recipe, out="result")
    folder, texts = result.export("adapter"), ("A text", "The other text")
    assert predict_text(folder, texts)["prediction"] == target.labels[int(result.predict([texts]).argmax())]
    assert "Plain `adapters` has no model of the type ernie" in (folder / "README.md").read_text()


def test_a_row_with_a_layer_norm_that_does_not_end_the_layer_is_named(ernie):
    inner = Place("attention.output.LayerNorm", "attention.output", "attention.output.dropout")
    FAMILIES["ernie"] = Family(output_adapter=inner)
    with pytest.raises(
        UserError,
        match=r"has no layer that ends in encoder\.layer\.0\.attention\.output\.LayerNorm as its slot's formula says .* in a ernie",
    ):
        load_base(ernie).model()


def test_the_table_of_the_slot_is_that_of_the_code():
    page = (GUIDE.parents[1] / "architecture.md").read_text()
    told = {}
    for line in re.findall(r"^\| `[\w-]+`.*$", page, re.MULTILINE):
        kinds, layers, *place = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
        told |= {kind: (layers[0], *(part[0] for part in place)) for kind in kinds}
    assert told == {
        kind: (
            family.layers.replace("\\d+", "N").replace("\\", ""),
            family.output_adapter.norm,
            family.output_adapter.holder,
            family.output_adapter.branch,
        )
        for kind, family in FAMILIES.items()
    }
