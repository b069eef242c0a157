"""Immutable values that refuse unknown keys: the base of every setting and record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: immutable, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
