"""What a task's adapter and head are called inside a model: by the task's name, except where torch keeps that name for itself.

    "rte" -> "rte"      "train" -> "task:train"

The library keeps adapters and heads in `torch.nn.ModuleDict`, which takes no key that is one of its own attributes: train, eval, type, values,
update, half, … Nor does it take a dot, which an adapter from outside may have. A task's name has no colon, so no two tasks share a key.
"""

from __future__ import annotations

from torch import nn

TAKEN = frozenset(dir(nn.ModuleDict()))  # methods, properties, and what its constructor sets


def module_name(name: str) -> str:
    """The key under which a model holds the adapter and the head of this name.

    >>> module_name("rte"), module_name("train"), module_name("v1.0")
    ('rte', 'task:train', 'task:v1:0')
    """
    if name and name not in TAKEN and "." not in name:
        return name
    return f"task:{name.replace('.', ':')}"
