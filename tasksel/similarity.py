"""How near two embeddings are: pure functions of two arrays; larger is nearer.

a, b    [bits] packed uint8 with the number of bits of each group
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Grouping = Literal["all", "heads", "neurons", "balanced"]


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
    """
    near = {group: hamming(a[group], b[group], bits[group]) for group in bits}
    if grouping == "balanced":
        return sum(near.values()) / len(near)
    if grouping == "all":
        return sum(near[group] * bits[group] for group in bits) / sum(bits.values())
    return near[grouping]
