"""Selectors evaluated against a measured transfer matrix: one row per selector, with intervals, a floor and a ceiling.

ground truth of a target    mean over the matrix's seeds
value of a selector         mean over targets of the mean over its ranking seeds
interval                    two-level bootstrap: targets; within a target, the matrix's seeds (another truth) and one ranking seed [ours]

random      the floor: every order is equally likely        oracle      the ground truth itself
one seed    the ceiling: each matrix seed's own scores, evaluated against the mean of the other seeds
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from rich import box
from rich.table import Table
from scipy.stats import kendalltau

from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.evaluation.ground_truth import GroundTruth, MetricValues
from tasksel.evaluation.ranking_metrics import RANKING_METRICS, RankingMetric, bootstrap
from tasksel.evaluation.score_records import SelectorScores
from tasksel.evaluation.transfer_matrix import TransferMatrix

RANDOM, ORACLE, ONE_SEED = "random", "oracle", "one seed"


HEADLINE = "nDCG taskweb"


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; NaN where there is none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LeaderboardRow:
    """One selector's results: every metric with its interval, each target's own values, and costs.

    Attributes:
        by: the selector's name. values: by metric. per_target: by target, then metric, without intervals.
        tau: mean Kendall tau-b between the rankings of one target under different seeds; NaN where there is one seed only.
        seconds, source_seconds, bytes: as in `SelectorScores`, means; NaN where they are not defined.
    """

    by: str
    values: dict[str, Estimate]
    per_target: dict[str, dict[str, float]]
    tau: float
    seconds: float
    source_seconds: float
    bytes: float


@dataclass(frozen=True)
class Leaderboard:
    """Every selector's row, best nDCG (taskweb) first.

    Attributes:
        rows: one per selector, with "random", "oracle" and "one seed". targets: that all selectors have ranked.
        about: the conventions, in words. notes: what was left out, and why.

    >>> leaderboard = evaluate_selectors(matrix, scores)  # doctest: +SKIP
    >>> leaderboard.rows[0].by, leaderboard.row("logme").values["nDCG taskweb"].mean  # doctest: +SKIP
    >>> print(leaderboard.markdown())  # doctest: +SKIP
    """

    rows: tuple[LeaderboardRow, ...]
    targets: tuple[str, ...]
    about: str
    notes: tuple[str, ...] = ()

    def row(self, by: str) -> LeaderboardRow:
        """One selector's row.

        Raises:
            UserError: a selector that was not evaluated.
        """
        rows = {row.by: row for row in self.rows}
        if by not in rows:
            raise unknown("evaluated selector", by, rows)
        return rows[by]

    def table(self) -> Table:
        """The metrics that fit a terminal, one row per selector."""
        shown = (HEADLINE, "nDCG lin", "regret@1", "regret@5", "rank of best", "top-1")
        caption = " ".join([self.about, *self.notes])
        table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", padding=(0, 1, 0, 0))
        table.add_column("selector", min_width=9, overflow="fold")
        for head in [*(name.replace("@", "\n@").replace(" ", "\n", 1) for name in shown), "tau", "s per\ntarget"]:
            table.add_column(head, justify="right", no_wrap=True)
        for row in self.rows:
            cells = [_cell(row.values[name], RANKING_METRICS[name], name == HEADLINE) for name in shown]
            table.add_row(row.by, *cells, _number(row.tau, 2), _number(row.seconds))
        return table

    def markdown(self) -> str:
        """Every metric with its interval, as an aligned GitHub table under a sentence that says the conventions."""
        shown = [name for name in RANKING_METRICS if name != "nDCG schulte"]
        heads = ["selector", *map(_title, shown), "tau over seeds", "s/target", "s/source", "bytes/source"]
        lines = [
            [
                row.by,
                *(_cell(row.values[name], RANKING_METRICS[name], True) for name in shown),
                _number(row.tau, 2),
                _number(row.seconds),
                _number(row.source_seconds),
                _number(row.bytes, 0),
            ]
            for row in self.rows
        ]
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return f"{self.about}\n\n{_aligned(heads, lines)}\n{notes}"

    def per_target_markdown(self, metric: str = HEADLINE) -> str:
        """One metric: one row per selector, one column per target.

        Raises:
            UserError: an unknown metric.
        """
        if metric not in RANKING_METRICS:
            raise unknown("metric", metric, RANKING_METRICS)
        digits = RANKING_METRICS[metric].digits
        lines = [
            [row.by, *(_number(row.per_target[target][metric], digits) for target in self.targets)] for row in self.rows
        ]
        return f"{_title(metric)} of each target.\n\n{_aligned(['selector', *self.targets], lines)}\n"


def evaluate_selectors(
    matrix: TransferMatrix,
    scores: Sequence[SelectorScores],
    *,
    method: str = "sequential",
    draws: int = 1000,
    seed: int = 0,
) -> Leaderboard:
    """Evaluates every selector in `scores` on the targets that all of them have ranked.

    The interval is the bootstrap's, moved so that it lies about the value: a truth from resampled seeds is noisier than the truth, which
    lowers every draw [ours]. Where that would leave the metric's range it is cut.

    Args:
        method: the transfer method whose matrix rows are the ground truth.
        draws: how many the bootstrap makes; all selectors get the same ones.
        seed: of those draws.

    Raises:
        UserError: a target that the matrix does not hold, no target that all selectors have ranked, a source without a score, or
            duplicate scores.

    >>> from tasksel.evaluation.transfer_matrix import MatrixRecord
    >>> reached = {"mnli": 0.7, "cola": 0.5}  # accuracy on rte after transfer from each source
    >>> runs = [MatrixRecord("rte", name, "sequential", 0, "accuracy", score, None, 9, 1.0) for name, score in reached.items()]
    >>> ranking = SelectorScores("text", "rte", 0, {"mnli": 0.9, "cola": 0.2}, 0.1, 0.2, 1536)
    >>> evaluate_selectors(TransferMatrix(tuple(runs)), [ranking]).row("text").values["regret@1"].mean
    0.0
    """
    to_evaluate = [one for one in scores if one.by not in (RANDOM, ORACLE, ONE_SEED)]
    unused = {one.by for one in scores} - {one.by for one in to_evaluate}
    notes = [f"The scores given as '{by}' are not used: that row is exact." for by in sorted(unused)]
    by_selector = _by_selector(to_evaluate)
    targets = _common_targets(matrix, by_selector, notes)
    truths = {
        target: GroundTruth.of(matrix, target, method=method, seed=seed + number)
        for number, target in enumerate(targets)
    }
    for target in targets:
        if lost := matrix.left_out(target, method=method):
            notes.append(f"Not in the ground truth of '{target}', as runs are missing or diverged: {lost}.")
    rows = _references(matrix, truths, method, draws, seed)
    rows += [
        _row_of(by, {target: by_target[target] for target in targets}, truths, draws, seed)
        for by, by_target in by_selector.items()
    ]
    for note in notes:
        say(note)
    rows.sort(key=lambda row: (-np.nan_to_num(row.values[HEADLINE].mean, nan=-1), row.by))
    return Leaderboard(tuple(rows), tuple(targets), _about(truths, method), tuple(notes))


def _references(
    matrix: TransferMatrix, truths: dict[str, GroundTruth], method: str, draws: int, seed: int
) -> list[LeaderboardRow]:
    """The floor, the ceiling and the ground truth itself. One seed costs what trying every source once takes."""
    once = _mean(matrix.seconds(target, method=method) for target in truths)
    all_seeds = _mean(matrix.seconds(target, method=method) * len(truth.scores) for target, truth in truths.items())
    values = {
        RANDOM: {target: truth.evaluate(np.zeros((1, len(truth.sources)))) for target, truth in truths.items()},
        ORACLE: {target: truth.evaluate_oracle() for target, truth in truths.items()},
        ONE_SEED: {target: truth.evaluate_one_seed() for target, truth in truths.items()},
    }
    taus = {ONE_SEED: _consistency(list(truth.scores) for truth in truths.values())}
    seconds = {RANDOM: 0.0, ORACLE: all_seeds, ONE_SEED: once}
    return [
        _summary(by, by_target, taus.get(by, math.nan), [seconds[by], math.nan, math.nan], draws, seed)
        for by, by_target in values.items()
    ]


def _row_of(
    by: str, scores: dict[str, list[SelectorScores]], truths: dict[str, GroundTruth], draws: int, seed: int
) -> LeaderboardRow:
    """One selector's row from its scores by target, one per ranking seed."""
    rankings = {target: [_ordered(one, truths[target]) for one in ones] for target, ones in scores.items()}
    by_target = {target: truths[target].evaluate(np.array(ranked)) for target, ranked in rankings.items()}
    every = [one for ones in scores.values() for one in ones]
    costs = [_mean(getattr(one, cost) for one in every) for cost in ("seconds", "source_seconds", "bytes")]
    return _summary(by, by_target, _consistency(rankings.values()), costs, draws, seed)


def _summary(
    by: str, by_target: dict[str, MetricValues], tau: float, costs: list[float], draws: int, seed: int
) -> LeaderboardRow:
    """Means over targets with their bootstrap intervals."""
    per_target = {
        target: {name: float(real.mean()) for name, (real, _) in of_target.items()}
        for target, of_target in by_target.items()
    }
    values = {}
    for name, metric in RANKING_METRICS.items():
        mean = _mean(of_target[name] for of_target in per_target.values())
        if math.isnan(mean):
            values[name] = Estimate(mean, math.nan, math.nan)
            continue
        resampled = np.array([of_target[name][1] for of_target in by_target.values()])
        centre, low, high = bootstrap(resampled, draws=draws, seed=seed, within=1)
        low, high = max(low - centre + mean, metric.least), min(high - centre + mean, metric.most)
        values[name] = Estimate(mean, min(low, mean), max(high, mean))
    return LeaderboardRow(by, values, per_target, tau, *costs)


def _consistency(rankings: Iterable[Sequence[np.ndarray]]) -> float:
    """Mean over targets of Kendall's tau-b between every two seeds' scores; NaN where no two can be compared."""
    taus = []
    for of_target in rankings:
        pairs = [float(kendalltau(a, b).statistic) for a, b in combinations(of_target, 2)]
        taus.append(_mean(tau for tau in pairs if not math.isnan(tau)))
    return _mean(tau for tau in taus if not math.isnan(tau))


def _mean(values: Iterable[float]) -> float:
    """The mean, NaN of nothing."""
    listed = list(values)
    return float(np.mean(listed)) if listed else math.nan


def _by_selector(scores: Sequence[SelectorScores]) -> dict[str, dict[str, list[SelectorScores]]]:
    """selector -> target -> its scores, one per ranking seed."""
    grouped: dict[str, dict[str, list[SelectorScores]]] = {}
    seen = set()
    for one in scores:
        if one.key in seen:
            raise UserError(f"'{one.by}' ranks target '{one.target}' twice under seed {one.seed}: keep one")
        seen.add(one.key)
        grouped.setdefault(one.by, {}).setdefault(one.target, []).append(one)
    return grouped


def _common_targets(
    matrix: TransferMatrix, by_selector: dict[str, dict[str, list[SelectorScores]]], notes: list[str]
) -> list[str]:
    """The matrix's targets that every selector has ranked; a note for each selector that keeps others out."""
    for by_target in by_selector.values():
        for target in by_target:
            if target not in matrix.targets:
                raise unknown("target in the matrix", target, matrix.targets)
    ranked = [target for target in matrix.targets if any(target in by_target for by_target in by_selector.values())]
    if not by_selector:
        return list(matrix.targets)
    common = [target for target in ranked if all(target in by_target for by_target in by_selector.values())]
    for by, by_target in by_selector.items():
        if missing := [target for target in ranked if target not in by_target]:
            notes.append(f"Left out for every selector, as '{by}' has not ranked them: {', '.join(missing)}.")
    if not common:
        raise UserError(
            f"no target that every selector has ranked ({' '.join(notes)}): rank them, or leave a selector out"
        )
    return common


def _ordered(one: SelectorScores, truth: GroundTruth) -> np.ndarray:
    """The scores in the order of the truth's sources, [sources]."""
    for source in truth.sources:
        if source not in one.scores:
            raise UserError(f"'{one.by}' has no score for source '{source}' of target '{one.target}', seed {one.seed}")
    return np.array([one.scores[source] for source in truth.sources])


def _about(truths: dict[str, GroundTruth], method: str) -> str:
    sources, seeds = ([size[i] for size in (g.scores.shape for g in truths.values())] for i in (1, 0))
    return (
        f"{len(truths)} targets; ground truth: mean of {_span(seeds)} seeds of '{method}' transfer from {_span(sources)} sources. "
        "nDCG (0 to 1): taskweb has relevance N - true rank, lin and schulte 100 x score (one number: the target adapter is not a "
        "candidate). Regret in percent of the best source's score (mean regret: of the best five's mean), top-k: mean true score in percent; "
        "ties are broken in expectation; [95 % interval over targets and seeds]; tau: agreement of a selector's rankings under different seeds."
    )


def _span(values: Sequence[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)}-{max(values)}"


def _title(metric: str) -> str:
    return "nDCG lin = schulte" if metric == "nDCG lin" else metric


def _number(value: float, digits: int | None = None) -> str:
    """A number with so many decimals, by default three significant digits; - for NaN."""
    if math.isnan(value):
        return "-"
    if digits is None:
        digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _cell(value: Estimate, metric: RankingMetric, interval: bool) -> str:
    text = _number(value.mean, metric.digits)
    if not interval or math.isnan(value.low):
        return text
    return f"{text} [{_number(value.low, metric.digits)}, {_number(value.high, metric.digits)}]"


def _aligned(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A GitHub table whose columns line up in plain text too; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    rows = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (heads, *lines)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
