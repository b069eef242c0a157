"""Tests of predicted gains: features, the split, the accounting by hand, what informs and what does not, and the report."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest

from tasksel.benefit import (
    Curve,
    Ledger,
    Pair,
    Point,
    Run,
    Trees,
    assess,
    curve,
    folds,
    leave_one_out,
    measured_pairs,
    nested_choice,
    pair_features,
    predict,
    quality,
    random_draws,
)
from tasksel.benefit_report import draw, headline, markdown, told, write
from tasksel.errors import UserError

FEW = Trees(rounds=15)


def pair(target, source, score, dev, seconds, *, before=(0.5, 0.5, 10.0), features=None):
    return Pair(target, source, features or {}, score - before[0], Run(score, dev, seconds), Run(*before), "accuracy")


# two targets by three sources; dev prefers y for both; dev never uses z for a, and prefers y to z (same dev) for b
BY_HAND = [
    pair("a", "x", 0.60, 0.55, 20),
    pair("a", "y", 0.55, 0.65, 30),
    pair("a", "z", 0.70, 0.45, 40),
    pair("b", "x", 0.30, 0.45, 20, before=(0.4, 0.4, 10.0)),
    pair("b", "z", 0.40, 0.50, 40, before=(0.4, 0.4, 10.0)),
    pair("b", "y", 0.50, 0.50, 30, before=(0.4, 0.4, 10.0)),
]


def world(targets=6, sources=6, *, seed=0, informative=True, noise=0.005):
    """Pairs whose gain is 0.2 * (kinship - 0.5); the features tell the kinship, or are drawn anew."""
    random, pairs = np.random.default_rng(seed), []
    for t in range(targets):
        base = Run(0.6, 0.6, 20.0)
        for s in range(sources):
            kinship = random.random()
            gain = 0.2 * (kinship - 0.5) + noise * random.normal()
            seen = kinship if informative else random.random()
            features = {f"cosine/{layer}": seen + 0.05 * random.normal() for layer in range(3)}
            after = Run(0.6 + gain, 0.6 + gain, float(random.integers(10, 30)))
            pairs.append(Pair(f"t{t}", f"s{s}", features, gain, after, base, "accuracy"))
    return pairs


@pytest.fixture(scope="module")
def found():
    return assess(world(), FEW, sizes={f"s{i}": 100 * i for i in range(6)}, draws=50)


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


def row(target, source, seed, score, *, seconds=5.0, **changes):
    method = "sequential" if source else "single-adapter"
    told = {"target": target, "source": source, "method": method, "seed": seed, "metric": "accuracy", "score": score}
    return told | {"dev": score and score + 0.1, "seconds": seconds} | changes


ROWS = [row("a", None, 0, 0.5), row("a", None, 1, 0.7), row("a", "x", 0, 0.6), row("a", "x", 1, 0.9, seconds=7.0)]
FEATURES = {("a", "x"): {"cosine/0": 1.0}, ("a", "y"): {"cosine/0": 0.5}}


class TestMeasuredPairs:
    def test_gain_is_the_mean_over_seeds_and_seconds_add_up(self):
        [pair], diverged = measured_pairs(ROWS, FEATURES)
        assert (pair.name, pair.metric, pair.features, diverged) == ("x -> a", "accuracy", {"cosine/0": 1.0}, [])
        assert pair.gain == pytest.approx((0.1 + 0.2) / 2)
        assert dataclasses.astuple(pair.transfer) == pytest.approx((0.75, 0.85, 12.0))
        assert dataclasses.astuple(pair.baseline) == pytest.approx((0.6, 0.7, 10.0))

    def test_a_diverged_seed_counts_for_its_seconds_only(self):
        [pair], _ = measured_pairs([*ROWS[:3], row("a", "x", 1, None, seconds=7.0)], FEATURES)
        assert pair.gain == pytest.approx(0.1)  # seed 0 against seed 0, not against the mean of both
        assert pair.transfer.seconds == 12.0

    def test_a_pair_that_always_diverged_is_named(self):
        pairs, diverged = measured_pairs([*ROWS, row("a", "y", 0, None)], FEATURES)
        assert ([p.source for p in pairs], diverged) == (["x"], ["y -> a"])

    def test_other_methods_and_a_task_as_its_own_source_are_left_out(self):
        more = [row("a", "y", 0, 0.9, method="scalearn"), row("a", "a", 0, 0.9)]
        assert [pair.source for pair in measured_pairs([*ROWS, *more], FEATURES)[0]] == ["x"]

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([row("a", None, 0, 0.5), row("a", "z", 0, 0.5)], "no features for the pair z -> a"),
            ([row("a", None, 0, None), row("a", "x", 0, 0.5)], "'a' has no finished run of 'single-adapter'"),
            ([row("a", None, 0, 0.5), row("a", "x", 1, 0.5)], "x -> a and its 'single-adapter' share no finished seed"),
            ([row("a", None, 0, 0.5), row("a", "x", 0, 0.5, dev=None)], "x -> a, seed 0 has no dev score"),
            ([row("a", None, 0, 0.5)], "no finished rows of method 'sequential'"),
        ],
    )
    def test_what_cannot_be_joined_is_refused(self, rows, said):
        with pytest.raises(UserError, match=said):
            measured_pairs(rows, FEATURES)


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
        np.testing.assert_allclose(predict(known, new, one), [-0.1, 0.1])
        low, high = predict(known, new, of="sign")
        assert low < 0.2 < 0.8 < high

    def test_is_deterministic(self):
        known = world()
        new = {p.name: p.features for p in world(seed=1)}
        np.testing.assert_array_equal(predict(known, new, FEW), predict(known, new, FEW))

    def test_gains_of_one_sign_give_that_signs_probability(self):
        known = [pair("t", f"s{i}", 0.6, 0.5, 1.0, features={"f": i}) for i in range(4)]
        assert predict(known, {"u": {"f": 1.0}}, of="sign").tolist() == [1.0]

    def test_what_is_missing_is_named(self):
        known = world()
        with pytest.raises(UserError, match="the pair s0 -> new lacks the feature 'cosine/1'"):
            predict(known, {"s0 -> new": {"cosine/0": 1.0, "cosine/2": 1.0}})
        with pytest.raises(UserError, match="no measured pair to learn from"):
            predict([], {"u": {}})


class TestLedger:
    @pytest.mark.parametrize(
        ("run", "saved", "lost"),
        [
            ([1, 1, 1, 1, 1, 1], 0.0, 0.0),  # 20 + 180 s; (0.55 + 0.50) / 2
            ([0, 0, 0, 0, 0, 0], 0.9, 0.075),  # 20 s; the baselines (0.5 + 0.4) / 2
            ([1, 0, 0, 0, 1, 0], 0.6, 0.025),  # 80 s; (0.60 + 0.40) / 2
            ([0, 0, 1, 0, 0, 0], 0.7, 0.075),  # 60 s; z scores 0.70, but dev is for the baseline
            ([0, 0, 0, 1, 0, 0], 0.8, 0.125),  # 40 s; dev is for x, which loses: (0.5 + 0.3) / 2
            ([1, 0, 0, 0, 0, 1], 0.65, -0.025),  # 70 s; (0.60 + 0.50) / 2, better than what dev takes of all
        ],
    )
    def test_by_hand(self, run, saved, lost):
        point = Ledger(BY_HAND).point(np.array(run, dtype=bool), 0.0)
        assert (point.saved, point.lost, point.run) == (pytest.approx(saved), pytest.approx(lost), sum(run))

    def test_equals_the_naive_loop(self):
        pairs, random = world(seed=4), np.random.default_rng(1)
        pairs = [
            dataclasses.replace(p, transfer=Run(random.random(), random.random(), p.transfer.seconds)) for p in pairs
        ]

        def naive(run):
            seconds, total = 0.0, 0.0
            for target in {p.target for p in pairs}:
                mine = [p for p, r in zip(pairs, run, strict=True) if p.target == target and r]
                some = next(p for p in pairs if p.target == target)
                seconds += some.baseline.seconds + sum(p.transfer.seconds for p in mine)
                best = some.baseline
                for p in mine:
                    best = p.transfer if p.transfer.dev > best.dev else best
                total += best.score / 6
            return seconds, total

        masks = random.random((20, len(pairs))) < 0.4
        saved, lost = Ledger(pairs).settle(masks)
        all_seconds, all_score = naive(np.ones(len(pairs)))
        for i, mask in enumerate(masks):
            seconds, score = naive(mask)
            assert saved[i] == pytest.approx(1 - seconds / all_seconds)
            assert lost[i] == pytest.approx(all_score - score)


class TestCurve:
    predicted = np.array([0.3, 0.2, 0.2, -0.1, -0.1, 0.3])

    def test_runs_what_is_at_least_the_threshold(self):
        found = curve(BY_HAND, self.predicted, way="gain", fixed=0.0)
        assert [(p.threshold, p.run) for p in found.points] == [(-np.inf, 6), (0.2, 4), (0.3, 2), (np.inf, 0)]
        assert found.points[2] == Point(0.3, 2, pytest.approx(0.65), pytest.approx(-0.025))
        assert found.fixed == Point(0.0, 4, pytest.approx(0.3), pytest.approx(0.0))

    def test_most_saved_keeps_to_the_allowed_loss(self):
        points = [Point(t, 0, s, lost) for t, s, lost in [(-1, 0, 0), (0, 0.2, 0.03), (1, 0.5, 0.01), (2, 0.9, 0.08)]]
        found = Curve("gain", tuple(points))
        assert [found.most_saved(loss).saved for loss in (0.0, 0.01, 0.03, 0.5)] == [0, 0.5, 0.5, 0.9]
        assert found.lost_at(0.35) == pytest.approx(0.02)

    def test_random_draws_go_from_none_to_all(self):
        draws = random_draws(BY_HAND, draws=300, seed=0)
        assert draws.saved.shape == (300, 7)
        np.testing.assert_allclose(draws.saved[:, [0, -1]], [[0.9, 0.0]] * 300)
        np.testing.assert_allclose(draws.lost[:, [0, -1]], [[0.075, 0.0]] * 300, atol=1e-12)
        # one of six at random, by hand: mean seconds 30; lost 0.025, 0.05, 0.075, 0.125, 0.075, 0.025
        assert draws.mean.points[-2].saved == pytest.approx(1 - 50 / 200, abs=0.01)
        assert draws.mean.points[-2].lost == pytest.approx(0.0625, abs=0.006)

    def test_luck_is_the_share_of_draws_that_lose_no_more(self):
        draws = random_draws(BY_HAND, draws=200, seed=0)
        assert draws.no_worse(Point(None, 0, 0.5, 1.0)) == 1.0
        assert draws.no_worse(Point(None, 0, 0.5, -1.0)) == 0.0
        naive = [np.interp(0.6, s[::-1], lost[::-1]) <= 0.03 for s, lost in zip(draws.saved, draws.lost, strict=True)]
        assert draws.no_worse(Point(None, 0, 0.6, 0.03)) == np.mean(naive)
        assert 0 < np.mean(naive) < 1


class TestQuality:
    def test_by_hand(self):
        pairs = [pair(t, s, 0.5 + g, 0.5, 1.0) for t, s, g in [("a", "x", 0.1), ("a", "y", -0.1), ("b", "x", 0.2), ("b", "y", 0.3)]]  # fmt: skip
        found = quality(pairs, np.array([0.4, 0.1, 0.05, 0.3]))
        assert found.auc == pytest.approx(2 / 3)  # of three positives, two stand above the one negative
        assert found.auc_by_target == 1.0  # target b has no negative and is left out
        assert found.spearman == pytest.approx(1 - 6 * (4 + 1 + 4 + 1) / (4 * 15))  # ranks 2 1 3 4 and 4 2 1 3
        assert found.spearman_by_target == pytest.approx(1.0)

    def test_is_not_defined_for_one_sign_and_is_0_for_equal_predictions(self):
        pairs = [pair("a", s, 0.6 + 0.1 * i, 0.5, 1.0) for i, s in enumerate("xyz")]
        found = quality(pairs, np.zeros(3))
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
            aucs.append(quality(pairs, leave_one_out(pairs, FEW)).auc_by_target)
        assert 0.3 < np.mean(aucs) < 0.6

    def test_the_cosine_is_the_mean_over_layers_and_the_largest_source_comes_first(self, found):
        first = found.pairs[7].features
        assert found.predicted["cosine"][7] == pytest.approx(sum(first.values()) / 3)
        assert found.predicted["largest"][7] == 100.0
        assert list(found.curves) == ["gain", "sign", "cosine", "largest", "random", "oracle"]
        assert repr(found).startswith("Assessment(36 pairs, 6 targets, ways: gain, sign")

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
                best = curve(others, leave_one_out(others, FEW), way="gain").most_saved(max_loss)
                for i, p in enumerate(pairs):
                    run[i] |= p.target == target and predicted[i] >= best.threshold
            assert nested_choice(pairs, predicted, FEW, max_loss=max_loss) == Ledger(pairs).point(run, None)
            runs.append(run.sum())
        assert len(set(runs)) > 1  # the thresholds do differ

    def test_too_few_targets_have_no_nested_threshold(self):
        square = [p for p in SQUARE if "d" not in (p.target, p.source)]
        assert nested_choice(square, np.zeros(6), FEW, max_loss=0.02) is None

    def test_gains_of_one_sign_leave_the_size_and_say_so(self):
        pairs = [dataclasses.replace(p, gain=abs(p.gain) + 0.01) for p in world(targets=3)]
        found = assess(pairs, FEW, draws=5)
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
            (lambda p: [*p, p[0]], "the pair s0 -> t0 is given twice"),
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
                lambda p: [p[0], dataclasses.replace(p[1], baseline=Run(0.1, 0.6, 1.0)), *p[2:]],
                "target 't0' has two baselines",
            ),
            (
                lambda p: [dataclasses.replace(p[0], transfer=Run(0.1, 0.6, 0.0)), *p[1:]],
                "seconds 0.0: finite numbers and seconds above 0",
            ),
        ],
    )
    def test_bad_pairs_are_refused(self, change, said):
        with pytest.raises(UserError, match=said):
            assess(change(world(targets=3)), FEW)

    def test_bad_settings_are_refused(self):
        with pytest.raises(UserError, match="no size of source 's0'; 1 known: other"):
            assess(world(targets=3), FEW, sizes={"other": 5})
        with pytest.raises(UserError, match=r"max_loss=-0\.1, draws=5"):
            assess(world(targets=3), FEW, max_loss=-0.1, draws=5)


class TestReport:
    points = (Point(-math.inf, 9, 0.0, 0.0), Point(0.1, 3, 0.619, 0.0072), Point(math.inf, 0, 0.9, 0.05))

    def test_the_headline_by_hand(self):
        told = Curve("gain", self.points, Point(0.0, 5, 0.4, -0.0031))
        assert headline(told, metric="F1", nested=Point(None, 4, 0.55, 0.02)) == (
            "62 % less training time at a cost of 0.7 points of F1 (the most saved with at most 1 point lost, its threshold chosen on these same targets); "
            "40 % less training time at a gain of 0.3 points at the fixed threshold 0; "
            "55 % less training time at a cost of 2.0 points with each target's threshold chosen on the other targets."
        )

    def test_the_headline_without_fixed_and_nested(self):
        told = headline(Curve("cosine", self.points), metric="F1", max_loss=0.05)
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
        write(found, tmp_path / "one")
        write(found, tmp_path / "two")
        assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["benefit.json", "benefit.md", "benefit.svg"]
        for name in ("benefit.json", "benefit.md", "benefit.svg"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        text = (tmp_path / "one" / "benefit.json").read_text()
        stored = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert stored == told(found)
        assert stored["pairs"][3]["gain"] == found.pairs[3].gain
        assert stored["pairs"][3]["predicted"]["gain"] == found.predicted["gain"][3]
        assert stored["curves"]["gain"][0]["threshold"] is None
        assert len(stored["curves"]["random"]) == 37

    def test_draws_png_and_refuses_others(self, found, tmp_path):
        draw(found, tmp_path / "b.png")
        assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(UserError, match=r"cannot draw '.pdf'; allowed: .svg, .png"):
            draw(found, tmp_path / "b.pdf")
        assert [p.name for p in tmp_path.iterdir()] == ["b.png"]

    def test_says_what_to_install_without_matplotlib(self, found, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(UserError, match=r"a picture needs matplotlib: pip install"):
            draw(found, tmp_path / "b.svg")
