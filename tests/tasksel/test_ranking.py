"""Tests of rankings: order, cuts, the table, what is left out, and that nothing is embedded twice."""

import dataclasses

import pytest

from tasksel import Ranking, TaskEmbedding, get_task, rank
from tasksel.embeddings.connectivity import Connectivity
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.selection.candidate import TaskCandidate

QUICK = Connectivity(max_steps=2, batch=8, max_length=32)
NAMES = ("sentiment_films", "entail_travel", "grammar_garden")


@pytest.fixture
def ranking():
    made = {"by": "connectivity", "seed": 0}
    return Ranking("rte", ("mnli", "qnli", "cola_long_name"), (0.71239, 0.7, 0.5), made)


@pytest.fixture
def counted(embedded_by):
    return embedded_by(Connectivity)


@dataclasses.dataclass(frozen=True)
class Told:
    """An embedder whose similarities are told beforehand."""

    near: dict
    name: str = "told"
    key: str = "told-0"

    needs: str = "data"

    def embed(self, task, data, base, *, seed=0, trained=None):
        return TaskEmbedding(
            {}, {"task": task.name, "seconds": 0.5, "rows": len(data.train) + len(data.dev), "seed": seed}
        )

    def similarity(self, a, b):
        assert (b.made["task"], b.made["rows"]) == ("rating_hotels", 20)
        return self.near[a.made["task"]]


def tell(near, **options):
    sources = [TaskCandidate(get_task(name), rows=10) for name in near]
    return rank(get_task("rating_hotels"), sources, by=Told(near), rows=20, **options)


class TestRanking:
    def test_the_best_come_first(self, ranking):
        assert ranking.top(2) == ["mnli", "qnli"]
        assert ranking.top(3) == list(ranking.names)
        assert len(ranking) == 3

    @pytest.mark.parametrize("k", [0, -1, 4])
    def test_more_than_there_are_is_refused(self, ranking, k):
        with pytest.raises(UserError, match=f"top k={k}, but 3 sources are ranked for 'rte': choose 1 to 3"):
            ranking.top(k)

    def test_a_slice_is_a_ranking(self, ranking):
        assert ranking[1:] == Ranking("rte", ("qnli", "cola_long_name"), (0.7, 0.5), ranking.made)
        assert len(ranking[:0]) == 0

    def test_prints_as_a_table(self, ranking):
        assert str(ranking).splitlines() == [
            "sources for rte by connectivity",
            "rank  source          similarity",
            "   1  mnli            0.7124",
            "   2  qnli            0.7000",
            "   3  cola_long_name  0.5000",
        ]
        assert repr(ranking) == str(ranking)
        assert str(Ranking("rte", (), ())).splitlines()[0] == "sources for rte"


class TestRank:
    def test_sorts_by_similarity_and_then_by_name(self, tiny):
        near = {"grammar_school": 0.2, "grammar_garden": 0.2, "entail_travel": 0.9, "question_type": -1.0}
        found = tell(near, base=tiny)
        assert found.names == ("entail_travel", "grammar_garden", "grammar_school", "question_type")
        assert found.scores == (0.9, 0.2, 0.2, -1.0)
        assert found.target == "rating_hotels"

    def test_says_what_made_it(self, tiny):
        made = tell({"entail_travel": 1.0}, base=tiny, seed=3).made
        assert made.pop("seconds") > 0
        assert made == {"by": "told", "key": "told-0", "base": tiny, "base_fingerprint": load_base(tiny).fingerprint, "rows": 20, "seed": 3}  # fmt: skip

    def test_the_target_is_no_source_of_its_own_unless_asked(self, tiny):
        near = {"rating_hotels": 1.0, "entail_travel": 0.5}
        assert tell(near, base=tiny).names == ("entail_travel",)
        target = get_task("rating_hotels")
        sources = [TaskCandidate(target, rows=20), TaskCandidate(get_task("entail_travel"), rows=10)]
        found = rank(target, sources, by=Told(near), rows=20, own=True, base=tiny)
        assert found.names == ("rating_hotels", "entail_travel")

    def test_a_score_that_is_not_a_number_makes_no_ranking(self, tiny):
        with pytest.raises(UserError, match="the score of 'entail_travel' for 'rating_hotels' by told is not a number"):
            tell({"entail_travel": float("nan")}, base=tiny)

    def test_no_sources_are_refused(self, tiny):
        target = get_task("rating_hotels")
        for sources in ([], [target]):
            with pytest.raises(UserError, match="no sources to rank for 'rating_hotels'"):
                rank(target, sources, base=tiny)

    def test_an_unknown_embedder_is_answered_with_the_nearest(self, tiny):
        with pytest.raises(UserError, match="no way of choosing 'connectvity'; did you mean 'connectivity'"):
            rank(get_task("rating_hotels"), [get_task("entail_travel")], by="connectvity", base=tiny)

    def test_a_pools_base_is_used(self, tiny):
        sources = type("Pool", (list,), {"base": load_base(tiny)})([get_task("entail_travel")])
        assert rank(get_task("rating_hotels"), sources, by=Told({"entail_travel": 1.0}), rows=20).made["base"] == tiny

    def test_a_pool_is_ranked_and_embedded_once(self, pool, counted, tmp_path):
        first = rank(get_task("entail_kitchen"), pool, by=QUICK, rows=40, store=tmp_path)
        assert sorted(first.names) == sorted(NAMES)
        again = rank(get_task("entail_kitchen"), pool, by=QUICK, rows=40, store=tmp_path)
        assert counted[0] == "entail_kitchen"
        assert len(counted) <= 4  # the pool is the session's: another test may have embedded some of it
        assert (again.names, again.scores) == (first.names, first.scores)
