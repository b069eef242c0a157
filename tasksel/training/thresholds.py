"""Biases that F1 asks for: logits of rare classes and labels are shifted until enough rows are said to have them. Ours.

    several labels, F1 of one class   b_j with   share of rows with logit_j > b_j  =  q * share of rows that have label j
    classes, macro F1                 b_c = tau * log(share of class c), which evens the classes out (Menon et al. 2021, arXiv:2007.07314)

Cross-entropy, by which a head is solved, wants probabilities: a label that a tenth of the rows have is nearly never above one half. Candidates are few
(q, tau), so that they can be compared on some hundred out-of-fold rows; a threshold of its own for each of many labels fits those rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasksel.tasks.kinds import CLASSES, Kind

RATES = (0.7, 1.0, 1.5, 2.0)  # q
EVEN = (0.5, 1.0)  # tau
F1 = ("f1", "accuracy_f1", "macro_f1", "micro_f1")


def candidates(metric: str, kind: Kind, logits: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Biases [outputs] to subtract from logits, the first of them zeros; for metrics other than F1 no other.

    Args:
        logits: [n, outputs] of rows that the head was not solved on. labels: [n] classes or multi-hot [n, outputs].

    >>> logits, labels = np.array([[-3.0], [-1.0], [-2.0], [-4.0]]), np.array([[0], [1], [0], [0]])
    >>> [bias.tolist() for bias in candidates("macro_f1", "multi_label", logits, labels)][2]
    [-1.5]
    """
    outputs = logits.shape[1]
    yield np.zeros(outputs)
    if metric not in F1 or not len(logits):
        return
    if kind == "multi_label":
        shares = np.maximum(labels.mean(0), 0.5 / len(labels))
        for rate in RATES:
            yield np.array([_exceeded(logits[:, j], rate * shares[j]) for j in range(outputs)])
    elif kind in CLASSES and metric == "macro_f1":
        shares = np.maximum(np.bincount(labels.astype(int), minlength=outputs), 0.5) / len(labels)
        for tau in EVEN:
            yield tau * np.log(shares)
    elif kind in CLASSES and outputs == 2:
        margins, share = logits[:, 1] - logits[:, 0], float((labels == 1).mean())
        for rate in RATES:
            yield np.array([0.0, _exceeded(margins, rate * share)])
        yield np.array([0.0, margins.min() - 10 * (1 + np.ptp(margins))])  # always: the best that a guess reaches


def _exceeded(values: np.ndarray, share: float) -> float:
    """What this share of the values exceeds: half way between two of them."""
    ordered = np.sort(values)[::-1]
    count = min(max(round(share * len(values)), 1), len(values))
    below = ordered[count] if count < len(values) else ordered[-1] - 1
    return float((ordered[count - 1] + below) / 2)
