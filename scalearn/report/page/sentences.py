"""The comparison in sentences: which condition is best, whether its gain is more than noise, and what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from scalearn.report.figures.shown import REFERENCE, ascending, main_conditions
from scalearn.report.statistics import AVERAGE, Comparison, Condition, Paired, rows_words
from scalearn.report.tables import signed

SEED = re.compile(r"(.*), seed (-?\d+)")


def score(value: float) -> str:
    """A fraction x 100, with one decimal and a true minus."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}".replace("-", "−")


def between(low: float, high: float) -> str:
    """An interval of differences."""
    return f"{signed(low)} to {signed(high)}"


def summary(comparison: Comparison) -> list[str]:
    """A sentence or two for each size, fewest rows last, and a note on selection bias."""
    sentences = [_best_words(comparison, size) for size in reversed(ascending(comparison.sizes))]
    conditions = len(main_conditions(comparison))
    if conditions > 2:
        sentences.append(
            f"The best of {conditions} conditions is named after all scores are known, which flatters it a little; intervals are over seeds, "
            "not over other targets."
        )
    return sentences


def _best_words(comparison: Comparison, size: int | str) -> str:
    alone = len(comparison.targets) == 1
    target = comparison.targets[0] if alone else AVERAGE
    best, second = comparison.best(target, size)
    rows = f"With {rows_words(size)}"
    if best is None:
        return (
            f"{rows}, no condition has finished on every target with the same seeds yet, so that there is no average."
        )
    cell = comparison.cell(target, size, best)
    where = f"score on {target}" if alone else f"average over the {len(comparison.targets)} targets"
    words = f"{rows}, {comparison.label(best)} has the highest {where}: {score(cell.mean if cell else math.nan)}"
    if best.method == REFERENCE:
        return f"{words}. It takes no sources: {_nearest(comparison, target, size, best, second)}."
    return f"{words}. {gain_words(comparison.paired(size, best, REFERENCE, target))}"


def _nearest(comparison: Comparison, target: str, size: int | str, best: Condition, second: Condition | None) -> str:
    if second is None:
        return "nothing else is finished there"
    first, other = comparison.cell(target, size, best), comparison.cell(target, size, second)
    behind = (first.mean if first else math.nan) - (other.mean if other else math.nan)
    return f"none of the conditions that do is above it, and {comparison.label(second)} comes nearest, {score(behind)} points below"


def gain_words(paired: Paired | None) -> str:
    """Whether a gain over the reference is more than the noise between seeds."""
    if paired is None:
        return f"Whether that is more than noise cannot be said: there are not two seeds of it and of {REFERENCE} to compare."
    gap = f"{score(abs(paired.difference))} points {'above' if paired.difference >= 0 else 'below'} {paired.against}"
    if paired.p is None:
        return f"That is {gap}, by the very same amount with each of {paired.count} seeds: there is no spread to test it by."
    interval = (
        f"the 95 % interval of the paired difference over {paired.count} seeds is {between(paired.low, paired.high)}"
    )
    if paired.verdict == "win":
        return f"That is {gap}, more than the noise between seeds: {interval}."
    if paired.verdict == "loss":
        return f"That is {gap}, fewer than without sources: {interval}."
    return f"That is {gap}, no more than the noise between seeds: {interval}, which holds 0."


def grouped(names: Iterable[str]) -> list[str]:
    """Units in words, those that differ by the seed alone in one.

    >>> grouped(["rte with all rows by full, seed 0", "rte with all rows by full, seed 1", "other"])
    ['rte with all rows by full, seeds 0, 1', 'other']
    """
    seeds: dict[str, list[str]] = {}
    for name in names:
        match = SEED.fullmatch(name)
        seeds.setdefault(match[1] if match else name, []).extend([match[2]] if match else [])
    return [
        f"{unit}, seed{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}" if numbers else unit
        for unit, numbers in seeds.items()
    ]
