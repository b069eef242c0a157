"""Means, spreads and paired tests against numbers worked out by hand; which ways there are, in which order, under which names."""

import math

import pytest
from run_rows import BASES, TOP, config, made_rows
from scipy import stats

from scalearn.report.statistics import Comparison, Condition, comparisons, paired, rows_words

SCORES = {0: 0.50, 1: 0.60, 2: 0.55, 3: 0.65, 4: 0.70}
OTHERS = {0: 0.48, 1: 0.55, 2: 0.54, 3: 0.60, 4: 0.66}
HEAD, ADAPTER = Condition("head-only"), Condition("single-adapter")


def condition(method, k=2, by="connectivity", own=False):
    return Condition(method, by, k, own)


@pytest.fixture(scope="module")
def rows():
    return made_rows()


@pytest.fixture
def comparison(rows):
    return Comparison(rows, config())


def simple(**scores):
    """Rows of one target at full size by method; the targets a dictionary may name instead."""
    first = made_rows()[0]
    rows = []
    for method, told in scores.items():
        targets = told if all(isinstance(key, str) for key in told) else {"rte": told}
        for target, by_seed in targets.items():
            for seed, score in by_seed.items():
                rows.append(first.model_copy(update={"method": method.replace("_", "-"), "target": target, "seed": seed, "score": score}))  # fmt: skip
    return rows


def one(rows, **changes):
    """The rows with other fields."""
    return [row.model_copy(update=changes) for row in rows]


def test_mean_spread_and_interval_are_those_of_the_text_book():
    cell = Comparison(simple(head_only=SCORES)).cell("rte", "full", HEAD)
    assert cell.mean == pytest.approx(0.6)
    assert cell.std == pytest.approx(math.sqrt(0.025 / 4))  # 0.1^2 + 0 + 0.05^2 + 0.05^2 + 0.1^2, over n - 1
    half = 2.7764451 * cell.std / math.sqrt(5)  # t(0.975, 4), from a printed table
    assert cell.interval == pytest.approx((0.6 - half, 0.6 + half))


def test_one_seed_has_no_spread_and_no_interval():
    cell = Comparison(simple(head_only={3: 0.5})).cell("rte", "full", HEAD)
    assert (cell.mean, cell.std) == (0.5, 0.0)
    assert all(map(math.isnan, cell.interval))


def test_a_diverged_seed_is_counted_and_left_out_of_the_mean():
    cell = Comparison(simple(head_only={0: 0.5, 1: None, 2: 0.7})).cell("rte", "full", HEAD)
    assert (cell.scores, cell.diverged, cell.mean) == ({0: 0.5, 2: 0.7}, 1, pytest.approx(0.6))
    nought = Comparison(simple(head_only={0: 0.0, 1: 0.2})).cell("rte", "full", HEAD)  # a Matthews correlation may be 0
    assert (nought.mean, nought.diverged) == (0.1, 0)
    lost = Comparison(simple(head_only={0: None})).cell("rte", "full", HEAD)
    assert (lost.scores, lost.diverged) == ({}, 1)
    assert math.isnan(lost.mean)


def test_costs_are_means_over_seeds_and_unknown_where_no_row_tells_them():
    rows = simple(head_only={0: 0.5, 1: 0.6})
    told = one(rows[:1], seconds=2.0, bytes=100, peak_memory=None) + one(
        rows[1:], seconds=5.0, bytes=300, peak_memory=None
    )
    cell = Comparison(told).cell("rte", "full", HEAD)
    assert (cell.seconds, cell.bytes, cell.peak_memory) == (3.5, 200, None)


def test_a_paired_test_is_scipys_over_the_seeds_of_both():
    found = paired({**SCORES, 9: 0.1}, {**OTHERS, 7: 0.9}, "fusion")
    expected = stats.ttest_rel(list(SCORES.values()), list(OTHERS.values()))
    low, high = expected.confidence_interval(0.95)
    assert (found.count, found.against) == (5, "fusion")
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.difference, found.low, found.high) == pytest.approx((0.034, low, high))
    assert found.verdict == "win"
    assert paired(OTHERS, SCORES, "x").verdict == "loss"


def test_a_difference_that_the_interval_does_not_hold_off_zero_is_a_tie():
    found = paired({0: 0.5, 1: 0.7}, {0: 0.6, 1: 0.5}, "x")
    assert found.difference == pytest.approx(0.05)
    assert (found.low < 0 < found.high, found.verdict) == (True, "tie")


def test_differences_without_a_spread_are_not_called_certain():
    same = paired(SCORES, dict(SCORES), "x")
    assert (same.difference, same.low, same.high, same.p, same.verdict) == (0.0, 0.0, 0.0, 1.0, "tie")
    shifted = paired({seed: score + 0.1 for seed, score in SCORES.items()}, SCORES, "x")
    assert shifted.difference == pytest.approx(0.1)
    assert shifted.p is None
    assert all(map(math.isnan, (shifted.low, shifted.high)))
    assert shifted.verdict == "tie"


def test_one_seed_in_common_is_not_tested():
    assert paired({0: 0.5, 1: 0.6}, {1: 0.6, 2: 0.7}, "x") is None


def test_the_average_is_over_targets_seed_by_seed():
    told = {"rte": {0: 0.2, 1: 0.4}, "mrpc": {0: 0.6, 1: 0.6}}
    cell = Comparison(simple(head_only=told)).mean_cell("full", HEAD)
    assert cell.scores == pytest.approx({0: 0.4, 1: 0.5})
    assert (cell.target, cell.metric) == ("average", "mean over targets")
    assert cell.std == pytest.approx(math.sqrt(0.005))  # of 0.4 and 0.5, not of the four scores


def test_an_average_takes_the_seeds_that_every_target_has():
    cell = Comparison(simple(head_only={"rte": {0: 0.2, 1: 0.4}, "mrpc": {1: 0.6, 2: 0.8}})).mean_cell("full", HEAD)
    assert cell.scores == pytest.approx({1: 0.5})
    assert Comparison(simple(head_only={"rte": {0: 0.2}, "mrpc": {1: 0.6}})).mean_cell("full", HEAD) is None


def test_there_is_no_average_without_every_target_of_the_configuration(rows):
    without = Comparison([row for row in rows if row.target != "stsb"], config())
    assert without.targets == ["rte", "mrpc", "stsb"]
    assert without.cell("rte", "full", HEAD) is not None
    assert without.mean_cell("full", HEAD) is None
    assert without.cell("average", "full", HEAD) is None


def test_order_is_the_configurations_whatever_the_rows_is(rows):
    found = Comparison(rows[::-1], config())
    assert (found.targets, found.sizes) == (["rte", "mrpc", "stsb"], ["full", 16, 4])
    assert found.methods == config()["methods"]
    alone = [one.source for one in found.conditions if one.by == "each"]
    assert alone == config()["sources"]["tasks"]
    assert [one.k for one in found.conditions if one.method == "fusion"] == [*TOP, 5]
    assert found.conditions[-len(alone) :] == [one for one in found.conditions if one.by == "each"]


def test_without_a_configuration_the_order_is_the_rows_and_full_stands_first(rows):
    found = Comparison([row for row in rows if row.target != "rte"][::-1])
    assert (found.targets, found.sizes) == (["stsb", "mrpc"], ["full", 4, 16])


def test_a_label_says_no_more_than_tells_ways_apart(rows):
    def labels(**of_fusion):
        kept = [row for row in rows if row.method in ("head-only", "fusion") and row.by in (None, "connectivity")]
        kept = [row for row in kept if all(getattr(row, name) in some for name, some in of_fusion.items())]
        return kept

    def told(some):
        found = Comparison(some, config())
        return [found.label(one) for one in found.conditions]

    two = labels(k=(0, 2))
    assert told(two) == ["head-only", "fusion"]
    assert told(labels(k=(0, 2, 3))) == ["head-only", "fusion (2)", "fusion (3)"]
    other = [*two, *one([row for row in two if row.k], by="random")]
    assert told(other) == ["head-only", "fusion (by connectivity)", "fusion (by random)"]
    with_own = [*two, *one([row for row in two if row.k], k=3, own=True)]
    assert told(with_own) == ["head-only", "fusion", "fusion (with target adapter)"]
    assert told([*with_own, *labels(k=(3,))])[1:] == ["fusion (2)", "fusion (2, with target adapter)", "fusion (3)"]


def test_all_and_single_sources_are_named(comparison):
    labels = [comparison.label(one) for one in comparison.conditions if one.method == "scalearn"]
    assert labels[:4] == [*(f"scalearn ({k} by connectivity)" for k in TOP), "scalearn (all 5)"]
    assert labels[4] == "scalearn (from qnli)"
    assert len(set(map(comparison.label, comparison.conditions))) == len(comparison.conditions)


def test_all_sources_are_one_way_though_a_target_among_them_has_one_fewer(rows):
    some = [row for row in rows if row.method == "fusion" and row.by == "all"]
    fewer = [row.model_copy(update={"k": 4}) if row.target == "rte" else row for row in some]
    found = Comparison(fewer, config())
    assert found.conditions == [condition("fusion", 5, "all")]
    assert found.mean_cell("full", found.conditions[0]) is not None
    assert found.label(found.conditions[0]) == "fusion"


def test_all_sources_in_an_order_are_one_way_too(rows):
    """A method that weighs by similarity takes all by a ranking, whose number no configuration lists."""
    told = config()
    told["sources"]["tasks"].append("rte")  # now rte has five others, and the other targets six
    told["rank"]["top"] = [2]
    some = one([row for row in rows if row.method == "fusion" and row.k == 5 and row.by == "connectivity"], method="soup-similarity")  # fmt: skip
    six = [row if row.target == "rte" else row.model_copy(update={"k": 6}) for row in some]
    assert Comparison(six, told).conditions == [condition("soup-similarity", 6)]
    told["rank"]["top"] = [5, 6]  # asked for by number, 5 of 5 and 6 of 6 are different choices
    assert len(Comparison(six, told).conditions) == 2


def test_the_other_side_has_the_same_sources_or_is_the_only_one(comparison, rows):
    assert comparison.counterpart(condition("scalearn", 3), "fusion") == condition("fusion", 3)
    assert comparison.counterpart(condition("scalearn", 3), "single-adapter") == ADAPTER
    assert comparison.counterpart(HEAD, "fusion") is None  # four of them
    assert comparison.counterpart(HEAD, "full") is None  # none
    single = Comparison([row for row in rows if row.method != "fusion" or row.k == 2], config())
    assert single.counterpart(HEAD, "fusion") == condition("fusion", 2)
    assert single.counterpart(condition("scalearn", 3), "fusion") == condition("fusion", 2)


def test_a_way_is_paired_on_a_target_or_on_the_averages(comparison):
    for target in ("mrpc", "average"):
        ours, theirs = (comparison.cell(target, 16, one) for one in (condition("scalearn"), condition("fusion")))
        expected = stats.ttest_rel(list(ours.scores.values()), list(theirs.scores.values()))
        found = comparison.paired(16, condition("scalearn"), "fusion", None if target == "average" else target)
        assert found.p == pytest.approx(expected.pvalue)
        assert found.against == "fusion (2 by connectivity)"
    assert comparison.paired(16, ADAPTER, "single-adapter") is None
    assert comparison.paired(7, HEAD, "single-adapter") is None


def test_holms_correction_is_a_worked_one(comparison, monkeypatch):
    given = {HEAD: 0.01, condition("scalearn"): 0.04, condition("fusion"): 0.03, condition("average"): 0.005}

    def fixed(_self, _size, one, _against, _target=None):
        return None if one not in given else paired(SCORES, OTHERS, "x").__class__("x", 0.1, 0.0, 0.2, given[one], 5)

    monkeypatch.setattr(Comparison, "paired", fixed)
    corrected = comparison.holm("full", "single-adapter")
    assert corrected == pytest.approx(
        {condition("average"): 0.02, HEAD: 0.03, condition("fusion"): 0.06, condition("scalearn"): 0.06}
    )


def test_best_and_second_are_by_mean_and_never_a_source_alone(rows):
    raised = [row.model_copy(update={"score": 0.99}) if row.by == "each" else row for row in rows]
    found = Comparison(raised, config())
    assert found.best("average", "full") == (condition("scalearn", 2), condition("scalearn", 3))
    means = {one: found.cell("rte", 4, one).mean for one in found.conditions if one.by != "each"}
    assert list(found.best("rte", 4)) == sorted(means, key=means.get, reverse=True)[:2]


def test_best_of_less_than_two_ways():
    found = Comparison(simple(head_only=SCORES, full={0: None}))
    assert found.best("rte", "full") == (HEAD, None)
    assert found.best("rte", 16) == (None, None)


def test_bases_and_protocols_never_stand_in_one_comparison(rows):
    other = one(rows[:5], protocol="paper")
    second = one(rows[:5], base=BASES[1])
    found = comparisons([*rows, *other, *second], config())
    assert [(each.base, each.protocol, len(each.rows)) for each in found] == [
        ("minilm", "sound", len(rows)),
        ("minilm", "paper", 5),
        ("roberta-base", "sound", 5),
    ]
    assert comparisons([]) == []


def test_bases_of_one_name_are_told_apart_by_their_weights(rows):
    found = comparisons([*rows[:5], *one(rows[:5], base={"name": "minilm", "fingerprint": "c3" * 8})])
    assert [each.base for each in found] == [f"minilm ({'a1' * 8})", f"minilm ({'c3' * 8})"]


def test_a_row_that_stands_twice_is_counted_and_the_last_holds(rows):
    again = one(rows[:1], score=0.123)
    found = Comparison([*rows, *again], config())
    assert found.repeated == 1
    assert found.cell("rte", "full", HEAD).scores[0] == 0.123
    assert Comparison(rows, config()).repeated == 0


def test_asked_seeds_are_the_configurations_with_those_of_single_targets(rows):
    told = config()
    told["targets"]["seeds_of"] = {"rte": [0, 1, 7]}
    found = Comparison(rows[:3], told)
    assert (found.seeds("rte"), found.seeds("mrpc")) == ([0, 1, 7], [0, 1, 2, 3, 4])
    assert found.seeds("average") == [0, 1]
    assert Comparison(rows[:3]).seeds("rte") == [0, 1, 2]


def test_one_row_is_said_in_the_singular():
    assert [rows_words(size) for size in ("full", 1, 100)] == ["all rows", "1 row", "100 rows"]


def test_no_rows_are_no_comparison():
    with pytest.raises(ValueError, match="no rows"):
        Comparison([])
