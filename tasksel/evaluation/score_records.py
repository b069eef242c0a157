"""A selector's scores of all sources for one target, as stored: one line of `scores.jsonl` per selector, target and seed.

{"by": "text", "target": "sst5", "seed": 0, "scores": {"sst2": 0.81, ...}, "seconds": 0.4, "source_seconds": 0.5, "bytes": 1536}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasksel.display.progress import say
from tasksel.storage.jsonl import read_records

FILE = "scores.jsonl"
Key = tuple[str, str, int]  # selector, target, ranking seed


@dataclass(frozen=True)
class SelectorScores:
    """One selector's scores of every source for one target, under one ranking seed, and what they cost.

    Attributes:
        by: the selector's name. scores: source -> score, larger is better, any scale.
        seconds: spent on the target. source_seconds: mean per source, spent once for all targets. bytes: stored per source.
    """

    by: str
    target: str
    seed: int
    scores: dict[str, float]
    seconds: float
    source_seconds: float
    bytes: int

    @property
    def key(self) -> Key:
        """What identifies them: selector, target, ranking seed."""
        return self.by, self.target, self.seed


def read_scores(path: Path) -> dict[Key, SelectorScores]:
    """The scores in a file, or in the folder that holds `scores.jsonl`; empty where there is no file or no whole line in it.

    Raises:
        UserError: see `tasksel.evaluation.transfer_matrix.read_whole_rows`.
    """
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        return {}
    records, complaint = read_records(path, SelectorScores, key=lambda scores: scores.key)
    if complaint:
        say(complaint)
    return {one.key: one for one in records}
