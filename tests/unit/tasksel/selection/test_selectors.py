"""Every selector by name: its formula, its order, what it needs, and what it refuses."""

import itertools
import math

import numpy as np
import pytest

from tasksel import EMBEDDERS, SELECTORS, Embedder, UserError, get_selector, get_task, rank
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.model.base import load_base
from tasksel.selection.baselines import Oracle, Random, TaskBaseline, same_kind
from tasksel.selection.candidate import TaskCandidate, TaskOnBase
from tasksel.selection.selectors import EmbeddingSelector, Fused, as_selector

SOURCES = ("sentiment_films", "entail_travel", "grammar_garden", "rating_hotels")
SOON = {"max_steps": 2, "batch": 8, "max_length": 32}


def on_base(base, *tasks, rows=20, seed=0):
    return [TaskOnBase(TaskCandidate(get_task(name), rows, seed), load_base(base)) for name in tasks]


def known(name, scores):
    return TaskBaseline(name, lambda target, source: scores[source.name])


@pytest.mark.parametrize("by", [name for name in SELECTORS if name != "oracle"])
def test_every_method_ranks_a_pool_each_source_once(pool, tmp_path_factory, by):
    cache_dir = (
        tmp_path_factory.getbasetemp() / "kept-by-all"
    )  # a target's adapter and prompts are shared by the methods
    quick = {"connectivity": SOON, "prompt": {"max_steps": 2, "tokens": 4}, "conductance": {"rows": 4, "steps": 2}}
    settings = quick.get(by.split("-")[0], {})
    selector = get_selector(by, **settings)
    assert selector.name == by
    found = rank(get_task("entail_kitchen"), pool, by=selector, rows=32, cache_dir=cache_dir)
    assert sorted(found.names) == pool.names
    assert all(math.isfinite(score) for score in found.scores)
    assert list(found.scores) == sorted(found.scores, reverse=True)


def test_fusion_by_hand():
    first, second = [0.9, 0.5, 0.1], [10.0, 30.0, 20.0]
    expected = [1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62]
    assert reciprocal_rank_fusion([first, second]) == pytest.approx(expected)


def test_equal_scores_share_their_mean_rank():
    assert reciprocal_rank_fusion([[1.0, 1.0, 0.0]]) == pytest.approx([1 / 61.5, 1 / 61.5, 1 / 63])


def test_fusion_equals_a_loop_and_does_not_depend_on_the_order():
    rows = np.random.default_rng(0).normal(size=(4, 7)).tolist()
    naive = [sum(1 / (60 + 1 + sum(other > row[i] for other in row)) for row in rows) for i in range(7)]
    for order in itertools.permutations(rows):
        assert reciprocal_rank_fusion(order) == reciprocal_rank_fusion(rows)
    assert reciprocal_rank_fusion(rows) == pytest.approx(naive)


def test_fused_methods_are_named_alike_in_any_order_and_need_what_a_part_needs():
    a, b = known("a", {"x": 1.0}), get_selector("logme")
    assert Fused((a, b)).name == Fused((b, a)).name == "a+logme"
    assert Fused((a, b)).key == Fused((b, a)).key
    assert (Fused((a, b)).needs, Fused((a, b)).target_needs) == ("adapter", "data")
    assert Fused((a, a)).needs == "data"
    assert get_selector("size+weights").target_needs == "adapter"
    assert get_selector("size+kind").name == "kind+size"


def test_a_fused_ranking_is_the_fusion_of_its_parts(tiny):
    sources = on_base(tiny, *SOURCES)
    one = dict(zip(SOURCES, [4.0, 3.0, 2.0, 1.0], strict=True))
    two = dict(zip(SOURCES, [1.0, 4.0, 2.0, 3.0], strict=True))
    fused = Fused((known("one", one), known("two", two))).scores(sources[0], sources)
    assert fused == reciprocal_rank_fusion([list(one.values()), list(two.values())])


def test_kind_counts_the_kind_and_then_the_outputs(tiny):
    target, same, other_kind = on_base(tiny, "sentiment_phones", "sentiment_films", "entail_travel")
    question = on_base(tiny, "question_type")[0]
    assert get_task("question_type").kind == target.task.kind
    assert [same_kind(target, source) for source in (same, question, other_kind)] == [1.5, 1.0, 0.0]


def test_size_is_the_rows_that_a_source_was_trained_on(tiny):
    [small], [large] = on_base(tiny, "sentiment_films", rows=20), on_base(tiny, "entail_travel", rows=50)
    assert get_selector("size").scores(small, [small, large]) == [20.0, 50.0]


def test_random_is_drawn_from_the_seed_and_the_target(tiny):
    sources = on_base(tiny, *SOURCES)
    films, again, other = (on_base(tiny, "sentiment_phones", seed=seed)[0] for seed in (0, 0, 1))
    assert Random().scores(films, sources) == Random().scores(again, sources)
    assert Random().scores(films, sources) != Random().scores(other, sources)
    assert Random().scores(films, sources) != Random().scores(on_base(tiny, "entail_kitchen")[0], sources)


def test_the_oracle_knows_what_was_measured_and_nothing_else(tiny):
    target, *sources = on_base(tiny, "sentiment_phones", *SOURCES)
    truth = {name: place / 10 for place, name in enumerate(SOURCES)}
    assert Oracle({"sentiment_phones": truth}).scores(target, sources) == [0.0, 0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="the oracle needs a measured matrix"):
        get_selector("oracle").scores(target, sources)
    with pytest.raises(UserError, match="no measured target 'sentiment_phones'; did you mean 'sentiment_phone'"):
        Oracle({"sentiment_phone": truth}).scores(target, sources)
    with pytest.raises(UserError, match="no measured source for 'sentiment_phones' 'rating_hotels'"):
        Oracle({"sentiment_phones": {k: v for k, v in truth.items() if k != "rating_hotels"}}).scores(target, sources)


def test_the_truth_reaches_the_oracle_alone_or_in_a_fusion_and_no_other(tiny):
    target, *sources = on_base(tiny, "sentiment_phones", *SOURCES)
    truth = {"sentiment_phones": {name: place / 10 for place, name in enumerate(SOURCES)}}
    fused = get_selector("size+oracle").with_ground_truth(truth)
    alone = [get_selector("size").scores(target, sources), Oracle(truth).scores(target, sources)]
    assert fused.scores(target, sources) == pytest.approx(reciprocal_rank_fusion(alone))
    assert get_selector("oracle").with_ground_truth(truth) == Oracle(truth)
    assert get_selector("kind").with_ground_truth(truth) == get_selector("kind")


class Sided(Embedder):
    name = "sided"

    def arrays(self, shown):
        raise AssertionError

    def similarity(self, a, b):
        return float(a == "source" and b == "target")


def test_a_similarity_has_the_source_first_and_each_embedding_is_asked_for_with_the_target():
    asked = []

    def embedding(self, embedder, target=None):
        asked.append((self.name, target.name))
        return self.name

    target, source = (type("T", (), {"embedding": embedding, "name": name})() for name in ("target", "source"))
    assert EmbeddingSelector(Sided()).scores(target, [source]) == [1.0]
    assert asked == [("target", "target"), ("source", "target")]


def test_an_embedder_that_declares_none_compares_one_by_one_its_own_rows():
    assert Sided().similarities(["source", "other"], "target") == [1.0, 0.0]
    assert (Sided().inputs, Sided().needs, Sided().key) == ("own", "data", "sided")


def test_every_embedder_is_a_selector_of_its_name_key_and_needs():
    assert list(SELECTORS)[: len(EMBEDDERS)] == list(EMBEDDERS)
    for name, make in EMBEDDERS.items():
        selector, embedder = get_selector(name), make()
        assert (selector.name, selector.key, selector.embedder) == (name, embedder.key, embedder)
        assert selector.needs == selector.target_needs == embedder.needs
        assert selector.score_name == "similarity"


def test_selectors_that_compare_no_embeddings_need_nothing_of_the_target_and_give_scores():
    adapters = {"logme", "leep", "nce", "knn", "probe", "closed-form", "esm", "auto"}
    for name in SELECTORS.keys() - EMBEDDERS.keys():
        selector = get_selector(name)
        assert (selector.embedder, selector.target_needs, selector.score_name) == (None, "data", "score")
        assert selector.needs == ("adapter" if name in adapters else "data")


def test_the_keys_are_those_that_files_are_stored_under():
    """Taken from version 0.1.0: a key that changes makes every stored embedding and ranking useless."""
    keys = {
        "connectivity-heads": "connectivity-87bf3dfe",
        "connectivity-no-stop": "connectivity-45b43a49",
        "connectivity-co-trained": "connectivity-26072e89",
        "fisher": "fisher-9cfc31cf",
        "fisher-batch": "fisher-b9d0303e",
        "weights": "weights-6a5e2ef6",
        "weights-mean": "weights-9e87c7a8",
        "rows-max": "rows",
        "prompt-max": "prompt-af85c461",
        "conductance-absolute": "conductance-5fb2acb3",
        "conductance-target": "conductance-528d6543",
        "text": "text-f6774179",
        "sentence": "text-abccdde6",
        "vocabulary": "vocabulary-3adf0d3a",
        "logme": "logme-29540d3b",
        "probe": "probe-29540d3b",
        "esm": "esm-b6267bce",
        "random": "random",
        "size": "size",
        "oracle": "oracle-44136fa3",
    }
    assert {name: get_selector(name).key for name in keys} == keys


def test_an_embedder_or_a_selector_may_be_given_as_it_is():
    selector = get_selector("vocabulary")
    assert as_selector(selector) is selector
    assert as_selector(selector.embedder).embedder is selector.embedder
    assert as_selector("vocabulary").name == "vocabulary"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("logmee", {}, "no selector 'logmee'; did you mean 'logme'"),
        ("text+logmee", {}, "did you mean 'logme'"),
        ("logme", {"row": 3}, "no setting of 'logme' 'row'; did you mean 'rows'"),
        ("fisher", {"pers": "example"}, "no setting of 'fisher' 'pers'; did you mean 'per'"),
    ],
)
def test_a_misspelt_name_or_setting_is_answered_with_the_nearest(name, settings, message):
    with pytest.raises(UserError, match=message):
        get_selector(name, **settings)
