"""A user's mistake, said in one line: what was given, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can mend. The command line prints it as one line and exits with code 2."""


def unknown(what: str, given: str, known: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not known, with the nearest one that is.

    >>> str(unknown("task", "rt", ["rte", "sst2"], "see them all: tasksel ls"))
    "no task 'rt'; did you mean 'rte'? 2 known: rte, sst2; see them all: tasksel ls"
    """
    names = sorted(known)
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    guess = f"; did you mean '{near[0]}'?" if near else ";"
    listed = ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + ", …"
    return UserError(f"no {what} '{given}'{guess} {len(names)} known: {listed}" + (f"; {hint}" if hint else ""))


def one_line(error: BaseException) -> str:
    """The message of any error on a single line."""
    return " ".join(str(error).split()) or type(error).__name__
