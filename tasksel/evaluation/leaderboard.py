"""Selection methods judged against a measured matrix: a row a method, with intervals, a floor and a ceiling.

truth of a target       mean over the matrix's seeds
value of a method       mean over targets of the mean over its ranking seeds
interval                two-level bootstrap: targets; within a target, the matrix's seeds (another truth) and one ranking seed

random      the floor: no source before another        oracle      the truth itself
one seed    the ceiling: each matrix seed's own scores, judged by the mean of the other seeds
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np
from rich import box
from rich.table import Table
from scipy.stats import kendalltau

from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.evaluation.ranking_metrics import (
    bootstrap,
    mean_regret,
    ndcg,
    rank_of_best,
    regret,
    top_k_mean,
    true_rank_of_first,
)
from tasksel.evaluation.score_records import SelectorScores
from tasksel.evaluation.transfer_matrix import TransferMatrix

RANDOM, ORACLE, ONE_SEED = "random", "oracle", "one seed"
TRUTHS = 300  # resampled truths a target, from which the bootstrap draws


@dataclass(frozen=True)
class Measure:
    """One number of a ranking: how it is computed, its decimals, and the range it cannot leave."""

    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    digits: int
    least: float = -math.inf
    most: float = math.inf


def _top_percent(predicted: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    return 100 * top_k_mean(predicted, truth, k)


MEASURES = {
    **{f"nDCG {name}": Measure(partial(ndcg, convention=name), 3, 0, 1) for name in ("taskweb", "lin", "schulte")},
    **{f"regret@{k}": Measure(partial(regret, k=k), 1, 0) for k in (1, 3, 5)},
    "mean regret@5": Measure(partial(mean_regret, k=5), 1, 0),
    "rank of best": Measure(rank_of_best, 1, 1),
    "rank of first": Measure(true_rank_of_first, 1, 1),
    **{f"top-{k}": Measure(partial(_top_percent, k=k), 1) for k in (1, 3, 5)},
}
HEADLINE = "nDCG taskweb"


@dataclass(frozen=True)
class Value:
    """A mean and its 95 % interval; NaN where there is none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LeaderboardRow:
    """One selection method: a value for every measure, each target's own, and what it costs.

    Attributes:
        tau: mean Kendall tau-b between the rankings of one target under different seeds; NaN where there is one seed only.
        seconds, source_seconds, bytes: as in `SelectorScores`, means; NaN where they say nothing.
    """

    by: str
    values: dict[str, Value]
    per_target: dict[str, dict[str, float]]
    tau: float
    seconds: float
    source_seconds: float
    bytes: float


@dataclass(frozen=True)
class Leaderboard:
    """Every method's row, best nDCG (taskweb) first, and what the rows stand on."""

    rows: tuple[LeaderboardRow, ...]
    targets: tuple[str, ...]
    about: str
    notes: tuple[str, ...] = ()

    def row(self, by: str) -> LeaderboardRow:
        """One method's row.

        Raises:
            UserError: a method that was not judged.
        """
        found = {row.by: row for row in self.rows}
        if by not in found:
            raise unknown("judged method", by, found)
        return found[by]

    def table(self) -> Table:
        """The measures that fit a terminal."""
        shown = (HEADLINE, "nDCG lin", "regret@1", "regret@5", "rank of best", "top-1")
        caption = " ".join([self.about, *self.notes])
        table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", padding=(0, 1, 0, 0))
        table.add_column("method", min_width=9, overflow="fold")
        for head in [*(name.replace("@", "\n@").replace(" ", "\n", 1) for name in shown), "tau", "s a\ntarget"]:
            table.add_column(head, justify="right", no_wrap=True)
        for row in self.rows:
            cells = [_cell(row.values[name], MEASURES[name], name == HEADLINE) for name in shown]
            table.add_row(row.by, *cells, _number(row.tau, 2), _number(row.seconds))
        return table

    def markdown(self) -> str:
        """Every measure with its interval, as an aligned GitHub table under a sentence that says the conventions."""
        shown = [name for name in MEASURES if name != "nDCG schulte"]
        heads = ["method", *map(_title, shown), "tau over seeds", "s/target", "s/source", "bytes/source"]
        lines = [
            [
                row.by,
                *(_cell(row.values[name], MEASURES[name], True) for name in shown),
                _number(row.tau, 2),
                _number(row.seconds),
                _number(row.source_seconds),
                _number(row.bytes, 0),
            ]
            for row in self.rows
        ]
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return f"{self.about}\n\n{_aligned(heads, lines)}\n{notes}"

    def per_target_markdown(self, measure: str = HEADLINE) -> str:
        """One measure, a row a method, a column a target.

        Raises:
            UserError: an unknown measure.
        """
        if measure not in MEASURES:
            raise unknown("measure", measure, MEASURES)
        digits = MEASURES[measure].digits
        lines = [
            [row.by, *(_number(row.per_target[target][measure], digits) for target in self.targets)]
            for row in self.rows
        ]
        return f"{_title(measure)} of each target.\n\n{_aligned(['method', *self.targets], lines)}\n"


def evaluate_selectors(
    matrix: TransferMatrix,
    scores: Sequence[SelectorScores],
    *,
    method: str = "sequential",
    draws: int = 1000,
    seed: int = 0,
) -> Leaderboard:
    """Judges every method in `scores` on the targets that all of them have ranked.

    The interval is the bootstrap's, moved so that it lies about the value: a truth from resampled seeds is noisier than the truth, which
    lowers every draw [ours]. Where that would leave the measure's range it is cut.

    Args:
        method: the way of transfer whose matrix rows are the truth.
        draws, seed: of the bootstrap; all methods get the same draws.

    Raises:
        UserError: a target that the matrix does not hold, no target that all methods have ranked, a source without a score, or scores
            that were given twice.
    """
    given = [one for one in scores if one.by not in (RANDOM, ORACLE, ONE_SEED)]
    notes = [
        f"The scores given as '{by}' are not used: that row is exact." for by in sorted(_names(scores) - _names(given))
    ]
    by_method = _by_method(given)
    targets = _common_targets(matrix, by_method, notes)
    golds = {target: _gold(matrix, target, method, seed + number) for number, target in enumerate(targets)}
    for target in targets:
        if lost := matrix.left_out(target, method=method):
            notes.append(f"Not in the truth of '{target}', as runs are missing or diverged: {lost}.")
    rows = _references(matrix, golds, method, draws, seed)
    for by, told in by_method.items():
        chosen = {target: told[target] for target in targets}
        runs = {target: [_ordered(one, golds[target]) for one in chosen[target]] for target in targets}
        outcomes = {target: _outcome(golds[target], np.array(runs[target])) for target in targets}
        every = [one for target in targets for one in chosen[target]]
        costs = [_mean(getattr(one, cost) for one in every) for cost in ("seconds", "source_seconds", "bytes")]
        rows.append(_judged(by, outcomes, _consistency(runs.values()), costs, draws, seed))
    for note in notes:
        say(note)
    rows.sort(key=lambda row: (-np.nan_to_num(row.values[HEADLINE].mean, nan=-1), row.by))
    return Leaderboard(tuple(rows), tuple(targets), _about(golds, method), tuple(notes))


@dataclass(frozen=True)
class _Gold:
    """A target's truth: scores [seeds, sources], their mean [sources], and means of resampled seeds [TRUTHS, sources]."""

    sources: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    truths: np.ndarray
    rng: np.random.Generator = field(repr=False)


def _gold(matrix: TransferMatrix, target: str, method: str, seed: int) -> _Gold:
    sources, scores = matrix.truth(target, method=method)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(scores), (TRUTHS, len(scores)))
    return _Gold(sources, scores, _mean_score(scores), _mean_score(scores[picks], axis=1), rng)


def _mean_score(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean, rounded so that sources that tie still do after the sum."""
    return scores.mean(axis=axis).round(12)


# what a target says of a method: each measure's values, [ranking seeds] and [draws]
Outcome = dict[str, tuple[np.ndarray, np.ndarray]]


def _outcome(gold: _Gold, predicted: np.ndarray) -> Outcome:
    """Predicted scores [ranking seeds, sources] against the truth, and against each resampled truth, ranking seeds in turn."""
    drawn = predicted[np.arange(TRUTHS) % len(predicted)] if len(predicted) > 1 else predicted
    return _measured((predicted, gold.truth), (drawn, gold.truths))


def _measured(real: tuple[np.ndarray, np.ndarray], drawn: tuple[np.ndarray, np.ndarray]) -> Outcome:
    return {name: (np.atleast_1d(measure.of(*real)), measure.of(*drawn)) for name, measure in MEASURES.items()}


def _one_seed(gold: _Gold) -> Outcome:
    """Each seed's own scores against the mean of the others; NaN where there is one seed only."""
    count = len(gold.scores)
    if count == 1:
        return {name: (np.full(1, np.nan), np.full(TRUTHS, np.nan)) for name in MEASURES}
    others = np.array([_mean_score(np.delete(gold.scores, one, axis=0)) for one in range(count)])
    one = gold.rng.integers(0, count, TRUTHS)
    picks = gold.rng.integers(0, count - 1, (TRUTHS, count - 1))
    picks += picks >= one[:, None]  # any seed but that one
    return _measured((gold.scores, others), (gold.scores[one], _mean_score(gold.scores[picks], axis=1)))


def _references(
    matrix: TransferMatrix, golds: dict[str, _Gold], method: str, draws: int, seed: int
) -> list[LeaderboardRow]:
    """The floor, the ceiling and the truth itself. Trying every source once is what one seed costs."""
    once = _mean(matrix.seconds(target, method=method) for target in golds)
    every = _mean(matrix.seconds(target, method=method) * len(gold.scores) for target, gold in golds.items())
    outcomes = {
        RANDOM: {target: _outcome(gold, np.zeros((1, len(gold.sources)))) for target, gold in golds.items()},
        ORACLE: {
            target: _measured((gold.truth, gold.truth), (gold.truths, gold.truths)) for target, gold in golds.items()
        },
        ONE_SEED: {target: _one_seed(gold) for target, gold in golds.items()},
    }
    taus = {ONE_SEED: _consistency(list(gold.scores) for gold in golds.values())}
    costs = {RANDOM: 0.0, ORACLE: every, ONE_SEED: once}
    return [
        _judged(by, told, taus.get(by, math.nan), [costs[by], math.nan, math.nan], draws, seed)
        for by, told in outcomes.items()
    ]


def _judged(
    by: str, outcomes: dict[str, Outcome], tau: float, costs: list[float], draws: int, seed: int
) -> LeaderboardRow:
    per_target = {
        target: {name: float(real.mean()) for name, (real, _) in told.items()} for target, told in outcomes.items()
    }
    values = {}
    for name, measure in MEASURES.items():
        mean = _mean(told[name] for told in per_target.values())
        if math.isnan(mean):
            values[name] = Value(mean, math.nan, math.nan)
            continue
        pool = np.array([told[name][1] for told in outcomes.values()])
        centre, low, high = bootstrap(pool, draws=draws, seed=seed, within=1)
        low, high = max(low - centre + mean, measure.least), min(high - centre + mean, measure.most)
        values[name] = Value(mean, min(low, mean), max(high, mean))
    return LeaderboardRow(by, values, per_target, tau, *costs)


def _consistency(rankings: Iterable[Sequence[np.ndarray]]) -> float:
    """Mean over targets of Kendall's tau-b between every two seeds' scores; NaN where no two can be compared."""
    taus = []
    for runs in rankings:
        pairs = [float(kendalltau(a, b).statistic) for a, b in combinations(runs, 2)]
        taus.append(_mean(tau for tau in pairs if not math.isnan(tau)))
    return _mean(tau for tau in taus if not math.isnan(tau))


def _mean(values: Iterable[float]) -> float:
    told = list(values)
    return float(np.mean(told)) if told else math.nan


def _names(scores: Iterable[SelectorScores]) -> set[str]:
    return {one.by for one in scores}


def _by_method(scores: Sequence[SelectorScores]) -> dict[str, dict[str, list[SelectorScores]]]:
    """method -> target -> its scores, one a ranking seed."""
    found: dict[str, dict[str, list[SelectorScores]]] = {}
    seen = set()
    for one in scores:
        if one.key in seen:
            raise UserError(f"'{one.by}' ranks target '{one.target}' twice under seed {one.seed}: keep one")
        seen.add(one.key)
        found.setdefault(one.by, {}).setdefault(one.target, []).append(one)
    return found


def _common_targets(
    matrix: TransferMatrix, by_method: dict[str, dict[str, list[SelectorScores]]], notes: list[str]
) -> list[str]:
    """The matrix's targets that every method has ranked; a note for each method that keeps others out."""
    for told in by_method.values():
        for target in told:
            if target not in matrix.targets:
                raise unknown("target in the matrix", target, matrix.targets)
    ranked = [target for target in matrix.targets if any(target in told for told in by_method.values())]
    if not by_method:
        return list(matrix.targets)
    common = [target for target in ranked if all(target in told for told in by_method.values())]
    for by, told in by_method.items():
        if missing := [target for target in ranked if target not in told]:
            notes.append(f"Left out for every method, as '{by}' has not ranked them: {', '.join(missing)}.")
    if not common:
        raise UserError(f"no target that every method has ranked ({' '.join(notes)}): rank them, or leave a method out")
    return common


def _ordered(one: SelectorScores, gold: _Gold) -> np.ndarray:
    """The scores in the order of the truth's sources, [sources]."""
    for source in gold.sources:
        if source not in one.scores:
            raise UserError(f"'{one.by}' has no score for source '{source}' of target '{one.target}', seed {one.seed}")
    return np.array([one.scores[source] for source in gold.sources])


def _about(golds: dict[str, _Gold], method: str) -> str:
    sources, seeds = ([size[i] for size in (g.scores.shape for g in golds.values())] for i in (1, 0))
    return (
        f"{len(golds)} targets; truth: mean of {_span(seeds)} seeds of '{method}' transfer from {_span(sources)} sources. "
        "nDCG (0 to 1): taskweb has relevance N - gold rank, lin and schulte 100 x score (one number: the target's own source is no "
        "candidate). Regret in percent of the best source's score (mean regret: of the best five's mean), top-k: mean true score in percent; "
        "ties are broken in expectation; [95 % interval over targets and seeds]; tau: agreement of a method's rankings under different seeds."
    )


def _span(values: Sequence[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)}-{max(values)}"


def _title(measure: str) -> str:
    return "nDCG lin = schulte" if measure == "nDCG lin" else measure


def _number(value: float, digits: int | None = None) -> str:
    """A number with so many decimals, by default three significant digits; - for NaN."""
    if math.isnan(value):
        return "-"
    if digits is None:
        digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _cell(value: Value, measure: Measure, interval: bool) -> str:
    text = _number(value.mean, measure.digits)
    if not interval or math.isnan(value.low):
        return text
    return f"{text} [{_number(value.low, measure.digits)}, {_number(value.high, measure.digits)}]"


def _aligned(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A GitHub table whose columns line up in plain text too; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    rows = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (heads, *lines)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
