""""""

from __future__ import annotations

from pydantic import ConfigDict, Field

from tasksel.adapters import pool as stored
from tasksel.training.recipe import Recipe


class Card(stored.Card):
    """One entry's card, as this package writes it: no unknown fields.

    Attributes:
        key: hash of all that decided the weights. files: sha256 by file name.
        epoch: of the checkpoint that was kept. peak_memory: bytes, the most held while training (`tasksel.training.memory`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    key: str
    recipe: Recipe | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    steps: int | None = None
    epoch: int | None = None
    peak_memory: int | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    origin: str = "trained here"
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]
