"""Tasks on a plane from how alike they are: classical multidimensional scaling (Torgerson 1952).

    D = 1 - S        B = -1/2 J D^2 J        x = the eigenvectors of the two largest eigenvalues, each times its root        J centres

s is a symmetric similarity, 1 on the diagonal. The sign of an axis says nothing; here its largest entry is positive.
"""

from __future__ import annotations

import numpy as np


def distances(similarity: np.ndarray) -> np.ndarray:
    """1 - s, symmetric, never negative and 0 on the diagonal; [n, n]."""
    apart = np.maximum(1.0 - (similarity + similarity.T) / 2, 0.0)
    np.fill_diagonal(apart, 0.0)
    return apart


def plane(similarity: np.ndarray) -> tuple[np.ndarray, float]:
    """Points [n, 2] whose distances are as near as a plane allows, and the share of the distances' spread that it keeps, 0 to 1.

    >>> points, kept = plane(np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.1], [0.0, 0.1, 1.0]]))
    >>> round(float(np.linalg.norm(points[0] - points[2])), 6), round(kept, 6)
    (1.0, 1.0)
    """
    squared = distances(similarity) ** 2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1, keepdims=True) + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    points = vectors[:, :2] * np.sqrt(values[:2])
    points = np.hstack([points, np.zeros((len(points), 2 - points.shape[1]))])
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    total = float(values.sum())
    return points * np.where(largest < 0, -1.0, 1.0), float(values[:2].sum() / total) if total > 0 else 1.0
