"""What two tasks' attributions say of a pair, kept in `pairs.jsonl`: what the benefit of a transfer is predicted from.

{"target": "sst5", "source": "sst2", "source_rows": 1500, "features": {"cosine/0": 0.31, "absolute cosine/0": 0.8, ...}}
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasksel.display.progress import bar, say
from tasksel.embeddings.conductance import Conductance
from tasksel.errors import UserError
from tasksel.evaluation.score_records import SelectorScores
from tasksel.evaluation.score_selectors import ScoringSetup
from tasksel.evaluation.transfer_matrix import MatrixRecord
from tasksel.selection.baselines import size
from tasksel.selection.candidate import TaskOnBase
from tasksel.storage.jsonl import append_row, mend, read_records

FILE = "pairs.jsonl"


@dataclass(frozen=True)
class PairRow:
    """A pair's features, and how many rows its source was trained on."""

    target: str
    source: str
    source_rows: int
    features: dict[str, float]


def read_pairs(path: Path) -> dict[tuple[str, str], PairRow]:
    """The pairs in a JSONL file by (target, source); none where there is no file.

    Raises:
        UserError: see `tasksel.evaluation.transfer_matrix.read_whole_rows`.
    """
    if not path.is_file():
        return {}
    found, complaint = read_records(path, PairRow, key=lambda pair: (pair.target, pair.source))
    if complaint:
        say(complaint)
    return {(pair.target, pair.source): pair for pair in found}


def attribute(bench: ScoringSetup, targets: Sequence[str], path: Path, *, seed: int = 0) -> None:
    """Appends the features of every pair that `path` lacks: signed and absolute conductance, each model on its own rows.

    A pair that has none (a multiple choice task is in it) is said and left out.

    Raises:
        UserError: a target whose task is not known.
    """
    for target in targets:
        bench.target(target, seed)
    have = read_pairs(path)
    if cut := mend(path):
        say(cut)
    with bar("attribute", len(targets)) as advance:
        for target in targets:
            mine = bench.target(target, seed)
            for source in bench.others(target):
                if (target, source.name) in have:
                    continue
                try:
                    features = _features(source, mine)
                except UserError as error:
                    say(f"no features of the pair {source.name} -> {target}: {error}")
                else:
                    append_row(path, PairRow(target, source.name, int(size(mine, source)), features))
            advance(target)


def _features(source: TaskOnBase, target: TaskOnBase) -> dict[str, float]:
    found: dict[str, float] = {}
    made = [one.embedding(Conductance()) for one in (source, target)]
    for form, prefix in (("signed", ""), ("absolute", "absolute ")):
        features = pair_features(*(one.arrays[form] for one in made))
        found |= {f"{prefix}{name}": value for name, value in features.items()}
    for name, value in found.items():
        if not math.isfinite(value):
            raise UserError(f"feature '{name}' is {value}: a layer that attributes nothing has no direction")
    return found


def rows_with_features(
    rows: Sequence[MatrixRecord], features: Container[tuple[str, str]], *, method: str
) -> tuple[list[MatrixRecord], list[str]]:
    """A matrix's rows but those of pairs without features, and the names of those pairs."""
    kept = [row for row in rows if row.source in (None, row.target) or (row.target, row.source) in features]
    lost = {f"{row.source} -> {row.target}" for row in rows if row.method == method and row not in kept}
    return kept, sorted(lost)


def with_scores(
    pairs: Mapping[tuple[str, str], PairRow], scores: Sequence[SelectorScores], also: Sequence[str], *, seed: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Features by (target, source), with the scores of further ways of choosing as columns.

    Raises:
        UserError: a method that has no score for a pair.
    """
    told = {(one.by, one.target): one.scores for one in scores if one.seed == seed}
    found = {}
    for (target, source), pair in pairs.items():
        for by in also:
            if source not in told.get((by, target), {}):
                raise UserError(
                    f"no score of '{source}' for '{target}' by '{by}': compute it first (tasksel evaluate --by {by} --pool …)"
                )
        found[target, source] = {**pair.features, **{by: told[by, target][source] for by in also}}
    return found


def pair_features(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How alike two tasks' attributions are in each layer: "cosine/0", "pearson/0", "euclidean/0", "cosine/1", …

    Symmetric in a and b. Where a layer is all zeros (cosine) or constant (Pearson) the value is NaN, which `assess` refuses by name.

    Args:
        a, b: [layers, d].

    Raises:
        UserError: shapes that differ or are not [layers, d].
    """
    if a.ndim != 2 or a.shape != b.shape:
        raise UserError(f"attributions of shapes {a.shape} and {b.shape}: both must be [layers, d] of one base model")
    centred = [x - x.mean(axis=1, keepdims=True) for x in (a, b)]
    measures = {"cosine": _cosines(a, b), "pearson": _cosines(*centred), "euclidean": np.linalg.norm(a - b, axis=1)}
    return {f"{name}/{layer}": float(values[layer]) for layer in range(len(a)) for name, values in measures.items()}


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[layers], of two [layers, d]; NaN for a layer without length."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), lengths, out=np.full(len(a), np.nan), where=lengths > 0)
