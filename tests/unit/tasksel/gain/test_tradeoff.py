"""Tests of time saved and score lost: pairs joined from a matrix's rows, the accounting by hand, thresholds, random draws."""

import dataclasses

import numpy as np
import pytest
from gain_pairs import pair, world

from tasksel.errors import UserError
from tasksel.gain.tradeoff import (
    SkipTradeoff,
    TradeoffCurve,
    TradeoffPoint,
    TrainingCost,
    measured_pairs,
    random_orders,
    tradeoff_curve,
)

# two targets by three sources; dev prefers y for both; dev never uses z for a, and prefers y to z (same dev) for b
BY_HAND = [
    pair("a", "x", 0.60, 0.55, 20),
    pair("a", "y", 0.55, 0.65, 30),
    pair("a", "z", 0.70, 0.45, 40),
    pair("b", "x", 0.30, 0.45, 20, before=(0.4, 0.4, 10.0)),
    pair("b", "z", 0.40, 0.50, 40, before=(0.4, 0.4, 10.0)),
    pair("b", "y", 0.50, 0.50, 30, before=(0.4, 0.4, 10.0)),
]


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
        point = SkipTradeoff(BY_HAND).point(np.array(run, dtype=bool), 0.0)
        assert (point.saved, point.lost, point.run) == (pytest.approx(saved), pytest.approx(lost), sum(run))

    def test_equals_the_naive_loop(self):
        pairs, random = world(seed=4), np.random.default_rng(1)
        pairs = [
            dataclasses.replace(p, transfer=TrainingCost(random.random(), random.random(), p.transfer.seconds))
            for p in pairs
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
        saved, lost = SkipTradeoff(pairs).saved_and_lost(masks)
        all_seconds, all_score = naive(np.ones(len(pairs)))
        for i, mask in enumerate(masks):
            seconds, score = naive(mask)
            assert saved[i] == pytest.approx(1 - seconds / all_seconds)
            assert lost[i] == pytest.approx(all_score - score)


class TestCurve:
    predicted = np.array([0.3, 0.2, 0.2, -0.1, -0.1, 0.3])

    def test_runs_what_is_at_least_the_threshold(self):
        found = tradeoff_curve(BY_HAND, self.predicted, predictor="gain", fixed=0.0)
        assert [(p.threshold, p.run) for p in found.points] == [(-np.inf, 6), (0.2, 4), (0.3, 2), (np.inf, 0)]
        assert found.points[2] == TradeoffPoint(0.3, 2, pytest.approx(0.65), pytest.approx(-0.025))
        assert found.fixed == TradeoffPoint(0.0, 4, pytest.approx(0.3), pytest.approx(0.0))

    def test_most_saved_keeps_to_the_allowed_loss(self):
        points = [
            TradeoffPoint(t, 0, s, lost) for t, s, lost in [(-1, 0, 0), (0, 0.2, 0.03), (1, 0.5, 0.01), (2, 0.9, 0.08)]
        ]
        found = TradeoffCurve("gain", tuple(points))
        assert [found.most_saved(loss).saved for loss in (0.0, 0.01, 0.03, 0.5)] == [0, 0.5, 0.5, 0.9]
        assert found.lost_at(0.35) == pytest.approx(0.02)

    def test_random_draws_go_from_none_to_all(self):
        draws = random_orders(BY_HAND, draws=300, seed=0)
        assert draws.saved.shape == (300, 7)
        np.testing.assert_allclose(draws.saved[:, [0, -1]], [[0.9, 0.0]] * 300)
        np.testing.assert_allclose(draws.lost[:, [0, -1]], [[0.075, 0.0]] * 300, atol=1e-12)
        # one of six at random, by hand: mean seconds 30; lost 0.025, 0.05, 0.075, 0.125, 0.075, 0.025
        assert draws.mean.points[-2].saved == pytest.approx(1 - 50 / 200, abs=0.01)
        assert draws.mean.points[-2].lost == pytest.approx(0.0625, abs=0.006)

    def test_luck_is_the_share_of_draws_that_lose_no_more(self):
        draws = random_orders(BY_HAND, draws=200, seed=0)
        assert draws.no_worse(TradeoffPoint(None, 0, 0.5, 1.0)) == 1.0
        assert draws.no_worse(TradeoffPoint(None, 0, 0.5, -1.0)) == 0.0
        naive = [np.interp(0.6, s[::-1], lost[::-1]) <= 0.03 for s, lost in zip(draws.saved, draws.lost, strict=True)]
        assert draws.no_worse(TradeoffPoint(None, 0, 0.6, 0.03)) == np.mean(naive)
        assert 0 < np.mean(naive) < 1
