"""Tests of predicted gains: features, the split, what informs and what does not, and the report."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from gain_pairs import pair, world

from tasksel.errors import UserError
from tasksel.gain.pair_features import pair_features
from tasksel.gain.predictor import (
    Trees,
    evaluate_gain_prediction,
    folds,
    leave_one_out,
    nested_choice,
    predict_gains,
    prediction_quality,
)
from tasksel.gain.report import as_json, draw_tradeoff, headline, markdown, write_gain_report
from tasksel.gain.tradeoff import SkipTradeoff, TradeoffCurve, TradeoffPoint, TrainingCost, tradeoff_curve

FEW = Trees(rounds=15)


@pytest.fixture(scope="module")
def found():
    return evaluate_gain_prediction(world(), FEW, sizes={f"s{i}": 100 * i for i in range(6)}, draws=50)


class TestPairFeatures:
    def test_by_hand(self):
        found = pair_features(np.array([[3.0, 4.0], [1.0, 2.0]]), np.array([[4.0, 3.0], [2.0, 4.0]]))
        assert found == pytest.approx(
            {
                "cosine/0": 24 / 25,
                "pearson/0": -1.0,
                "euclidean/0": math.sqrt(2),
                "cosine/1": 1.0,
                "pearson/1": 1.0,
                "euclidean/1": math.sqrt(5),
            }
        )

    def test_equals_the_naive_loop_and_is_symmetric(self):
        a, b = np.random.default_rng(0).normal(size=(2, 3, 7))
        found = pair_features(a, b)
        assert len(found) == 9
        for layer in range(3):
            x, y = a[layer], b[layer]
            dot = sum(i * j for i, j in zip(x, y, strict=True))
            assert found[f"cosine/{layer}"] == pytest.approx(dot / math.hypot(*x) / math.hypot(*y))
            assert found[f"pearson/{layer}"] == pytest.approx(np.corrcoef(x, y)[0, 1])
            assert found[f"euclidean/{layer}"] == pytest.approx(math.dist(x, y))
        assert pair_features(b, a) == pytest.approx(found)

    def test_a_layer_without_length_or_spread_has_no_cosine_or_pearson(self):
        found = pair_features(np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([[1.0, 2.0], [1.0, 3.0]]))
        assert [name for name, value in found.items() if math.isnan(value)] == ["cosine/0", "pearson/0", "pearson/1"]

    @pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,)), ((1, 3), (2, 3))])
    def test_other_shapes_are_refused(self, shapes):
        with pytest.raises(UserError, match=r"attributions of shapes .*: both must be \[layers, d\] of one base model"):
            pair_features(*map(np.ones, shapes))


# every task is target and source, and features are the same both ways round
SQUARE = [
    pair(t, s, 0.5 + 0.01 * i, 0.5, 10.0, features={"cosine/0": (ord(t) - 90) * (ord(s) - 90) / 99})
    for i, (t, s) in enumerate((t, s) for t in "abcd" for s in "abcd" if t != s)
]


class TestSplit:
    small = Trees(rounds=20, min_leaf=1)

    def test_no_target_stands_in_both_parts_and_every_pair_is_predicted_once(self):
        seen = []
        for known, left in folds(SQUARE):
            [target] = {SQUARE[i].target for i in left}
            assert not any(target in (SQUARE[i].target, SQUARE[i].source) for i in known)
            assert len(known) == 6
            seen += left
        assert sorted(seen) == list(range(12))

    @pytest.mark.parametrize("of", ["gain", "sign"])
    def test_a_targets_answers_do_not_reach_its_predictions(self, of):
        alternating = [dataclasses.replace(p, gain=0.1 * (-1) ** i) for i, p in enumerate(SQUARE)]
        before = leave_one_out(alternating, self.small, of=of)
        mine = np.array([p.target == "a" for p in alternating])
        mirror = np.array([p.source == "a" for p in alternating])
        told = [dataclasses.replace(p, gain=9.0) if m else p for p, m in zip(alternating, mine | mirror, strict=True)]
        after = leave_one_out(told, self.small, of=of)
        np.testing.assert_array_equal(before[mine], after[mine])
        assert (before[~mine] != after[~mine]).any()  # others do learn from them

    def test_a_target_whose_absence_leaves_nothing_is_named(self):
        pairs = [pair(t, "a", 0.5 + 0.1 * i, 0.5, 1.0, features={"f": 1.0}) for i, t in enumerate("bc")]
        with pytest.raises(UserError, match="without 'a' no pair is left to learn from"):
            leave_one_out([*pairs, pair("a", "b", 0.5, 0.5, 1.0, features={"f": 1.0})])


class TestPredict:
    def test_two_groups_by_hand(self):
        known = [pair("t", f"s{i}", 0.6 if i % 2 else 0.4, 0.5, 1.0, features={"f": i % 2}) for i in range(20)]
        new = {"u": {"f": 0.0}, "v": {"f": 1.0}}
        one = Trees(rounds=1, rate=1.0, l2=0.0, min_leaf=1, columns=1.0)
        np.testing.assert_allclose(predict_gains(known, new, one), [-0.1, 0.1])
        low, high = predict_gains(known, new, of="sign")
        assert low < 0.2 < 0.8 < high

    def test_is_deterministic(self):
        known = world()
        new = {p.name: p.features for p in world(seed=1)}
        np.testing.assert_array_equal(predict_gains(known, new, FEW), predict_gains(known, new, FEW))

    def test_gains_of_one_sign_give_that_signs_probability(self):
        known = [pair("t", f"s{i}", 0.6, 0.5, 1.0, features={"f": i}) for i in range(4)]
        assert predict_gains(known, {"u": {"f": 1.0}}, of="sign").tolist() == [1.0]

    def test_what_is_missing_is_named(self):
        known = world()
        with pytest.raises(UserError, match="the pair s0 -> new lacks the feature 'cosine/1'"):
            predict_gains(known, {"s0 -> new": {"cosine/0": 1.0, "cosine/2": 1.0}})
        with pytest.raises(UserError, match="no measured pair to learn from"):
            predict_gains([], {"u": {}})


class TestQuality:
    def test_by_hand(self):
        pairs = [pair(t, s, 0.5 + g, 0.5, 1.0) for t, s, g in [("a", "x", 0.1), ("a", "y", -0.1), ("b", "x", 0.2), ("b", "y", 0.3)]]  # fmt: skip
        found = prediction_quality(pairs, np.array([0.4, 0.1, 0.05, 0.3]))
        assert found.auc == pytest.approx(2 / 3)  # of three positives, two stand above the one negative
        assert found.auc_by_target == 1.0  # target b has no negative and is left out
        assert found.spearman == pytest.approx(1 - 6 * (4 + 1 + 4 + 1) / (4 * 15))  # ranks 2 1 3 4 and 4 2 1 3
        assert found.spearman_by_target == pytest.approx(1.0)

    def test_is_not_defined_for_one_sign_and_is_0_for_equal_predictions(self):
        pairs = [pair("a", s, 0.6 + 0.1 * i, 0.5, 1.0) for i, s in enumerate("xyz")]
        found = prediction_quality(pairs, np.zeros(3))
        assert dataclasses.astuple(found) == (None, None, 0.0, 0.0)


class TestAssess:
    def test_informative_features_beat_random(self, found):
        for way in ("gain", "sign"):
            assert found.quality[way].auc > 0.85
            assert found.quality[way].spearman_by_target > 0.7
        best = found.curves["gain"].most_saved(0.01)
        assert best.saved > found.curves["random"].most_saved(0.01).saved + 0.1
        assert found.draws.no_worse(best) < 0.05
        assert found.notes == ()

    def test_noise_does_not(self):
        aucs = []
        for seed in range(6):
            pairs = world(seed=seed, informative=False)
            aucs.append(prediction_quality(pairs, leave_one_out(pairs, FEW)).auc_by_target)
        assert 0.3 < np.mean(aucs) < 0.6

    def test_the_cosine_is_the_mean_over_layers_and_the_largest_source_comes_first(self, found):
        first = found.pairs[7].features
        assert found.predicted["cosine"][7] == pytest.approx(sum(first.values()) / 3)
        assert found.predicted["largest"][7] == 100.0
        assert list(found.curves) == ["gain", "sign", "cosine", "largest", "random", "oracle"]
        assert repr(found).startswith("GainEvaluation(36 pairs, 6 targets, predictors: gain, sign")

    def test_the_cosine_is_of_signed_attributions_only(self):
        pairs = world(targets=3, sources=3)
        absolute = [{f"absolute {name}": -9.0 for name in p.features} for p in pairs]
        both = [dataclasses.replace(p, features=p.features | more) for p, more in zip(pairs, absolute, strict=True)]
        found = evaluate_gain_prediction(both, FEW, draws=5)
        np.testing.assert_array_equal(
            found.predicted["cosine"], evaluate_gain_prediction(pairs, FEW, draws=5).predicted["cosine"]
        )
        alone = [dataclasses.replace(p, features=more) for p, more in zip(pairs, absolute, strict=True)]
        assert "cosine" not in evaluate_gain_prediction(alone, FEW, draws=5).predicted

    def test_the_oracle_at_threshold_0_runs_what_gains(self, found):
        assert found.curves["oracle"].fixed.run == sum(p.gain > 0 for p in found.pairs)
        assert found.curves["oracle"].fixed.lost == pytest.approx(0.0)  # dev is test in this world

    def test_nested_thresholds_come_from_other_targets(self):
        pairs = world(targets=4, sources=4)
        predicted, runs = leave_one_out(pairs, FEW), []
        for max_loss in (0.0, 0.02, 0.05):
            run = np.zeros(len(pairs), dtype=bool)
            for target in ("t0", "t1", "t2", "t3"):
                others = [p for p in pairs if p.target != target]
                best = tradeoff_curve(others, leave_one_out(others, FEW), predictor="gain").most_saved(max_loss)
                for i, p in enumerate(pairs):
                    run[i] |= p.target == target and predicted[i] >= best.threshold
            assert nested_choice(pairs, predicted, FEW, max_loss=max_loss) == SkipTradeoff(pairs).point(run, None)
            runs.append(run.sum())
        assert len(set(runs)) > 1  # the thresholds do differ

    def test_too_few_targets_have_no_nested_threshold(self):
        square = [p for p in SQUARE if "d" not in (p.target, p.source)]
        assert nested_choice(square, np.zeros(6), FEW, max_loss=0.02) is None

    def test_gains_of_one_sign_leave_the_size_and_say_so(self):
        pairs = [dataclasses.replace(p, gain=abs(p.gain) + 0.01) for p in world(targets=3)]
        found = evaluate_gain_prediction(pairs, FEW, draws=5)
        assert "sign" not in found.predicted
        assert found.notes[0].startswith("No classifier of the sign: 18 of 18 gains are positive")
        assert found.notes[1] == "No largest source first: the sources' sizes were not given."
        assert found.quality["gain"].auc is None
        assert "| predicted gain | – | – |" in markdown(found)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda p: p[:12], r"2 targets \(t0, t1\): leaving one out needs at least 3"),
            (lambda p: [], "0 targets: leaving one out needs at least 3"),
            (lambda p: [*p, p[0]], "the pair s0 -> t0 is given more than once"),
            (lambda p: [dataclasses.replace(q, features={}) for q in p], "the pairs have no features"),
            (
                lambda p: [dataclasses.replace(p[0], features={"cosine/0": 1.0}), *p[1:]],
                "the pair s0 -> t0 lacks the feature 'cosine/1'",
            ),
            (
                lambda p: [*p[:8], dataclasses.replace(p[8], features=p[8].features | {"cosine/2": math.nan}), *p[9:]],
                "the pair s2 -> t1 has nan as feature 'cosine/2'",
            ),
            (
                lambda p: [p[0], dataclasses.replace(p[1], baseline=TrainingCost(0.1, 0.6, 1.0)), *p[2:]],
                "target 't0' has two baselines",
            ),
            (
                lambda p: [dataclasses.replace(p[0], transfer=TrainingCost(0.1, 0.6, 0.0)), *p[1:]],
                "seconds 0.0: finite numbers and seconds above 0",
            ),
        ],
    )
    def test_bad_pairs_are_refused(self, change, said):
        with pytest.raises(UserError, match=said):
            evaluate_gain_prediction(change(world(targets=3)), FEW)

    def test_bad_settings_are_refused(self):
        with pytest.raises(UserError, match="no size of source 's0'; 1 known: other"):
            evaluate_gain_prediction(world(targets=3), FEW, sizes={"other": 5})
        with pytest.raises(UserError, match=r"max_loss is -0\.1; give 0 or more"):
            evaluate_gain_prediction(world(targets=3), FEW, max_loss=-0.1, draws=5)


class TestReport:
    points = (
        TradeoffPoint(-math.inf, 9, 0.0, 0.0),
        TradeoffPoint(0.1, 3, 0.619, 0.0072),
        TradeoffPoint(math.inf, 0, 0.9, 0.05),
    )

    def test_the_headline_by_hand(self):
        told = TradeoffCurve("gain", self.points, TradeoffPoint(0.0, 5, 0.4, -0.0031))
        assert headline(told, metric="F1", nested=TradeoffPoint(None, 4, 0.55, 0.02)) == (
            "62 % less training time at a cost of 0.7 points of F1 (the most saved with at most 1 point lost, its threshold chosen on these same targets); "
            "40 % less training time at a gain of 0.3 points at the fixed threshold 0; "
            "55 % less training time at a cost of 2.0 points with each target's threshold chosen on the other targets."
        )

    def test_the_headline_without_fixed_and_nested(self):
        told = headline(TradeoffCurve("cosine", self.points), metric="F1", max_loss=0.05)
        assert told.startswith(
            "90 % less training time at a cost of 5.0 points of F1 (the most saved with at most 5 points lost"
        )
        assert ";" not in told

    def test_the_table_tells_what_was_computed(self, found):
        text = markdown(found)
        auc = found.quality["gain"].auc
        assert f"| predicted gain | {auc:.2f} |" in text
        best = found.curves["gain"].most_saved(0.01)
        cells = (
            f"| predicted gain | at most 1 point lost | {best.run} | {100 * best.saved:.0f} % | {100 * best.lost:.2f} |"
        )
        assert cells in text
        assert "36 transfers, 6 targets, 6 sources" in text
        for title in ("predicted sign", "mean cosine, no learning", "largest source first", "random pairs", "oracle"):
            assert f"| {title}" in text
        assert "from the other targets" in text

    def test_several_metrics_are_called_score(self, found):
        mixed = (dataclasses.replace(found.pairs[0], metric="f1"), *found.pairs[1:])
        assert found.metric == "accuracy"
        assert dataclasses.replace(found, pairs=mixed).metric == "score"

    def test_writes_valid_json_and_the_same_picture_twice(self, found, tmp_path):
        write_gain_report(found, tmp_path / "one")
        write_gain_report(found, tmp_path / "two")
        assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["benefit.json", "benefit.md", "benefit.svg"]
        for name in ("benefit.json", "benefit.md", "benefit.svg"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        text = (tmp_path / "one" / "benefit.json").read_text()
        stored = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert stored == as_json(found)
        assert stored["pairs"][3]["gain"] == found.pairs[3].gain
        assert stored["pairs"][3]["predicted"]["gain"] == found.predicted["gain"][3]
        assert stored["curves"]["gain"][0]["threshold"] is None
        assert len(stored["curves"]["random"]) == 37

    def test_draws_png_and_refuses_others(self, found, tmp_path):
        draw_tradeoff(found, tmp_path / "b.png")
        assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(UserError, match=r"cannot draw 'b.pdf': the ending must be .svg or .png"):
            draw_tradeoff(found, tmp_path / "b.pdf")
        assert [p.name for p in tmp_path.iterdir()] == ["b.png"]

    def test_says_what_to_install_without_matplotlib(self, found, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(UserError, match=r"pictures need matplotlib: pip install"):
            draw_tradeoff(found, tmp_path / "b.svg")
