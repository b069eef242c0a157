"""LoRAs on decoders: trained on texts and on classes, mixed, and exported as one LoRA that stock PEFT loads, merges and writes with."""

import json
import math
import weakref

import numpy as np
import pytest
import torch
from decoders import save_decoder
from refusals import refused_line
from transformers import AutoModelForCausalLM

from scalearn import AdapterPool, Recipe, TransferResult, explain, predict_text, train_source, transfer
from scalearn.results.answer import answer
from scalearn.results.explain_table import explanation_tables
from scalearn.results.trained_data import trained_data
from tasksel import Task, get_task, rank
from tasksel.display.streams import as_text
from tasksel.model.base import Base
from tasksel.model.encoding import encode_split
from tasksel.training.predict import mean_loss

WORDS = ("red", "blue", "green")
LORA = {"r": 2, "lora_alpha": 4}
RECIPE = Recipe(lr=2e-2, epochs=2, batch=8, max_length=40)
PROMPTS = ["Flag 9: red!", "Flag: blue!"]


@pytest.fixture(scope="module")
def task_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")

    def make(name):
        rows = [{"q": f"{name} {i}: {WORDS[i % 3]}", "a": WORDS[i % 3]} for i in range(24)]
        return Task.from_dicts(rows, name=name, text="{q}!", label="a", kind="generation", max_new_tokens=8, folder=folder)  # fmt: skip

    return make


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def pool(request, task_of, tmp_path_factory):
    """A pool of two LoRAs that write and one that classifies."""
    folder = tmp_path_factory.mktemp(request.param)
    pool = AdapterPool(folder / "pool", base=save_decoder(folder / "base", request.param))
    for task in (task_of("Sky"), task_of("Car"), get_task("sentiment_films")):
        train_source(task, pool, rows=24, lora=LORA, recipe=RECIPE)
    return pool


@pytest.fixture(scope="module")
def mixed(pool, task_of, tmp_path_factory):
    out = tmp_path_factory.mktemp("mixed") / "out"
    sources = pool.select(["Sky", "Car", "sentiment_films"])
    return transfer(task_of("Flag"), sources, method="scalearn", base=pool.base, recipe=RECIPE, out=out)


def test_a_source_trains_its_lora_alone_and_keeps_no_lm_head(pool):
    card = pool["Sky"].card
    assert (card.parameters["head"], card.parameters["transfer"] > 0) == (0, True)
    assert (pool["Sky"].folder / "model_head.safetensors").stat().st_size < 100
    assert json.loads((pool["Sky"].folder / "head_config.json").read_text())["config"]["head_type"] == "causal_lm"
    assert (pool["sentiment_films"].pooling, pool["sentiment_films"].card.parameters["head"] > 0) == ("last", True)


class TestMix:
    def test_it_is_read_back_answered_and_explained(self, mixed):
        again = TransferResult.load(mixed.folder)
        again._models.clear()
        assert again.predict(PROMPTS).tolist() == mixed.predict(PROMPTS).tolist()
        assert set(mixed.omega().shape[1:2]) == {3}
        assert mixed.seeds[0].parameters["head"] == 0
        assert set(answer(mixed).sources) == {"Sky", "Car", "sentiment_films"}
        assert [left.source for left in explain(mixed, rows=4, draws=10).left_out] == list(mixed.run.sources)

    @pytest.mark.parametrize("method", ["average", "fixed-grid", "search"])
    def test_a_mix_whose_weights_are_set_or_searched_trains_nothing(self, pool, task_of, tmp_path, monkeypatch, method):
        monkeypatch.setattr("scalearn.methods.search.EVALUATIONS", 6)
        result = transfer(task_of("Flag"), pool.select(["Sky", "Car"]), method=method, recipe=RECIPE, out=tmp_path / "out")  # fmt: skip
        seed = result.seeds[0]
        assert (seed.steps, seed.parameters["head"], seed.dev) == (0, 0, pytest.approx(seed.dev))
        assert result.predict(PROMPTS).shape == (2,)

    def test_the_default_compares_the_base_the_sources_as_they_are_and_their_training(
        self, pool, task_of, tmp_path, capfd
    ):
        recipe = RECIPE.model_copy(update={"epochs": 20, "budget": 1e9, "max_steps": 40})
        result = transfer(task_of("Flag"), pool.select(["Sky", "Car"]), recipe=recipe, out=tmp_path / "out")
        assert result.run.method == "auto"
        candidates = result.seeds[0].candidates
        assert [len(one.sources) for one in candidates[:3]] == [0, 1, 2]
        best = max(candidates, key=lambda one: one.score)
        assert [one.chosen for one in candidates] == [one is best for one in candidates]
        assert best.name == "trained", "48 rows of three words are learned in 40 steps"
        dev = encode_split(trained_data(result, 0).dev, result.task, result.base.tokenizer, max_length=40)
        assert math.exp(-mean_loss(result.model(), result.task, dev)) == pytest.approx(best.score, abs=1e-5)
        assert result.seeds[0].parameters["head"] == 0
        said = capfd.readouterr().err
        assert "likelihood of an answer's token" in said
        shown = as_text(explanation_tables(explain(result, rows=4, draws=10)))
        assert all(words in shown for words in ("likelihood of an answer's token on dev", "the base alone as it is"))

    @pytest.mark.parametrize("budget", [0.0, 1e9])
    def test_the_default_holds_one_copy_of_the_base_at_a_time(self, pool, task_of, tmp_path, monkeypatch, budget):
        read, copies, model = [], [], Base.model

        def counted(base):
            copies.append(sum(copy() is not None for copy in read))
            read.append(weakref.ref(own := model(base)))
            return own

        monkeypatch.setattr(Base, "model", counted)
        recipe = RECIPE.model_copy(update={"budget": budget, "max_steps": 8})
        transfer(task_of("Flag"), pool.select(["Sky", "Car"]), recipe=recipe, out=tmp_path / "out")
        assert len(copies) >= 2
        assert set(copies) == {0}

    def test_the_default_leaves_what_training_cannot_improve(self, pool, task_of, tmp_path):
        """A budget that buys no step: the best sum of sources is the result, or the base alone."""
        recipe = RECIPE.model_copy(update={"budget": 0.0})
        result = transfer(task_of("Flag"), pool.select(["Sky", "Car"]), recipe=recipe, out=tmp_path / "out")
        candidates = result.seeds[0].candidates
        assert {one.name for one in candidates} == {"as it is"}
        chosen = next(one for one in candidates if one.chosen)
        assert chosen.score == max(one.score for one in candidates)
        omega = result.omega()
        np.testing.assert_allclose(omega[..., 0], np.broadcast_to(chosen.omega(2), omega.shape[:2]), atol=1e-6)

    @pytest.mark.parametrize("method", ["closed-form", "soup", "fusion", "joint"])
    def test_what_has_no_meaning_is_refused(self, pool, task_of, tmp_path, method):
        said = refused_line(transfer, task_of("Flag"), pool.select(["Sky", "Car"]), method=method, out=tmp_path / "out")
        assert f"method '{method}'" in said
        assert not (tmp_path / "out").exists()


class TestExport:
    def test_stock_peft_has_its_logits_writes_its_texts_and_merges_to_the_same(self, peft, mixed, tmp_path):
        folder, base = mixed.export(tmp_path / "lora"), mixed.base
        assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"
        theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.path), folder).eval()
        ids = base.tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            wanted = mixed.model()(input_ids=ids).logits
            found = theirs(input_ids=ids).logits
            tokens = theirs.generate(input_ids=ids, do_sample=False, max_new_tokens=8, pad_token_id=0)[
                0, ids.shape[1] :
            ]
            merged = theirs.merge_and_unload()(input_ids=ids).logits
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(merged, wanted, atol=1e-4, rtol=0)
        text = base.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert text == mixed.predict(PROMPTS[:1])[0] == predict_text(folder, PROMPTS[:1])["prediction"]

    def test_a_classification_is_exported_with_its_head_on_the_last_token(self, pool, tmp_path):
        target = get_task("sentiment_phones")
        result = transfer(target, pool.select(["Sky", "sentiment_films"]), method="scalearn", rows=16, recipe=RECIPE, out=tmp_path / "out")  # fmt: skip
        said = [predict_text(folder, ["It rings."])["scores"] for folder in (result.folder, result.export(tmp_path / "lora"))]  # fmt: skip
        np.testing.assert_allclose(*said, atol=1e-5)
        assert result.seeds[0].pooling == "last"


class TestSelection:
    @pytest.mark.parametrize("by", ["auto", "connectivity", "text", "vocabulary", "weights", "kind", "size", "random"])
    def test_a_generation_target_is_ranked_by_what_reads_no_labels(self, pool, task_of, by, tmp_path):
        ranking = rank(task_of("Flag"), list(pool), by=by, base=pool.base, cache_dir=tmp_path)
        assert sorted(ranking.names) == ["Car", "Sky", "sentiment_films"]

    @pytest.mark.parametrize("by", ["logme", "leep", "knn", "probe", "closed-form", "esm"])
    def test_what_explains_labels_says_so_before_any_work(self, pool, task_of, by, tmp_path, monkeypatch):
        monkeypatch.setattr("tasksel.adapters.checkpoint.AdapterCheckpoint.model", None)
        said = refused_line(rank, task_of("Flag"), list(pool), by=by, base=pool.base, cache_dir=tmp_path)
        assert f"{by} explains labels, and target 'Flag' is generation, whose rows have texts" in said

    @pytest.mark.parametrize("by", ["logme", "leep", "knn", "esm"])
    def test_a_target_of_classes_is_ranked_on_the_features_of_the_last_token(self, pool, by, tmp_path):
        ranking = rank(get_task("sentiment_phones"), list(pool), by=by, base=pool.base, rows=24, cache_dir=tmp_path)
        assert np.isfinite(ranking.scores).all()
