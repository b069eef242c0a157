"""Tests of vocabulary overlap: which words count, and what share of them two tasks have in common."""

from collections import Counter

import numpy as np
import pytest

from tasksel import get_task, load_data
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.vocabulary import Vocabulary, frequent_words, texts_of, words_of
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.tasks.examples import Split
from tasksel.tasks.load import Data


def data_of(*texts):
    split = Split([(text,) for text in texts], None, np.arange(len(texts)) % 2)
    return Data(split, split, split)


@pytest.fixture
def embed(tiny):
    return lambda form, *texts: form.embed(get_task("sentiment_films"), data_of(*texts), load_base(tiny))


class TestWords:
    def test_are_counted_in_lower_case_and_stop_words_left_out(self):
        texts = ["The Plot drags; the PLOT, I think, drags!", "a plot_twist in 2024: it's naïve, x"]
        assert frequent_words(texts, 99) == ["drags", "plot", "2024", "naïve", "plot_twist", "think"]

    def test_of_equals_the_first_in_the_alphabet_count(self):
        assert frequent_words(["pear fig apple pear fig apple plum"], 2) == ["apple", "fig"]
        assert frequent_words(["plum plum apple pear"], 2) == ["plum", "apple"]

    def test_agree_with_a_count_by_loops(self):
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        data = load_data(get_task("entail_travel"), rows=60)
        found = Counter()
        for row in data.train.texts:
            for text in row:
                for token in "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split():
                    if len(token) > 1 and token not in ENGLISH_STOP_WORDS:
                        found[token] += 1
        assert len(found) > 30
        words = frequent_words(texts_of(data.train), 30)
        assert len(words) == 30
        assert [found[word] for word in words] == sorted(found.values(), reverse=True)[:30]

    def test_come_from_every_text_and_choice(self):
        split = Split([("a", "b"), ("c",)], [["d", "e"], ["f"]], np.array([0, 0]))
        assert texts_of(split) == ["a", "b", "c", "d", "e", "f"]
        assert texts_of(Split(split.texts, None, split.labels)) == ["a", "b", "c"]


class TestEmbedding:
    def test_holds_the_words_as_bytes(self, embed, tmp_path):
        found = embed(Vocabulary(words=3), "naïve plot, naïve crew", "plot; naïve tone")
        assert found.arrays["words"].dtype == np.uint8
        assert bytes(found.arrays["words"]).decode() == "naïve\nplot\ncrew"
        assert words_of(found) == {"naïve", "plot", "crew"}
        found.save(tmp_path / "a.safetensors")
        assert words_of(TaskEmbedding.load(tmp_path / "a.safetensors")) == words_of(found)

    def test_says_what_made_it(self, embed):
        provenance = embed(Vocabulary(words=3), "plot").provenance
        assert (provenance["method"], provenance["settings"], provenance["seed"]) == ("vocabulary", {"words": 3}, 0)
        assert provenance["key"] == Vocabulary(words=3).key != Vocabulary().key

    def test_of_stop_words_alone_is_empty_and_near_nothing(self, embed, tmp_path):
        form = Vocabulary()
        found = embed(form, "it is what it is", "and so on")
        found.save(tmp_path / "a.safetensors")
        assert words_of(TaskEmbedding.load(tmp_path / "a.safetensors")) == set()
        assert form.similarity(found, embed(form, "plot")) == 0.0

    def test_no_words_at_all_are_refused(self):
        with pytest.raises(UserError, match="vocabulary: words=0 must be greater"):
            Vocabulary(words=0)


class TestSimilarity:
    def test_is_the_share_of_the_words_in_common(self, embed):
        form = Vocabulary(words=4)
        a, b = embed(form, "plot crew tone scene"), embed(form, "crew tone price room")
        assert form.similarity(a, b) == form.similarity(b, a) == 0.5
        assert form.similarity(a, a) == 1.0

    def test_a_small_task_gains_nothing_by_being_small(self, embed):
        form = Vocabulary(words=10)
        target = embed(form, "plot crew tone scene")
        small, large = embed(form, "plot crew"), embed(form, "plot crew tone price room bed")
        assert form.similarity(small, target) == 0.2 < form.similarity(large, target) == 0.3

    def test_of_what_was_made_otherwise_is_refused(self, embed):
        with pytest.raises(UserError, match="differ in key"):
            Vocabulary().similarity(embed(Vocabulary(), "plot"), embed(Vocabulary(words=5), "plot"))


def test_kin_share_more_words_than_strangers(tiny):
    form, base = Vocabulary(), load_base(tiny)
    names = ("entail_kitchen", "entail_travel", "rating_hotels", "question_type")
    found = {name: form.embed(get_task(name), load_data(get_task(name), rows=200), base) for name in names}
    near = {name: form.similarity(found[name], found["entail_kitchen"]) for name in names[1:]}
    assert max(near, key=near.get) == "entail_travel", near
