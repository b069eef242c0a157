"""Metrics by name, in 0 to 1 (correlations in -1 to 1); for each, higher is better.

predictions   [rows, outputs]  logits, or [rows, 1] numbers for regression; [rows] texts of generation
labels        [rows] class indices or numbers, or [rows, labels] multi-hot; [rows] target texts of generation

numpy, scikit-learn and scipy are imported when a score is computed: the names of metrics are known without them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasksel.tasks.text_metrics import TEXT_METRICS, mean_over

if TYPE_CHECKING:
    import numpy as np

    Metric = Callable[[np.ndarray, np.ndarray], float]

Limits = tuple[float, float]


def decide(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The predicted labels of logits: argmax for classes, logit > 0 (probability over one half) for each of several labels.

    >>> decide(np.array([[0.1, 2.0]]), np.array([1])), decide(np.array([[0.1, -2.0]]), np.array([[1, 0]]))
    (array([1]), array([[1, 0]]))
    """
    return (logits > 0).astype(int) if labels.ndim == 2 else logits.argmax(-1)


def label_range(kind: str, labels: np.ndarray) -> Limits | None:
    """The lowest and highest of a regression's labels; None of other kinds of tasks.

    >>> import numpy as np
    >>> label_range("regression", np.array([1.0, 4.5, 2.0]))
    (1.0, 4.5)
    """
    if kind != "regression":
        return None
    return float(str(labels.min())), float(str(labels.max()))  # 0.1 of float32 stays 0.1


def within(logits: np.ndarray, limits: Limits | None) -> np.ndarray:
    """Predicted numbers, those beyond the limits set to them; all as they are without limits.

    >>> import numpy as np
    >>> within(np.array([[-0.5], [3.2], [7.0]]), (0.0, 5.0)).tolist()
    [[0.0], [3.2], [5.0]]
    """
    return logits if limits is None else logits.clip(*limits)


def _f1(average: str) -> Metric:
    def metric(logits: np.ndarray, labels: np.ndarray) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(labels, decide(logits, labels), average=average, zero_division=0.0))

    return metric


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, decide(logits, labels)))


def _matthews(logits: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    if (labels == labels[0]).all():  # 0 to scikit-learn too, which would warn
        return 0.0
    return float(matthews_corrcoef(labels, decide(logits, labels)))


def _correlation(name: str) -> Metric:
    """scipy's `pearsonr` or `spearmanr`."""

    def metric(logits: np.ndarray, labels: np.ndarray) -> float:
        import numpy as np
        from scipy import stats

        if len(labels) < 2:  # a single row has no correlation either
            return 0.0
        with warnings.catch_warnings():  # a constant prediction has no correlation: it counts as 0
            warnings.simplefilter("ignore")
            return float(np.nan_to_num(getattr(stats, name)(logits[:, 0], labels)[0]))

    return metric


_pearson, _spearman = _correlation("pearsonr"), _correlation("spearmanr")

# Use: `METRICS["macro_f1"](logits, labels)`, or `score`; the names are those of `Task.metric`.
METRICS: dict[str, Any] = {
    "accuracy": _accuracy,
    "f1": _f1("binary"),  # of the class with index 1, as in GLUE
    "macro_f1": _f1("macro"),
    "micro_f1": _f1("micro"),
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
    "pearson_spearman": lambda logits, labels: (_pearson(logits, labels) + _spearman(logits, labels)) / 2,
    "accuracy_f1": lambda logits, labels: (_accuracy(logits, labels) + METRICS["f1"](logits, labels)) / 2,
    **{name: mean_over(metric) for name, metric in TEXT_METRICS.items()},
}


def row_scores(metric: str, written: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """A metric of texts for each row [rows], of which `score` is the mean.

    >>> import numpy as np
    >>> row_scores("exact_match", np.array(["a b", "c"]), np.array(["b", "d"])).tolist()
    [1.0, 0.0]
    """
    import numpy as np

    metric_of_two = TEXT_METRICS[metric]
    return np.array([metric_of_two(str(text), str(target)) for text, target in zip(written, targets, strict=True)])


def score(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The named metric of logits against labels, or of written texts against target texts.

    >>> import numpy as np
    >>> score("accuracy", np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 0]))
    0.5
    """
    return float(METRICS[metric](logits, labels))
