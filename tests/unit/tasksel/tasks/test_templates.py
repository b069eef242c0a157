"""Tests of templates: columns and keys, and nothing else of Python's format strings."""

import datetime

import pytest
from refusals import refused_line

from tasksel.tasks.row import Row
from tasksel.tasks.templates import render, template_columns

ROW = {
    "a": "one",
    "n": 7,
    "meta": {"title": "T", "tags": ["x", "y"]},
    "none": None,
    "list": ["p", "q"],
    "a.b": "dotted",
}


def rendered(part, **changes):
    return render(part, Row({**ROW, **changes}, "rows:3"))


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("a", "one"),
        ("{a}: {meta[title]}", "one: T"),
        ("{meta[tags][1]}", "y"),
        ("{list[0]}{{{a}}}", "p{one}"),
        ("{n} {a}", "7 one"),
        ("{none} {a}", "one"),
        ("{a.b}", "dotted"),
    ],
)
def test_columns_and_keys(part, text):
    assert rendered(part) == text


def test_values_that_are_no_text_join_texts_only_within_a_template():
    assert rendered("{n}: {a}", n=datetime.date(2024, 5, 17)) == "2024-05-17: one"
    assert rendered("a", a=float("nan")) == ""
    assert rendered("{a} {n}", a=float("nan")) == "7"
    assert refused_line(lambda: rendered("n")) == "rows:3: 'n' holds int (7), not text; a text must be text"
    for value in (True, 1.5, b"bytes", {"x": 1}):
        assert "not text" in refused_line(lambda value=value: rendered("a", a=value))


@pytest.mark.parametrize("part", ["list", "{list}"])
def test_a_list_of_words_is_no_text(part):
    assert (
        refused_line(lambda: rendered(part)) == "rows:3: 'list' holds list (['p', 'q']), not text; join its words first"
    )


@pytest.mark.parametrize(
    "part",
    [
        "{a!r}",
        "{a:>10}",
        "{a:10}",
        "{a:{n}}",
        "{meta[title].x}",
        "{a[0]!s}",
        "{a[}",
        "{a[]}",
        "{}",
        "{a",
        "{0!r}",
        "}{",
    ],
)
def test_nothing_else_of_format_strings_is_taken(part):
    assert "template" in refused_line(lambda: template_columns([part]))


@pytest.mark.parametrize("part", ["{a.__class__}", "{meta.title}", "{a.b.c}"])
def test_an_attribute_is_no_column(part):
    assert template_columns([part]) == [part[1:-1]]  # which no row has: see `need_columns`


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("{meta[name]}", "rows:3: no [name] in 'meta'; it holds ['title', 'tags']"),
        ("{list[2]}", "rows:3: no [2] in 'list'; given ['p', 'q']"),
        ("{list[-1]}", "no [-1] in 'list'"),
        ("{list[٣]}", "no [٣] in 'list'"),
        ("{a[0]}", "rows:3: no [0] in 'a'; given 'one'"),
        ("{none[x]}", "no [x] in 'none'; given None"),
    ],
)
def test_a_missing_key_is_named_with_its_row(part, answer):
    assert answer in refused_line(lambda: rendered(part))
