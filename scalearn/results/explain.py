"""Which sources of a stored mix matter, in which layers, and the score without each.

omega       mean |omega_s| by layer: a source's scaling weight
shares      a source's share of what the mix adds, on rows of the dev split (`scalearn.layers.attribution`)
left out    the score on the public validation set with omega_s = 0, with a paired bootstrap interval of the difference

The interval draws rows with replacement, the same ones for both models [std]; it does not cover the seed of the training.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from scalearn.layers.attribution import effective_omega, mix_slots, shares, without
from scalearn.methods.candidate import Candidate
from scalearn.methods.registry import METHODS, get_method
from scalearn.results.result import TransferResult
from scalearn.results.trained_data import trained_data
from tasksel.display.progress import bar
from tasksel.errors import UserError
from tasksel.model.encoding import encode_split
from tasksel.model.names import module_name
from tasksel.storage.provenance import versions
from tasksel.tasks.examples import Split
from tasksel.tasks.load import Data, stratified
from tasksel.tasks.metrics import row_scores, score, within
from tasksel.tasks.text_metrics import TEXT_METRICS
from tasksel.training.predict import predict

DEV_ROWS, DRAWS, LEVEL = 200, 1000, 0.95  # ours


@dataclass(frozen=True)
class LeftOut:
    """The score without one source, and the interval of its difference to the full score (`score` - full).

    >>> LeftOut("mnli", score=0.7, difference=-0.1, low=-0.15, high=-0.05).verdict
    'helps'
    """

    source: str
    score: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "helps", "harms", or "no difference" if the interval contains 0."""
        if self.low <= 0 <= self.high:
            return "no difference"
        return "helps" if self.high < 0 else "harms"


@dataclass(frozen=True)
class Explanation:
    """The weights, shares and leave-one-out scores of a stored mix's sources, as `explain` computes them.

    Attributes:
        score: the full score by `metric` on `rows` rows of the public validation set. dev_rows: how many the shares are measured on.
        slots: module paths, from the first layer to the last. sources: in the order of omega's rows.
        omega: mean |omega| [L or 1 if shared, n]. shares: [L, n], which sum to 1 over n.
        left_out: one per source. candidates: those that `auto` compared. provenance: the transfer's key, base, sources, data, settings and versions.

    >>> explanation = explain(TransferResult.load("out/rte"))  # doctest: +SKIP
    >>> explanation.mean_shares  # doctest: +SKIP
    """

    target: str
    method: str
    seed: int
    metric: str
    score: float
    rows: int
    dev_rows: int
    sources: tuple[str, ...]
    slots: tuple[str, ...]
    omega: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    left_out: tuple[LeftOut, ...]
    candidates: tuple[Candidate, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def mean_shares(self) -> dict[str, float]:
        """Each source's share, the mean over layers."""
        return dict(zip(self.sources, np.mean(self.shares, axis=0).tolist(), strict=True))

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, with the verdict of each source; the provenance has the key "made"."""
        values = asdict(self)
        values["left_out"] = [{**asdict(left), "verdict": left.verdict} for left in self.left_out]
        values["made"] = values.pop("provenance")
        if not self.candidates:
            del values["candidates"]
        return values

    def __repr__(self) -> str:
        by_share = sorted(self.mean_shares.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in by_share)
        verdicts = [f"{left.source} {left.verdict}" for left in self.left_out if left.verdict != "no difference"]
        return (
            f"Explanation({self.target} by {self.method}, seed {self.seed}: {self.metric} {self.score:.4f}; "
            f"shares: {listed}; left out: {', '.join(verdicts) or 'no source makes a difference'})"
        )


def explain(
    result: TransferResult,
    *,
    seed: int | None = None,
    rows: int | None = None,
    dev_rows: int = DEV_ROWS,
    draws: int = DRAWS,
) -> Explanation:
    """Explains a stored result that has a mix; the result and its cached model stay as they are.

    Args:
        seed: by default the best one, by its dev score.
        rows: at most so many rows of the validation set are scored (a stratified draw, the same for every result).
        dev_rows: at most so many rows of the dev split for the shares.
        draws: of the bootstrap.

    Raises:
        UserError: a method without a mix; a seed that was not trained; data that is missing or has changed; less than 1 row.

    >>> explain(TransferResult.load("out/rte"), seed=0).left_out[0].verdict  # doctest: +SKIP
    """
    _check(result, rows=rows, dev_rows=dev_rows, draws=draws)
    chosen, name = result.seed(seed), module_name(result.task.name)
    data = trained_data(result, chosen)
    dev = data.dev.take(range(min(dev_rows, len(data.dev))))
    test = capped(data.test, rows)
    model = result.model(seed=chosen)
    omega = np.stack([np.abs(weights).mean(axis=-1) for weights in effective_omega(model, name)])
    same = get_method(result.run.method).shares_omega and bool((omega == omega[0]).all())
    full, left_out = _left_out(result, chosen, test, draws)
    return Explanation(
        target=name,
        method=result.run.method,
        seed=chosen,
        metric=result.task.metric,
        score=full,
        rows=len(test),
        dev_rows=len(dev),
        sources=tuple(result.run.sources),
        slots=tuple(mix_slots(model, name)),
        omega=_rows(omega[:1] if same else omega),
        shares=_rows(shares(model, name, _encoded(result, dev))),
        left_out=left_out,
        candidates=result.seeds[chosen].candidates or (),
        provenance=_provenance(result, data, draws),
    )


def paired_intervals(
    metric: str,
    full: np.ndarray,
    others: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Percentile intervals (95 %) of score(other) - score(full), over seeded draws of rows with replacement [std].

    Args:
        full, others: logits [rows, outputs] or written texts [rows], all of the same rows. labels: [rows] or [rows, labels].

    >>> same = np.eye(2)
    >>> paired_intervals("accuracy", same, [same], np.array([0, 1]))
    [(0.0, 0.0)]
    """
    rng = np.random.default_rng(seed)
    if metric in TEXT_METRICS:  # a mean over rows, each of which is scored once
        of_full, *of_others = (row_scores(metric, texts, labels) for texts in (full, *others))
        counts = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=draws)
        return _percentiles(counts @ (np.stack(of_others, axis=1) - of_full[:, None]) / len(labels))
    differences = np.empty((draws, len(others)))
    with warnings.catch_warnings():  # a draw may lack a class: scikit-learn's warning says nothing of the model
        warnings.simplefilter("ignore")
        for draw in differences:
            rows = rng.integers(0, len(labels), len(labels))
            full_score = score(metric, full[rows], labels[rows])
            draw[:] = [score(metric, other[rows], labels[rows]) - full_score for other in others]
    return _percentiles(differences)


def _percentiles(differences: np.ndarray) -> list[tuple[float, float]]:
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).tolist()
    return list(zip(low, high, strict=True))


def _left_out(result: TransferResult, seed: int, test: Split, draws: int) -> tuple[float, tuple[LeftOut, ...]]:
    """The full score, and the score without each source."""
    metric, encoded, names = result.task.metric, _encoded(result, test), tuple(result.run.sources)
    model, limits, others = result.model(seed=seed), result.range(seed=seed), []
    with bar(f"{result.task.name} without each source", len(names)) as advance:
        full = within(predict(model, encoded), limits)
        for number, source in enumerate(names):
            with without(model, module_name(result.task.name), number):
                others.append(within(predict(model, encoded), limits))
            advance(source)
    full_score = score(metric, full, test.labels)
    scores = [score(metric, other, test.labels) for other in others]
    intervals = paired_intervals(metric, full, others, test.labels, draws=draws)
    by_source = zip(names, scores, intervals, strict=True)
    return full_score, tuple(LeftOut(name, value, value - full_score, *interval) for name, value, interval in by_source)


def _provenance(result: TransferResult, data: Data, draws: int) -> dict[str, Any]:
    run = result.run
    decisive = {"key": run.key, "base": run.base, "sources": run.sources, "data": data.fingerprint}
    return {**decisive, "draws": draws, "level": LEVEL, "versions": versions()}


def _encoded(result: TransferResult, split: Split) -> Any:
    return encode_split(split, result.task, result.base.tokenizer, max_length=result.run.recipe.max_length)


def _rows(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in table)


def capped(test: Split, rows: int | None) -> Split:
    """At most so many rows, by a stratified draw: the same ones for every result.

    >>> len(capped(data.test, 50))  # doctest: +SKIP
    50
    """
    if rows is None or rows >= len(test):
        return test
    return test.take(sorted(stratified(test.labels, rows, seed=0)))


def _check(result: TransferResult, **numbers: int | None) -> None:
    """Refuses a result without a mix, and numbers below 1."""
    if not get_method(result.run.method).mixes:
        raise UserError(f"{result.folder}: '{result.run.method}' has no mix of sources to explain; {mixable_methods()}")
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; give 1 or more")


def mixable_methods() -> str:
    """The methods that have a mix, as an error names them."""
    return "methods that have one: " + ", ".join(name for name, method in METHODS.items() if method.mixes)
