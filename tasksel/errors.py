"""A user's mistake, said in one line: what was given, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can correct. The command line prints it as one line and exits with code 2.

    >>> try:
    ...     raise unknown("selector", "conectivity", ["connectivity", "text"])
    ... except UserError as error:
    ...     print(error)
    no selector 'conectivity'; did you mean 'connectivity'? 2 known: connectivity, text
    """


def unknown(what: str, name: str, known: Iterable[str], hint: str = "") -> UserError:
    """The error for an unknown name, with the nearest known one.

    Args:
        what: the kind of thing that is named.
        hint: what else to do.

    >>> str(unknown("task", "rt", ["rte", "sst2"], "see them all: tasksel ls"))
    "no task 'rt'; did you mean 'rte'? 2 known: rte, sst2; see them all: tasksel ls"
    """
    names = sorted(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    listed = ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + ", …"
    return UserError(f"no {what} '{name}'{guess} {len(names)} known: {listed}" + (f"; {hint}" if hint else ""))


def one_line(error: BaseException) -> str:
    """The message of any error on a single line.

    >>> one_line(ValueError("two\\n  lines"))
    'two lines'
    """
    return " ".join(str(error).split()) or type(error).__name__
