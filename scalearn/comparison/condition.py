"""A condition: a transfer method with a choice of sources. One line of a table, and a unit but for its target, rows and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALL, EACH = "all", "each"
FULL: Final = "full"


@dataclass(frozen=True, order=True)
class Condition:
    """A transfer method with a choice of sources.

    Attributes:
        by: the selector that chooses the sources, "all", or "each" (one source alone); None for a method without sources.
        k: how many, the target adapter counted; 0 without.
        include_target: whether the target's own adapter is among them, last.
        source: the one source, where `by` is "each".

    >>> Condition("scalearn", "logme", 3, include_target=True).others
    2
    """

    method: str
    by: str | None = None
    k: int = 0
    include_target: bool = False
    source: str | None = None

    @property
    def others(self) -> int:
        """How many sources beside the target adapter."""
        return self.k - self.include_target

    @property
    def ranked(self) -> bool:
        """Whether it needs a ranking."""
        return self.by is not None and self.by not in (ALL, EACH)

    def __str__(self) -> str:
        if not self.by:
            return self.method
        by = f"{EACH} ({self.source})" if self.source else self.by
        own = " with its own" if self.include_target else ""  # stored plans and rows are told by these words
        return f"{self.method} from {self.k} source{'s' if self.k > 1 else ''} by {by}{own}"


def unit_name(target: str, size: int | str, condition: Condition, seed: int) -> str:
    """A unit in words, as a run's plan holds it.

    >>> unit_name("rte", 16, Condition("scalearn", "connectivity", 3), 0)
    'rte with 16 rows by scalearn from 3 sources by connectivity, seed 0'
    """
    rows = "all rows" if size == FULL else f"{size} rows"
    return f"{target} with {rows} by {condition}, seed {seed}"
