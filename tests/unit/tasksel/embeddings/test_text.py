"""Tests of text embeddings: the mean is over real tokens and examples, and the sentence encoder is what its own files say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from decoders import save_decoder

from tasksel import Task, get_task, load_data
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.text import Text, inputs_of, text_vectors
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.tasks.examples import Split
from tasksel.tasks.load import Data

TEXTS = [
    ("A short one.",),
    ("A longer text, of which some tokens are left.",),
    ("no",),
    ("The film was not bad at all",),
]
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2")
# the first three numbers of each, as sentence-transformers 5.7.0 gives them for the packaged all-MiniLM-L6-v2
SENTENCES = {
    "a b": (-0.01130366, 0.04327127, -0.08522972),
    "hello you there": (-0.09363816, 0.06517, 0.05765374),
}


def naive_vector(model, base, *parts, max_length=128):
    """One text alone, without padding, its tokens added up one by one."""
    options = {"return_token_type_ids": base.config.model_type != "distilbert"}  # which has no segments
    tokens = base.tokenizer(*parts, truncation=True, max_length=max_length, return_tensors="pt", **options)
    with torch.no_grad():
        hidden = model.base_model(**tokens).last_hidden_state[0].double().numpy()
    return sum(hidden) / len(hidden)


@pytest.fixture(scope="module")
def films():
    task = get_task("sentiment_films")
    return task, load_data(task, rows=30)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_text_is_the_mean_of_its_real_tokens(make_base, architecture):
    base = load_base(make_base(architecture))
    model = base.model()
    found = text_vectors(TEXTS, base, max_length=8)
    for row, parts in enumerate(TEXTS):
        np.testing.assert_allclose(found[row], naive_vector(model, base, *parts, max_length=8), rtol=1e-3, atol=1e-5)


def test_batches_change_nothing(tiny, monkeypatch):
    whole = text_vectors(TEXTS, load_base(tiny), max_length=32)
    monkeypatch.setattr("tasksel.embeddings.text.BATCH", 3)
    np.testing.assert_allclose(text_vectors(TEXTS, load_base(tiny), max_length=32), whole, rtol=1e-4, atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_allclose(text_vectors(TEXTS, load_base(tiny), max_length=32), whole, rtol=1e-4, atol=1e-6)


def test_a_task_is_the_mean_of_its_training_texts(tiny):
    base, task = load_base(tiny), get_task("entail_travel")
    data = load_data(task, rows=12)
    model = base.model()
    wanted = sum(naive_vector(model, base, *pair) for pair in data.train.texts) / len(data.train)
    found = Text().embed(task, data, base).arrays["vector"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


class TestSentenceEncoder:
    def test_pools_and_scales_as_the_packaged_models_own_files_say(self):
        folder = Path(load_base("minilm").path)
        steps = [part["type"].rsplit(".", 1)[1] for part in json.loads((folder / "modules.json").read_text())]
        assert steps == ["Transformer", "Pooling", "Normalize"]
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
        assert [name for name, value in pooling.items() if value is True] == ["pooling_mode_mean_tokens"]

    def test_gives_what_sentence_transformers_gives(self, tiny, films):
        for text, wanted in SENTENCES.items():
            split = Split([(text,)], None, np.array([0]))
            found = (
                Text(encoder="sentence").embed(films[0], Data(split, split, split), load_base(tiny)).arrays["vector"]
            )
            assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)
            np.testing.assert_allclose(found[:3], wanted, atol=2e-6)

    def test_reads_the_prompts_of_a_task_of_a_decoder(self, tmp_path):
        rows = [{"prompt": f"Say {i}:", "completion": "yes"} for i in range(8)]
        task = Task.from_dicts(rows, text="prompt", label="completion", kind="generation", name="says", folder=tmp_path)
        base, form = load_base(save_decoder(tmp_path / "llama")), Text(encoder="sentence")
        form.check_base(base, [task])
        assert form.embed(task, load_data(task), base).arrays["vector"].shape == (384,)

    def test_joins_a_pair_and_scales_each_text_before_the_mean(self, tiny):
        split = Split([("hello", "you there"), ("a", "b")], None, np.array([0, 1]))
        found = Text(encoder="sentence").embed(get_task("entail_travel"), Data(split, split, split), load_base(tiny))
        wanted = np.mean(list(SENTENCES.values()), axis=0)
        np.testing.assert_allclose(found.arrays["vector"][:3], wanted, atol=2e-6)
        assert found.provenance["base"] == tiny


class TestEmbedding:
    def test_draws_its_rows_by_seed(self, tiny, films):
        form = Text(rows=5)
        first, again, other = (form.embed(*films, load_base(tiny), seed=seed).arrays["vector"] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_says_what_made_it_and_comes_back_from_its_file(self, tiny, films, tmp_path):
        found = Text(rows=5).embed(*films, load_base(tiny), seed=3)
        assert (found.provenance["task"], found.provenance["seed"], found.provenance["method"]) == (
            "sentiment_films",
            3,
            "text",
        )
        assert found.provenance["settings"] == {"encoder": "base", "rows": 5, "max_length": 128}
        found.save(tmp_path / "a.safetensors")
        assert Text(rows=5).similarity(TaskEmbedding.load(tmp_path / "a.safetensors"), found) == pytest.approx(1.0)

    def test_every_choice_is_a_text(self, tiny):
        split = Split([("it rained",), ("a", "b")], [["so we left", "so we slept"], ["c"]], np.array([0, 0]))
        assert inputs_of(split) == [("it rained", "so we left"), ("it rained", "so we slept"), ("a b", "c")]
        task = get_task("endings_daily")
        data = load_data(task, rows=6)
        base = load_base(tiny)
        pairs = [
            (*texts, choice)
            for texts, choices in zip(data.train.texts, data.train.choices, strict=True)
            for choice in choices
        ]
        wanted = np.mean([naive_vector(base.model(), base, *pair) for pair in pairs], axis=0)
        np.testing.assert_allclose(Text().embed(task, data, base).arrays["vector"], wanted, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"encoder": "sentences"}, "no encoder of 'text' 'sentences'; did you mean 'sentence'"),
            ({"rows": 0}, "text: rows=0 must be greater"),
        ],
    )
    def test_a_setting_that_cannot_be_is_refused(self, options, complaint):
        with pytest.raises(UserError, match=complaint):
            Text(**options)


class TestSimilarity:
    def embedding(self, mean, **provenance):
        known = {"task": "a", "base_fingerprint": "f", "key": "k"}
        return TaskEmbedding({"vector": np.array(mean, np.float32)}, {**known, **provenance})

    def test_is_the_cosine(self):
        assert Text().similarity(self.embedding([3, 4]), self.embedding([4, 3])) == pytest.approx(24 / 25)
        assert Text().similarity(self.embedding([1, 0]), self.embedding([-2, 0])) == pytest.approx(-1)

    def test_of_what_was_made_otherwise_is_refused(self):
        for other in ({"base_fingerprint": "g"}, {"key": "l"}):
            with pytest.raises(UserError, match=f"embeddings of 'a' and 'b' differ in {next(iter(other))}"):
                Text().similarity(self.embedding([1]), self.embedding([1], task="b", **other))

    def test_the_key_names_every_setting(self):
        changed = [{"encoder": "sentence"}, {"rows": 501}, {"max_length": 64}]
        assert len({Text(**options).key for options in ({}, *changed)}) == 4


def test_kin_lie_nearer_than_strangers_on_a_real_encoder():
    base = load_base("minilm")
    names = ("entail_kitchen", "entail_travel", "sentiment_films", "question_type")
    for form in (Text(rows=12), Text(rows=12, encoder="sentence")):
        found = {name: form.embed(get_task(name), load_data(get_task(name), rows=20), base) for name in names}
        near = {name: form.similarity(found[name], found["entail_kitchen"]) for name in names[1:]}
        assert max(near, key=near.get) == "entail_travel", near
