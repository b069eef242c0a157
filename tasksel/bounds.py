"""What a setting may be: types that pydantic checks, and checks of single values, each refused in one line before anything runs.

numbers     finite, in the range in which they mean something; a truth value is no number
seeds       0 to 2^32 - 1, which every library here takes
names       become names of files and folders: one part of a path, at most 200 bytes, nothing that a file system or a terminal reads
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from tasksel.errors import UserError

SEEDS = 2**32  # numpy's and scikit-learn's
MOST_JOBS = 1024
MOST = 10**9  # of steps, rows, tokens: beyond it a number is a slip
NAME_BYTES = 200  # of the 255 that a file's name may have: the rest is for what is written around it
RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(10))}  # Windows'


def no_truth_value(value: Any) -> Any:
    """The value, if it is not true or false, which pydantic would take for 1 and 0.

    Raises:
        ValueError: it is.
    """
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


_NUMBER = BeforeValidator(no_truth_value)
Count = Annotated[int, _NUMBER, Field(ge=1, le=MOST)]  # of rows, epochs, steps
Rows = Annotated[int, _NUMBER, Field(ge=2, le=MOST)]  # one to learn from, one to choose the checkpoint by
Tokens = Annotated[int, _NUMBER, Field(ge=3, le=MOST)]  # two are the special ones around a text
Wait = Annotated[int, _NUMBER, Field(ge=0, le=MOST)]
Seed = Annotated[int, _NUMBER, Field(ge=0, lt=SEEDS)]
Positive = Annotated[float, _NUMBER, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, _NUMBER, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, _NUMBER, Field(ge=0, le=1, allow_inf_nan=False)]
Part = Annotated[float, _NUMBER, Field(ge=0, lt=1, allow_inf_nan=False)]
PositiveShare = Annotated[float, _NUMBER, Field(gt=0, le=1, allow_inf_nan=False)]
Leaves = Annotated[int, _NUMBER, Field(ge=2, le=MOST)]


def no_hidden_letters(text: str) -> str:
    """The text, if a terminal shows all of it.

    Raises:
        ValueError: control characters, directions of writing, half of a surrogate pair.
    """
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text):
        raise ValueError("must have no characters that cannot be seen")
    return text


Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(no_hidden_letters)]


def check_seed(seed: int, what: str = "seed") -> int:
    """The seed, if every library here takes it.

    Raises:
        UserError: below 0, or 2^32 and more.

    >>> check_seed(3)
    3
    """
    if isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise UserError(f"{what} {seed}: give a whole number from 0 to {SEEDS - 1}")
    return seed


def check_count(value: int | None, what: str, *, least: int = 1) -> int | None:
    """A number of rows, tasks or processes, or None, if it is one.

    Raises:
        UserError: fewer than `least`.

    >>> check_count(20, "--rows")
    20
    """
    if value is not None and (isinstance(value, bool) or not least <= value <= MOST):
        raise UserError(f"{what} is {value}; give a whole number from {least} to {MOST}")
    return value


def check_fields(owner: str, value: object) -> None:
    """Refuses a field of a dataclass that is not of its type, where that is one of these types.

    Args:
        owner: whose settings they are, for the error.

    Raises:
        UserError: the first such field.

    >>> check_fields("text", object())  # no dataclass, no fields
    """
    for name, type_of in _bounded(type(value)).items():  # type: ignore[arg-type]  # a class has a hash
        setting = getattr(value, name)
        try:
            type_of.validate_python(setting, strict=True)
        except ValidationError as error:
            raise UserError(f"{owner}: {name}={setting!r} {requirement(error.errors()[0])}") from error


@cache
def _bounded(kind: type) -> dict[str, TypeAdapter[Any]]:
    """The fields of a dataclass whose types have bounds."""
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # a class of a user, of types that only a type checker knows
        return {}
    return {name: TypeAdapter(hints[name]) for name in names if "Annotated" in str(hints.get(name))}


def requirement(complaint: Any) -> str:
    """What pydantic complains of, as the rest of a sentence.

    >>> requirement({"msg": "Input should be greater than 0"})
    'must be greater than 0'
    """
    return str(complaint["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")


def check_jobs(jobs: int) -> None:
    """Refuses a number of processes that cannot share work.

    Raises:
        UserError: below 1, or so many that no machine has their memory.

    >>> check_jobs(2)
    """
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: give 1 or more")
    if jobs > MOST_JOBS:
        raise UserError(f"--jobs {jobs}: give at most {MOST_JOBS}; each process holds a model of its own")


def check_name(name: str, what: str) -> str:
    """The name, if it can name a file or a folder everywhere.

    Args:
        what: it names, for the error: "task", "source", "experiment".

    Raises:
        UserError: too long, empty, a part of a path, control characters, reserved.

    >>> check_name("reviews.v2", "task")
    'reviews.v2'
    """
    size = len(os.fsencode(name)) if name.isprintable() else len(name)
    shown = name if len(name) <= 60 else f"{name[:40]}…"
    wrong = None
    if size > NAME_BYTES:
        wrong = f"{size} bytes, and names of files must stay below 255 with what is added: give at most {NAME_BYTES}"
    elif not name.strip():
        wrong = "empty: give letters or digits"
    elif any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        wrong = "holds characters that cannot be seen: leave them out"
    elif "/" in name or "\\" in name or name in (".", ".."):
        wrong = "a path: give one word, it becomes a file's name"
    elif name.endswith((".", " ")) or name.startswith(" "):
        wrong = "begins or ends with a blank or a dot: leave it out"
    elif name.partition(".")[0].lower() in RESERVED:
        wrong = "reserved on some systems: add a letter"
    if wrong:
        raise UserError(f"{what} name {ascii(shown)[1:-1] if not shown.isprintable() else shown!r}: {wrong}")
    return name
