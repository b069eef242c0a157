"""What a method is given: the first of a ranking, all, each alone, with or without the target's own."""

import pytest

from scalearn.comparison.condition import Condition
from scalearn.comparison.source_choice import Choice, conditions
from scalearn.methods.registry import METHODS
from tasksel import UserError

OTHERS = ["a", "b", "c"]


def chosen(method, **choice):
    return conditions(Choice(**choice), METHODS[method], "t", OTHERS)


def test_one_value_stands_for_a_list():
    assert Choice(by="text", top=2, own=True) == Choice(by=("text",), top=(2,), own=(True,))


def test_every_k_of_every_way():
    assert chosen("scalearn", by=["text", "logme"], top=[1, 3]) == [
        Condition("scalearn", "text", 1),
        Condition("scalearn", "text", 3),
        Condition("scalearn", "logme", 1),
        Condition("scalearn", "logme", 3),
    ]


def test_all_of_them_without_a_ranking():
    (one,) = chosen("scalearn", by="all")
    assert (one, one.ranked, one.others) == (Condition("scalearn", "all", 3), False, 3)


def test_each_alone():
    assert chosen("scalearn", by="each") == [Condition("scalearn", "each", 1, source=name) for name in OTHERS]


def test_the_own_source_comes_beside_the_chosen_ones():
    without, with_own = chosen("scalearn", by="all", own=[False, True])
    assert (without.k, with_own.k, with_own.include_target, with_own.others) == (3, 4, True, 3)


def test_a_method_without_sources_has_no_choice():
    assert chosen("head-only", by="all", own=[False, True]) == [Condition("head-only")]


@pytest.mark.parametrize(("method", "k"), [("sequential", 1), ("fixed-grid", 2), ("soup-similarity", 3)])
def test_a_method_that_needs_an_order_goes_by_it_where_all_are_chosen(method, k):
    assert chosen(method, by="all", order="text", own=True) == [Condition(method, "text", k)]


def test_a_method_that_takes_one_is_not_run_again_for_every_k():
    assert chosen("sequential", by="text", top=[1, 2, 3]) == [Condition("sequential", "text", 1)]


def test_a_method_that_needs_two_has_no_turn_where_each_stands_alone():
    assert chosen("fusion", by=["all", "each"]) == [Condition("fusion", "all", 3)]


@pytest.mark.parametrize("top", [0, 4])
def test_more_or_fewer_than_there_are_is_refused(top):
    with pytest.raises(UserError, match=rf"rank\.top is {top}, but there are 3 sources for 't': choose 1 to 3"):
        chosen("scalearn", by="text", top=top)


def test_too_few_for_a_method_is_refused():
    with pytest.raises(UserError, match=r"'fusion' needs at least 2 sources, and rank\.top gives 't' 1"):
        chosen("fusion", by="text", top=1)
    assert chosen("fusion", by="text", top=1, own=True) == [Condition("fusion", "text", 2, include_target=True)], (
        "one and its own are two"
    )


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"by": []}, "rank.by: must be a non-empty list"),
        ({"top": [2, 2]}, "rank.top: must be a non-empty list without duplicates"),
        ({"by": "conectivity"}, "did you mean 'connectivity'"),
        ({"by": "all", "order": "tekst"}, "no selector 'tekst'"),
        ({"by": "text+oracle"}, "the oracle knows measured transfers"),
    ],
)
def test_what_is_wrong_is_said(choice, said):
    with pytest.raises(UserError, match=said):
        Choice(**choice).check()
