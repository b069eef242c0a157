"""What a way of choosing says of every source for a target, a line of `scores.jsonl`: what a judge judges.

{"by": "text", "target": "sst5", "seed": 0, "scores": {"sst2": 0.81, ...}, "seconds": 0.4, "source_seconds": 0.5, "bytes": 1536}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasksel.display.progress import say
from tasksel.storage.jsonl import read_records

FILE = "scores.jsonl"
Key = tuple[str, str, int]  # method, target, ranking seed


@dataclass(frozen=True)
class SelectorScores:
    """What one selection method says of every source for one target, under one ranking seed.

    Attributes:
        by: the method's name. scores: source -> score, larger is better, any scale.
        seconds: spent on the target. source_seconds: mean spent on a source, once for all targets. bytes: stored a source.
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
        """What names them: method, target, ranking seed."""
        return self.by, self.target, self.seed


def read_scores(path: Path) -> dict[Key, SelectorScores]:
    """The scores in a file, or in the folder that holds `scores.jsonl`; none where there is no file or nothing whole in it.

    Raises:
        UserError: see `tasksel.evaluation.transfer_matrix.read_whole_rows`.
    """
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        return {}
    found, complaint = read_records(path, SelectorScores, key=lambda scores: scores.key)
    if complaint:
        say(complaint)
    return {one.key: one for one in found}
