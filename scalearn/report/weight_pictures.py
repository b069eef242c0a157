"""The weights that a mix learns: sources by layers, in colours around 0.

One size is shown, the largest, and one way a method (see `scalearn.report.score_pictures`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalearn.comparison.records import Row
from scalearn.report.drawing import BLUE, ORANGE, PAPER, WIDTH, Picture, file_name
from scalearn.report.score_pictures import ascending, standing_ways, standing_words
from scalearn.report.statistics import Comparison, Way, rows_words

IN_CELLS = 120  # numbers stand in the cells of a map of at most so many
CELL_INK = ("#111111", "#fefefe")  # on a light, on a dark cell; neither changes with the page


@dataclass(frozen=True)
class Weights:
    """A way's weights for one target: means over the seeds that took a source.

    Attributes:
        values: [sources, layers, or 1 if shared]; nan where no seed took the source.
        seeds: how many seeds took each source.
    """

    way: Way
    sources: tuple[str, ...]
    values: np.ndarray
    seeds: tuple[int, ...]


def mean_weights(rows: Sequence[Row], way: Way) -> Weights | None:
    """Weights of one target, size and way over seeds; None where no row has any. Sources in the order of their first row."""
    told = [row for row in rows if row.omega is not None]
    if not told:
        return None
    sources = tuple(dict.fromkeys(name for row in told for name in row.sources))
    seeds = {source: [row for row in told if source in row.sources] for source in sources}
    values = np.array([
        np.mean([[layer[list(row.sources).index(source)] for layer in row.omega or ()] for row in seeds[source]], axis=0)
        for source in sources
    ])  # fmt: skip
    return Weights(way, sources, values, tuple(len(seeds[source]) for source in sources))


def weight_pictures(comparison: Comparison, prefix: str) -> list[Picture]:
    """A picture a target: sources by layers of each mix method, and one column a method whose weights all layers share."""
    made = []
    for target in comparison.targets:
        for size in reversed(ascending(comparison.sizes)):
            found = [
                weights
                for way in standing_ways(comparison)
                if (weights := mean_weights(_rows_of(comparison, target, size, way), way)) is not None
            ]
            if found:
                made.append(_weight_picture(comparison, target, size, found, file_name(prefix, "weights", target)))
                break
    return made


def _rows_of(comparison: Comparison, target: str, size: int | str, way: Way) -> list[Row]:
    return [row for row in comparison.rows if row.target == target and row.size == size and comparison.way(row) == way]


def _weight_picture(
    comparison: Comparison, target: str, size: int | str, found: Sequence[Weights], name: str
) -> Picture:
    """Panels below each other: a mix a panel, those with shared weights together in the last one."""
    grids: list[tuple[str, tuple[str, ...], np.ndarray, list[str] | None]] = [
        (one.way.method, one.sources, one.values, None) for one in found if one.values.shape[1] > 1
    ]
    shared = [one for one in found if one.values.shape[1] == 1]
    if shared:
        sources = tuple(dict.fromkeys(name for one in shared for name in one.sources))
        table = np.full((len(sources), len(shared)), np.nan)
        for column, one in enumerate(shared):
            table[[sources.index(source) for source in one.sources], column] = one.values[:, 0]
        grids.append(("the same in all layers", sources, table, [one.way.method for one in shared]))
    top = max(float(np.nanmax(np.abs(values))) for _, _, values, _ in grids) or 1.0
    heights = [0.62 + 0.17 * len(sources) + (0.35 if columns else 0) for _, sources, _, columns in grids]
    figure, axes = _stack(heights)
    for ax, (title, sources, values, columns) in zip(axes, grids, strict=True):
        mesh = _heat(ax, values, top)
        ax.set_yticks(np.arange(len(sources)) + 0.5, sources)
        if columns:
            ax.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=18, ha="right", rotation_mode="anchor")
        else:
            ax.set_xticks(np.arange(values.shape[1]) + 0.5, [str(layer + 1) for layer in range(values.shape[1])])
            ax.set_xlabel("layer", labelpad=1)
        ax.set_title(title)
    figure.colorbar(
        mesh, ax=axes, shrink=min(1.0, 1.6 / sum(heights)), aspect=14, pad=0.02, label="weight"
    ).outline.set_visible(False)
    caption = (
        f"{target} with {rows_words(size)}: the learned weight of each source in each layer (mean over the adapter's width "
        "and over the seeds that took the source). Orange is above 0, blue below; empty: not taken."
        + standing_words([one.way for one in found], comparison)
    )
    return Picture(
        name, f"Learned weights: {target}", _weight_alt(comparison, target, found), caption, figure, "weights"
    )


def _weight_alt(comparison: Comparison, target: str, found: Sequence[Weights]) -> str:
    told = []
    for one in found:
        mean = np.abs(one.values).mean(axis=1)
        most = int(np.nanargmax(mean))
        where = f", most in layer {int(np.abs(one.values[most]).argmax()) + 1}" if one.values.shape[1] > 1 else ""
        told.append(f"{comparison.label(one.way)} weighs {one.sources[most]} most (mean size {mean[most]:.2f}{where})")
    return f"Learned weights of {len(found)} mixes for {target}: {'; '.join(told)}."


def _stack(heights: Sequence[float]) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights) + 0.1), layout="constrained")
    return figure, list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights))[:, 0])


def _heat(ax: Any, values: np.ndarray, top: float) -> Any:
    """Cells coloured from blue over white (0) to orange, with their numbers where they are few."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("weights", ["#00446b", BLUE, "#f7f7f7", ORANGE, "#8a4b00"], N=41)
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=colours, vmin=-top, vmax=top, edgecolors=PAPER, linewidth=0.5
    )
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if values.size <= IN_CELLS:
        for (row, column), value in np.ndenumerate(values):
            if not math.isnan(value):
                ink = CELL_INK[bool(value > 0.72 * top or value < -0.3 * top)]
                ax.text(column + 0.5, row + 0.5, _two(value), ha="center", va="center", fontsize=6, color=ink)
    return mesh


def _two(value: float) -> str:
    """Two decimals, a true minus, no minus before 0.

    >>> _two(-0.031), _two(-0.001), _two(0.5)
    ('−0.03', '0.00', '0.50')
    """
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
