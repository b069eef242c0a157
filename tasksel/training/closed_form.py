"""The last layer of a task's head, solved on fixed features at a given strength: no gradient step.

    logits = h W^T + b                           [n, outputs] from features h [n, d]

    classes          min over W, b   sum_i cross-entropy_i + |W|^2 / (2 C)                  multinomial logistic regression
    several labels   the same for each label, on or off
    numbers          min over w, b   sum_i (h_i w + b - y_i)^2 + |w|^2 / C                   ridge regression
    choices          min over w      sum_i -log softmax_c(h_ic w)[y_i] + |w|^2 / (2 C)       over the choices c of row i

    n rows   d features   C strength: the larger, the less the weights are held near 0

Fewer rows than features are the rule: the problem is solved in the n dimensions that the rows span, which hold the solution.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tasksel.errors import UserError
from tasksel.tasks.kinds import Kind

Spanned = tuple[np.ndarray, np.ndarray]
TOLERANCE = 1e-10  # of a gradient's largest entry, over rows


@dataclass(frozen=True)
class LastLayer:
    """logits = features @ weight.T + bias.

    Attributes:
        weight: [outputs, d]. bias: [outputs].
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits [n, outputs] of features [n, d], or [n, choices] of [n, choices, d]."""
        outputs: np.ndarray = features @ self.weight.T + self.bias
        return outputs[..., 0] if features.ndim == 3 else outputs


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    kind: Kind,
    *,
    outputs: int,
    strength: float,
    mask: np.ndarray | None = None,
    intercept: bool = True,
) -> LastLayer:
    """The best last layer at one strength; finite for separable rows too.

    Args:
        features: [n, d], best of mean 0 and like variance; of multiple choice [n, choices, d].
        labels: class or choice indices [n], numbers [n], or multi-hot [n, outputs].
        outputs: of the head; a class without a row gets the share of half a row.
        strength: C.
        mask: of multiple choice, which choices a row has [n, choices]; by default all.
        intercept: whether the layer has a bias; else it is 0. Choices need none: it would be the same for each.

    Raises:
        UserError: features or labels that are not finite; no row.

    >>> x = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    >>> solve(x, np.array([0, 1, 0, 1]), "single_sentence_classification", outputs=2, strength=1.0).logits(x).argmax(1).tolist()
    [0, 1, 0, 1]
    """
    features = np.asarray(features, dtype=np.float64)
    check_rows(features, labels)
    with _blas().limit(limits=1, user_api="blas"):
        return _solve(features, labels, kind, outputs, strength, mask, intercept)


@cache
def _blas() -> Any:
    """The libraries of linear algebra, whose threads wait for each other in each of the many small steps.

    Measured on two busy cores, two threads against one: 10.3 s and 0.4 s for 35 solutions of 100 x 384, 58 s and 4 s for 4,000 x 384.
    """
    import sklearn.linear_model  # noqa: F401  loads all of them
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _solve(
    features: np.ndarray,
    labels: np.ndarray,
    kind: Kind,
    outputs: int,
    strength: float,
    mask: np.ndarray | None,
    intercept: bool,
) -> LastLayer:
    """`solve`, once the rows are checked."""
    if kind == "multiple_choice":
        exists = np.ones(features.shape[:2], dtype=bool) if mask is None else mask
        return LastLayer(_choices(features, labels, exists, strength), np.zeros(1))
    if kind == "regression":
        return LastLayer(*_ridge(features, labels.astype(np.float64), strength, intercept))
    if kind == "multi_label":
        rows = _spanned(features)
        columns = [_logistic(rows, labels[:, label].astype(int), 2, strength, intercept) for label in range(outputs)]
        return LastLayer(np.stack([w[1] - w[0] for w, _ in columns]), np.array([b[1] - b[0] for _, b in columns]))
    return LastLayer(*_logistic(_spanned(features), labels.astype(int), outputs, strength, intercept))


def check_rows(features: np.ndarray, labels: np.ndarray) -> None:
    """Refuses rows that nothing can be solved on.

    Raises:
        UserError: features or labels that are not finite (the first row of them is named); no row; other numbers of rows.

    >>> check_rows(np.ones((2, 3)), np.array([0, 1]))
    """
    if not len(features) or len(features) != len(labels):
        raise UserError(f"{len(features)} rows of features, {len(labels)} of labels: give one label per row")
    for what, values in (("features", features), ("labels", labels)):
        broken = ~np.isfinite(values)
        if broken.any():
            row = int(broken.reshape(len(values), -1).any(1).argmax())
            raise UserError(f"{broken.sum()} of {values.size} {what} are NaN or infinite, the first in row {row}")


def _spanned(features: np.ndarray) -> Spanned:
    """Rows [n, k] in an orthonormal basis [k, d] of what they span, where that has fewer dimensions than d."""
    n, d = features.shape
    if n >= d:
        return features, np.eye(d)
    left, sizes, basis = np.linalg.svd(features, full_matrices=False)
    return left * sizes, basis


def _logistic(
    spanned: Spanned, labels: np.ndarray, outputs: int, strength: float, intercept: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression: weight [outputs, d], bias [outputs]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    (rows, basis), n, present = spanned, len(labels), np.unique(labels)
    weight = np.zeros((outputs, basis.shape[1]))
    counts = np.bincount(labels, minlength=outputs)
    bias = np.log(np.maximum(counts, 0.5) / n) if intercept else np.zeros(outputs)
    if len(present) < 2:
        return weight, bias
    model = LogisticRegression(C=strength, tol=TOLERANCE * n, max_iter=5000, fit_intercept=intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of a flat optimum
        warnings.filterwarnings(
            "ignore", message="The number of unique classes"
        )  # many classes of few rows are classes
        model.fit(rows, labels)
    if len(present) == 2:  # one row of weights: half of it for each class gives the same probabilities
        solved = np.vstack([-model.coef_, model.coef_]) / 2
        shift = np.concatenate([-model.intercept_, model.intercept_]) / 2
    else:
        solved, shift = model.coef_, model.intercept_
    weight[present], bias[present] = solved @ basis, shift
    if intercept:
        bias[np.setdiff1d(np.arange(outputs), present)] = shift.mean() + np.log(0.5 / n)
    return weight, bias


def _ridge(features: np.ndarray, labels: np.ndarray, strength: float, intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression: weight [1, d], bias [1]."""
    from sklearn.linear_model import Ridge

    rows, basis = _spanned(features)
    model = Ridge(alpha=1 / strength, fit_intercept=intercept).fit(rows, labels)
    return (model.coef_ @ basis)[None], np.array([model.intercept_])


def _choices(features: np.ndarray, labels: np.ndarray, exists: np.ndarray, strength: float) -> np.ndarray:
    """Conditional logit over each row's choices: weight [1, d]."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    n, choices, d = features.shape
    flat, basis = _spanned(features.reshape(-1, d))
    rows, index = flat.reshape(n, choices, -1), np.arange(n)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        log_shares = log_softmax(np.where(exists, rows @ w, -1e30), axis=1)
        gap = np.exp(log_shares)
        gap[index, labels] -= 1
        return -log_shares[index, labels].sum() + w @ w / (2 * strength), np.einsum(
            "nc,nck->k", gap, rows
        ) + w / strength

    options: dict[str, Any] = {"maxiter": 5000, "gtol": TOLERANCE * n, "ftol": 1e-15}
    best = minimize(loss, np.zeros(rows.shape[-1]), jac=True, method="L-BFGS-B", options=options)
    return (best.x @ basis)[None]
