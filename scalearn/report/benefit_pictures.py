"""The ranking of the sources beside what each of them was worth: did it foresee the benefit?

x   similarity to the target, mean over seeds        y   points over single-adapter of the source alone, 95 % paired interval over seeds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from scalearn.comparison.condition import EACH
from scalearn.comparison.records import RankingRow
from scalearn.report.drawing import GREEN, INK, VERMILION, Picture, file_name, label_points, panels, settle
from scalearn.report.score_pictures import REFERENCE, ascending
from scalearn.report.statistics import Comparison, Paired, rows_words


@dataclass(frozen=True)
class Benefit:
    """A target's sources: how alike each was said to be, and what it alone gave over no source.

    Attributes:
        names, similarities, gains: in one order; gains are paired differences to single-adapter, fractions.
    """

    target: str
    names: tuple[str, ...]
    similarities: tuple[float, ...]
    gains: tuple[Paired, ...]

    @property
    def rho(self) -> float:
        """Spearman's; nan with fewer than three sources, or where all are alike."""
        gains = [gain.difference for gain in self.gains]
        if len(self.names) < 3 or np.ptp(self.similarities) == 0 or np.ptp(gains) == 0:
            return math.nan
        return float(spearmanr(self.similarities, gains).statistic)


def benefit_pictures(comparison: Comparison, rankings: Sequence[RankingRow], prefix: str) -> list[Picture]:
    """A picture for each way of choosing, method and size that have both a ranking and sources that were used alone."""
    made = []
    methods = list(dict.fromkeys(way.method for way in comparison.ways if way.by == EACH))
    for by in dict.fromkeys(ranking.by for ranking in rankings):
        for method in methods:
            for size in reversed(ascending(comparison.sizes)):
                found = [
                    benefit
                    for target in comparison.targets
                    if (benefit := _benefit(comparison, rankings, (target, size, by, method))) is not None
                ]
                if found:
                    name = file_name(prefix, "benefit", by, method, str(size))
                    made.append(_benefit_picture(found, by, method, size, name))
    return made


def _benefit(
    comparison: Comparison, rankings: Sequence[RankingRow], asked: tuple[str, int | str, str, str]
) -> Benefit | None:
    """None with fewer than two sources that were both ranked and used alone."""
    target, size, by, method = asked
    ranked = [row for row in rankings if (row.target, row.size, row.by) == (target, size, by)]
    told: dict[str, list[float]] = {}
    for ranking in ranked:
        for source, score in zip(ranking.names, ranking.scores, strict=True):
            told.setdefault(source, []).append(score)
    gains = {
        way.source: gain
        for way in comparison.ways
        if way.by == EACH and way.method == method and way.source in told
        if (gain := comparison.paired(size, way, REFERENCE, target)) is not None
    }
    names = tuple(source for source in told if source in gains)
    if len(names) < 2:
        return None
    similarities = tuple(float(np.mean(told[source])) for source in names)
    return Benefit(target, names, similarities, tuple(gains[source] for source in names))


def _benefit_picture(found: Sequence[Benefit], by: str, method: str, size: int | str, name: str) -> Picture:
    drawn = panels(len(found), height=2.9 if len(found) == 1 else 2.15)
    for ax, benefit in zip(drawn.axes, found, strict=True):
        _benefit_panel(ax, benefit)
    drawn.name_axes(f"similarity by {by}", f"{method} from it alone − {REFERENCE}, points")
    settle(drawn.figure)
    for ax, benefit in zip(drawn.axes, found, strict=True):
        points = [(x, 100 * gain.difference) for x, gain in zip(benefit.similarities, benefit.gains, strict=True)]
        label_points(ax, points, benefit.names, size=6)
    rhos = [benefit.rho for benefit in found]
    known = [rho for rho in rhos if not math.isnan(rho)]
    mean = f"{np.mean(known):.2f}" if known else "not defined"
    caption = (
        f"Each point is one source: how alike {by} says it is, and what {method} from it alone gains over {REFERENCE} with "
        f"{rows_words(size)} (lines: 95 % paired intervals over seeds). Spearman's rho, mean over {len(known)} target"
        f"{'s' if len(known) != 1 else ''}: {mean}; each panel tells its own. Right and high: a ranking that foresaw a benefit."
    )
    told = "; ".join(f"{one.target}: rho {_rho(one.rho)}, most from {_most(one)}" for one in found)
    alt = f"Similarity by {by} against the measured gain of each source alone, with {rows_words(size)}. {told}."
    return Picture(name, f"Ranking by {by} and measured benefit", alt, caption, drawn.figure, "benefit")


def _benefit_panel(ax: Any, benefit: Benefit) -> None:
    ax.axhline(0, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    for x, gain in zip(benefit.similarities, benefit.gains, strict=True):
        colour, marker = (GREEN, "o") if gain.difference > 0 else (VERMILION, "X")
        if not math.isnan(gain.low):
            ax.plot([x, x], [100 * gain.low, 100 * gain.high], color=colour, linewidth=0.8, alpha=0.5)
        ax.plot([x], [100 * gain.difference], color=colour, marker=marker, markersize=4.5)
    ax.margins(x=0.22, y=0.12)
    ax.locator_params(axis="x", nbins=4)
    ax.set_title(f"{benefit.target}  (rho {_rho(benefit.rho)})")


def _rho(rho: float) -> str:
    return "not defined" if math.isnan(rho) else f"{rho:.2f}".replace("-", "−")


def _most(benefit: Benefit) -> str:
    gain, name = max((gain.difference, name) for gain, name in zip(benefit.gains, benefit.names, strict=True))
    return f"{name} ({100 * gain:+.1f})"
