"""Immutable values that refuse unknown keys: the base of every setting and record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: immutable, and without unknown keys.

    >>> class Setting(Frozen):
    ...     rows: int = 1
    >>> Setting(rows=2) == Setting(rows=2)
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
