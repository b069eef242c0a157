"""Features of a (target, source) pair, from which the gain of a transfer is predicted; one line of `pairs.jsonl` per pair.

    x(t, s) = [ cosine, Pearson, Euclidean of a_t^l and a_s^l, layer l by layer ]      a_t [layers, d], a task's mean conductances

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
from tasksel.selection.baselines import source_size
from tasksel.selection.candidate import TaskOnBase
from tasksel.storage.jsonl import append_row, mend, read_records
from tasksel.training.exclusive import exclusive

FILE = "pairs.jsonl"


@dataclass(frozen=True)
class PairFeatures:
    """One pair's features, as stored.

    Attributes:
        target, source: names of the tasks.
        source_rows: rows that the source was trained on, train and dev.
        features: by name, as `pair_features` gives them; those of absolute attributions under "absolute …".
    """

    target: str
    source: str
    source_rows: int
    features: dict[str, float]


def read_pair_features(path: Path) -> dict[tuple[str, str], PairFeatures]:
    """The features in a JSONL file by (target, source); empty where there is no file.

    Raises:
        UserError: see `tasksel.evaluation.transfer_matrix.read_whole_rows`.
    """
    if not path.is_file():
        return {}
    records, complaint = read_records(path, PairFeatures, key=lambda pair: (pair.target, pair.source))
    if complaint:
        say(complaint)
    return {(pair.target, pair.source): pair for pair in records}


def append_pair_features(setup: ScoringSetup, targets: Sequence[str], path: Path, *, seed: int = 0) -> None:
    """Computes the features of every pair that `path` lacks and appends them, one line per pair.

    They compare signed and absolute conductances, each model's on its own rows. A pair without features (one of its tasks is
    multiple choice) is left out with a warning.

    Args:
        setup: the sources, the targets' tasks, and where their adapters and embeddings are kept.
        targets: names. seed: of the targets' rows, adapters and embeddings.

    Raises:
        UserError: a target whose task is not known.
    """
    for target in targets:
        setup.target(target, seed)
    with exclusive(path):
        if complaint := mend(path):
            say(complaint)
        _append_pair_features(setup, targets, path, seed)


def _append_pair_features(setup: ScoringSetup, targets: Sequence[str], path: Path, seed: int) -> None:
    stored = read_pair_features(path)
    with bar("attribute", len(targets)) as advance:
        for target in targets:
            target_task = setup.target(target, seed)
            for source in setup.sources_for(target):
                if (target, source.name) in stored:
                    continue
                try:
                    features = _features(source, target_task)
                except UserError as error:
                    say(f"no features of the pair {source.name} -> {target}: {error}")
                else:
                    append_row(path, PairFeatures(target, source.name, int(source_size(target_task, source)), features))
            advance(target)


def _features(source: TaskOnBase, target: TaskOnBase) -> dict[str, float]:
    """The features of signed and of absolute conductances, each layer's refused where it is undefined."""
    both: dict[str, float] = {}
    embeddings = [task.embedding(Conductance()) for task in (source, target)]
    for form, prefix in (("signed", ""), ("absolute", "absolute ")):
        features = pair_features(*(embedding.arrays[form] for embedding in embeddings))
        both |= {f"{prefix}{name}": value for name, value in features.items()}
    for name, value in both.items():
        if not math.isfinite(value):
            raise UserError(f"feature '{name}' is {value}: a layer that attributes nothing has no direction")
    return both


def rows_with_features(
    rows: Sequence[MatrixRecord], features: Container[tuple[str, str]], *, method: str
) -> tuple[list[MatrixRecord], list[str]]:
    """The rows of a matrix without those of pairs that have no features, and the names of these pairs ("source -> target")."""
    usable = [row for row in rows if row.source in (None, row.target) or (row.target, row.source) in features]
    left_out = {f"{row.source} -> {row.target}" for row in rows if row.method == method and row not in usable}
    return usable, sorted(left_out)


def with_selector_scores(
    pairs: Mapping[tuple[str, str], PairFeatures],
    scores: Sequence[SelectorScores],
    selectors: Sequence[str],
    *,
    seed: int,
) -> dict[tuple[str, str], dict[str, float]]:
    """Features by (target, source), with the scores of these selectors as further columns.

    Raises:
        UserError: a selector that has no score for a pair.
    """
    score_of = {(one.by, one.target): one.scores for one in scores if one.seed == seed}
    features = {}
    for (target, source), pair in pairs.items():
        for by in selectors:
            if source not in score_of.get((by, target), {}):
                raise UserError(
                    f"no score of '{source}' for '{target}' by '{by}': compute it first (tasksel evaluate --by {by} --pool …)"
                )
        features[target, source] = {**pair.features, **{by: score_of[by, target][source] for by in selectors}}
    return features


def pair_features(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How similar two tasks' attributions are in each layer: "cosine/0", "pearson/0", "euclidean/0", "cosine/1", … [ours].

    Symmetric in a and b. Where a layer is all zeros (cosine) or constant (Pearson) the value is NaN, which
    `evaluate_gain_prediction` refuses by name.

    Args:
        a, b: [layers, d].

    Raises:
        UserError: shapes that differ or are not [layers, d].

    >>> pair_features(np.array([[3.0, 4.0]]), np.array([[3.0, 0.0]]))["euclidean/0"]
    4.0
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
