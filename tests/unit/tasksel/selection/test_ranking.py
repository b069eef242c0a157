"""Tests of rankings: order, cuts, the table, what is left out, and that nothing is embedded twice."""

import dataclasses

import pytest

from tasksel import Embedder, Ranking, get_task, rank
from tasksel.embeddings.connectivity import Connectivity
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.selection.candidate import TaskCandidate

QUICK = Connectivity(max_steps=2, batch=8, max_length=32)
NAMES = ("sentiment_films", "entail_travel", "grammar_garden")


@pytest.fixture
def ranking():
    provenance = {"by": "connectivity", "seed": 0}
    return Ranking("rte", ("mnli", "qnli", "cola_long_name"), (0.71239, 0.7, 0.5), provenance, "similarity")


@pytest.fixture
def counted(embedded_by):
    return embedded_by(Connectivity)


@dataclasses.dataclass(frozen=True)
class Known(Embedder):
    """An embedder whose similarities are known beforehand."""

    similarity_of: dict
    name = "known"
    key = "known-0"

    def arrays(self, shown):
        shown.record(rows=len(shown.data.train) + len(shown.data.dev))
        return {}

    def similarity(self, a, b):
        assert (b.provenance["task"], b.provenance["rows"]) == ("rating_hotels", 20)
        return self.similarity_of[a.provenance["task"]]


def rank_known(similarity_of, **options):
    sources = [TaskCandidate(get_task(name), rows=10) for name in similarity_of]
    return rank(get_task("rating_hotels"), sources, by=Known(similarity_of), rows=20, **options)


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
        assert ranking[1:] == Ranking("rte", ("qnli", "cola_long_name"), (0.7, 0.5), ranking.provenance, "similarity")
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
        assert str(Ranking("rte", (), ())).splitlines() == ["sources for rte", "rank  source  score"]

    def test_only_a_ranking_of_embeddings_prints_similarities(self, tiny):
        sources = [TaskCandidate(get_task(name), rows=10) for name in NAMES]
        heads = {}
        for by in ("vocabulary", "size", "vocabulary+size"):
            ranking = rank(get_task("rating_hotels"), sources, by=by, rows=20, base=tiny)
            heads[by] = [str(part).splitlines()[1].split()[-1] for part in (ranking, ranking[1:])]
        assert heads == {"vocabulary": ["similarity"] * 2, "size": ["score"] * 2, "vocabulary+size": ["score"] * 2}


class TestRank:
    def test_sorts_by_similarity_and_then_by_name(self, tiny):
        known = {"grammar_school": 0.2, "grammar_garden": 0.2, "entail_travel": 0.9, "question_type": -1.0}
        found = rank_known(known, base=tiny)
        assert found.names == ("entail_travel", "grammar_garden", "grammar_school", "question_type")
        assert found.scores == (0.9, 0.2, 0.2, -1.0)
        assert found.target == "rating_hotels"

    def test_says_what_made_it(self, tiny):
        provenance = rank_known({"entail_travel": 1.0}, base=tiny, seed=3).provenance
        assert provenance.pop("seconds") > 0
        assert provenance == {"by": "known", "key": "known-0", "base": tiny, "base_fingerprint": load_base(tiny).fingerprint, "rows": 20, "seed": 3}  # fmt: skip

    def test_the_target_is_no_source_of_its_own_unless_asked(self, tiny):
        known = {"rating_hotels": 1.0, "entail_travel": 0.5}
        assert rank_known(known, base=tiny).names == ("entail_travel",)
        target = get_task("rating_hotels")
        sources = [TaskCandidate(target, rows=20), TaskCandidate(get_task("entail_travel"), rows=10)]
        found = rank(target, sources, by=Known(known), rows=20, include_target=True, base=tiny)
        assert found.names == ("rating_hotels", "entail_travel")

    def test_a_score_that_is_not_a_number_makes_no_ranking(self, tiny):
        with pytest.raises(
            UserError, match="the score of 'entail_travel' for 'rating_hotels' by known is not a number"
        ):
            rank_known({"entail_travel": float("nan")}, base=tiny)

    def test_no_sources_are_refused(self, tiny):
        target = get_task("rating_hotels")
        for sources in ([], [target]):
            with pytest.raises(UserError, match="no sources to rank for 'rating_hotels'"):
                rank(target, sources, base=tiny)

    def test_an_unknown_embedder_is_answered_with_the_nearest(self, tiny):
        with pytest.raises(UserError, match="no selector 'connectvity'; did you mean 'connectivity'"):
            rank(get_task("rating_hotels"), [get_task("entail_travel")], by="connectvity", base=tiny)

    def test_a_pools_base_is_used(self, tiny):
        sources = type("Pool", (list,), {"base": load_base(tiny)})([get_task("entail_travel")])
        assert (
            rank(get_task("rating_hotels"), sources, by=Known({"entail_travel": 1.0}), rows=20).provenance["base"]
            == tiny
        )

    def test_a_pool_is_ranked_and_embedded_once(self, pool, counted, tmp_path):
        first = rank(get_task("entail_kitchen"), pool, by=QUICK, rows=40, cache_dir=tmp_path)
        assert sorted(first.names) == sorted(NAMES)
        again = rank(get_task("entail_kitchen"), pool, by=QUICK, rows=40, cache_dir=tmp_path)
        assert counted[0] == "entail_kitchen"
        assert len(counted) <= 4  # the pool is the session's: another test may have embedded some of it
        assert (again.names, again.scores) == (first.names, first.scores)
