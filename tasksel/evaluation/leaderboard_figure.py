"""The leaderboard as a figure: each selector's nDCG, with its interval, against the seconds that it takes per target.

x   seconds per target, log            y   nDCG, mean and 95 % interval            one numbered circle per selector, named on the right

Lines with bands: the floor (random) and the ceiling (one seed's ground truth). Blue: no cheaper selector is as good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasksel.display.figures import BLUE, GREEN, GREY, INK, VERMILION, check_ending, look, save_figure
from tasksel.display.layout import shortened
from tasksel.errors import UserError, unknown
from tasksel.evaluation.leaderboard import ONE_SEED, ORACLE, RANDOM, Estimate, Leaderboard, LeaderboardRow
from tasksel.evaluation.ranking_metrics import RANKING_METRICS

LEAST_SECONDS = 1e-3  # a log axis has no 0
CIRCLE = 11.0  # points


def draw_leaderboard(leaderboard: Leaderboard, path: Path, *, convention: str = "taskweb") -> None:
    """Draws the nDCG of every selector, with its interval, against the seconds that it takes per target; SVG or PNG by the file's ending.

    A selector is a numbered circle, filled where no cheaper one is as good; circles that would cover each other are moved apart,
    each tied to a dot at its true place. The same leaderboard gives the same SVG, byte for byte.

    Args:
        convention: of the nDCG, one of `tasksel.evaluation.ranking_metrics.CONVENTIONS`.

    Raises:
        UserError: another ending, an unknown convention, no selector but the references, or no matplotlib.
    """
    check_ending(path)
    if (metric := f"nDCG {convention}") not in RANKING_METRICS:
        raise unknown(
            "nDCG convention", convention, [name.removeprefix("nDCG ") for name in RANKING_METRICS if "nDCG" in name]
        )
    if all(row.by in (RANDOM, ORACLE, ONE_SEED) for row in leaderboard.rows):
        raise UserError("nothing to draw: no selector was evaluated but the references")
    with look("leaderboard", font_size=9, axes_labelsize=9):
        save_figure(_figure(leaderboard, metric), path, "How good each selector's ranking is, against its cost")


def _figure(leaderboard: Leaderboard, metric: str) -> Any:
    """The figure: points on the left, the names of their numbers on the right."""
    from matplotlib.figure import Figure

    selectors = [row for row in leaderboard.rows if row.by not in (RANDOM, ORACLE, ONE_SEED)]
    selectors.sort(key=lambda row: (-row.values[metric].mean, row.by))
    height = max(4.2, 0.165 * len(selectors) + 1.3)
    figure = Figure(figsize=(9.5, height))
    axes = figure.add_axes((0.07, 0.6 / height, 0.53, 1 - 0.95 / height))
    values = [row.values[metric] for row in selectors]
    seconds = np.maximum([row.seconds for row in selectors], LEAST_SECONDS)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")  # not powers of ten, whose markup would stand there as it is
    axes.set_xlim(seconds.min() / 2.5, seconds.max() * 2.5)
    ends = [end for value in (*values, *_lines(axes, leaderboard, metric)) for end in (value.low, value.high)]
    room = 0.04 * (max(ends) - min(ends)) + 0.005
    axes.set_ylim(min(ends) - room, max(ends) + room)
    axes.set_xlabel(f"seconds per target (log{'; below 1 ms at 1 ms' if seconds.min() == LEAST_SECONDS else ''})")
    axes.set_ylabel(f"nDCG ({metric.removeprefix('nDCG ')}), mean and 95 % interval")
    best = _points(axes, seconds, values)
    _legend(figure, selectors, metric, best)
    return figure


def _points(axes: Any, seconds: np.ndarray, values: Sequence[Estimate]) -> np.ndarray:
    """Draws every circle where it covers no other; gives which of them are filled, bool [selectors]."""
    means = np.array([value.mean for value in values])
    pixels = axes.transData.transform(np.column_stack([seconds, means]))
    moved = np.column_stack([_apart(pixels, (CIRCLE + 1) * axes.figure.dpi / 72), pixels[:, 1]])
    places = axes.transData.inverted().transform(moved)[:, 0]
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, places.min() / 1.3), max(right, places.max() * 1.3))  # no circle over the edge
    best = _frontier(seconds, means)
    for number, (true, x, value) in enumerate(zip(seconds, places, values, strict=True), 1):
        _point(axes, (true, x), value, number, bool(best[number - 1]))
    return best


def _lines(axes: Any, leaderboard: Leaderboard, metric: str) -> list[Estimate]:
    """Floor and ceiling as lines with their intervals as bands, named in the margin."""
    estimates = []
    for by, name, colour, dash in (
        (RANDOM, "random", VERMILION, "--"),
        (ONE_SEED, "one seed's\nground truth", GREEN, "-."),
    ):
        value = leaderboard.row(by).values[metric]
        if not math.isnan(value.mean):
            axes.axhspan(value.low, value.high, color=colour, alpha=0.10, linewidth=0)
            axes.axhline(value.mean, color=colour, linestyle=dash, linewidth=1.3)
            margin = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8}
            axes.text(1.01, value.mean, f"{name}\n{value.mean:.3f}", color=colour, **margin)
            estimates.append(value)
    return estimates


def _point(axes: Any, places: tuple[float, float], value: Estimate, number: int, best: bool) -> None:
    """A circle and its interval, tied to a dot at the true cost where the circle had to move."""
    (true, x), bar = places, {"color": BLUE if best else GREY, "zorder": 2}
    axes.plot([x, x], [value.low, value.high], linewidth=1.0, **bar)
    axes.plot([true, x], [value.mean, value.mean], linewidth=0.7, marker=".", markersize=3, markevery=[0], **bar)
    face = {"markerfacecolor": BLUE if best else "white", "markeredgecolor": BLUE if best else INK}
    axes.plot([x], [value.mean], marker="o", markersize=CIRCLE, markeredgewidth=0.8, zorder=3 + number, **face)
    ink = {"color": "white" if best else INK, "fontsize": 6.5, "zorder": 3.5 + number}
    axes.annotate(str(number), (x, value.mean), ha="center", va="center_baseline", **ink)


def _legend(figure: Any, selectors: Sequence[LeaderboardRow], metric: str, best: np.ndarray) -> None:
    """Number, name and value of each selector; in blue those whose circle is filled."""
    height = figure.get_figheight()
    for line, row in enumerate(selectors):
        y = 1 - (0.42 + 0.165 * line) / height
        style = {"fontsize": 8, "va": "center", "color": BLUE if best[line] else INK}
        figure.text(0.715, y, str(line + 1), ha="right", **style)
        figure.text(0.725, y, shortened(row.by, 0.2 * 72 * figure.get_figwidth(), 8), ha="left", **style)
        figure.text(0.985, y, f"{row.values[metric].mean:.3f}", ha="right", **style)
    figure.text(
        0.985,
        0.12 / height,
        "blue: no cheaper selector is as good\na dot: where a moved circle belongs",
        fontsize=8,
        color=BLUE,
        ha="right",
    )


def _frontier(seconds: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Whether each selector is better than all that take as long or less, bool [selectors]."""
    return np.array(
        [all(means[i] > means[(seconds <= seconds[i]) & (np.arange(means.size) != i)]) for i in range(means.size)]
    )


def _apart(points: np.ndarray, size: float) -> np.ndarray:
    """New x, in pixels, at which circles of a size do not cover each other and no two bars coincide; points [n, 2].

    Each circle, from the left, takes the smallest shift that is free.
    """
    placed: list[tuple[float, float]] = []
    moved = points[:, 0].copy()
    for i in np.lexsort((-points[:, 1], points[:, 0])):
        for step in range(8 * len(points)):
            x, y = points[i, 0] + (-1) ** (step + 1) * ((step + 1) // 2) * size / 4, points[i, 1]
            if all(math.hypot(x - a, y - b) >= size and abs(x - a) >= size / 4.01 for a, b in placed):
                break
        moved[i] = x
        placed.append((x, y))
    return moved
