"""The names that `tasksel` and `scalearn` give: each is there, says what it is, and shows how it is used."""

import inspect
from collections.abc import Callable, Container

import pytest

import scalearn
import tasksel

NAMES = {f"{package.__name__}.{name}": (package, name) for package in (tasksel, scalearn) for name in package.__all__}


@pytest.fixture(scope="module")
def things():
    """What each public name stands for."""
    return {path: getattr(package, name) for path, (package, name) in NAMES.items()}


def called(thing):
    """Whether a thing is called: a class or a function, not a table, not a kind of error."""
    return isinstance(thing, Callable) and not (inspect.isclass(thing) and issubclass(thing, Exception))


def test_a_name_is_something_to_call_an_error_or_a_table(things):
    assert [path for path, thing in things.items()
            if not (called(thing) or inspect.isclass(thing) or isinstance(thing, Container))] == []  # fmt: skip


def test_what_is_called_says_what_it_is(things):
    assert [path for path, thing in things.items() if called(thing) and not inspect.getdoc(thing)] == []


def test_what_is_called_shows_an_example(things):
    assert [
        path for path, thing in things.items() if called(thing) and ">>>" not in (inspect.getdoc(thing) or "")
    ] == []
