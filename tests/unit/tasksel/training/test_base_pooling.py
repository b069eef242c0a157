"""How a recipe that says "base" reads tokens: as the base says, or as cross-validation chooses."""

import pytest

from tasksel import get_task, load_data
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.training import base_pooling
from tasksel.training.base_pooling import pooling_of
from tasksel.training.recipe import Recipe

TASK = get_task("question_type")


@pytest.fixture
def rows(tiny):
    return encode_split(load_data(TASK, rows=40).train, TASK, load_base(tiny).tokenizer, max_length=16)


def test_a_recipe_that_names_a_pooling_has_it(tiny, rows):
    for how in ("first", "mean"):
        assert pooling_of(Recipe(pooling=how), load_base(tiny), TASK, rows, seed=0) == how


def test_a_base_that_says_how_it_is_read_is_read_so(rows):
    assert pooling_of(Recipe(pooling="base"), load_base("minilm"), TASK, rows, seed=0) == "mean"


@pytest.mark.parametrize("better", ["first", "mean"])
def test_where_the_base_says_nothing_the_better_score_chooses_and_is_said(tiny, rows, monkeypatch, capsys, better):
    scores = iter([0.7, 0.6] if better == "first" else [0.6, 0.7])

    class Solution:
        def __init__(self, *args, **options):
            self.score = next(scores)

    monkeypatch.setattr(base_pooling, "solve_on", Solution)
    assert pooling_of(Recipe(pooling="base"), load_base(tiny), TASK, rows, seed=0) == better
    assert f"does not say how its tokens are pooled: {better} (accuracy of the closed form:" in capsys.readouterr().err
