"""Tests of a transfer to a generation task: trained, stored, read back, answered, predicted with; what has no meaning there refuses."""

import json

import numpy as np
import pytest
from decoders import save_decoder
from refusals import refused_line

import scalearn.cli.main as cli
from scalearn import Recipe, TransferResult, transfer
from scalearn.results.answer import answer
from scalearn.results.explain import paired_intervals
from scalearn.results.predict import predict_file, predict_text
from tasksel import Task
from tasksel.tasks.bootstrap import resampled

WORDS = ("red", "blue", "green")
RECIPE = Recipe(lr=1e-2, epochs=12, batch=8, patience=None, max_length=48, select="metric-loss", start="solved")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp("llama"), "qwen3", chat=True)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    rows = [{"q": f"{WORDS[i % 3]} {i}", "a": WORDS[i % 3]} for i in range(40)]
    path = tmp_path_factory.mktemp("rows") / "sky.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def task(sky):
    return Task.from_file(sky, text="Say {q}:", label="a", kind="generation", max_new_tokens=8)


@pytest.fixture(scope="module")
def results(llama, task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return {
        method: transfer(task, [], method=method, base=llama, recipe=RECIPE, out=folder / method)
        for method in ("full", "head-only")
    }


class TestResult:
    @pytest.mark.parametrize("method", ["full", "head-only"])
    def test_what_was_trained_is_read_back(self, results, method):
        result = results[method]
        again = TransferResult.load(result.folder)
        again._models.clear()
        texts = again.predict(["Say red 1:", "Say blue 2:"])
        assert texts.tolist() == result.predict(["Say red 1:", "Say blue 2:"]).tolist()
        assert all(isinstance(text, str) and text for text in texts)

    def test_the_lm_head_alone_trains_or_all_the_tied_weights_do(self, results):
        full, head = (results[method].seeds[0].parameters for method in ("full", "head-only"))
        assert (full["head"], full["transfer"] > 20_000) == (0, True)
        assert head == {"transfer": 0, "head": 260 * 32}

    def test_it_learned_something_over_the_base_as_it_is(self, results):
        result = results["full"]
        said = answer(result)
        assert said.without.score < said.score == pytest.approx(result.mean)
        assert said.constant.score == pytest.approx(1 / 3, abs=0.2)  # the most frequent target
        assert said.mistakes.rows == 8
        table = str(said)
        assert "the base as it is" in table
        assert "texts are the target" in table
        assert "Say " in table

    @pytest.mark.parametrize("call", ["export", "explain"])
    def test_what_needs_an_adapter_or_a_mix_says_so(self, results, tmp_path, capsys, call):
        folder = str(results["full"].folder)
        argv = {"export": ["export", folder, "--out", str(tmp_path / "x")], "explain": ["explain", folder]}[call]
        assert cli.main(argv) == 2
        assert {"export": "changes the base itself", "explain": "has no mix of sources"}[
            call
        ] in capsys.readouterr().err


class TestPredictions:
    def test_a_file_has_a_text_for_each_row_and_is_scored_on_its_targets(self, results, sky, tmp_path, capsys):
        rows, value = predict_file(results["full"].folder, sky)
        assert [row["id"] for row in rows] == list(range(1, 41))
        assert all(row["scores"] == {} and isinstance(row["prediction"], str) for row in rows)
        assert 0 < value <= 1
        out = tmp_path / "texts.csv"
        assert cli.main(["predict", str(results["full"].folder), str(sky), "--out", str(out)]) == 0
        assert out.read_text().splitlines()[0] == '"id","prediction"'
        assert predict_file(results["full"].folder, sky, metric="exact_match")[1] <= value

    def test_a_text_is_a_prompt_and_a_file_without_targets_is_not_scored(self, results, tmp_path):
        (tmp_path / "new.csv").write_text("q\nred 7\n")
        rows, value = predict_file(results["full"].folder, tmp_path / "new.csv")
        assert value is None
        assert predict_text(results["full"].folder, ["Say red 7:"])["prediction"] == rows[0]["prediction"]

    def test_a_chats_text_is_the_users_message(self, llama, tmp_path):
        chats = [{"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "yes"}]} for i in range(8)]  # fmt: skip
        (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
        task = Task.from_file(tmp_path / "chat.jsonl", text="messages", label="messages", kind="generation")
        result = transfer(task, [], method="full", base=llama, recipe=RECIPE, out=tmp_path / "out")
        rows, _ = predict_file(result.folder, tmp_path / "chat.jsonl")
        assert predict_text(result.folder, ["3?"])["prediction"] == rows[3]["prediction"]

    def test_empty_texts_are_said(self, results, sky, monkeypatch):
        said = []
        monkeypatch.setattr("scalearn.results.predict.say", said.append)
        monkeypatch.setattr(TransferResult, "logits", lambda *_, **__: np.array(["", *["red"] * 39], dtype=object))
        assert predict_file(results["full"].folder, sky)[1] > 0
        assert said == ["1 of 40 texts are empty: the model ended them at once"]


class TestRefusals:
    @pytest.mark.parametrize("method", ["closed-form-base", "majority"])
    def test_a_method_that_solves_a_head(self, llama, task, tmp_path, method):
        said = refused_line(transfer, task, [], method=method, base=llama, out=tmp_path / "out")
        assert said.startswith(
            f"method '{method}' solves a head in closed form, and the head of 'sky', a generation task"
        )
        assert not (tmp_path / "out").exists()

    def test_an_encoder(self, tiny, task, tmp_path):
        said = refused_line(transfer, task, [], method="full", base=tiny, out=tmp_path / "out")
        assert "an encoder, which writes no text: choose a decoder (gemma, gpt2, llama, mistral, qwen2, qwen3)" in said


def test_intervals_of_texts_are_those_of_means_over_drawn_rows():
    targets = np.array(["yes"] * 6 + ["no"] * 4, dtype=object)
    always, right = np.full(10, "yes", dtype=object), targets.copy()
    draws = resampled("exact_match", [right, always], targets)
    assert draws[:, 0].tolist() == [1.0] * 1000
    assert draws[:, 1].mean() == pytest.approx(0.6, abs=0.02)
    ((low, high),) = paired_intervals("exact_match", right, [always], targets)
    assert -0.75 < low < -0.4 < high < -0.05
