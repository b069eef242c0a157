"""What keys say of a value: every field of it, the same in each process, and nothing that cannot be known again."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tasksel import UserError
from tasksel.storage.identity import identity, versioned
from tasksel.training.recipe import UNTIL_CHANGED, Recipe


@dataclass(frozen=True)
class Row:
    version: ClassVar[int] = 3
    value: Any = None


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        ((1, [2]), [1, [2]]),
        ({"b", "a"}, ["a", "b"]),
        ({1: "x"}, {"1": "x"}),
        (Colour.RED, "red"),
        (Path("a") / "b", "a/b"),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (identity, "identity"),
        (Recipe, "Recipe"),
        (Row(Row()), {"class": "Row", "version": 3, "value": {"class": "Row", "version": 3, "value": None}}),
    ],
)
def test_a_value_is_said_in_json(value, expected):
    assert identity(value) == expected


def test_a_recipe_is_said_by_its_fields():
    assert identity(Recipe(lr=0.5))["lr"] == 0.5


@pytest.mark.parametrize("value", [lambda: 0, object(), [lambda: 0], Row(object())])
def test_what_cannot_be_known_again_is_refused(value):
    with pytest.raises(UserError, match=r"of mine is (function|object), by which no stored result can be known again"):
        identity(Row(value), of="mine")


def test_a_version_counts_from_two_on():
    assert versioned([1], 1) == [1]
    assert versioned([1], 2) != versioned([1], 3)


def test_precision_is_part_of_what_a_recipe_decides(monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    full = Recipe().identity()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert Recipe(log_with="tensorboard").identity() == full
    first_version = Recipe().model_dump(mode="json", exclude={"log_with"} | UNTIL_CHANGED.keys())
    assert full == first_version
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert Recipe().identity() == {**full, "mixed_precision": "bf16"}


def test_the_version_of_training_is_part_of_what_a_recipe_decides(monkeypatch):
    before = Recipe().identity()
    monkeypatch.setattr("tasksel.training.recipe.TRAINING_VERSION", 2)
    assert Recipe().identity() == {**before, "version": 2}
