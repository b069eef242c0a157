"""Scores of every selector for every target: each computed once, resumed where it was cut, with what it cost."""

import dataclasses
import json

import numpy as np
import pytest
from scoring_setup import SOURCES, TARGETS, make_bench
from stored_edits import edit

from tasksel import UserError, get_task, rank
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.conductance import Conductance
from tasksel.embeddings.vocabulary import Vocabulary
from tasksel.evaluation.score_records import SelectorScores, read_scores
from tasksel.evaluation.score_selectors import (
    ScoringSetup,
    append_scores,
    available_scores,
    fuse,
    missing_scores,
    selector_names,
)
from tasksel.selection.baselines import TaskBaseline
from tasksel.selection.esm import Esm
from tasksel.selection.selectors import SELECTORS, get_selector
from tasksel.selection.source_features import FeatureSelector


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.jsonl"


@pytest.fixture
def computed(monkeypatch):
    """The (method, target, seed) that are computed, in order."""
    asked, plain = [], ScoringSetup.score

    def score(self, *key):
        asked.append(key)
        return plain(self, *key)

    monkeypatch.setattr(ScoringSetup, "score", score)
    return asked


def takes(monkeypatch, embedder, seconds):
    """Makes an embedder say that each task took so many seconds, by the task's name or for all."""
    plain = embedder.embed

    def embed(self, task, *args, **kwargs):
        embedding = plain(self, task, *args, **kwargs)
        spent = seconds[task.name] if isinstance(seconds, dict) else seconds
        return dataclasses.replace(embedding, provenance={**embedding.provenance, "seconds": spent})

    monkeypatch.setattr(embedder, "embed", embed)


def scores(by, values, *, target="t", seed=0, costs=(1.0, 2.0, 3)):
    return SelectorScores(by, target, seed, values, *costs)


class TestNamedMethods:
    def test_all_is_every_method_but_those_that_cost_nothing_to_judge(self):
        assert selector_names(["all"]) == [name for name in SELECTORS if name not in ("random", "oracle")]

    def test_each_stands_once_and_the_free_ones_not_at_all(self):
        assert selector_names(["text", "random", "size", "oracle", "text"]) == ["text", "size"]
        assert selector_names(["text", "all"])[0] == "text"
        assert sorted(selector_names(["text", "all"])) == sorted(selector_names(["all"]))

    def test_a_fused_method_has_one_name_whatever_the_order_of_its_parts(self):
        assert selector_names(["vocabulary+text", "text+vocabulary"]) == ["text+vocabulary"]

    @pytest.mark.parametrize(("misspelt", "near"), [("vocabulry", "vocabulary"), ("text+logmee", "logme")])
    def test_a_misspelt_one_is_answered_with_the_nearest(self, misspelt, near):
        with pytest.raises(UserError, match=f"did you mean '{near}'"):
            selector_names(["text", misspelt])


class TestScoreAll:
    def test_appends_a_line_for_each_method_target_and_seed(self, bench, path, tiny):
        todo = missing_scores(["vocabulary", "size"], TARGETS, [0, 1], path)
        assert todo == [(by, target, seed) for target in TARGETS for seed in (0, 1) for by in ("vocabulary", "size")]
        append_scores(bench, todo, path)
        found = read_scores(path)
        assert list(found) == todo
        assert all(set(one.scores) == set(SOURCES) for one in found.values())
        again = rank(get_task(TARGETS[1]), bench.sources, by="vocabulary", base=tiny, rows=20, seed=1)
        assert found["vocabulary", TARGETS[1], 1].scores == dict(again)

    def test_a_seed_draws_its_own_rows(self, bench):
        first, second = (bench.score("text", "sentiment_phones", seed) for seed in (0, 1))
        assert first.scores != second.scores

    def test_a_target_is_not_its_own_source(self, tmp_path, pool_folder, tiny, path):
        bench = make_bench(tmp_path, pool_folder, tiny, targets=["entail_travel"])
        append_scores(bench, [("size", "entail_travel", 0)], path)
        [found] = read_scores(path).values()
        assert set(found.scores) == set(SOURCES) - {"entail_travel"}

    def test_goes_on_after_a_line_that_was_cut_short(self, bench, path, computed, capsys):
        todo = missing_scores(["vocabulary", "size"], TARGETS, [0], path)
        append_scores(bench, todo, path)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines)[:-10])
        computed.clear()
        left = missing_scores(["vocabulary", "size"], TARGETS, [0], path)
        assert left == todo[-1:]
        append_scores(bench, left, path)
        assert computed == todo[-1:]
        assert [json.loads(line)["scores"] for line in path.read_bytes().splitlines()] == [
            json.loads(line)["scores"] for line in lines
        ]
        assert "scores.jsonl:4: the last line was cut short" in " ".join(capsys.readouterr().err.split())

    def test_starts_anew_where_the_first_line_was_cut_short(self, bench, path):
        path.write_text('{"by": "si')
        todo = missing_scores(["size"], TARGETS, [0], path)
        append_scores(bench, todo, path)
        assert list(read_scores(path)) == todo

    def test_embeds_no_task_twice(self, bench, path, embedded_by, computed):
        embedded = embedded_by(Vocabulary)
        append_scores(bench, missing_scores(["vocabulary"], TARGETS, [0], path), path)
        assert sorted(embedded) == sorted([*TARGETS, *SOURCES])
        assert missing_scores(["vocabulary"], TARGETS, [0], path) == []
        assert missing_scores(["vocabulary"], TARGETS, [0], path.parent) == []
        assert len(computed) == 2

    def test_a_method_that_cannot_rank_a_target_is_said_and_the_others_go_on(
        self, tmp_path, pool_folder, tiny, path, capsys
    ):
        bench = make_bench(tmp_path, pool_folder, tiny, targets=["rating_hotels", "sentiment_phones"])
        todo = [("leep", "rating_hotels", 0), ("size", "rating_hotels", 0), ("leep", "sentiment_phones", 0)]
        append_scores(bench, todo, path)
        assert list(read_scores(path)) == todo[1:]
        output = " ".join(capsys.readouterr().err.split())
        assert "leep cannot rank sources for 'rating_hotels': leep compares classes" in output

    def test_a_score_that_is_no_number_is_said_and_left_out(self, bench, path, monkeypatch, capsys):
        values = {name: float(place) for place, name in enumerate(SOURCES)} | {"grammar_garden": float("nan")}
        selector = TaskBaseline("size", lambda target, source: values[source.name])
        monkeypatch.setattr("tasksel.evaluation.score_selectors.get_selector", lambda by: selector)
        append_scores(bench, [("size", "sentiment_phones", 0)], path)
        assert read_scores(path) == {}
        assert "the score of 'grammar_garden' is nan" in " ".join(capsys.readouterr().err.split())

    def test_a_target_whose_only_source_is_its_own_is_said(self, tmp_path, pool_folder, tiny, path, capsys):
        bench = make_bench(tmp_path, pool_folder, tiny, targets=["entail_travel"])
        alone = [source for source in bench.sources if source.name == "entail_travel"]
        append_scores(dataclasses.replace(bench, sources=alone), [("vocabulary", "entail_travel", 0)], path)
        assert read_scores(path) == {}
        assert "'entail_travel': there is no source but its own" in " ".join(capsys.readouterr().err.split())

    def test_a_target_that_is_no_task_is_named_before_anything_is_computed(self, bench, path, computed):
        with pytest.raises(UserError, match=r"target 'rte' of the matrix is not among the tasks: .*--data"):
            append_scores(bench, [("size", "sentiment_phones", 0), ("size", "rte", 0)], path)
        assert computed == []
        assert not path.exists()


class TestFusion:
    def test_is_made_of_the_scores_that_are_there(self, bench, path, computed):
        target = "sentiment_phones"
        todo = [(by, target, 0) for by in ("kind", "vocabulary", "kind+vocabulary")]
        append_scores(bench, todo, path)
        kind, words, fused = read_scores(path).values()
        assert computed == todo[:2]
        for name in SOURCES:
            naive = 0.0
            for part in (kind.scores, words.scores):
                better = sum(other > part[name] for other in part.values())
                same = sum(other == part[name] for other in part.values())
                naive += 1 / (60 + better + (same + 1) / 2)
            assert fused.scores[name] == pytest.approx(naive)
        assert fused.bytes == kind.bytes + words.bytes

    def test_a_part_that_is_not_there_is_computed_for_it(self, bench, path, computed):
        append_scores(bench, [("size", "entail_kitchen", 0), ("kind+size", "entail_kitchen", 0)], path)
        assert computed == [("size", "entail_kitchen", 0), ("kind", "entail_kitchen", 0)]
        assert [by for by, *_ in read_scores(path)] == ["size", "kind+size"]

    def test_costs_what_its_parts_cost_together(self):
        fused = fuse(
            "a+b", [scores("a", {"x": 1.0}, costs=(1.0, 2.0, 3)), scores("b", {"x": 0.0}, costs=(4.0, 8.0, 5))]
        )
        assert (fused.by, fused.seconds, fused.source_seconds, fused.bytes) == ("a+b", 5.0, 10.0, 8)

    def test_sources_are_matched_by_name(self):
        fused = fuse("a+b", [scores("a", {"x": 2.0, "y": 1.0}), scores("b", {"y": 1.0, "x": 2.0})])
        assert fused.scores == pytest.approx({"x": 2 / 61, "y": 2 / 62})

    def test_parts_over_different_sources_are_refused(self):
        with pytest.raises(UserError, match=r"'a' and 'b' have not scored the same sources for 't' \('y'\)"):
            fuse("a+b", [scores("a", {"x": 2.0, "y": 1.0}), scores("b", {"x": 2.0})])

    def test_at_hand_is_what_is_stored_and_what_can_be_fused_of_it(self):
        kept = [scores("a", {"x": 1.0}), scores("b", {"x": 2.0}), scores("a", {"x": 3.0}, seed=1)]
        kept += [scores("a+c", {"x": 9.0}), scores("d", {"x": 4.0})]
        found = available_scores(["a", "a+b", "a+c", "b+c", "z"], {one.key: one for one in kept})
        assert [one.key for one in found] == [("a", "t", 0), ("a", "t", 1), ("a+b", "t", 0), ("a+c", "t", 0)]
        assert found[2] == fuse("a+b", kept[:2])
        assert found[3].scores == {"x": 9.0}


class TestCosts:
    def test_an_embedding_tells_its_own_seconds_and_bytes(self, bench, monkeypatch):
        seconds = dict(zip(SOURCES, (3.0, 5.0, 10.0), strict=True)) | {"sentiment_phones": 2.0}
        takes(monkeypatch, Vocabulary, seconds)
        for _ in range(2):  # made, then read: the same
            found = bench.score("vocabulary", "sentiment_phones", 0)
            assert (found.seconds, found.source_seconds) == (2.0, 6.0)
            sizes = [source.embedding(Vocabulary()).nbytes for source in bench.sources_for("sentiment_phones")]
            assert found.bytes == round(np.mean(sizes))

    def test_a_method_that_compares_adapters_counts_the_targets_training(self, bench, tmp_path, monkeypatch):
        first = bench.score("weights", "sentiment_phones", 0)
        [path] = (tmp_path / "kept").glob("sentiment_phones/trained/*/trained.json")
        trained = json.loads(path.read_text())["seconds"]
        target = bench.target("sentiment_phones", 0)
        [stored] = (target.folder / "embeddings").iterdir()
        assert first.seconds == pytest.approx(trained + TaskEmbedding.load(stored).provenance["seconds"], abs=1e-3)
        edit(path, seconds=100.0)
        assert 100 <= bench.score("weights", "sentiment_phones", 0).seconds < 110
        assert bench.score("vocabulary", "sentiment_phones", 0).seconds < 100

    def test_a_method_that_embeds_every_source_anew_for_a_target_charges_the_target(self, bench, tmp_path, monkeypatch):
        takes(monkeypatch, Conductance, 4.0)
        monkeypatch.setattr(Conductance, "arrays", lambda *_: {"signed": np.ones((2, 3), dtype=np.float32)})
        found = bench.score("conductance-target", "sentiment_phones", 0)
        [path] = (tmp_path / "kept").glob("sentiment_phones/trained/*/trained.json")
        trained = json.loads(path.read_text())["seconds"]
        assert found.seconds == pytest.approx(4 * 4.0 + trained, abs=1e-3)
        assert (found.source_seconds, found.bytes) == (0.0, 24)

    def test_a_method_that_runs_the_sources_keeps_their_files_and_costs_its_time(self, bench):
        found = bench.score("logme", "sentiment_phones", 0)
        files = [path.stat().st_size for path in (bench.sources[0].folder.parent).glob("*/*.safetensors")]
        assert found.bytes == round(sum(files) / 3)
        assert found.source_seconds == 0.0
        assert 0 < found.seconds < 30

    def test_the_maps_of_esm_are_the_sources_cost_whether_they_are_made_now_or_were_before(self, bench, monkeypatch):
        takes(monkeypatch, Esm, 50.0)
        for target in TARGETS:  # the maps are made for the first, and read for the second
            found = bench.score("esm", target, 0)
            assert found.source_seconds == 50.0
            assert 0 < found.seconds < 30

    def test_the_maps_of_esm_are_stored_before_the_clock_of_the_target_starts(self, bench, monkeypatch):
        stored, plain = [], Esm.scores

        def scores(self, target, sources):
            stored.extend(len([*(source.folder / "embeddings").glob("esm-*")]) for source in sources)
            return plain(self, target, sources)

        monkeypatch.setattr(Esm, "scores", scores)
        bench.score("esm", "sentiment_phones", 0)
        assert stored == [1, 1, 1]

    def test_a_measure_costs_the_sources_runs_though_another_made_them(self, bench, monkeypatch):
        first = bench.score("logme", "sentiment_phones", 0)
        again = bench.score("nce", "sentiment_phones", 0)
        runs = FeatureSelector("nce").run_seconds(
            bench.target("sentiment_phones", 0), bench.sources_for("sentiment_phones")
        )
        assert again.seconds >= round(runs, 3) > 0
        assert first.seconds >= round(runs, 3)

    def test_a_fused_method_costs_what_its_parts_cost_together(self, bench, monkeypatch):
        takes(monkeypatch, Esm, 50.0)
        takes(monkeypatch, Vocabulary, 2.0)
        target, others = bench.target("sentiment_phones", 0), bench.sources_for("sentiment_phones")
        scores, cost = get_selector("vocabulary+esm").scores_with_cost(target, others)
        parts = [get_selector(name).scores_with_cost(target, others) for name in ("vocabulary", "esm")]
        assert scores == get_selector("esm+vocabulary").scores(target, others)
        assert cost.source_seconds == 52.0
        assert cost.bytes == sum(part.bytes for _, part in parts)
        assert 2.0 < cost.seconds < 30

    def test_a_method_without_a_model_keeps_nothing(self, bench):
        found = bench.score("size", "sentiment_phones", 0)
        assert (found.source_seconds, found.bytes) == (0.0, 0)
