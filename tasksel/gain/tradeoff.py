"""Time saved and score lost when only some of the measured transfers are run; all accounting here is ours.

    gain(t, s) = mean over seeds of [ score(t from s's adapter) - score(t from a new adapter) ]        of each measured pair
    saved(R), lost(R)     of the transfers R that are run, against running all; the equations are in `SkipTradeoff`

`measured_pairs` reads the pairs from a transfer matrix, `SkipTradeoff` accounts for a choice of transfers, `tradeoff_curve` for every threshold of a
prediction, `random_orders` for chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasksel.errors import UserError


@dataclass(frozen=True)
class TrainingCost:
    """What one training reaches and costs: test and dev score (fractions, means over seeds), and the seconds of all its seeds together."""

    score: float
    dev: float
    seconds: float


@dataclass(frozen=True)
class Pair:
    """A measured transfer: its features, known beforehand, and its outcome.

    Attributes:
        gain: mean over the seeds that both runs finished, score of the transfer minus score of the baseline.
        transfer: the target trained on from the source. baseline: the target with no transfer; the same in all pairs of a target.
    """

    target: str
    source: str
    features: Mapping[str, float]
    gain: float
    transfer: TrainingCost
    baseline: TrainingCost
    metric: str = "score"

    @property
    def name(self) -> str:
        """For messages: `source -> target`."""
        return f"{self.source} -> {self.target}"


def measured_pairs(
    rows: Iterable[Mapping[str, Any]],
    features: Mapping[tuple[str, str], Mapping[str, float]],
    *,
    method: str = "sequential",
    baseline: str = "single-adapter",
) -> tuple[list[Pair], list[str]]:
    """Joins the rows of a transfer matrix with features: the pairs, and the names of those that diverged on every seed.

    A diverged run (score null) counts for its seconds only. A task as its own source is no transfer and is left out.

    Args:
        rows: {"target", "source", "method", "seed", "metric", "score", "dev", "seconds"}, scores as fractions;
            a `TransferMatrix` gives them as `map(asdict, matrix.rows)`.
        features: by (target, source).

    Raises:
        UserError: a pair without features; a target without a finished baseline, or none on a seed of the pair's; a finished run
            without "dev"; no rows of that method.
    """
    runs: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        source = row["source"] if row["method"] == method else None
        if row["method"] in (method, baseline) and source != row["target"]:
            runs.setdefault((row["target"], source), []).append(row)
    pairs, diverged = [], []
    transfers = sorted(((target, source), rows) for (target, source), rows in runs.items() if source is not None)
    for (target, name), transfer_rows in transfers:
        if (target, name) not in features:
            raise UserError(f"no features for the pair {name} -> {target}: embed both tasks, or leave the pair out")
        pair = _joined(transfer_rows, runs.get((target, None), []), features[target, name], baseline)
        if pair is None:
            diverged.append(f"{name} -> {target}")
        else:
            pairs.append(pair)
    if not pairs:
        raise UserError(f"no finished rows of method '{method}' in the matrix: run the transfers first")
    return pairs, diverged


def _joined(
    transfer_rows: Sequence[Mapping[str, Any]],
    baseline_rows: Sequence[Mapping[str, Any]],
    features: Mapping[str, float],
    baseline: str,
) -> Pair | None:
    """A pair from the rows of its transfer and of its baseline; None where the transfer diverged on every seed."""
    target, name, metric = (transfer_rows[0][what] for what in ("target", "source", "metric"))
    before = {row["seed"]: row for row in baseline_rows if row["score"] is not None}
    if not before:
        raise UserError(f"target '{target}' has no finished run of '{baseline}': a gain needs one; train it first")
    after = {row["seed"]: row for row in transfer_rows if row["score"] is not None}
    if not after:
        return None
    if not (shared := after.keys() & before.keys()):
        raise UserError(f"{name} -> {target} and its '{baseline}' share no finished seed: run both with the same seeds")
    gain = float(np.mean([after[seed]["score"] - before[seed]["score"] for seed in sorted(shared)]))
    costs = _cost(list(after.values()), transfer_rows), _cost(list(before.values()), baseline_rows)
    return Pair(target, name, features, gain, *costs, metric)


def _cost(finished: Sequence[Mapping[str, Any]], started: Sequence[Mapping[str, Any]]) -> TrainingCost:
    """The mean scores of the finished seeds, and the seconds of every seed that was started."""
    for row in finished:
        if row.get("dev") is None:
            raise UserError(
                f"{row['source']} -> {row['target']}, seed {row['seed']} has no dev score, by which a run is chosen: run it again"
            )
    return TrainingCost(
        score=float(np.mean([row["score"] for row in finished])),
        dev=float(np.mean([row["dev"] for row in finished])),
        seconds=float(sum(row["seconds"] for row in started)),
    )


@dataclass(frozen=True)
class TradeoffPoint:
    """The outcome of running some of the transfers.

    Attributes:
        threshold: a transfer is run where its prediction is at least this; None where there is none (random draws, nested).
        run: transfers run. saved: share of all training time not spent. lost: mean score lost, a fraction; below 0 is a gain.
    """

    threshold: float | None
    run: float
    saved: float
    lost: float


class SkipTradeoff:
    """Time saved and score lost when only some transfers are run.

    For each target the baseline (no transfer) is always run, and its seconds count on both sides. Of the baseline and the transfers run, the one
    with the best DEV score is used, as one would in practice, and its TEST score is what counts; of equal dev scores the baseline's is used, then
    the first source's by name. With R the transfers run, A all of them, B the baselines:

        saved = 1 - [seconds(B) + seconds(R)] / [seconds(B) + seconds(A)]
        lost  = mean over targets of [ score used of A - score used of R ]

    `lost` may be below 0: what dev chooses among all need not be the best on test. Not counted: training the sources and computing
    the attributions, which every choice here needs alike, or not at all (random, largest, all).
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.seconds = np.array([pair.transfer.seconds for pair in pairs])
        self.baselines = sum({pair.target: pair.baseline.seconds for pair in pairs}.values())
        # per target: columns from the best dev score down; their scores, the baseline's last
        self.targets: list[tuple[list[int], np.ndarray]] = []
        for target in sorted({pair.target for pair in pairs}):
            columns = [i for i, pair in enumerate(pairs) if pair.target == target]
            baseline = pairs[columns[0]].baseline
            better = [i for i in columns if pairs[i].transfer.dev > baseline.dev]
            order = sorted(better, key=lambda i: (-pairs[i].transfer.dev, pairs[i].source))
            self.targets.append((order, np.array([*(pairs[i].transfer.score for i in order), baseline.score])))
        self.all = self._score(np.ones((1, len(pairs)), dtype=bool))[0]

    def _score(self, run: np.ndarray) -> np.ndarray:
        always = np.ones((len(run), 1), dtype=bool)  # the baseline
        used = [scores[np.hstack([run[:, order], always]).argmax(axis=1)] for order, scores in self.targets]
        return np.mean(used, axis=0)

    def saved_and_lost(self, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(saved, lost), each [choices], of several choices at once; run [choices, pairs], bool, says which transfers each choice runs."""
        spent = self.baselines + run @ self.seconds
        return 1 - spent / (self.baselines + self.seconds.sum()), self.all - self._score(run)

    def point(self, run: np.ndarray, threshold: float | None) -> TradeoffPoint:
        """The outcome of one choice, run [pairs], bool; `threshold` is noted with it."""
        (saved,), (lost,) = self.saved_and_lost(run[None])
        return TradeoffPoint(threshold, int(run.sum()), float(saved), float(lost))


@dataclass(frozen=True)
class TradeoffCurve:
    """Time saved and score lost over the threshold of a prediction: from all transfers run (-inf) to none (+inf).

    Attributes:
        predictor: what predicts ("gain", "sign", "cosine", …).
        fixed: the point at the threshold that needs no choosing (gain 0, probability 0.5), where the predictor has one.
    """

    predictor: str
    points: tuple[TradeoffPoint, ...]
    fixed: TradeoffPoint | None = None

    def most_saved(self, max_loss: float) -> TradeoffPoint:
        """The point that saves most time with at most `max_loss` lost (a fraction, at least 0, so that running all is always allowed)."""
        return max((p for p in self.points if p.lost <= max_loss + 1e-12), key=lambda p: p.saved)

    def lost_at(self, saved: float) -> float:
        """Score lost at an equal budget: straight lines between the points."""
        line = np.array(sorted((p.saved, p.lost) for p in self.points))
        return float(np.interp(saved, line[:, 0], line[:, 1]))


def tradeoff_curve(
    pairs: Sequence[Pair], predicted: np.ndarray, *, predictor: str, fixed: float | None = None
) -> TradeoffCurve:
    """Time saved and score lost at every threshold that makes a difference; predicted [pairs], larger is run sooner."""
    tradeoff = SkipTradeoff(pairs)
    thresholds = [-np.inf, *np.unique(predicted)[1:], np.inf]
    points = tuple(tradeoff.point(predicted >= threshold, float(threshold)) for threshold in thresholds)
    return TradeoffCurve(predictor, points, None if fixed is None else tradeoff.point(predicted >= fixed, fixed))


@dataclass(frozen=True)
class RandomOrders:
    """Pairs run in random order, many times: saved and lost [draws, pairs + 1], after 0, 1, … transfers."""

    saved: np.ndarray
    lost: np.ndarray

    @property
    def mean(self) -> TradeoffCurve:
        """The mean over draws for each number of transfers run."""
        means = zip(self.saved.mean(axis=0), self.lost.mean(axis=0), strict=True)
        points = [TradeoffPoint(None, run, float(saved), float(lost)) for run, (saved, lost) in enumerate(means)]
        return TradeoffCurve("random", tuple(reversed(points)))

    def no_worse(self, point: TradeoffPoint) -> float:
        """Share of the draws that lose no more than a point when they save as much time: near 0, the point is no luck."""
        lost = [
            np.interp(point.saved, saved[::-1], line[::-1]) for saved, line in zip(self.saved, self.lost, strict=True)
        ]
        return float(np.mean(np.array(lost) <= point.lost + 1e-12))


def random_orders(pairs: Sequence[Pair], *, draws: int, seed: int) -> RandomOrders:
    """`draws` random orders of all pairs: what chance saves and loses after 0, 1, … transfers."""
    tradeoff, random = SkipTradeoff(pairs), np.random.default_rng(seed)
    after = np.arange(len(pairs) + 1)[:, None]
    outcomes = [tradeoff.saved_and_lost(random.permutation(len(pairs)) < after) for _ in range(draws)]
    return RandomOrders(*(np.array(column) for column in zip(*outcomes, strict=True)))
