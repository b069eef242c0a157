"""What a value is made of, as JSON that a key can hash: all fields of a row, its class, and the version of its behaviour.

    Scaling("vector", False, 0.3)  ->  {"class": "Scaling", "per": "vector", "shared": false, "dropout": 0.3, ...}

Whoever changes the numbers that a class gives from the same fields raises its `version`. Version 1 is that of release 0.1, whose keys hold no
version: `versioned` leaves it out, so that what 0.1 stored keeps its key. For the same reason a field that was added later, which its metadata says,
counts only where it is not its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from tasksel.errors import UserError

LATER = "later than 0.1"  # in the metadata of a dataclass's field


def identity(value: Any, *, of: str = "a value") -> Any:
    """A value as JSON, the same in every process; dataclasses with their class's name and `version`, functions by their name.

    Args:
        of: what the value belongs to, for the error.

    Raises:
        UserError: a value that JSON cannot say, or a function without a name of its own, such as a lambda.

    >>> identity((1, {"b", "a"}, {"x": None}))
    [1, ['a', 'b'], {'x': None}]
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value.value if isinstance(value, Enum) else value
    if is_dataclass(value) and not isinstance(value, type):
        counted = [
            part for part in fields(value) if not (LATER in part.metadata and getattr(value, part.name) == part.default)
        ]
        parts = {part.name: identity(getattr(value, part.name), of=f"{part.name} of {of}") for part in counted}
        version = getattr(value, "version", None)
        return {"class": type(value).__name__} | ({"version": version} if isinstance(version, int) else {}) | parts
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): identity(part, of=f"{name} of {of}") for name, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((identity(part, of=of) for part in value), key=repr)
    if isinstance(value, list | tuple):
        return [identity(part, of=of) for part in value]
    if isinstance(value, Enum):
        return identity(value.value, of=of)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy, torch
        return identity(value.tolist(), of=of)
    name: str = getattr(value, "__qualname__", "<")
    if "<" in name:
        raise UserError(
            f"{of} is {type(value).__name__}, by which no stored result can be known again: give numbers, text, lists of them, "
            "a dataclass, or a function of a module"
        )
    return name


def versioned(decisive: list[Any], version: int) -> list[Any]:
    """What a key is a hash of, with the version of the code that makes the numbers, from version 2 on.

    >>> versioned(["rte", 3], 1), versioned(["rte", 3], 2)
    (['rte', 3], ['rte', 3, {'version': 2}])
    """
    return decisive if version == 1 else [*decisive, {"version": version}]
