"""A head on the mean of the tokens: plain `adapters` has none, so command and card say so and apply it by hand, to the same logits."""

import json

import numpy as np
import pytest
from transfer_fixtures import KINDS, RECIPE

from scalearn import AdapterPool, TransferResult, transfer
from scalearn.cli.main import main
from scalearn.results.model_card import ModelCard
from scalearn.results.predict import Export, predict_text
from tasksel import get_task

MEAN = RECIPE.model_copy(update={"pooling": "mean"})
TEXTS = {"pair": [("A text", "The other text")], "choices": [("A text", ["choice 1", "choice 2", "choice 3"])]}


@pytest.fixture(scope="module")
def means(pool_folder, shared):
    """One result per kind of task whose head reads the mean."""

    def train(folder):
        options = {"method": "scalearn", "rows": 24, "recipe": MEAN}
        for kind, name in KINDS.items():
            transfer(get_task(name), list(AdapterPool(pool_folder))[:2], out=folder / kind, **options)

    folder = shared.fill("results-of-mean", train)
    return {kind: TransferResult.load(folder / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_printed_code_gives_the_same_logits_in_plain_adapters(means, kind, library, tmp_path, capsys):
    result = means[kind]
    assert main(["export", str(result.folder), "--out", str(tmp_path / "out")]) == 0
    said, _, code = capsys.readouterr().out.partition("\n\n")
    assert "its head reads the mean of the tokens" in said
    assert "transfer again with --portable" in said
    names: dict = {}
    exec(code, names)
    assert "scalearn" not in code
    (logits,) = result.predict(TEXTS.get(kind, ["A text"]))
    np.testing.assert_allclose(names["logits"].numpy(), logits, atol=1e-5)
    names["model"].set_active_adapters(None)
    exec(code[code.index("inputs = ") :], names)
    assert np.abs(names["logits"].numpy() - logits).max() > 1e-5  # the adapter counts


def test_plain_adapters_refuses_the_head_as_the_card_says(means, library, tmp_path):
    from library import library_model

    folder = means["single"].export(tmp_path / "out")
    with pytest.raises(TypeError, match="pooling"):
        library_model(means["single"].base).load_adapter(str(folder), use_safetensors=True)


def test_the_card_shows_the_code_without_paths_and_no_pipeline(means, tmp_path):
    for kind, result in means.items():
        text = (result.export(tmp_path / kind) / "README.md").read_text()
        assert "library_name: scalearn" in text  # the hub's own call for `adapters` would fail
        assert "with a head on the mean of the tokens" in text
        assert f'load_adapter("{kind}", with_head=False' in text
        assert f'load_file("{kind}/model_head.safetensors")' in text
        assert "pipeline(" not in text
        assert "--portable" in text


def test_an_export_predicts_as_its_result(means, tmp_path):
    result = means["single"]
    export = Export.load(result.export(tmp_path / "out"))
    assert predict_text(export.folder, ["A text"])["scores"] == pytest.approx(
        predict_text(result.folder, ["A text"])["scores"], abs=1e-5
    )


def test_an_export_can_be_pushed(means, tmp_path, capsys):
    means["pair"].export(tmp_path / "out")
    assert main(["push", str(tmp_path / "out"), "--to", "me/out"]) == 0
    assert "nothing was sent" in capsys.readouterr().out


def test_a_base_that_the_library_lacks_is_for_scalearn_alone_whatever_the_head_reads():
    told = {"folder": "out", "task": get_task(KINDS["single"]), "method": "scalearn", "base": "some/base", "seed": 0}
    told |= {"scores": {"accuracy": 0.5}, "max_length": 32, "model_type": "mpnet"}
    first, mean = str(ModelCard(**told)), str(ModelCard(**told, pooling="mean"))
    assert mean == first.replace("with its head", "with a head on the mean of the tokens")
    assert "--portable" not in mean


def test_a_pool_keeps_what_the_heads_of_its_sources_read(means, kinds, own_pool, tmp_path, capsys):
    for name, result in (("of-mean", means["single"]), ("of-first", kinds["single"])):
        own_pool.add(result.export(tmp_path / name), name=name)
    assert [own_pool[name].pooling for name in ("of-mean", "of-first")] == ["mean", "first"]
    config = json.loads((own_pool["of-mean"].folder / "head_config.json").read_text())["config"]
    assert config["pooling"] == "mean"
    model = own_pool["of-mean"].trained.model(own_pool.base)
    assert model.heads[model.active_head].pooling == "mean"
    assert main(["pool", "ls", "--pool", str(own_pool.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["mean of tokens" in line for line in lines if "of-mean" in line] == [True]
    assert ["first token" in line for line in lines if "of-first" in line] == [True]


def test_a_source_of_version_0_1_reads_the_first_token(own_pool):
    source = own_pool["entail_travel"]
    card = source.card.model_copy(update={"pooling": None})
    assert type(source)(source.folder, card).pooling == "first"
    headless = card.model_copy(update={"files": {"adapter.safetensors": "0" * 64}})
    assert type(source)(source.folder, headless).pooling is None
