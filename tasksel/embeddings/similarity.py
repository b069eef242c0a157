"""Similarity of two embeddings as functions of two arrays (larger is more similar), and reciprocal-rank fusion of rankings.

hamming, pattern_similarity     a, b [bits], packed uint8, with the number of bits of each group
cosine                          a, b of any one shape
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from tasksel.errors import UserError

Grouping = Literal["all", "heads", "neurons", "balanced"]
RRF = 60  # Vu 2020's constant, as in Cormack's reciprocal-rank fusion


def hamming(a: np.ndarray, b: np.ndarray, bits: int) -> float:
    """1 - (differing bits) / bits, of two packed binary vectors.

    Args:
        a, b: uint8 [ceil(bits / 8)], as `numpy.packbits` gives; padding bits are equal in both.

    >>> hamming(np.packbits([1, 0, 1, 1]), np.packbits([1, 1, 1, 0]), 4)
    0.5

    Raises:
        UserError: two vectors that do not hold so many bits each.
    """
    need = max(1, -(-bits // 8))
    if not a.dtype == b.dtype == np.uint8 or not a.shape == b.shape == (need,):
        raise UserError(
            f"packed vectors of {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}: {bits} bits need uint8 [{need}] of both"
        )
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

    Raises:
        UserError: vectors of unequal lengths.
    """
    by_group = {group: hamming(a[group], b[group], bits[group]) for group in bits}
    if grouping == "balanced":
        return sum(by_group.values()) / len(by_group)
    if grouping == "all":
        return sum(by_group[group] * bits[group] for group in bits) / sum(bits.values())
    return by_group[grouping]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """<a, b> / (|a| |b|) of two arrays of one shape, flattened; 0 where one of them is all zero (ours), NaN where one holds NaN or infinity.

    >>> cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
    0.96

    Raises:
        UserError: arrays of unequal shapes.
    """
    if a.shape != b.shape:
        raise UserError(f"arrays of shapes {list(a.shape)} and {list(b.shape)}: a cosine needs two of one shape")
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(x) * np.linalg.norm(y))
    if 0 < length < math.inf:
        return float(x @ y) / length
    if not (x.any() and y.any()):
        return 0.0
    return cosine(x / np.abs(x).max(), y / np.abs(y).max())  # the squares leave the range of a float


def reciprocal_rank_fusion(scores: Sequence[Sequence[float]] | np.ndarray) -> list[float]:
    """sum over selectors of 1 / (60 + rank), rank 1 the best [code, Vu 2020]; equal scores share their mean rank (ours).

    Args:
        scores: [selectors, sources], larger is better. The order of the selectors does not matter.

    >>> [round(score, 5) for score in reciprocal_rank_fusion([[0.9, 0.1], [0.2, 0.1]])]
    [0.03279, 0.03226]
    """
    ranks = rankdata(-np.asarray(scores, dtype=float), method="average", axis=1)
    return [float(total) for total in np.sort(1.0 / (RRF + ranks), axis=0).sum(axis=0)]
