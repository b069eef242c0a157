"""How sure a score is: percentile intervals over draws of the scored rows with replacement, the same draws for every model [std].

    classes, several labels   a draw counts how often each combination of label and decisions comes: one multinomial draw over combinations,
                              and every metric follows from sums over rows (`_counted`)
    numbers                   a draw of rows, and the correlation over them
    texts                     a draw of rows, and the mean over their scores

The metrics are those of `tasksel.tasks.metrics`, for a thousand draws at once: scikit-learn takes a millisecond for each draw and model.
An interval does not cover the seed of a training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasksel.tasks.metrics import decide, row_scores
from tasksel.tasks.text_metrics import TEXT_METRICS

DRAWS, LEVEL = 1000, 0.95  # ours
AT_ONCE = 2_000_000  # numbers of a chunk of draws
DEFINED = 0.5  # the least share of draws on which a metric has a meaning
CORRELATIONS = ("pearson", "spearman", "pearson_spearman")


def resampled(
    metric: str, models: Sequence[np.ndarray], labels: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Each model's score on each draw of the rows [draws, models]; NaN where the metric has no meaning on a draw.

    Args:
        models: logits [rows, outputs] of each, or written texts [rows]. labels: [rows], or multi-hot [rows, labels].

    >>> logits = np.eye(2)[[0, 1, 1, 0]]
    >>> resampled("accuracy", [logits, -logits], np.array([0, 1, 1, 0]), draws=2).tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    rng = np.random.default_rng(seed)
    if metric in TEXT_METRICS:
        values = np.stack([row_scores(metric, texts, labels) for texts in models], axis=1)
        counts = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=draws)
        return np.asarray(counts @ values / len(labels))
    if metric in CORRELATIONS:
        return _correlations(metric, [logits[:, 0] for logits in models], labels, draws, rng)
    decisions = [decide(logits, labels) for logits in models]
    columns = [*(part.reshape(len(labels), -1).astype(np.int64) for part in (labels, *decisions))]
    cells, counts = np.unique(np.concatenate(columns, axis=1), axis=0, return_counts=True)
    truth, *decided = np.split(cells, len(columns), axis=1)
    hot = [part if labels.ndim == 2 else np.eye(models[0].shape[1])[part[:, 0]] for part in (truth, *decided)]
    chunk = max(1, AT_ONCE // (len(cells) + hot[0].shape[1]))
    parts = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        weights = rng.multinomial(len(labels), counts / len(labels), size=size).astype(float)
        parts.append([_counted(metric, weights, hot[0], other, labels.ndim == 2) for other in hot[1:]])
    return np.concatenate([np.stack(part, axis=1) for part in parts])


def interval(scores: np.ndarray) -> tuple[float, float] | None:
    """The interval that holds 95 % of the draws' scores [draws]; None where they do not differ, or most have no meaning.

    >>> [round(end, 3) for end in interval(np.linspace(0, 1, 1001))]
    [0.025, 0.975]
    >>> interval(np.ones(1000)) is None
    True
    """
    defined = scores[~np.isnan(scores)]
    if len(defined) < DEFINED * len(scores) or np.ptp(defined) < 1e-12:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high


def _counted(metric: str, weights: np.ndarray, truth: np.ndarray, decided: np.ndarray, several: bool) -> np.ndarray:
    """A metric of decisions on each draw [draws].

    Args:
        weights: how many rows of each combination a draw has [draws, combinations].
        truth, decided: 0 or 1 by combination and label [combinations, labels]. several: a row may have several labels.
    """
    rows = weights.sum(1)
    true, said, both = weights @ truth, weights @ decided, weights @ (truth * decided)
    accuracy = weights @ (truth == decided).all(1) / rows
    if metric == "accuracy" or (metric == "micro_f1" and not several):
        return accuracy
    if metric == "micro_f1":
        return _ratio(2 * both.sum(1), (true + said).sum(1))
    if metric == "matthews":
        covered = both.sum(1) * rows - (true * said).sum(1)
        spread = (rows**2 - (true**2).sum(1)) * (rows**2 - (said**2).sum(1))
        return np.where((true > 0).sum(1) > 1, _ratio(covered, np.sqrt(spread)), np.nan)
    f1 = _ratio(2 * both, true + said)
    if metric == "macro_f1":
        return f1.mean(1) if several else _ratio(f1.sum(1), (true + said > 0).sum(1))
    of_class = np.where(
        true[:, 1] > 0, f1[:, 1], np.nan
    )  # "f1", of the class with index 1: undefined without a row of it
    return of_class if metric == "f1" else (accuracy + of_class) / 2


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient, 0 where it is 0 / 0."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)


def _correlations(
    metric: str, predicted: Sequence[np.ndarray], labels: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Correlations of numbers with the labels on each draw; 0 for a constant prediction, NaN for constant labels."""
    from scipy.stats import rankdata

    forms = {"pearson": (False,), "spearman": (True,)}.get(metric, (False, True))
    chunk, parts = max(1, AT_ONCE // len(labels)), []
    for start in range(0, draws, chunk):
        rows = rng.integers(0, len(labels), (min(chunk, draws - start), len(labels)))
        truth = labels[rows].astype(float)
        scores = np.zeros((len(rows), len(predicted)))
        for ranked in forms:
            y = rankdata(truth, axis=1) if ranked else truth
            for model, values in enumerate(predicted):
                x = values[rows].astype(float)
                scores[:, model] += _pearson(rankdata(x, axis=1) if ranked else x, y) / len(forms)
        scores[np.ptp(truth, axis=1) == 0] = np.nan
        parts.append(scores)
    return np.concatenate(parts)


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The correlation over the last axis, 0 where one side is constant."""
    constant = (np.ptp(x, axis=1) == 0) | (np.ptp(y, axis=1) == 0)
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    value = _ratio((x * y).sum(1), np.sqrt((x**2).sum(1) * (y**2).sum(1)))
    return np.where(constant, 0.0, value)
