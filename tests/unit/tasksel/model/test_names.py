"""Tests of the names inside a model: every name that a task may have is a key of torch's containers."""

import re

import pytest
from torch import nn

from tasksel.model.names import TAKEN, module_name

HOSTILE = (
    "",
    ".",
    "a.b",
    "with space",
    "é",
    "名前",
    "task:train",
    "a,b",
    "0",
    "-",
    "_",
    "__init__",
    "[/bold]",
    "a" * 275,
)


@pytest.mark.parametrize("name", [*sorted(dir(nn.ModuleDict())), *HOSTILE])
def test_every_name_is_a_key_of_a_module(name):
    key, modules = module_name(name), nn.ModuleDict()
    modules[key] = nn.Linear(1, 1)
    assert modules[key].in_features == 1
    assert list(modules) == [key]
    assert f"{key}.weight" in modules.state_dict()


def test_the_name_of_a_task_that_torch_does_not_hold_stays_as_it_is():
    for name in ("rte", "train_", "Train", "values-2", "sectors+health", "a1"):
        assert module_name(name) == name


def test_no_two_tasks_share_a_key():
    tasks = {name for name in TAKEN if re.fullmatch(r"[\w+-]+", name)}
    tasks |= {f"{name}_" for name in tasks} | {f"task{name}" for name in tasks} | {f"task-{name}" for name in tasks}
    assert len({module_name(name) for name in tasks}) == len(tasks)
