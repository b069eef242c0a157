"""The ranking of the sources beside what each of them gains alone: did the selector predict it?

x   the selector's score, mean over seeds        y   gain of the source alone over single-adapter in points, 95 % paired interval over seeds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from scalearn.comparison.condition import EACH
from scalearn.comparison.records import RankingRecord
from scalearn.report.figures.shown import REFERENCE, ascending
from scalearn.report.statistics import Comparison, Paired, rows_words
from tasksel.display.figures import GREEN, INK, VERMILION, file_name
from tasksel.display.layout import label_points, panels, settle
from tasksel.display.picture import Picture


@dataclass(frozen=True)
class SourceGains:
    """A target's sources: how the selector scored each, and what each gains alone.

    Attributes:
        names, scores, gains: in one order; gains are paired differences to single-adapter, fractions.
    """

    target: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    gains: tuple[Paired, ...]

    @property
    def rho(self) -> float:
        """Spearman's; nan with fewer than three sources, or where all are alike."""
        gains = [gain.difference for gain in self.gains]
        if len(self.names) < 3 or np.ptp(self.scores) == 0 or np.ptp(gains) == 0:
            return math.nan
        return float(spearmanr(self.scores, gains).statistic)


def source_gain_pictures(comparison: Comparison, rankings: Sequence[RankingRecord], prefix: str) -> list[Picture]:
    """One picture for each selector, method and size that have both a ranking and sources that were used alone."""
    pictures = []
    methods = list(dict.fromkeys(condition.method for condition in comparison.conditions if condition.by == EACH))
    for by in dict.fromkeys(ranking.by for ranking in rankings):
        for method in methods:
            for size in reversed(ascending(comparison.sizes)):
                every = [_source_gains(comparison, rankings, target, size, by, method) for target in comparison.targets]
                shown = [gains for gains in every if gains is not None]
                if shown:
                    name = file_name(prefix, "source-gain", by, method, str(size))
                    pictures.append(_picture(shown, by, method, size, name))
    return pictures


def _source_gains(
    comparison: Comparison, rankings: Sequence[RankingRecord], target: str, size: int | str, by: str, method: str
) -> SourceGains | None:
    """None with fewer than two sources that were both ranked and used alone."""
    scores: dict[str, list[float]] = {}
    for ranking in rankings:
        if (ranking.target, ranking.size, ranking.by) == (target, size, by):
            for source, score in zip(ranking.names, ranking.scores, strict=True):
                scores.setdefault(source, []).append(score)
    gains = {
        condition.source: gain
        for condition in comparison.conditions
        if condition.by == EACH and condition.method == method and condition.source in scores
        if (gain := comparison.paired(size, condition, REFERENCE, target)) is not None
    }
    names = tuple(source for source in scores if source in gains)
    if len(names) < 2:
        return None
    means = tuple(float(np.mean(scores[source])) for source in names)
    return SourceGains(target, names, means, tuple(gains[source] for source in names))


def _picture(shown: Sequence[SourceGains], by: str, method: str, size: int | str, name: str) -> Picture:
    drawn = panels(len(shown), height=2.9 if len(shown) == 1 else 2.15)
    for ax, of_target in zip(drawn.axes, shown, strict=True):
        _panel(ax, of_target)
    drawn.name_axes(f"score by {by}", f"gain over {REFERENCE}, points")
    settle(drawn.figure)
    for ax, of_target in zip(drawn.axes, shown, strict=True):
        points = [(x, 100 * gain.difference) for x, gain in zip(of_target.scores, of_target.gains, strict=True)]
        label_points(ax, points, of_target.names, size=6)
    known = [of_target.rho for of_target in shown if not math.isnan(of_target.rho)]
    mean = f"{np.mean(known):.2f}".replace("-", "−") if known else "not defined"
    caption = (
        f"Each point is one source: its score by {by}, and what {method} from it alone gains over {REFERENCE} with "
        f"{rows_words(size)} (lines: 95 % paired intervals over seeds). Spearman's rho, mean over {len(known)} target"
        f"{'s' if len(known) != 1 else ''}: {mean}; each panel has its own. Right and high: the selector predicted a gain."
    )
    each = "; ".join(
        f"{of_target.target}: rho {_rho(of_target.rho)}, most from {_most(of_target)}" for of_target in shown
    )
    alt = f"Score by {by} against the measured gain of each source alone, with {rows_words(size)}. {each}."
    return Picture(name, f"Ranking by {by} and measured gain", alt, caption, drawn.figure, "gain")


def _panel(ax: Any, of_target: SourceGains) -> None:
    ax.axhline(0, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    for x, gain in zip(of_target.scores, of_target.gains, strict=True):
        colour, marker = (GREEN, "o") if gain.difference > 0 else (VERMILION, "X")
        if not math.isnan(gain.low):
            ax.plot([x, x], [100 * gain.low, 100 * gain.high], color=colour, linewidth=0.8, alpha=0.5)
        ax.plot([x], [100 * gain.difference], color=colour, marker=marker, markersize=4.5)
    ax.margins(x=0.22, y=0.12)
    ax.locator_params(axis="x", nbins=4)
    ax.set_title(f"{of_target.target}  (rho {_rho(of_target.rho)})")


def _rho(rho: float) -> str:
    return "not defined" if math.isnan(rho) else f"{rho:.2f}".replace("-", "−")


def _most(of_target: SourceGains) -> str:
    gain, name = max((gain.difference, name) for gain, name in zip(of_target.gains, of_target.names, strict=True))
    return f"{name} ({100 * gain:+.1f})"
