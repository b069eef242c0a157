"""Features of pairs: both kinds of attribution of every pair once, resumed where they were cut, with further scores as columns."""

import dataclasses
import json
import math
from functools import partial

import numpy as np
import pytest
from scoring_setup import SOURCES, TARGETS, make_bench

from tasksel import UserError
from tasksel.embeddings.conductance import Conductance
from tasksel.evaluation.score_records import SelectorScores
from tasksel.evaluation.transfer_matrix import SINGLE, MatrixRecord
from tasksel.gain import pair_features
from tasksel.gain.pair_features import (
    PairFeatures,
    append_pair_features,
    read_pair_features,
    rows_with_features,
    with_selector_scores,
)

PAIRS = [(target, source) for target in TARGETS for source in SOURCES]


def layers_of(name, signed):
    """Two layers of four units, drawn from the task's name."""
    found = np.random.default_rng([*name.encode()]).normal(size=(2, 4)).astype(np.float32)
    return found if signed else np.abs(found)


@pytest.fixture
def quick(monkeypatch, pool):
    """Attributions that cost nothing, and targets that borrow a source's adapter."""

    def arrays(self, shown):
        if shown.task.kind == "multiple_choice":
            raise UserError("it is multiple choice")
        return {form: layers_of(shown.task.name, form == "signed") for form in ("signed", "absolute")}

    monkeypatch.setattr(Conductance, "arrays", arrays)
    monkeypatch.setattr(
        "tasksel.selection.candidate.train_adapter", lambda *args, **kwargs: pool["sentiment_films"].trained
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pairs.jsonl"


@pytest.fixture
def computed(monkeypatch):
    """The (target, source) whose features are computed, in order."""
    asked, plain = [], pair_features._features

    def features(source, target):
        asked.append((target.name, source.name))
        return plain(source, target)

    monkeypatch.setattr(pair_features, "_features", features)
    return asked


class TestAttribute:
    def test_every_pair_has_both_kinds_of_features_and_its_sources_rows(self, bench, path, quick):
        append_pair_features(bench, TARGETS, path)
        found = read_pair_features(path)
        assert list(found) == PAIRS
        for (target, source), pair in found.items():
            assert (pair.target, pair.source, pair.source_rows) == (target, source, 64)
            expected = {}
            for form, signed in (("", True), ("absolute ", False)):
                a, b = layers_of(source, signed), layers_of(target, signed)
                for layer in range(2):
                    x, y = a[layer].tolist(), b[layer].tolist()
                    dot = sum(i * j for i, j in zip(x, y, strict=True))
                    expected[f"{form}cosine/{layer}"] = dot / math.hypot(*x) / math.hypot(*y)
                    expected[f"{form}pearson/{layer}"] = np.corrcoef(x, y)[0, 1]
                    expected[f"{form}euclidean/{layer}"] = math.dist(x, y)
            assert pair.features == pytest.approx(expected, rel=1e-4)

    def test_goes_on_after_a_line_that_was_cut_short(self, bench, path, quick, computed, capsys):
        append_pair_features(bench, TARGETS, path)
        whole = path.read_bytes()
        assert computed == PAIRS
        path.write_bytes(whole[:-5])
        computed.clear()
        append_pair_features(bench, TARGETS, path)
        assert computed == PAIRS[-1:]
        assert path.read_bytes() == whole
        assert "pairs.jsonl:6: the last line was cut short" in " ".join(capsys.readouterr().err.split())
        append_pair_features(bench, TARGETS, path)
        assert computed == PAIRS[-1:]

    def test_a_target_is_not_its_own_source(self, tmp_path, pool_folder, tiny, path, quick):
        append_pair_features(
            make_bench(tmp_path, pool_folder, tiny, targets=["entail_travel"]), ["entail_travel"], path
        )
        assert list(read_pair_features(path)) == [
            ("entail_travel", "grammar_garden"),
            ("entail_travel", "sentiment_films"),
        ]

    def test_a_pair_that_cannot_be_attributed_is_said_and_the_others_go_on(
        self, tmp_path, pool_folder, tiny, path, quick, capsys
    ):
        targets = ["endings_daily", "entail_kitchen"]
        append_pair_features(make_bench(tmp_path, pool_folder, tiny, targets=targets), targets, path)
        assert list(read_pair_features(path)) == [("entail_kitchen", source) for source in SOURCES]
        told = " ".join(capsys.readouterr().err.split())
        for source in SOURCES:
            assert f"no features of the pair {source} -> endings_daily: it is multiple choice" in told

    def test_a_feature_that_is_no_number_is_said(self, bench, path, quick, monkeypatch, capsys):
        monkeypatch.setattr(pair_features, "pair_features", lambda a, b: {"cosine/0": math.nan})
        append_pair_features(bench, TARGETS[:1], path)
        assert read_pair_features(path) == {}
        assert "feature 'cosine/0' is nan" in " ".join(capsys.readouterr().err.split())

    def test_a_target_that_is_no_task_is_named_before_anything_is_computed(self, bench, path, quick, computed):
        with pytest.raises(UserError, match="target 'rte' of the matrix is not among the tasks"):
            append_pair_features(bench, [*TARGETS, "rte"], path)
        assert computed == []
        assert not path.exists()

    def test_real_attributions_of_a_tiny_model(self, bench, path, monkeypatch):
        few = partial(Conductance, rows=4, steps=2)
        monkeypatch.setattr(pair_features, "Conductance", few)
        append_pair_features(dataclasses.replace(bench, sources=bench.sources[:1]), TARGETS[:1], path)
        [pair] = read_pair_features(path).values()
        assert len(pair.features) == 2 * 3 * 2  # two kinds, three measures, two layers
        mine, [source, *_] = bench.target(TARGETS[0], 0), bench.sources_for(TARGETS[0])
        made = [few().embed(one.task, one.data, one.base, trained=one.trained) for one in (mine, source)]
        for prefix, form in (("", "signed"), ("absolute ", "absolute")):
            a, b = (one.arrays[form] for one in made)
            assert [pair.features[f"{prefix}euclidean/{layer}"] for layer in range(2)] == pytest.approx(
                [math.dist(a[layer].tolist(), b[layer].tolist()) for layer in range(2)], rel=1e-3
            )


def test_no_file_holds_no_pairs(path):
    assert read_pair_features(path) == {}


def test_a_broken_line_in_the_middle_is_named(path):
    path.write_text('{"target"\n' + json.dumps(dataclasses.asdict(PairFeatures("t", "s", 3, {}))) + "\n")
    with pytest.raises(UserError, match=r"pairs.jsonl:1: broken JSON in the middle"):
        read_pair_features(path)


PAIR_ROWS = {
    ("t", source): PairFeatures("t", source, 10, {"cosine/0": value}) for source, value in (("x", 0.1), ("y", 0.2))
}


class TestWithScores:
    scores = (
        SelectorScores("text", "t", 0, {"x": 1.0, "y": 2.0, "z": 9.0}, 0, 0, 0),
        SelectorScores("text", "t", 1, {"x": 7.0, "y": 7.0}, 0, 0, 0),
        SelectorScores("text", "u", 0, {"x": 8.0, "y": 8.0}, 0, 0, 0),
        SelectorScores("size", "t", 0, {"x": 3.0}, 0, 0, 0),
        SelectorScores("kind", "t", 1, {"x": 3.0, "y": 4.0}, 0, 0, 0),
    )

    def test_without_methods_the_features_are_as_they_are(self):
        assert with_selector_scores(PAIR_ROWS, [], [], seed=0) == {
            ("t", "x"): {"cosine/0": 0.1},
            ("t", "y"): {"cosine/0": 0.2},
        }

    def test_a_methods_scores_of_that_seed_and_target_are_a_column(self):
        found = with_selector_scores(PAIR_ROWS, self.scores, ["text"], seed=0)
        assert found == {("t", "x"): {"cosine/0": 0.1, "text": 1.0}, ("t", "y"): {"cosine/0": 0.2, "text": 2.0}}
        assert PAIR_ROWS["t", "x"].features == {"cosine/0": 0.1}

    @pytest.mark.parametrize(("by", "source"), [("size", "y"), ("kind", "x"), ("logme", "x")])
    def test_a_score_that_is_missing_is_named_with_what_computes_it(self, by, source):
        with pytest.raises(UserError, match=rf"no score of '{source}' for 't' by '{by}': .*tasksel evaluate --by {by}"):
            with_selector_scores(PAIR_ROWS, self.scores, ["text", by], seed=0)


def test_rows_without_features_are_named_and_left_out():
    def row(target, source, method):
        return MatrixRecord(target, source, method, 0, "accuracy", 0.5, 0.5, 1, 1.0)

    rows = [row("t", None, SINGLE), row("t", "x", "sequential"), row("t", "y", "sequential"), row("t", "z", "scalearn")]
    rows.append(row("t", "t", "sequential"))  # no transfer: nothing is missed of it
    kept, lost = rows_with_features(rows, {("t", "x"): {}}, method="sequential")
    assert kept == [rows[0], rows[1], rows[4]]
    assert lost == ["y -> t"]
