"""A condition: a transfer method with a choice of sources. One line of a result table; a unit without its target, rows and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALL, EACH = "all", "each"
FULL: Final = "full"


@dataclass(frozen=True, order=True)
class Condition:
    """A transfer method with a choice of sources; conditions sort by their fields, in this order.

    Attributes:
        method: the transfer method's name.
        by: the selector that chooses the sources, "all", or "each" (one source alone); None for a method without sources.
        k: how many sources, the target adapter included; 0 for a method without sources.
        include_target: whether the target adapter is among them, last.
        source: the single source, where `by` is "each".

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
        """How many sources there are beside the target adapter."""
        return self.k - self.include_target

    @property
    def ranked(self) -> bool:
        """Whether a selector's ranking chooses the sources."""
        return self.by is not None and self.by not in (ALL, EACH)

    def __str__(self) -> str:
        if not self.by:
            return self.method
        by = f"{EACH} ({self.source})" if self.source else self.by
        target = " with its own" if self.include_target else ""  # stored plans name their units by these words
        return f"{self.method} from {self.k} source{'s' if self.k > 1 else ''} by {by}{target}"


def unit_name(target: str, size: int | str, condition: Condition, seed: int) -> str:
    """The name of a unit, as a run's stored plan holds it.

    >>> unit_name("rte", 16, Condition("scalearn", "connectivity", 3), 0)
    'rte with 16 rows by scalearn from 3 sources by connectivity, seed 0'
    """
    rows = "all rows" if size == FULL else f"{size} rows"
    return f"{target} with {rows} by {condition}, seed {seed}"
