"""Immutable values that refuse unknown keys: the base of every setting and record."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Score = Annotated[
    float, Field(ge=-1 - 1e-9, le=1 + 1e-9)
]  # a fraction; correlations may be negative, and round beyond 1


class Frozen(BaseModel):
    """A value: immutable, and without unknown keys.

    >>> class Setting(Frozen):
    ...     rows: int = 1
    >>> Setting(rows=2) == Setting(rows=2)
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
