"""Every way of choosing by name: its formula, its order, what it needs, and what it refuses."""

import itertools
import math

import numpy as np
import pytest

from tasksel import UserError, get_task, rank
from tasksel.embeddings.similarity import reciprocal_rank_fusion
from tasksel.model.base import load_base
from tasksel.selection.baselines import Oracle, Plain, Random, kind
from tasksel.selection.candidate import Subject, TaskCandidate
from tasksel.selection.selectors import ByEmbedding, Fused, as_selector, get_selector, names, with_truth

SOURCES = ("sentiment_films", "entail_travel", "grammar_garden", "rating_hotels")
SOON = {"max_steps": 2, "batch": 8, "max_length": 32}


def subjects(base, *tasks, rows=20, seed=0):
    return [Subject(TaskCandidate(get_task(name), rows, seed), load_base(base)) for name in tasks]


def told(name, scores):
    return Plain(name, lambda target, source: scores[source.name])


@pytest.mark.parametrize("by", [name for name in names() if name != "oracle"])
def test_every_method_ranks_a_pool_each_source_once(pool, tmp_path_factory, by):
    store = tmp_path_factory.getbasetemp() / "kept-by-all"  # a target's adapter and prompts are shared by the methods
    quick = {"connectivity": SOON, "prompt": {"max_steps": 2, "tokens": 4}, "conductance": {"rows": 4, "steps": 2}}
    settings = quick.get(by.split("-")[0], {})
    selector = get_selector(by, **settings)
    assert selector.name == by
    found = rank(get_task("entail_kitchen"), pool, by=selector, rows=32, store=store)
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
    a, b = told("a", {"x": 1.0}), get_selector("logme")
    assert Fused((a, b)).name == Fused((b, a)).name == "a+logme"
    assert Fused((a, b)).key == Fused((b, a)).key
    assert Fused((a, b)).needs == "adapter"
    assert Fused((a, a)).needs == "data"
    assert get_selector("size+kind").name == "kind+size"


def test_a_fused_ranking_is_the_fusion_of_its_parts(tiny):
    sources = subjects(tiny, *SOURCES)
    one = dict(zip(SOURCES, [4.0, 3.0, 2.0, 1.0], strict=True))
    two = dict(zip(SOURCES, [1.0, 4.0, 2.0, 3.0], strict=True))
    fused = Fused((told("one", one), told("two", two))).scores(sources[0], sources)
    assert fused == reciprocal_rank_fusion([list(one.values()), list(two.values())])


def test_kind_counts_the_kind_and_then_the_outputs(tiny):
    target, same, other_kind = subjects(tiny, "sentiment_phones", "sentiment_films", "entail_travel")
    question = subjects(tiny, "question_type")[0]
    assert get_task("question_type").kind == target.task.kind
    assert [kind(target, source) for source in (same, question, other_kind)] == [1.5, 1.0, 0.0]


def test_size_is_the_rows_that_a_source_was_trained_on(tiny):
    [small], [large] = subjects(tiny, "sentiment_films", rows=20), subjects(tiny, "entail_travel", rows=50)
    assert get_selector("size").scores(small, [small, large]) == [20.0, 50.0]


def test_random_is_drawn_from_the_seed_and_the_target(tiny):
    sources = subjects(tiny, *SOURCES)
    films, again, other = (subjects(tiny, "sentiment_phones", seed=seed)[0] for seed in (0, 0, 1))
    assert Random().scores(films, sources) == Random().scores(again, sources)
    assert Random().scores(films, sources) != Random().scores(other, sources)
    assert Random().scores(films, sources) != Random().scores(subjects(tiny, "entail_kitchen")[0], sources)


def test_the_oracle_knows_what_was_measured_and_nothing_else(tiny):
    target, *sources = subjects(tiny, "sentiment_phones", *SOURCES)
    truth = {name: place / 10 for place, name in enumerate(SOURCES)}
    assert Oracle({"sentiment_phones": truth}).scores(target, sources) == [0.0, 0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="the oracle needs a measured matrix"):
        get_selector("oracle").scores(target, sources)
    with pytest.raises(UserError, match="no measured target 'sentiment_phones'; did you mean 'sentiment_phone'"):
        Oracle({"sentiment_phone": truth}).scores(target, sources)
    with pytest.raises(UserError, match="no measured source for 'sentiment_phones' 'rating_hotels'"):
        Oracle({"sentiment_phones": {k: v for k, v in truth.items() if k != "rating_hotels"}}).scores(target, sources)


def test_the_truth_reaches_the_oracle_alone_or_in_a_fusion_and_no_other(tiny):
    target, *sources = subjects(tiny, "sentiment_phones", *SOURCES)
    truth = {"sentiment_phones": {name: place / 10 for place, name in enumerate(SOURCES)}}
    fused = with_truth(get_selector("size+oracle"), truth)
    alone = [get_selector("size").scores(target, sources), Oracle(truth).scores(target, sources)]
    assert fused.scores(target, sources) == pytest.approx(reciprocal_rank_fusion(alone))
    assert with_truth(get_selector("oracle"), truth) == Oracle(truth)
    assert with_truth(get_selector("kind"), truth) == get_selector("kind")


def test_a_similarity_has_the_source_first():
    class Sided:
        name, key, needs = "sided", "sided-0", "data"

        def embed(self, task, data, base, *, seed=0, trained=None):
            raise AssertionError

        def similarity(self, a, b):
            return float(a == "source" and b == "target")

    target = type("T", (), {"embedding": lambda self, embedder, inputs=None: "target", "name": "t"})()
    source = type("S", (), {"embedding": lambda self, embedder, inputs=None: "source", "name": "s"})()
    assert ByEmbedding(Sided()).scores(target, [source]) == [1.0]


def test_a_method_that_sees_the_targets_rows_is_shown_them():
    seen = []

    class Watching:
        name, key, needs, inputs = "watching", "watching-0", "adapter", "target"

        def similarity(self, a, b):
            return 0.0

    def embedding(self, embedder, inputs=None):
        seen.append((self.name, inputs and inputs.name))

    target, source = (type("S", (), {"embedding": embedding, "name": name})() for name in ("t", "s"))
    ByEmbedding(Watching()).scores(target, [source])
    assert seen == [("t", "t"), ("s", "t")]


def test_an_embedder_or_a_selector_may_be_given_as_it_is():
    selector = get_selector("vocabulary")
    assert as_selector(selector) is selector
    assert as_selector(selector.embedder).embedder is selector.embedder
    assert as_selector("vocabulary").name == "vocabulary"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("logmee", {}, "no way of choosing 'logmee'; did you mean 'logme'"),
        ("text+logmee", {}, "did you mean 'logme'"),
        ("logme", {"row": 3}, "no setting of 'logme' 'row'; did you mean 'rows'"),
        ("fisher", {"pers": "example"}, "no setting of 'fisher' 'pers'; did you mean 'per'"),
    ],
)
def test_a_misspelt_name_or_setting_is_answered_with_the_nearest(name, settings, message):
    with pytest.raises(UserError, match=message):
        get_selector(name, **settings)
