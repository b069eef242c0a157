"""What a trial ended in, and the rows of the table.

one-line    exit code 2 and one line that begins with "error: "; of a file of rows, one line that names the row that was cut short
harmless    the same result as without the fault
silent      another result, accepted without a word
traceback   a traceback, a hang, or any other end that says nothing a user can act on
lost        what was finished before is gone, unreadable or computed again; or the same command never goes on
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.faults.trial import Ended

VERDICTS = ("one-line", "harmless", "silent", "traceback", "lost")
WANTED_NONE = ("silent", "traceback", "lost")


def refused(ended: Ended) -> bool:
    """Whether a trial ended in exit code 2 and one clear line."""
    lines = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    return (
        ended.code == 2 and len(lines) == 1 and "Traceback" not in ended.err and ended.err.rstrip().endswith(lines[0])
    )


def judge(ended: Ended, expected: Any, got: Any = None) -> str:
    """The verdict on a trial whose result without the fault is `expected`; `got` is by default what the call returned."""
    if refused(ended):
        return "one-line"
    if ended.code != 0 or "Traceback" in ended.err:
        return "traceback"
    if "is cut short" in ended.err:
        return "one-line"
    return "harmless" if (ended.value if got is None else got) == expected else "silent"


@dataclass(frozen=True)
class Form:
    """How much is tried: the seed of every draw; the short form, or a share of the long one's trials.

    >>> Form(share=0.1).of(45), Form(share=0.1).of(0)
    (5, 0)
    """

    seed: int = 0
    short: bool = False
    share: float = 1.0

    def of(self, trials: int) -> int:
        """So many of the long form's trials, at least one of each kind."""
        return math.ceil(self.share * trials)

    def __str__(self) -> str:
        named = "the short form" if self.short else "the long form"
        return f"Seed {self.seed}, {named}" + (f", {self.share:.0%} of its trials" if self.share < 1 else "")


@dataclass
class Row:
    """A row of the table: how trials of one kind ended, and examples of those that shall not be.

    >>> row = Row("kills", "transfer")
    >>> row.count("harmless"), row.count("lost", "seed 3: seed-0 was trained again")
    (None, None)
    >>> row.tried, row.counts["lost"], row.examples
    (2, 1, ['lost: seed 3: seed-0 was trained again'])
    """

    part: str
    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    seconds: float = 0.0
    code: str = ""

    @property
    def tried(self) -> int:
        """The number of trials."""
        return sum(self.counts[verdict] for verdict in VERDICTS)

    @property
    def unwanted(self) -> int:
        """The number of trials that ended as none shall."""
        return sum(self.counts[verdict] for verdict in WANTED_NONE)

    def count(self, verdict: str, example: str = "") -> None:
        """Counts a trial; of those that ended as none shall, keeps up to 8 different examples."""
        self.counts[verdict] += 1
        text = f"{verdict}: {example}"[:400]
        if verdict in WANTED_NONE and len(self.examples) < 8 and text not in self.examples:
            self.examples.append(text)

    def as_json(self) -> dict[str, Any]:
        """The row as it is stored."""
        return {**self.__dict__, "counts": dict(self.counts), "seconds": round(self.seconds, 1)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """A stored row."""
        return cls(**{**values, "counts": Counter(values["counts"])})
