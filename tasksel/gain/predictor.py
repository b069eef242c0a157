"""Predicts the gain of a transfer from how similar two tasks' attributions are (Pugantsov & McCreadie, ECIR 2022).

    gain(t, s) = mean over seeds of [ score(t from s's adapter) - score(t from a new adapter) ]
    x(t, s)    = [ cosine, Pearson, Euclidean of a_t^l and a_s^l, layer l by layer ]      a_t [layers, d]
    predicted  = trees(x), fitted on the pairs of the other tasks; a transfer is run where predicted >= threshold

The paper has the idea: compare two single-task models' attributions, and skip the transfers that would not gain. It leaves open, so ours:
the features, the trees' settings, the split, the accounting (`tasksel.gain.tradeoff`). Its reference list holds XGBoost; here the trees are
scikit-learn's histogram gradient boosting, the same kind of model, which the project has already and which needs no second compiled library
for some hundred rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tasksel.bounds import Count, Leaves, NotNegative, Positive, PositiveShare, Seed, check_fields
from tasksel.errors import UserError, unknown
from tasksel.gain.tradeoff import (
    Pair,
    RandomOrders,
    SkipTradeoff,
    TradeoffCurve,
    TradeoffPoint,
    random_orders,
    tradeoff_curve,
)

PredictionTarget = Literal["gain", "sign"]
COSINE = "cosine/"  # of signed attributions; "absolute cosine/0" and the like are of absolute ones
FIXED = {"gain": 0.0, "sign": 0.5}  # the thresholds that need no choosing
MIN_TARGETS = 3  # leaving one out must leave two to learn from


@dataclass(frozen=True)
class Trees:
    """Settings of the gradient-boosted trees, all ours: small and regularised, as there are some hundred rows.

    Attributes:
        rounds: number of trees. leaves: of each tree, at most. min_leaf: pairs in a leaf, at least. l2: penalty on the leaves' values.
        rate: learning rate. columns: share of the features that a split looks at. seed: of that draw.
    """

    rounds: Count = 60
    leaves: Leaves = 4
    min_leaf: Count = 5
    l2: NotNegative = 1.0
    rate: Positive = 0.1
    columns: PositiveShare = 0.5
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Refuses a number outside its range."""
        check_fields("trees", self)

    @property
    def sklearn(self) -> dict[str, Any]:
        """The settings in scikit-learn's names; no early stopping, which would hold out some of the few rows."""
        return {
            "max_iter": self.rounds,
            "max_leaf_nodes": self.leaves,
            "min_samples_leaf": self.min_leaf,
            "l2_regularization": self.l2,
            "learning_rate": self.rate,
            "max_features": self.columns,
            "random_state": self.seed,
            "early_stopping": False,
        }


def predict_gains(
    known: Sequence[Pair],
    new: Mapping[str, Mapping[str, float]],
    trees: Trees = Trees(),
    *,
    of: PredictionTarget = "gain",
) -> np.ndarray:
    """Learns from the known pairs and predicts for new ones; deterministic.

    Args:
        new: each new pair's features by its name (for messages), with the known pairs' feature names.
        of: "gain", its size as a fraction; or "sign", the probability that it is above 0. Where the known gains are all of
            one sign there is no such classifier, and the probability is that sign's: 1 or 0.

    Returns:
        [new pairs], in the order of `new`.

    Raises:
        UserError: no known pair; a feature that is missing or not finite (pair and feature are named).

    >>> from tasksel.gain.tradeoff import TrainingCost
    >>> cost = TrainingCost(score=0.5, dev=0.5, seconds=1.0)
    >>> known = [Pair("t", f"s{i}", {"cosine/0": i / 20}, i / 20 - 0.5, cost, cost) for i in range(20)]
    >>> low, high = predict_gains(known, {"t2 from a": {"cosine/0": 0.1}, "t2 from b": {"cosine/0": 0.9}})
    >>> bool(low < 0 < high)
    True
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    if not known:
        raise UserError("no measured pair to learn from: measure some transfers first")
    names = sorted({name for pair in known for name in pair.features})
    x = np.array([_row(pair.name, pair.features, names) for pair in known])
    x_new = np.array([_row(name, features, names) for name, features in new.items()])
    gains = np.array([pair.gain for pair in known])
    settings = trees.sklearn
    positive = gains > 0
    with threadpool_limits(1):  # so few rows that a second thread only waits for the first
        if of == "gain":
            return HistGradientBoostingRegressor(**settings).fit(x, gains).predict(x_new)
        if positive.all() or not positive.any():
            return np.full(len(new), float(positive[0]))
        return HistGradientBoostingClassifier(**settings).fit(x, positive).predict_proba(x_new)[:, 1]


def _row(pair: str, features: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """A pair's features in the order of `names`."""
    for name in names:
        if name not in features:
            raise UserError(
                f"the pair {pair} lacks the feature '{name}' that others have: give all pairs the same features"
            )
        if not np.isfinite(features[name]):
            raise UserError(
                f"the pair {pair} has {features[name]} as feature '{name}': embed both tasks again, or leave the pair out"
            )
    return [features[name] for name in names]


def folds(pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
    """Leave one target out: per target, the indices of the pairs to learn from and of the pairs to predict.

    The pairs in which the target is the SOURCE are left out as well: features are symmetric, so that the mirrored pair would show the
    trees nearly the answer, and for a new target no such pair has been measured.
    """
    splits = []
    for target in sorted({pair.target for pair in pairs}):
        known = [i for i, pair in enumerate(pairs) if target not in (pair.target, pair.source)]
        splits.append((known, [i for i, pair in enumerate(pairs) if pair.target == target]))
    return splits


def leave_one_out(pairs: Sequence[Pair], trees: Trees = Trees(), *, of: PredictionTarget = "gain") -> np.ndarray:
    """Each pair's prediction by trees that have seen no pair of its target: [pairs].

    Raises:
        UserError: a target whose absence leaves nothing to learn from; "sign" where all gains are of one sign.
    """
    positive = sum(pair.gain > 0 for pair in pairs)
    if of == "sign" and positive in (0, len(pairs)):
        raise UserError(
            f"{positive} of {len(pairs)} gains are positive: there is no sign to learn; predict the gain's size (of='gain')"
        )
    predicted = np.empty(len(pairs))
    for known, left_out in folds(pairs):
        if not known:
            raise UserError(
                f"without '{pairs[left_out[0]].target}' no pair is left to learn from: measure more targets or sources"
            )
        predicted[left_out] = predict_gains(
            [pairs[i] for i in known], {pairs[i].name: pairs[i].features for i in left_out}, trees, of=of
        )
    return predicted


def nested_choice(
    pairs: Sequence[Pair], predicted: np.ndarray, trees: Trees, *, max_loss: float
) -> TradeoffPoint | None:
    """The outcome when each target's threshold is chosen on the OTHER targets alone, by the same rule; honest where `most_saved` is optimistic.

    For each target: predict the other targets' gains, leaving each of them out in turn; take the threshold of `most_saved` there; use it here.

    Returns:
        None where the other targets are too few to be left out in turn.
    """
    run = np.zeros(len(pairs), dtype=bool)
    for known, left_out in folds(pairs):
        others = [pairs[i] for i in known]
        inner = folds(others)
        if len(inner) < 2 or not all(rest for rest, _ in inner):
            return None
        best = tradeoff_curve(others, leave_one_out(others, trees), predictor="gain").most_saved(max_loss)
        run[left_out] = predicted[left_out] >= best.threshold
    return SkipTradeoff(pairs).point(run, None)


@dataclass(frozen=True)
class PredictionQuality:
    """How well predictions order the measured gains; None where it is not defined (one sign only, all equal).

    Attributes:
        auc, auc_by_target: area under the ROC curve of "gain above 0": all pairs pooled; mean over the targets that have both signs.
        spearman, spearman_by_target: rank correlation with the gain: pooled; mean over the targets that have two different gains or more.
    """

    auc: float | None
    auc_by_target: float | None
    spearman: float | None
    spearman_by_target: float | None


def prediction_quality(pairs: Sequence[Pair], predicted: np.ndarray) -> PredictionQuality:
    """ROC AUC and Spearman, pooled and by target; predicted [pairs]."""
    gains = np.array([pair.gain for pair in pairs])
    names = np.array([pair.target for pair in pairs])
    values: list[float | None] = []
    for measure in (_auc, _spearman):
        by_target = [measure(gains[names == name], predicted[names == name]) for name in sorted(set(names))]
        defined = [value for value in by_target if value is not None]
        values += [measure(gains, predicted), float(np.mean(defined)) if defined else None]
    return PredictionQuality(*values)


def _auc(gains: np.ndarray, predicted: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    positive = gains > 0
    return None if positive.all() or not positive.any() else float(roc_auc_score(positive, predicted))


def _spearman(gains: np.ndarray, predicted: np.ndarray) -> float | None:
    from scipy.stats import spearmanr

    if len(np.unique(gains)) < 2:
        return None
    if len(np.unique(predicted)) < 2:
        return 0.0  # all equal: no order at all
    return float(spearmanr(gains, predicted).statistic)


@dataclass(frozen=True)
class GainEvaluation:
    """How much time predictions save, and at what cost.

    Attributes:
        predicted: by predictor ("gain", "sign", "cosine", "largest"), [pairs]; the first two are of left-out targets.
        curves: of these, "random" (the mean of `draws`) and "oracle" (the measured gains as predictions: it knows
            every gain, but orders all targets' pairs in one line and leaves the choice to dev, so it is no lower bound of the loss).
        draws: the random orders. nested: predictor "gain" with thresholds chosen on other targets, or None.
        notes: what could not be computed, and why.
    """

    pairs: tuple[Pair, ...]
    trees: Trees
    max_loss: float
    predicted: dict[str, np.ndarray]
    curves: dict[str, TradeoffCurve]
    quality: dict[str, PredictionQuality]
    draws: RandomOrders
    nested: TradeoffPoint | None
    notes: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The targets' metric, or "score" where they have several."""
        metrics = {pair.metric for pair in self.pairs}
        return metrics.pop() if len(metrics) == 1 else "score"

    def __repr__(self) -> str:
        targets = len({pair.target for pair in self.pairs})
        return f"GainEvaluation({len(self.pairs)} pairs, {targets} targets, predictors: {', '.join(self.curves)})"


def evaluate_gain_prediction(
    pairs: Sequence[Pair],
    trees: Trees = Trees(),
    *,
    sizes: Mapping[str, int] | None = None,
    max_loss: float = 0.01,
    draws: int = 1000,
    seed: int = 0,
) -> GainEvaluation:
    """Predicts every pair's gain with its target left out, and accounts for what skipping transfers by it saves and loses.

    Beside it, with no learning: the mean cosine of the signed attributions over layers, the largest source first, random pairs, and the measured gains (oracle).

    Args:
        sizes: training rows of each source; without it "largest" is left out.
        max_loss: score that may be lost at most when a threshold is chosen, a fraction (0.01 = 1 point).
        draws, seed: of the random baseline.

    Raises:
        UserError: fewer than 3 targets, a missing or undefined feature (pair and feature are named), a duplicate pair,
            baselines that differ within a target, seconds that are not above 0, a source without a size, max_loss below 0.
    """
    _check(pairs)
    if not 0 <= max_loss < math.inf:
        raise UserError(f"max_loss is {max_loss}; give 0 or more (0.01 is one point)")
    if draws < 1:
        raise UserError(f"draws is {draws}; give 1 or more")
    predicted, notes = _predictions(pairs, trees, sizes)
    random = random_orders(pairs, draws=draws, seed=seed)
    nested = nested_choice(pairs, predicted["gain"], trees, max_loss=max_loss)
    if nested is None:
        notes.append("No threshold from other targets: too few targets to leave two out.")
    curves = {
        name: tradeoff_curve(pairs, values, predictor=name, fixed=FIXED.get(name)) for name, values in predicted.items()
    }
    curves["random"] = random.mean
    curves["oracle"] = tradeoff_curve(
        pairs, np.array([pair.gain for pair in pairs]), predictor="oracle", fixed=FIXED["gain"]
    )
    by_predictor = {name: prediction_quality(pairs, values) for name, values in predicted.items()}
    return GainEvaluation(tuple(pairs), trees, max_loss, predicted, curves, by_predictor, random, nested, tuple(notes))


def _predictions(
    pairs: Sequence[Pair], trees: Trees, sizes: Mapping[str, int] | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Each predictor's [pairs], and a note for each that cannot be computed."""
    predicted, notes = {"gain": leave_one_out(pairs, trees)}, []
    try:
        predicted["sign"] = leave_one_out(pairs, trees, of="sign")
    except UserError as error:
        notes.append(f"No classifier of the sign: {error}.")
    cosines = [[value for name, value in pair.features.items() if name.startswith(COSINE)] for pair in pairs]
    if cosines[0]:
        predicted["cosine"] = np.array(cosines).mean(axis=1)
    if sizes is None:
        notes.append("No largest source first: the sources' sizes were not given.")
    else:
        predicted["largest"] = _sizes(pairs, sizes)
    return predicted, notes


def _sizes(pairs: Sequence[Pair], sizes: Mapping[str, int]) -> np.ndarray:
    for pair in pairs:
        if pair.source not in sizes:
            raise unknown("size of source", pair.source, sizes)
    return np.array([float(sizes[pair.source]) for pair in pairs])


def _check(pairs: Sequence[Pair]) -> None:
    """Refuses pairs that cannot be learned from or accounted for; see `evaluate_gain_prediction`."""
    targets = sorted({pair.target for pair in pairs})
    if len(targets) < MIN_TARGETS:
        listed = f" ({', '.join(targets)})" if targets else ""
        raise UserError(
            f"{len(targets)} targets{listed}: leaving one out needs at least {MIN_TARGETS}; measure more targets"
        )
    duplicates = [name for name, count in Counter(pair.name for pair in pairs).items() if count > 1]
    if duplicates:
        raise UserError(f"the pair {duplicates[0]} is given more than once: give each pair once")
    names = sorted({name for pair in pairs for name in pair.features})
    if not names:
        raise UserError("the pairs have no features: give each the `pair_features` of its two attributions")
    first = {pair.target: pair for pair in reversed(pairs)}
    for pair in pairs:
        _row(pair.name, pair.features, names)
        if pair.baseline != first[pair.target].baseline:
            raise UserError(
                f"target '{pair.target}' has two baselines ({pair.name} and {first[pair.target].name}): give one"
            )
        _check_costs(pair)


def _check_costs(pair: Pair) -> None:
    """Refuses numbers that are not finite and trainings that took no time."""
    for run in (pair.transfer, pair.baseline):
        if not np.isfinite([pair.gain, run.score, run.dev, run.seconds]).all() or run.seconds <= 0:
            raise UserError(
                f"the pair {pair.name} has gain {pair.gain}, score {run.score}, dev {run.dev}, seconds {run.seconds}: finite numbers and seconds above 0 are allowed"
            )
