"""What a table of the page is made of; `template.html` draws it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

NOTHING = "–"


@dataclass(frozen=True)
class Heading:
    """A column's heading.

    Attributes:
        below: what the column is in. first: how the first click sorts; None where the column does not sort.
        words_column: whether its cells hold words, which stand to the left.
    """

    words: str
    below: str = ""
    first: Literal["up", "down"] | None = "down"
    words_column: bool = False


@dataclass(frozen=True)
class Cell:
    """A number as it is shown and as it sorts.

    Attributes:
        value: None or nan where there is none. small: lines below it. mark: "best" or "second" of its column.
    """

    text: str = NOTHING
    value: float | None = None
    small: tuple[str, ...] = ()
    mark: Literal["", "best", "second"] = ""

    @property
    def sort(self) -> str:
        """What the page sorts by; empty where there is no value."""
        return "" if self.value is None or math.isnan(self.value) else f"{self.value:.6g}"


@dataclass(frozen=True)
class Line:
    """A row of a table: its name, its cells, and the details that it opens, under an id of their own."""

    name: str
    cells: tuple[Cell, ...]
    ident: str = ""
    details: Any = None


@dataclass(frozen=True)
class Table:
    """Lines under headings; the caption says what they are to who does not see the page."""

    caption: str
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


def plain_headings(names: tuple[str, ...], words: tuple[str, ...] = ()) -> tuple[Heading, ...]:
    """Headings of a table that does not sort; those in `words` stand to the left."""
    return tuple(Heading(name, first=None, words_column=name in words) for name in names)
