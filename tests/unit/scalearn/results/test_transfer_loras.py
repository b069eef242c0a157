"""Transfers over a pool of LoRAs: every method that has a meaning trains, reloads to the same logits, and exports what stock PEFT loads."""

import json
import shutil

import numpy as np
import pytest
import torch
from lora_pool import LORAS
from safetensors.torch import load_file

from scalearn import METHODS, Recipe, TransferResult, explain, predict_text, transfer
from scalearn.layers.scaling import SCALINGS
from tasksel import UserError, get_task

QUICK = {"lr": 3e-3, "epochs": 1, "max_length": 32, "max_steps": 2}
TEXTS = [("Two cooks peel carrots", "Nobody cooks"), ("A child sleeps", "A child is awake")]
SOURCES = tuple(LORAS)
OVER_SOURCES = (*SCALINGS, "auto", "closed-form", "average", "fixed-grid", "search", "sequential")
ALONE = ("single-adapter", "head-only", "full")


@pytest.fixture(scope="module")
def target():
    return get_task("entail_kitchen")


@pytest.fixture(scope="module")
def run(lora_pool_folder, target, tiny, tmp_path_factory):
    """A transfer by a method, run once."""
    from scalearn import AdapterPool

    kept, pool = {}, AdapterPool(lora_pool_folder)

    def make(method):
        if method not in kept:
            row = METHODS[method]
            options = {"lora": {"r": 2, "lora_alpha": 3, "use_rslora": True}} if row.adds_new else {}
            recipe = row.recipe.model_copy(update={**QUICK, "budget": None, "pooling": "first"})
            sources = pool.select(SOURCES[: 2 if method == "auto" else 3]) if row.takes_sources else []
            out = tmp_path_factory.mktemp("transfers") / method
            kept[method] = transfer(target, sources, method=method, rows=24, recipe=recipe, out=out, base=tiny, **options)  # fmt: skip
        return kept[method]

    return make


@pytest.mark.usefixtures("few_strengths")
@pytest.mark.parametrize("method", [*OVER_SOURCES, *ALONE])
def test_every_method_with_a_meaning_trains_and_reloads_to_the_same_logits(run, method):
    result = run(method)
    logits = result.predict(TEXTS)
    assert np.isfinite(logits).all()
    again = TransferResult.load(result.folder)
    assert np.array_equal(again.predict(TEXTS), logits)
    moved = load_file(result.folder / "seed-0" / "state.safetensors")
    learned = {name.rpartition(".adapters.")[2].split(".", 1)[1] for name in moved if ".adapters." in name}
    if method in SCALINGS:
        assert learned == {"omega.weight"}
    if method == "single-adapter":
        assert learned == {"lora_A.weight", "lora_B.weight"}


def test_what_has_no_meaning_is_refused_before_any_work(lora_pool, target, tmp_path, monkeypatch):
    monkeypatch.setattr("scalearn.results.transfer.load_data", lambda *_, **__: pytest.fail("rows were read"))
    reasons = {
        "fusion": "attends to the outputs of bottlenecks in a layer's slot",
        "soup": "merges bottlenecks unit by unit",
        "soup-similarity": "merges bottlenecks unit by unit",
        "joint": "trains one bottleneck adapter on its sources' tasks",
    }
    assert {name for name, method in METHODS.items() if method.lora_reason} == set(reasons)
    for method, reason in reasons.items():
        with pytest.raises(UserError, match=f"method '{method}' {reason}.*so it takes no LoRAs"):
            transfer(target, list(lora_pool), method=method, out=tmp_path / method, similarities=[1.0, 1.0, 1.0])
        assert not (tmp_path / method).exists()
    with pytest.raises(
        UserError, match="'average' trains no new adapter, so it takes no lora=…; those that do: single-adapter"
    ):
        transfer(target, list(lora_pool), method="average", lora={"r": 2})


def test_a_bottleneck_and_a_lora_are_not_mixed(lora_pool, pool, target, tmp_path):
    both = [lora_pool["entail_travel"], pool["sentiment_films"]]
    with pytest.raises(
        UserError, match="'entail_travel' is of LoRAs, 'sentiment_films' of bottleneck adapters: they cannot be mixed"
    ):
        transfer(target, both, method="average", out=tmp_path / "out")


def test_a_new_lora_is_of_the_kind_that_was_asked_for(run, target, tiny, tmp_path):
    result = run("single-adapter")
    config = result.run.adapter_config
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (2, 3, True)
    assert result.seeds[0].parameters["transfer"] == 2 * 2 * 2 * 2 * 32  # layers, query and value, A and B, rank
    with pytest.raises(UserError, match="holds a different run"):
        transfer(target, [], method="single-adapter", rows=24, recipe=result.run.recipe, out=result.folder, base=tiny, lora={"r": 4})  # fmt: skip
    assert METHODS["single-adapter"].recipe_for("lora").lr != METHODS["single-adapter"].recipe.lr


def test_an_explanation_has_a_share_for_each_module_and_none_for_a_module_that_a_source_lacks(run):
    result = run("scalearn-uniform")
    explanation = explain(result, rows=20, draws=20)
    at = explanation.slots.index("bert.encoder.layer.1.attention.self.value")
    assert explanation.shares[at][1] == 0  # entail_travel targets query and intermediate.dense
    assert np.allclose(np.sum(explanation.shares, axis=1), 1)
    assert len(explanation.omega) == len(explanation.slots) == len(result.layers())
    weights = result.method.source_weights(result.model(), result.task.name)
    assert np.allclose(weights, 2 / 3, atol=0.1)


# --- export ---

EXPORTED = ("scalearn", "scalearn-uniform++", "average", "sequential", "single-adapter")
READ = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
base, folder, texts = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
model = PeftModel.from_pretrained(model, folder).eval()
inputs = tokenizer(*map(list, zip(*texts)), padding=True, return_tensors="pt")
with torch.no_grad():
    attached = model(**inputs).logits
    merged = model.merge_and_unload()(**inputs).logits
print(json.dumps([attached.tolist(), merged.tolist()]))
"""


@pytest.mark.parametrize("method", EXPORTED)
def test_stock_peft_loads_an_export_to_the_same_logits_and_merges_it_to_the_same(
    run, method, tiny, fresh_process, tmp_path, peft
):
    result = run(method)
    folder = result.export(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["lora_alpha"] == config["r"]
    assert (config["rank_pattern"], config["alpha_pattern"], config["use_rslora"]) == ({}, {}, False)
    ranks = {len(tensor) for key, tensor in load_file(folder / "adapter_model.safetensors").items() if "lora_A" in key}
    assert ranks == {config["r"]}
    attached, merged = json.loads(fresh_process(READ, json.dumps([tiny, str(folder), TEXTS])))
    wanted = result.predict(TEXTS)
    assert np.abs(np.array(attached) - wanted).max() < 1e-5
    assert np.abs(np.array(merged) - wanted).max() < 1e-5
    scores = predict_text(folder, TEXTS[0])["scores"]
    assert np.abs(np.array(scores) - torch.tensor(wanted[0]).softmax(0).numpy()).max() < 1e-5


def test_a_head_on_the_mean_lies_beside_and_the_cards_lines_apply_it(
    lora_pool, target, tiny, fresh_process, tmp_path, peft
):
    recipe = Recipe(**QUICK, pooling="mean")
    result = transfer(target, list(lora_pool), method="average", rows=24, recipe=recipe, out=tmp_path / "result")
    folder = result.export(tmp_path / "adapter")
    keys = set(load_file(folder / "adapter_model.safetensors"))
    assert all(".lora_" in key and key.startswith("base_model.model.encoder.") for key in keys)
    shutil.copytree(tiny, tmp_path / "base")
    card = (folder / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    base_line = next(line for line in code.splitlines() if line.startswith("base ="))
    code = code.replace(base_line, f"base = {str(tmp_path / 'base')!r}").replace("A text", TEXTS[0][0]).replace("The other text", TEXTS[0][1])  # fmt: skip
    said = fresh_process(f"{code}print(logits.tolist())", cwd=tmp_path).splitlines()
    wanted = result.predict(TEXTS[:1])[0]
    assert np.abs(np.array(json.loads(said[-1])) - wanted).max() < 1e-5
    assert said[0] == target.labels[int(wanted.argmax())]


def test_the_card_of_an_export_says_what_it_is(run, tmp_path):
    result = run("scalearn-uniform++")
    card = (result.export(tmp_path / "adapter") / "README.md").read_text()
    assert "library_name: peft" in card
    assert "One plain LoRA in the format of [PEFT]" in card
    assert all(source in card for source in SOURCES)
    assert "merge_and_unload" in card


def test_an_export_can_be_a_source_again(run, tiny, tmp_path, lora_pool):
    from scalearn import AdapterPool

    result = run("scalearn")
    folder = result.export(tmp_path / "again")
    source = AdapterPool(tmp_path / "pool", base=tiny).add(folder)
    model = source.trained.model(lora_pool.base)
    ids = lora_pool.base.tokenizer(*map(list, zip(*TEXTS, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        assert np.abs(model(**ids).logits.numpy() - result.predict(TEXTS)).max() < 1e-5
