"""Which conditions a figure shows, and in which order its sizes stand.

Where a method was run in several conditions, the one with most sources and without the target adapter stands for it in the curves: a
rule that looks at no score.
"""

from __future__ import annotations

from collections.abc import Sequence

from scalearn.comparison.condition import ALL, EACH, FULL
from scalearn.report.statistics import Cell, Comparison, Condition

SCORE = "score, %"
REFERENCE = "single-adapter"
Point = tuple[float, float, float]  # mean, low, high


def ascending(sizes: Sequence[int | str]) -> list[int | str]:
    """Sizes by their number of rows, "full" last."""
    return sorted(sizes, key=lambda size: (size == FULL, size if isinstance(size, int) else 0))


def main_conditions(comparison: Comparison) -> list[Condition]:
    """All conditions but those of one source alone."""
    return [condition for condition in comparison.conditions if condition.by != EACH]


def shown_conditions(comparison: Comparison) -> list[Condition]:
    """One condition per method: without the target adapter if it has such a one, of those the one with most sources, of those all of them."""
    chosen: dict[str, Condition] = {}
    for condition in main_conditions(comparison):
        held = chosen.get(condition.method)
        if held is None or _preference(condition) > _preference(held):
            chosen[condition.method] = condition
    return list(chosen.values())


def _preference(condition: Condition) -> tuple[bool, int, bool]:
    return not condition.include_target, condition.k, condition.by == ALL


def shown_words(conditions: Sequence[Condition], comparison: Comparison) -> str:
    """Which condition stands for each method that was run in several; nothing where each was run in one."""
    methods = [other.method for other in main_conditions(comparison)]
    several = [condition for condition in conditions if methods.count(condition.method) > 1]
    if not several:
        return ""
    groups: dict[str, list[str]] = {}
    for condition in several:
        chosen = (
            f"all {condition.k} sources"
            if condition.by == ALL
            else f"{condition.k} source{'s' if condition.k > 1 else ''} by {condition.by}"
        )
        groups.setdefault(chosen + (" with the target adapter" if condition.include_target else ""), []).append(
            condition.method
        )
    listed = "; ".join(f"{', '.join(methods)} from {chosen}" for chosen, methods in groups.items())
    return f" Of methods that were run in several conditions, the one with most sources is drawn: {listed}."


def percent(cell: Cell | None) -> Point | None:
    """Mean, low and high in %, low and high nan for one seed; None where there is no score."""
    if cell is None or not cell.scores:
        return None
    low, high = cell.interval
    return 100 * cell.mean, 100 * low, 100 * high
