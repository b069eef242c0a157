"""Tests of the default selector: who is shortlisted, what re-ranks them, that nobody is lost, and the one line that says so."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from task_candidates import Untrained, candidate

from tasksel import Task, UserError, get_selector, get_task, rank
from tasksel.adapters.folder import WEIGHTS
from tasksel.embeddings.connectivity import Connectivity
from tasksel.model.base import load_base
from tasksel.selection import auto, source_features
from tasksel.selection.auto import Auto
from tasksel.selection.base import NO_TASK
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.source_features import FeatureSelector

CLASSES, NUMBER, LABELS, CHOICES = "entail_kitchen", "similarity_market", "complaints_orders", "endings_daily"
QUICK = Connectivity(max_steps=1, batch=8, max_length=32)


pytestmark = pytest.mark.usefixtures("few_strengths")


@pytest.fixture(scope="module")
def base(tiny):
    return load_base(tiny)


@pytest.fixture
def target(base):
    return lambda name=CLASSES, **of: Untrained(candidate(name, **of), base)


@pytest.fixture
def sources(base, pool):
    return [TaskOnBase(source, base) for source in pool]


@pytest.fixture
def quick(monkeypatch):
    """Connectivity of one step."""
    monkeypatch.setattr(auto, "get_embedder", lambda name: QUICK)


class StandIn:
    """A source whose similarity and second score are known: {name: (similarity, score)}; None where it has no task, or no adapter."""

    def __init__(self, name, similarity, score, broken=None):
        self.name, self.similarity, self.score, self.broken = name, similarity, score, broken
        task = None if similarity is None else get_task(CLASSES)
        self.candidate = SimpleNamespace(task=task, trained=None if score is None else "adapter")

    def embedding(self, embedder):
        if self.broken:
            raise UserError(self.broken)
        return self.similarity


@pytest.fixture
def ranked(target, monkeypatch, capsys):
    """Ranks stand-ins: names in order, scores by name, whom stage 2 saw, what was said."""

    def run(*stand_ins, **settings):
        seen = []
        monkeypatch.setattr(auto, "_embedding_or_reason", real_or_known(auto._embedding_or_reason))
        monkeypatch.setattr(auto, "TaskEmbedding", float)
        known = SimpleNamespace(similarity=lambda source, own: source, needs="data", inputs="own")
        monkeypatch.setattr(auto, "get_embedder", lambda name: known)
        monkeypatch.setattr(
            FeatureSelector,
            "scores",
            lambda self, _, given: seen.extend(s.name for s in given) or [s.score for s in given],
        )
        scores = Auto(**settings).scores(target(), stand_ins)
        by_name = dict(zip([one.name for one in stand_ins], scores, strict=True))
        order = sorted(by_name, key=lambda name: -by_name[name])
        return SimpleNamespace(order=order, scores=by_name, seen=seen, said=capsys.readouterr().err)

    def real_or_known(real):
        return lambda one, embedder: real(one, embedder) if isinstance(one, StandIn) else 1.0

    return run


class TestStages:
    def test_a_shortlist_is_re_ranked_and_the_others_follow_in_the_order_of_the_first_stage(self, ranked):
        found = ranked(
            StandIn("a", 0.9, -0.5),
            StandIn("b", 0.2, 9.0),
            StandIn("c", 0.8, -0.2),
            StandIn("d", 0.7, 5.0),
            shortlist=2,
        )
        assert found.order == ["c", "a", "d", "b"]
        assert found.seen == ["a", "c"]
        assert (found.scores["c"], found.scores["a"]) == (-0.2, -0.5)
        assert found.scores["d"] == pytest.approx(-0.5 - 2 + 0.7)
        assert found.scores["b"] == pytest.approx(-0.5 - 2 + 0.2)
        assert "auto: 4 sources, 2 shortlisted by connectivity, ranked by logme on first tokens\n" in found.said

    def test_equal_similarities_are_shortlisted_by_name_whatever_the_order(self, ranked):
        three = [StandIn(name, 0.5, 1.0) for name in "abc"]
        assert ranked(*three, shortlist=1).seen == ["a"]
        assert ranked(*three[::-1], shortlist=1).seen == ["a"]

    def test_a_source_beyond_the_shortlist_stays_below_it_even_where_its_rows_are_the_targets(self, ranked):
        found = ranked(StandIn("a", 1.0, -30.0), StandIn("b", 1.0, 0.0), shortlist=1)
        assert found.scores["b"] < found.scores["a"]

    def test_sources_without_a_task_pass_beside_the_shortlist_and_are_said(self, ranked):
        found = ranked(StandIn("a", 0.1, 1.0), StandIn("b", 0.9, 2.0), StandIn("added", None, 3.0), shortlist=1)
        assert found.order == ["added", "b", "a"]
        assert sorted(found.seen) == ["added", "b"]
        assert (
            f"1 shortlisted by connectivity, 1 kept that connectivity cannot embed ('added': {NO_TASK}), ranked by"
            in found.said
        )

    def test_sources_that_cannot_be_embedded_pass_with_the_reason(self, ranked):
        found = ranked(
            StandIn("a", 0.1, 1.0),
            StandIn("b", 0.9, 2.0),
            StandIn("c", 0.0, 3.0, broken="no file rows.csv"),
            shortlist=1,
        )
        assert found.order == ["c", "b", "a"]
        assert "1 kept that connectivity cannot embed ('c': no file rows.csv)" in found.said

    def test_tasks_without_adapters_are_ranked_by_connectivity_alone(self, ranked):
        found = ranked(StandIn("a", 0.1, None), StandIn("b", 0.9, None))
        assert found.scores == {"a": pytest.approx(0.1), "b": pytest.approx(0.9)}
        assert found.seen == []
        assert "auto: 2 sources without adapters, ranked by connectivity alone\n" in found.said

    def test_tasks_without_adapters_follow_those_with_one(self, ranked):
        found = ranked(StandIn("a", 1.0, None), StandIn("b", 0.1, -7.0), StandIn("c", 0.2, -8.0))
        assert found.order == ["b", "c", "a"]
        assert "3 sources, ranked by logme on first tokens, 1 without adapters after them by connectivity" in found.said

    def test_a_task_without_an_adapter_that_cannot_be_embedded_is_refused_by_name(self, ranked):
        with pytest.raises(UserError, match=r"auto ranks 'a' by connectivity, which cannot: no file rows\.csv"):
            ranked(StandIn("a", 0.1, None, broken="no file rows.csv"), StandIn("b", 0.2, 1.0))


class TestRanking:
    def test_a_pool_up_to_the_shortlist_passes_whole_and_nothing_is_embedded(
        self, target, sources, embedded_by, capsys
    ):
        embedded = embedded_by(Connectivity)
        for size in (3, 16):
            assert Auto(shortlist=size).scores(target(), sources) == FeatureSelector("logme").scores(target(), sources)
        assert embedded == []
        assert "auto: 3 sources, all ranked by logme on first tokens\n" in capsys.readouterr().err

    def test_a_pool_of_one_source(self, target, sources, capsys):
        assert len(Auto().scores(target(), sources[:1])) == 1
        assert "auto: 1 source, ranked by logme on first tokens\n" in capsys.readouterr().err

    @pytest.mark.parametrize("name", [NUMBER, LABELS, CHOICES])
    def test_a_target_without_classes_is_re_ranked_by_the_closed_form(self, target, sources, name, capsys):
        scores = Auto(pooling="mean").scores(target(name), sources)
        assert scores == FeatureSelector("closed-form", pooling="mean").scores(target(name), sources)
        assert all(-1 <= score <= 1 for score in scores)
        assert "3 sources, all ranked by closed-form on mean tokens" in capsys.readouterr().err

    def test_features_are_pooled_as_the_base_says(self, base, target, sources, monkeypatch):
        monkeypatch.setitem(vars(base), "pooling", "mean")
        mean = FeatureSelector("logme", pooling="mean").scores(target(), sources)
        assert Auto().scores(target(), sources) == mean
        assert Auto(pooling="first").scores(target(), sources) != mean

    def test_it_is_the_default_and_shortlists_real_embeddings(self, quick, pool, tmp_path, capsys):
        settings = {"rows": 32, "cache_dir": tmp_path / "kept"}
        ranking = rank(get_task(CLASSES), pool, by=Auto(shortlist=2), **settings)
        patterns = rank(get_task(CLASSES), pool, by=QUICK, **settings)
        assert sorted(ranking.names) == sorted(patterns.names)
        assert ranking.names[2] == patterns.names[2]
        assert "3 sources, 2 shortlisted by connectivity" in capsys.readouterr().err
        assert rank(get_task(CLASSES), pool, rows=32).provenance["by"] == "auto"

    def test_bare_tasks_are_not_trained(self, quick, tiny, tmp_path, capsys):
        tasks = [get_task(name) for name in ("sentiment_films", "grammar_garden")]
        ranking = rank(get_task(CLASSES), tasks, base=tiny, rows=20, cache_dir=tmp_path)
        assert sorted(ranking.names) == ["grammar_garden", "sentiment_films"]
        assert all(0 <= score <= 1 for score in ranking.scores)
        assert not list(tmp_path.rglob("trained"))
        assert "without adapters, ranked by connectivity alone" in capsys.readouterr().err

    def test_a_base_that_connectivity_does_not_know_ranks_all_by_the_second_stage(
        self, target, sources, monkeypatch, capsys
    ):
        monkeypatch.setattr("tasksel.embeddings.connectivity.PROJECTIONS", ())
        monkeypatch.setattr(auto, "get_embedder", lambda name: Connectivity(max_steps=3))
        scores = Auto(shortlist=1).scores(target(), sources)
        assert scores == FeatureSelector("logme").scores(target(), sources)
        assert "3 kept that connectivity cannot embed" in capsys.readouterr().err

    def test_labels_that_are_all_alike_leave_connectivity(self, quick, pool, tmp_path, capsys):
        rows = [{"text": f"a text of number {number}", "score": 2.5} for number in range(6)]
        task = Task.from_dicts(rows, text="text", label="score", kind="regression", name="mine", folder=tmp_path)
        assert sorted(rank(task, pool).names) == pool.names
        said = capsys.readouterr().err
        assert "auto: 3 sources ranked by connectivity alone: all 5 labels of 'mine' are alike\n" in said

    def test_there_what_cannot_be_embedded_is_behind_the_others(self, ranked, monkeypatch):
        monkeypatch.setattr(auto, "_labels_alike", lambda target: "its rows have texts for labels")
        added = StandIn("added", None, 1.0)
        found = ranked(StandIn("far", 0.1, 1.0), added, StandIn("near", 0.9, 1.0))
        assert found.scores == pytest.approx({"far": 0.1, "added": -1.9, "near": 0.9})
        assert f"texts for labels; 1 behind the others, which it cannot embed ('added': {NO_TASK})\n" in found.said
        with pytest.raises(UserError, match=r"it can embed no source \('added': no task data .*\); name sources, or"):
            ranked(added)

    @pytest.mark.parametrize("labels", ["aab", "aaab"])
    def test_a_few_rows_and_a_class_of_one_row_are_enough(self, pool, tmp_path, labels):
        rows = [{"text": f"a text of number {number}", "label": label} for number, label in enumerate(labels)]
        task = Task.from_dicts(rows, text="text", name="mine", kind="classification", folder=tmp_path)
        assert sorted(rank(task, pool).names) == pool.names

    def test_another_embedder_may_shortlist(self, pool, tmp_path, capsys):
        settings = {"rows": 32, "cache_dir": tmp_path / "kept"}
        ranking = rank(get_task(CLASSES), pool, by=Auto(shortlist=2, retriever="vocabulary"), **settings)
        assert ranking.names[2] == rank(get_task(CLASSES), pool, by="vocabulary", **settings).names[2]
        assert "3 sources, 2 shortlisted by vocabulary" in capsys.readouterr().err

    def test_what_it_costs_is_the_passes_and_the_embeddings(self, quick, bench):
        target, sources = bench.target("sentiment_phones", 0), bench.sources_for("sentiment_phones")
        for shortlist, embedded in ((1, True), (3, False)):
            _, cost = Auto(shortlist=shortlist).scores_with_cost(target, sources)
            chosen = FeatureSelector("logme", rows=500).run_seconds(target, sources[:1])
            assert cost.seconds >= chosen
            assert (cost.source_seconds > 0) == embedded
            assert cost.bytes >= sum(source.trained.nbytes for source in sources) // len(sources)


class TestRefusals:
    def test_settings_outside_their_range(self):
        with pytest.raises(UserError, match="shortlist=0"):
            get_selector("auto", shortlist=0)
        with pytest.raises(UserError, match="no embedder 'txt'; did you mean 'text'"):
            get_selector("auto", retriever="txt")
        for needs_adapters in ("fisher", "conductance-target"):
            with pytest.raises(UserError, match=f"retriever '{needs_adapters}' needs adapters"):
                get_selector("auto", retriever=needs_adapters)
        with pytest.raises(UserError, match="no pooling 'men'; did you mean 'mean'"):
            get_selector("auto", pooling="men")
        with pytest.raises(UserError, match="no pooling 'men'; did you mean 'mean'"):
            get_selector("logme", pooling="men")

    def test_a_base_that_is_too_short(self, base):
        with pytest.raises(UserError, match="max_length of 'auto' is 4000"):
            Auto(max_length=4000).check_base(base, [get_task(CLASSES)])

    def test_a_broken_source_is_named(self, base, pool_folder, pool, target, tmp_path):
        shutil.copytree(pool_folder, tmp_path / "pool")
        path = tmp_path / "pool" / "sentiment_films" / WEIGHTS
        save_file({name: tensor * np.nan for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
        broken = type(pool.select(["sentiment_films"])[0].trained)(path.parent, "sentiment_films")
        with pytest.raises(UserError, match=f"source 'sentiment_films' on '{CLASSES}' gives NaN"):
            Auto().scores(target(), [TaskOnBase(candidate("sentiment_films", broken), base)])


def test_the_key_names_its_settings():
    selectors = [
        Auto(),
        Auto(shortlist=3),
        Auto(retriever="text"),
        Auto(pooling="first"),
        Auto(rows=9),
        Auto(max_length=9),
    ]
    assert len({selector.key for selector in selectors}) == 6
    assert {selector.name for selector in selectors} == {"auto"}
    assert source_features.pooling_on(SimpleNamespace(pooling=None), "base") == "first"
