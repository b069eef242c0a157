"""Tests of soft prompts: they stand where they should, padding stays outside, all start alike and only they and the head learn."""

import numpy as np
import pytest
import torch

from tasksel import TaskEmbedding, get_task, load_data
from tasksel.embeddings.soft_prompt import SoftPrompt, add_prompt, with_placeholders
from tasksel.embeddings.token_similarity import TOKEN_SIMILARITIES
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base, weights_fingerprint
from tasksel.model.encoding import Encoded, encode_split
from tasksel.model.heads import add_head
from tasksel.training.predict import logits_of, predict

WIDTH = 32  # of the tiny models
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2")
QUICK = SoftPrompt(tokens=4, max_steps=3, batch=8, max_length=32)


@pytest.fixture(scope="module")
def films():
    task = get_task("sentiment_films")
    return task, load_data(task, rows=40)


class TestPlace:
    def test_room_is_made_behind_the_first_token(self):
        plain = Encoded([[[101, 7, 8]], [[101, 9]]], [[[0, 0, 1]], [[0, 1]]], np.zeros(2), 0, 1)
        roomy = with_placeholders(plain, 2)
        assert roomy.ids == [[[101, 101, 101, 7, 8]], [[101, 101, 101, 9]]]
        assert roomy.types == [[[0, 0, 0, 0, 1]], [[0, 0, 0, 1]]]
        assert with_placeholders(Encoded(plain.ids, None, plain.labels, 0, 1), 2).types is None
        assert plain.ids[0] == [[101, 7, 8]]

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_a_prompt_of_words_equals_the_words(self, make_base, films, architecture):
        """A prompt that is set to three words' embeddings gives what the text with these words gives."""
        task, data = films
        base = load_base(make_base(architecture))
        torch.manual_seed(0)
        model = base.model()
        add_head(model, task, name="x")
        plain = encode_split(data.train, task, base.tokenizer, max_length=32)
        words = [2003, 3185, 2307]
        spoken = [[row[0][:1] + words + row[0][1:]] for row in plain.ids]
        types = plain.types and [[[0] * 3 + row[0]] for row in plain.types]
        wanted = predict(model, Encoded(spoken, types, plain.labels, plain.pad_id, 1))
        prompt = add_prompt(model, 3)
        with torch.no_grad():
            prompt.copy_(model.get_input_embeddings().weight[words])
        same = predict(model, with_placeholders(plain, 3))
        with torch.no_grad():
            prompt.neg_()  # far from the words: were the prompt not read, this changed nothing
        other = predict(model, with_placeholders(plain, 3))
        np.testing.assert_allclose(same, wanted, atol=1e-7)
        assert np.abs(other - wanted).max() > 2e-6

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_a_rows_logits_do_not_depend_on_its_neighbours_padding(self, make_base, films, architecture):
        """The `adapters` library's own prompt fails this: its prompt attends to padding."""
        task, data = films
        base = load_base(make_base(architecture))
        model = base.model()
        add_head(model, task, name="x")
        prompt = add_prompt(model, 5)
        with torch.no_grad():
            prompt.mul_(20)  # loud, so that a leak would show
            encoded = with_placeholders(encode_split(data.train, task, base.tokenizer, max_length=32), 5)
            order = np.argsort(encoded.lengths)
            short, long = int(order[0]), int(order[-1])
            assert encoded.lengths[short] < encoded.lengths[long]
            alone = logits_of(model, encoded.batch([short]))
            together = logits_of(model, encoded.batch([short, long]))[:1]
        torch.testing.assert_close(alone, together, atol=1e-7, rtol=1e-4)

    def test_every_prompt_starts_from_the_same_words(self, tiny):
        starts = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            starts.append(add_prompt(load_base(tiny).model(), 6).detach())
        assert torch.equal(*starts)
        words = load_base(tiny).model().get_input_embeddings().weight
        assert all((words == token).all(1).any() for token in starts[0])
        assert len(starts[0].unique(dim=0)) == 6


class TestEmbed:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_gives_a_row_a_token(self, make_base, films, architecture):
        base = load_base(make_base(architecture))
        found = QUICK.embed(*films, base)
        assert found.arrays["tokens"].shape == (4, WIDTH)
        assert found.arrays["tokens"].dtype == np.float32
        start = add_prompt(base.model(), 4).detach().numpy()
        moved = np.abs(found.arrays["tokens"] - start)
        assert (moved.max(1) > 1e-3).all()  # every token learns
        assert moved.max() < 3.1 * QUICK.lr  # and none faster than AdamW's lr a step

    def test_the_same_seed_gives_the_same_prompt(self, tiny, films):
        first, again, other = (QUICK.embed(*films, load_base(tiny), seed=seed).arrays["tokens"] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_only_the_prompt_and_the_head_learn(self, tiny, films):
        models = []

        class Kept(Base):
            def model(self):
                models.append(super().model())
                return models[-1]

        base = Kept(tiny)
        whole = base.fingerprint
        QUICK.embed(*films, base)
        trained = [name for name, parameter in models[-1].named_parameters() if parameter.requires_grad]
        assert [name for name in trained if not name.startswith("heads.")] == ["bert.embeddings.word_embeddings.prompt"]
        del models[-1].get_input_embeddings()._parameters["prompt"]
        assert weights_fingerprint(models[-1]) == whole

    def test_says_what_made_it(self, tiny, films):
        provenance = QUICK.embed(*films, load_base(tiny), seed=3).provenance
        assert (provenance["method"], provenance["key"], provenance["seed"], provenance["steps"]) == (
            "prompt",
            QUICK.key,
            3,
            3,
        )
        assert (provenance["adapter"], provenance["settings"]["tokens"]) == (None, 4)

    def test_comes_back_from_its_file(self, tiny, films, tmp_path):
        found = QUICK.embed(*films, load_base(tiny))
        found.save(tmp_path / "a.safetensors")
        back = TaskEmbedding.load(tmp_path / "a.safetensors")
        np.testing.assert_array_equal(back.arrays["tokens"], found.arrays["tokens"])
        assert QUICK.similarity(back, found) == pytest.approx(1.0)

    @pytest.mark.parametrize("name", ["rating_hotels", "complaints_orders", "entail_travel", "endings_daily"])
    def test_every_kind_of_task_is_embedded(self, tiny, name):
        task = get_task(name)
        found = QUICK.embed(task, load_data(task, rows=20), load_base(tiny))
        assert np.isfinite(found.arrays["tokens"]).all()

    def test_a_prompt_that_does_not_fit_is_refused(self, tiny, films):
        with pytest.raises(UserError, match=r"20 tokens before texts of 111 do not fit the 130 positions of .*; lower"):
            SoftPrompt(max_length=111).embed(*films, load_base(tiny))

    def test_a_prompt_that_just_fits_is_not(self, make_base, films):
        text = " ".join(["good"] * 200)
        task, data = films
        long = type(data.train)([(text,)] * len(data.train), None, data.train.labels)
        full = type(data)(long, data.dev, data.test)
        for architecture, length in (("bert", 110), ("roberta", 109)):  # RoBERTa counts positions from its padding's, 0
            by = SoftPrompt(tokens=20, max_length=length, max_steps=1, batch=2)
            assert len(by.embed(task, full, load_base(make_base(architecture))).arrays["tokens"]) == 20

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"similarity_by": "maxx"}, r"no token similarity 'maxx'; did you mean 'max'\?"),
            ({"tokens": 0}, "prompt: tokens=0 must be greater"),
        ],
    )
    def test_wrong_settings_are_refused_at_once(self, options, message):
        with pytest.raises(UserError, match=message):
            SoftPrompt(**options)


class TestSimilarity:
    def embedding(self, tokens, task="a", base="f", key="k"):
        return TaskEmbedding({"tokens": tokens}, {"task": task, "base_fingerprint": base, "key": key})

    def test_is_the_named_one_from_source_to_target(self):
        draw = np.random.default_rng(0)
        source, target = (self.embedding(draw.normal(size=(5, 3))) for _ in range(2))
        for by, wanted in TOKEN_SIMILARITIES.items():
            found = SoftPrompt(similarity_by=by).similarity(source, target)
            assert found == wanted(source.arrays["tokens"], target.arrays["tokens"])

    def test_does_not_change_the_key(self):
        assert len({SoftPrompt(similarity_by=by).key for by in TOKEN_SIMILARITIES}) == 1
        changed = [
            {},
            {"tokens": 10},
            {"lr": 0.01},
            {"head_lr": 0.1},
            {"max_steps": 9},
            {"batch": 8},
            {"max_length": 32},
        ]
        assert len({SoftPrompt(**options).key for options in changed}) == len(changed)

    @pytest.mark.parametrize("other", [{"base": "g"}, {"key": "l"}])
    def test_of_what_was_made_otherwise_is_refused(self, other):
        with pytest.raises(UserError, match="embeddings of 'a' and 'b' differ in"):
            SoftPrompt().similarity(self.embedding(np.ones((2, 2))), self.embedding(np.ones((2, 2)), task="b", **other))
