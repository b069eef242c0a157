"""Tests of the judges: by hand, against loops, and ties against every order that they allow."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from refusals import not_refused

from tasksel import UserError
from tasksel.evaluation.ranking_metrics import (
    CONVENTIONS,
    bootstrap,
    mean_regret,
    ndcg,
    rank_of_best,
    regret,
    top_k_mean,
    true_rank_of_first,
)

MEASURES = {
    **{f"ndcg {name}": (lambda p, t, name=name: ndcg(p, t, name)) for name in CONVENTIONS},
    **{f"regret@{k}": (lambda p, t, k=k: regret(p, t, k)) for k in (1, 2, 3, 4)},
    **{f"mean regret@{k}": (lambda p, t, k=k: mean_regret(p, t, k)) for k in (1, 2, 3)},
    **{f"top-{k}": (lambda p, t, k=k: top_k_mean(p, t, k)) for k in (1, 2, 3, 9)},
    "rank of best": rank_of_best,
    "true rank of first": true_rank_of_first,
}


def naive(name, order, truth):
    """A measure of sources in this order, in loops."""
    kind, _, detail = name.replace("@", " ").replace("top-", "top ").rpartition(" ")
    n, best = len(truth), max(truth)
    if kind == "ndcg":
        gold = [
            sum(other > score for other in truth) + (sum(other == score for other in truth) + 1) / 2 for score in truth
        ]
        rel = [n - gold[i] if detail == "taskweb" else 100 * max(0, truth[i]) for i in range(n)]
        gain = [2 ** rel[i] - 1 for i in range(n)]
        true_order = sorted(range(n), key=lambda i: -truth[i])
        reached, ideal = (
            sum(gain[i] / math.log2(place + 1) for place, i in enumerate(o, 1)) for o in (order, true_order)
        )
        return reached / ideal if ideal else 1.0
    if kind in ("regret", "mean regret", "top"):
        k = min(int(detail), n)
        chosen, top = [truth[i] for i in order[:k]], sorted(truth)[-k:]
        if kind == "top":
            return sum(chosen) / k
        wanted, got = (best, max(chosen)) if kind == "regret" else (sum(top) / k, sum(chosen) / k)
        return 100 * (wanted - got) / wanted if wanted > 0 else 0.0
    if name == "rank of best":
        return 1 + min(place for place, i in enumerate(order) if truth[i] == best)
    return 1 + sum(score > truth[order[0]] for score in truth)


def over_all_orders(name, predicted, truth):
    """The naive mean over all permutations that sort the predicted scores."""
    wanted = sorted(predicted, reverse=True)
    orders = [o for o in itertools.permutations(range(len(truth))) if [predicted[i] for i in o] == wanted]
    return sum(naive(name, order, truth) for order in orders) / len(orders)


def measured(predicted, truth):
    """The value of every measure, by name."""
    return {name: measure(predicted, truth) for name, measure in MEASURES.items()}


def differing(values, wanted):
    """The names of what is not as wanted: value and wanted value."""
    return {name: (values[name], right) for name, right in wanted.items() if values[name] != pytest.approx(right)}


class TestEveryMeasure:
    """One test per fact; what fails lists every measure that offends."""

    @pytest.mark.parametrize("n", [1, 2, 5, 12])
    def test_equals_loops_on_orders_without_ties(self, n):
        rng = np.random.default_rng(n)
        truth, predicted = rng.random(n), rng.normal(size=n)
        order = list(np.argsort(-predicted))
        assert differing(measured(predicted, truth), {name: naive(name, order, list(truth)) for name in MEASURES}) == {}

    def test_ties_are_the_mean_over_every_order(self):
        rng = np.random.default_rng(1)
        for _ in range(15):
            predicted = rng.integers(0, 3, 5).astype(float)
            truth = rng.choice([-0.2, 0.1, 0.3, 0.35, 0.6], 5)
            orders = {name: over_all_orders(name, list(predicted), list(truth)) for name in MEASURES}
            assert differing(measured(predicted, truth), orders) == {}

    def test_random_is_the_mean_over_all_24_orders(self):
        truth = [0.5, 0.2, 0.9, 0.4]
        orders = {name: over_all_orders(name, [0] * 4, truth) for name in MEASURES}
        assert differing(measured(np.zeros(4), np.array(truth)), orders) == {}

    def test_many_at_once_equal_one_at_a_time(self):
        rng = np.random.default_rng(2)
        truth, predicted = rng.integers(-2, 9, (3, 6)) / 10, rng.integers(0, 4, (3, 6)).astype(float)
        for measure in MEASURES.values():
            pairs = [measure(predicted[i], truth[i]) for i in range(3)]
            assert measure(predicted, truth) == pytest.approx(pairs)
            crossed = [[measure(p, t) for t in truth] for p in predicted]
            np.testing.assert_allclose(measure(predicted[:, None], truth), crossed)
            np.testing.assert_allclose(measure(predicted[0], truth), crossed[0])
            np.testing.assert_allclose(measure(predicted, truth[0]), [row[0] for row in crossed])

    def test_only_the_order_of_the_predicted_scores_counts(self):
        rng = np.random.default_rng(3)
        truth, predicted = rng.random(8), rng.integers(0, 5, 8).astype(float)
        plain, shuffle = measured(predicted, truth), rng.permutation(8)
        assert measured(np.exp(9 * predicted), truth) == plain
        assert differing(measured(predicted[shuffle], truth[shuffle]), plain) == {}

    @pytest.mark.parametrize(
        ("predicted", "truth", "message"),
        [
            ([1, np.nan, 2], [0.1, 0.2, 0.3], r"a predicted score is not a number \(source 1\)"),
            ([1, 2, 3], [0.1, 0.2, np.nan], r"a true score is not a number \(source 2\)"),
            ([1, 2], [0.1, 0.2, 0.3], "2 predicted scores for 3 true ones"),
            ([], [], "0 predicted scores for 0 true ones"),
            ([1, 2], [61.2, 50.0], "a true score of 61.2: true scores are fractions up to 1, not percent"),
        ],
    )
    def test_what_is_no_score_is_refused(self, predicted, truth, message):
        scores = np.array(predicted), np.array(truth)
        assert not_refused({name: partial(measure, *scores) for name, measure in MEASURES.items()}, message) == {}


class TestNdcg:
    @pytest.mark.parametrize("truth", [[0.3, 0.9, 0.5, -0.1], [0.5, 0.5, 0.2], [0.0, 0.0], [-0.3, -0.2], [0.4]])
    def test_the_oracle_has_one(self, truth):
        values = {convention: ndcg(np.array(truth), np.array(truth), convention) for convention in CONVENTIONS}
        assert differing(values, dict.fromkeys(CONVENTIONS, 1.0)) == {}

    def test_taskweb_by_hand(self):
        # gold ranks 1, 2, 3 of N = 3: rel 2, 1, 0, gains 3, 1, 0; the worst order meets 0, 1, 3
        wanted = (1 / math.log2(3) + 3 / 2) / (3 + 1 / math.log2(3))
        assert ndcg(np.array([1, 2, 3]), np.array([0.9, 0.8, 0.1]), "taskweb") == pytest.approx(wanted)

    @pytest.mark.parametrize("convention", ["lin", "schulte"])
    def test_percent_by_hand(self, convention):
        # scores of 2 and 1 percent, gains 3 and 1, in the wrong order
        wanted = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
        assert ndcg(np.array([0, 1]), np.array([0.02, 0.01]), convention) == pytest.approx(wanted)

    def test_a_score_below_zero_gains_nothing(self):
        predicted = np.array([0, 1, 2])
        assert ndcg(predicted, np.array([0.02, 0.01, -0.5]), "lin") == ndcg(
            predicted, np.array([0.02, 0.01, 0.0]), "lin"
        )

    def test_percent_gains_do_not_overflow(self):
        assert 0 < ndcg(np.arange(40), np.linspace(1, 0, 40), "lin") < 0.25

    def test_sources_that_truly_tie_share_their_gold_rank(self):
        np.testing.assert_array_equal(CONVENTIONS["taskweb"](np.array([0.5, 0.9, 0.5, 0.1])), [1.5, 3, 1.5, 0])

    def test_an_unknown_convention_is_answered_with_the_nearest(self):
        with pytest.raises(UserError, match="no nDCG convention 'taskwe'; did you mean 'taskweb'"):
            ndcg(np.ones(2), np.ones(2), "taskwe")


class TestRegret:
    def test_by_hand(self):
        predicted, truth = np.array([4, 3, 2, 1]), np.array([0.2, 0.6, 0.8, 0.4])
        assert regret(predicted, truth, 1) == pytest.approx(75)
        assert regret(predicted, truth, 2) == pytest.approx(25)
        assert regret(predicted, truth, 3) == 0
        assert mean_regret(predicted, truth, 2) == pytest.approx(100 * (0.7 - 0.4) / 0.7)
        assert top_k_mean(predicted, truth, 2) == pytest.approx(0.4)

    def test_mean_regret_is_of_five_by_default(self):
        predicted, truth = np.arange(7), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
        assert mean_regret(predicted, truth) == pytest.approx(100 * (0.7 - 0.5) / 0.7)

    def test_the_oracle_has_none(self):
        truth = np.random.default_rng(0).random((20, 7))
        for k in (1, 3, 5, 9):
            assert regret(truth, truth, k) == pytest.approx(np.zeros(20))
            assert mean_regret(truth, truth, k) == pytest.approx(np.zeros(20))

    def test_nothing_is_missed_where_no_source_is_worth_anything(self):
        for truth in ([-0.1, -0.4], [0.0, -0.4]):
            assert regret(np.array([0, 1]), np.array(truth), 1) == 0
            assert mean_regret(np.array([0, 1]), np.array(truth), 1) == 0

    def test_a_choice_below_zero_loses_more_than_all(self):
        assert regret(np.array([0, 1]), np.array([0.2, -0.1]), 1) == pytest.approx(150)

    def test_a_tie_across_the_cut_by_hand(self):
        # the first is sure (0.3); one of 0.1, 0.5, 0.9 comes with it: best 0.3, 0.5 or 0.9
        wanted = 100 * (0.9 - (0.3 + 0.5 + 0.9) / 3) / 0.9
        assert regret(np.array([2, 1, 1, 1]), np.array([0.3, 0.1, 0.5, 0.9]), 2) == pytest.approx(wanted)

    def test_k_below_one_is_refused(self):
        for measure in (regret, mean_regret, top_k_mean):
            with pytest.raises(UserError, match="k=0: choose at least 1 source"):
                measure(np.ones(2), np.ones(2), 0)


class TestRanks:
    def test_by_hand(self):
        predicted, truth = np.array([4, 3, 2, 1]), np.array([0.2, 0.6, 0.8, 0.4])
        assert rank_of_best(predicted, truth) == 3
        assert true_rank_of_first(predicted, truth) == 4

    def test_two_that_are_truly_best_both_count(self):
        predicted, truth = np.array([4, 3, 2]), np.array([0.1, 0.8, 0.8])
        assert rank_of_best(predicted, truth) == 2
        assert true_rank_of_first(np.array([1, 2, 3]), truth) == 1

    def test_a_random_order_finds_the_best_in_the_middle(self):
        assert rank_of_best(np.zeros(9), np.arange(9) / 10) == 5
        assert true_rank_of_first(np.zeros(9), np.arange(9) / 10) == pytest.approx(5)


class TestBootstrap:
    def test_the_mean_is_that_of_the_values(self):
        mean, low, high = bootstrap([[0.1, 0.3], [0.5, 0.7]])
        assert mean == pytest.approx(0.4)
        assert 0.1 <= low < mean < high <= 0.7

    def test_equals_loops(self):
        values = np.random.default_rng(0).normal(size=(6, 4))
        rng, means = np.random.default_rng(1), []
        for _ in range(4000):
            drawn = [values[t, rng.integers(0, 4, 4)].mean() for t in rng.integers(0, 6, 6)]
            means.append(np.mean(drawn))
        _, low, high = bootstrap(values, draws=4000, seed=2, level=0.9)
        np.testing.assert_allclose([low, high], np.quantile(means, [0.05, 0.95]), atol=0.03)

    def test_one_seed_within_a_target_is_wider(self):
        values = np.random.default_rng(0).normal(size=(5, 50))
        _, low, high = bootstrap(values)
        _, low_1, high_1 = bootstrap(values, within=1)
        assert high_1 - low_1 > 2 * (high - low)

    def test_a_higher_level_is_wider_and_a_seed_repeats(self):
        values = np.random.default_rng(0).normal(size=(5, 3))
        assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)
        assert bootstrap(values, level=0.99)[2] > bootstrap(values, level=0.5)[2]

    def test_equal_targets_leave_the_spread_of_seeds_alone(self):
        assert bootstrap(np.full((4, 3), 0.5)) == (0.5, 0.5, 0.5)
        seeds_alone = bootstrap(np.tile([0.0, 1.0], (100, 1)))
        assert seeds_alone[2] - seeds_alone[1] == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(200), rel=0.15)

    @pytest.mark.parametrize("values", [[0.1, 0.2], [[0.1, np.nan]], np.zeros((0, 3))])
    def test_what_is_no_table_is_refused(self, values):
        with pytest.raises(UserError, match=r"bootstrap: values must be numbers \[targets, seeds\], given shape"):
            bootstrap(values)
