"""Transferability measures: how well a source model's outputs explain a target's labels (LogME, LEEP, NCE, kNN, linear probe); larger is better.

features        [n, d]  one row per example of the target, as the source model sees it
probabilities   [n, Z]  the source's own classes, predicted for the target's rows
labels          [n] class indices, [n] numbers (regression=True), or [n, c] multi-hot

Nothing is trained but the probe. A multi-hot label counts as the mean over its columns, each a task of two classes; columns with one
value only are left out [ours]. A column's chance level is that of its rarer value, so compare sources, not targets.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasksel.errors import UserError

CHUNK = 1024  # rows of the similarity matrix in memory at once


def logme(features: np.ndarray, labels: np.ndarray, *, regression: bool = False) -> float:
    """Log maximum evidence of a Bayesian linear model of the labels, per row (LogME, You et al. 2021, arXiv 2102.11005).

        y ~ Normal(F w, 1 / beta),  w ~ Normal(0, 1 / alpha)
        LogME = max over alpha, beta of  log p(y | F, alpha, beta) / n,  mean over targets

    A target is one class against the rest, a column of a multi-hot label, or the numbers themselves (as they are, in their own units).

    Compared to the authors' code, this version: evaluates the density itself (the code's newer form, of arXiv 2110.10545, counts log alpha d
    times but fewer eigenvalues where F has more columns than rows, or dependent ones: another value); searches t = alpha / beta for the maximum, where the code
    takes 11 steps of a fixed point that can stop short of it; so does not depend on the scale of the features. t stays within 1e-10 … 1e10 of the
    mean eigenvalue of F F^T, where the code adds 1e-5 to two denominators, so that a target that is explained exactly has a finite value.

    Raises:
        UserError: fewer than 2 rows, lengths that differ, NaN, constant features, labels of one value.

    >>> labels = np.array([0, 0, 1, 1])
    >>> logme(np.array([[-1.0], [-1.1], [1.0], [1.1]]), labels) > logme(np.array([[-1.0], [1.0], [-1.1], [1.1]]), labels)
    True
    """
    features, labels = _features(features, labels), _labels(labels, regression=regression)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    eigenvalues = (singular / singular[0]) ** 2  # their scale does not matter
    if regression:
        targets = [labels]
    elif labels.ndim == 1:
        targets = [labels == value for value in np.unique(labels)]
    else:
        targets = list(_informative(labels))
    return float(np.mean([_evidence(left, eigenvalues, np.asarray(y, float)) for y in targets]))


def _evidence(left: np.ndarray, eigenvalues: np.ndarray, y: np.ndarray) -> float:
    """The log evidence of one target per row, at its maximum over alpha and beta.

        t = alpha / beta,  x = U^T y,  Q(t) = sum x^2 t / (sigma + t) + |y|^2 - |x|^2
        log p = -n/2 (log(2 pi Q / n) + 1) - 1/2 sum log(1 + sigma / t)      at beta = n / Q, its best for this t

    Args:
        left: U [n, min(n, d)]. eigenvalues: sigma [min(n, d)], of F F^T up to a factor; 0 beyond its rank. y: [n], not all zero.
    """
    sigma, x2 = eigenvalues / eigenvalues.mean(), (left.T @ y) ** 2
    outside = max(float(y @ y - x2.sum()), 0.0)

    def evidence(log_t: np.ndarray) -> np.ndarray:  # [...] -> [...]
        t = np.exp(log_t)[..., None]
        noise = ((x2 * t / (sigma + t)).sum(-1) + outside) / len(y)
        return -0.5 * (np.log(2 * np.pi * noise) + 1) - 0.5 * np.log1p(sigma / t).sum(-1) / len(y)

    # where features explain y exactly, or not at all, the maximum lies at 0 or infinity; it bends within a factor of e, so 0.25 misses no peak
    grid = np.arange(np.log(1e-10), np.log(1e10), 0.25)
    best = int(evidence(grid).argmax())
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    maximum = minimize_scalar(lambda log_t: -evidence(np.array(log_t)), bounds=around, method="bounded")
    return float(evidence(np.array(maximum.x)))


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Log expected empirical prediction (LEEP, Nguyen et al. 2020, arXiv 2002.12462); at most 0.

        P(y, z) = 1/n sum of theta_i(z) over rows i of label y
        LEEP    = 1/n sum_i log sum_z P(y_i | z) theta_i(z)

    Args:
        probabilities: theta [n, Z], each row sums to 1.

    Raises:
        UserError: fewer than 2 rows, lengths that differ, labels of one class, rows that are not probabilities.

    >>> round(leep(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])), 3)  # the source's classes decide the labels
    0.0
    """
    theta, labels = _probabilities(probabilities, labels), _labels(labels)

    def of_column(y: np.ndarray) -> float:
        values, which = np.unique(y, return_inverse=True)
        joint = np.eye(len(values))[which].T @ theta  # [classes, Z], n P(y, z)
        total = joint.sum(0)
        conditional = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)  # P(y | z)
        return float(np.log((conditional[which] * theta).sum(1)).mean())

    return _over_columns(of_column, labels)


def nce(source_labels: np.ndarray, labels: np.ndarray) -> float:
    """Negative conditional entropy -H(Y | Z) of target labels given source labels, in nats (Tran et al. 2019, arXiv 1908.08142); at most 0.

        NCE = sum_{y, z} P(y, z) log( P(y, z) / P(z) )

    Args:
        source_labels: [n] class indices: what the source model predicts for the target's rows.

    Raises:
        UserError: fewer than 2 rows, lengths that differ, source labels that are not indices, labels of one class.

    >>> round(nce(np.array([0, 0, 0, 0]), np.array([0, 1, 0, 1])), 3)  # the source says nothing: -H(Y) = -log 2
    -0.693
    """
    source = np.asarray(source_labels)
    if source.ndim != 1 or source.dtype.kind not in "iub":
        raise UserError(f"source labels of shape {list(source.shape)} and type {source.dtype}: give [n] class indices")
    _same_length(source, labels, "source labels")
    z = np.unique(source, return_inverse=True)[1]

    def of_column(y: np.ndarray) -> float:
        which = np.unique(y, return_inverse=True)[1]
        joint = np.zeros((which.max() + 1, z.max() + 1))
        np.add.at(joint, (which, z), 1 / len(z))
        share = np.divide(joint, joint.sum(0), out=np.ones_like(joint), where=joint > 0)  # 0 log 0 is 0
        return float((joint * np.log(share)).sum())

    return _over_columns(of_column, _labels(labels))


def knn(features: np.ndarray, labels: np.ndarray, *, k: int = 5, regression: bool = False) -> float:
    """Leave-one-out accuracy of the k nearest other rows by cosine, or R^2 of their mean value [ours].

    The most frequent class wins; of equally frequent ones that with the nearest member. Of equally near rows the first is the nearer.

    Raises:
        UserError: k is not 1 to n - 1; else as `logme`.

    >>> knn(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), np.array([0, 0, 1, 1]), k=1)
    1.0
    """
    features, labels = _features(features, labels), _labels(labels, regression=regression)
    if not 1 <= k < len(features):
        raise UserError(f"k={k} neighbours of {len(features)} rows: choose 1 to {len(features) - 1}")
    near = _neighbours(features, k)
    if regression:
        return float(1 - ((labels - labels[near].mean(1)) ** 2).sum() / ((labels - labels.mean()) ** 2).sum())
    return _over_columns(lambda y: float(np.mean(_vote(y, near) == y)), labels)


def _neighbours(features: np.ndarray, k: int) -> np.ndarray:
    """The k rows nearest to each row, nearest first: [n, k]. A zero row is at cosine 0 of all."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(length > 0, length, 1.0)
    near = np.empty((len(unit), k), dtype=int)
    for start in range(0, len(unit), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(unit)))
        cosine = np.round(unit[rows] @ unit.T, 12)  # so that equal rows stay equal whatever order they are summed in
        cosine[rows - start, rows] = -np.inf
        near[rows] = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return near


def _vote(labels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The class that most of each row's neighbours have; of equals the one met first: [n]."""
    neighbours = labels[near]
    votes = (neighbours[:, :, None] == neighbours[:, None, :]).sum(2)  # [n, k], of each neighbour's class
    return neighbours[np.arange(len(near)), votes.argmax(1)]


def linear_probe(
    features: np.ndarray, labels: np.ndarray, *, folds: int = 5, seed: int = 0, regression: bool = False
) -> float:
    """Cross-validated accuracy of a logistic regression on standardised features, or R^2 of a ridge regression [ours].

    Folds are drawn by `seed`, stratified for classes; scikit-learn's own strength of the L2 penalty (C = 1, alpha = 1). Two classes must have two
    rows each, so that training never sees one class alone; columns of a multi-hot label without them are left out.

    Raises:
        UserError: folds below 2, above the rows of the largest class, or above n / 2 (regression); else as `logme`.

    >>> linear_probe(np.array([[-1.0], [-1.1], [-1.2], [1.0], [1.1], [1.2]]), np.array([0, 0, 0, 1, 1, 1]), folds=3)
    1.0
    """
    features, labels = _features(features, labels), _labels(labels, regression=regression, fewest=2)

    def of_column(y: np.ndarray) -> float:
        most = len(y) // 2 if regression else int(np.unique(y, return_counts=True)[1].max())
        if not 2 <= folds <= most:
            raise UserError(f"folds={folds} of {len(y)} rows: choose 2 to {most}")
        model = Ridge() if regression else LogisticRegression(max_iter=1000)
        parts = (KFold if regression else StratifiedKFold)(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # a class rarer than the folds lies in some of them only, as it must
            warnings.filterwarnings("ignore", message="The least populated class")
            return float(cross_val_score(make_pipeline(StandardScaler(), model), features, y, cv=parts).mean())

    return _over_columns(of_column, labels, fewest=2)


def _over_columns(score: Callable[[np.ndarray], float], labels: np.ndarray, *, fewest: int = 1) -> float:
    """The score of labels [n], or its mean over the informative columns of [n, c]."""
    return score(labels) if labels.ndim == 1 else float(np.mean([score(y) for y in _informative(labels, fewest)]))


def _informative(labels: np.ndarray, fewest: int = 1) -> np.ndarray:
    """The columns of a multi-hot label that have both values, each in `fewest` rows or more: [columns, n]."""
    ones = labels.sum(0)
    return labels.T[np.minimum(ones, len(labels) - ones) >= fewest]


def _features(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Features as float64 [n, d], refused where they are not finite or all rows are equal."""
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or not features.shape[1]:
        raise UserError(f"features of shape {list(features.shape)}: give [rows, dimensions]")
    _same_length(features, labels, "features")
    _all_finite(features, "features")
    if (features == features[0]).all():
        raise UserError(f"the features of all {len(features)} rows are the same: they say nothing of the labels")
    return features


def _probabilities(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities as float64 [n, Z], refused where a row does not sum to 1."""
    theta = np.asarray(probabilities, dtype=np.float64)
    if theta.ndim != 2:
        raise UserError(f"probabilities of shape {list(theta.shape)}: give [rows, source classes]")
    _same_length(theta, labels, "probabilities")
    _all_finite(theta, "probabilities")
    wrong = (theta < 0).any(1) | (abs(theta.sum(1) - 1) > 1e-3)  # half precision misses 1 by up to 1e-3
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{wrong.sum()} rows are not probabilities, the first is row {row} (smallest {theta[row].min():.4g}, sum {theta[row].sum():.4g}): each row must be 0 or more and sum to 1"
        )
    return theta


def _same_length(values: np.ndarray, labels: np.ndarray, what: str) -> None:
    if len(values) != len(labels):
        raise UserError(f"{len(values)} rows of {what}, {len(labels)} of labels: give one label per row")
    if len(values) < 2:
        raise UserError(f"{len(values)} rows: at least 2 are needed")


def _all_finite(values: np.ndarray, what: str) -> None:
    broken = ~np.isfinite(values)
    if broken.any():
        row = int(broken.any(1).argmax())
        raise UserError(f"{broken.sum()} of {values.size} {what} are NaN or infinite, the first in row {row}")


def _labels(labels: np.ndarray, *, regression: bool = False, fewest: int = 1) -> np.ndarray:
    """Labels as [n] classes, [n] float numbers or [n, c] int multi-hot, refused where no two values have `fewest` rows each."""
    labels = np.asarray(labels)
    if regression:
        return _numbers(labels)
    if labels.ndim == 2:
        return _multi_hot(labels, fewest)
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise UserError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype}: give [rows] class indices, [rows, labels] multi-hot, or numbers with regression=True"
        )
    counts = np.sort(np.unique(labels, return_counts=True)[1])
    if len(counts) < 2:
        raise UserError(f"all {len(labels)} labels are class {labels[0]}: at least two classes are needed")
    if counts[-2] < fewest:
        raise UserError(f"only one class has {fewest} rows or more: at least two such classes are needed")
    return labels


def _numbers(labels: np.ndarray) -> np.ndarray:
    """The labels of a regression as float64 [n]."""
    if labels.ndim != 1 or labels.dtype.kind not in "iubf":
        raise UserError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype}: a regression needs [rows] numbers"
        )
    labels = labels.astype(np.float64)
    _all_finite(labels[:, None], "labels")
    if (labels == labels[0]).all():
        raise UserError(f"all {len(labels)} labels are {labels[0]:g}: at least two values are needed")
    return labels


def _multi_hot(labels: np.ndarray, fewest: int) -> np.ndarray:
    """Multi-hot labels as int [n, c]."""
    if not np.isin(labels, (0, 1)).all():
        raise UserError("labels in two dimensions are multi-hot: every value must be 0 or 1")
    labels = labels.astype(int)
    if not len(_informative(labels, fewest)):
        raise UserError(
            f"none of {labels.shape[1]} label columns has both values in at least {fewest} of {len(labels)} rows each"
        )
    return labels
