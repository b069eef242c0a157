"""Similarity of two embeddings as functions of two arrays (larger is more similar), and reciprocal-rank fusion of rankings.

hamming, pattern_similarity     a, b [bits], packed uint8, with the number of bits of each group
cosine                          a, b of any one shape
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import rankdata

Grouping = Literal["all", "heads", "neurons", "balanced"]
RRF = 60  # Vu 2020's constant, as in Cormack's reciprocal-rank fusion


def hamming(a: np.ndarray, b: np.ndarray, bits: int) -> float:
    """1 - (differing bits) / bits, of two packed binary vectors.

    Args:
        a, b: uint8 [ceil(bits / 8)], as `numpy.packbits` gives; padding bits are equal in both.

    >>> hamming(np.packbits([1, 0, 1, 1]), np.packbits([1, 1, 1, 0]), 4)
    0.5
    """
    return 1.0 - int(np.bitwise_count(a ^ b).sum()) / bits


def pattern_similarity(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], bits: dict[str, int], grouping: Grouping = "all"
) -> float:
    """Similarity of two connectivity patterns [open in the paper; the four groupings are ours].

    all         1 - Hamming / length over heads and neurons together (heads are 0.4 % of a BERT's bits: neurons decide)
    heads, neurons      one group alone
    balanced    1 - (d_heads + d_neurons) / 2

    >>> a = {"heads": np.packbits([1, 0]), "neurons": np.packbits([1, 1, 1, 1])}
    >>> b = {"heads": np.packbits([1, 1]), "neurons": np.packbits([1, 1, 1, 1])}
    >>> pattern_similarity(a, b, {"heads": 2, "neurons": 4}, "balanced")
    0.75
    """
    by_group = {group: hamming(a[group], b[group], bits[group]) for group in bits}
    if grouping == "balanced":
        return sum(by_group.values()) / len(by_group)
    if grouping == "all":
        return sum(by_group[group] * bits[group] for group in bits) / sum(bits.values())
    return by_group[grouping]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """<a, b> / (|a| |b|) of two arrays of one shape, flattened; 0 where one of them is all zero (ours).

    >>> cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
    0.96
    """
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else 0.0


def reciprocal_rank_fusion(scores: Sequence[Sequence[float]] | np.ndarray) -> list[float]:
    """sum over selectors of 1 / (60 + rank), rank 1 the best [code, Vu 2020]; equal scores share their mean rank (ours).

    Args:
        scores: [selectors, sources], larger is better. The order of the selectors does not matter.

    >>> [round(score, 5) for score in reciprocal_rank_fusion([[0.9, 0.1], [0.2, 0.1]])]
    [0.03279, 0.03226]
    """
    ranks = rankdata(-np.asarray(scores, dtype=float), method="average", axis=1)
    return [float(total) for total in np.sort(1.0 / (RRF + ranks), axis=0).sum(axis=0)]
