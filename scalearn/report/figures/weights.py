"""The weights that a mix learns, sources by layers: where they stand, and how far training moved them.

    weight      mean over width and seeds of omega                      as it scales: normalised, where the method does so
    change      mean over width and seeds of |omega - start|            start = 2/n of n sources, or 1/n where omega is normalised

A vector's mean can stay at its start while its entries move apart: only the change shows that. The start that training drew,
Normal(2/n, 0.001), is not stored: its mean stands for it. A scalar's change is in the stored rows; a vector's is read from the kept
model (`keep: true`). One size is shown, the largest, and one condition per method (`scalearn.report.figures.shown`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scalearn.comparison.records import UnitRecord
from scalearn.layers.scaling import SCALINGS, normalised
from scalearn.report.figures.heat import SEQUENTIAL, Grid, draw_grids
from scalearn.report.figures.shown import ascending, shown_conditions, shown_words
from scalearn.report.statistics import Comparison, Condition, rows_words
from tasksel.display.figures import file_name
from tasksel.display.picture import Picture
from tasksel.errors import UserError


@dataclass(frozen=True)
class Weights:
    """The weights of one condition for one target: means over the seeds that took a source.

    Attributes:
        values: [sources, layers, or 1 if shared]; nan where no seed took the source.
        change: like values, how far they moved; None where that is not known, or nothing was learned by gradient.
        seeds: how many seeds took each source.
    """

    condition: Condition
    sources: tuple[str, ...]
    values: np.ndarray
    seeds: tuple[int, ...]
    change: np.ndarray | None = None


def mean_weights(rows: Sequence[UnitRecord], condition: Condition, results: Path | None = None) -> Weights | None:
    """Weights of one target, size and condition over seeds; None where no row has any. Sources in the order of their first row.

    Args:
        results: the folder of kept models, by key.
    """
    mixes = [row for row in rows if row.omega is not None]
    if not mixes:
        return None
    sources = tuple(dict.fromkeys(name for row in mixes for name in row.sources))
    seeds = tuple(sum(source in row.sources for row in mixes) for source in sources)
    values = _by_source(sources, [(row, np.array(row.omega)) for row in mixes])
    changes = [(row, change) for row in mixes if (change := weight_change(row, results)) is not None]
    moved = _by_source(sources, changes) if changes else None
    return Weights(condition, sources, values, seeds, moved)


def _by_source(sources: Sequence[str], arrays: Sequence[tuple[UnitRecord, np.ndarray]]) -> np.ndarray:
    """Means over the rows that took a source: [sources, layers] of arrays [layers, sources of the row]."""
    layers = arrays[0][1].shape[0]
    table = np.full((len(sources), layers), np.nan)
    for place, source in enumerate(sources):
        columns = [values[:, list(row.sources).index(source)] for row, values in arrays if source in row.sources]
        if columns:
            table[place] = np.mean(columns, axis=0)
    return table


def weight_change(row: UnitRecord, results: Path | None = None) -> np.ndarray | None:
    """Mean over the width of how far each weight moved from its start, [layers or 1, sources]; None where it is not known."""
    scaling = SCALINGS.get(row.method)
    if scaling is None or row.omega is None:
        return None
    start = (2.0 if scaling.normalise == "none" else 1.0) / len(row.sources)
    if scaling.per == "scalar":
        return np.abs(np.array(row.omega) - start)
    if results is None or not (results / row.key / "result.json").is_file():
        return None
    from torch import from_numpy

    from scalearn.results.result import TransferResult

    try:
        omega = TransferResult.load(results / row.key).omega(seed=row.seed)
    except UserError:
        return None  # a broken kept model keeps no picture away
    return (normalised(from_numpy(omega), scaling.normalise) - start).abs().mean(-1).numpy()


def weight_pictures(comparison: Comparison, prefix: str, results: Path | None = None) -> list[Picture]:
    """One picture per target: sources by layers of each mix, and one column per method whose weights all layers share."""
    pictures = []
    for target in comparison.targets:
        for size in reversed(ascending(comparison.sizes)):
            of_size = partial(_rows_of, comparison, target, size)
            conditions = shown_conditions(comparison)
            shown = [
                weights
                for condition in conditions
                if (weights := mean_weights(of_size(condition), condition, results)) is not None
            ]
            if shown:
                pictures.append(_weight_picture(comparison, target, size, shown, file_name(prefix, "weights", target)))
                break
    return pictures


def _rows_of(comparison: Comparison, target: str, size: int | str, condition: Condition) -> list[UnitRecord]:
    rows = [row for row in comparison.rows if row.target == target and row.size == size]
    return [row for row in rows if comparison.condition(row) == condition]


def _weight_picture(
    comparison: Comparison, target: str, size: int | str, shown: Sequence[Weights], name: str
) -> Picture:
    """Mixes below each other, those with shared weights together in the last one; on the right what moved."""
    grids = [
        Grid(weights.condition.method, weights.sources, weights.values, weights.change)
        for weights in shown
        if weights.values.shape[1] > 1
    ]
    shared = [weights for weights in shown if weights.values.shape[1] == 1]
    if shared:
        grids.append(_shared_grid(shared))
    caption = (
        f"{target} with {rows_words(size)}. Left: the weight of each source in each layer, mean over the adapter's width and over the seeds "
        f"that took the source; orange is above 0, blue below, empty: not taken. {_change_words(shown)}"
    )
    caption += shown_words([weights.condition for weights in shown], comparison)
    alt = _weight_alt(comparison, target, shown)
    return Picture(name, f"Learned weights: {target}", alt, caption, draw_grids(grids, "weight", CHANGE), "weights")


CHANGE = ("mean |change|", SEQUENTIAL)


def _shared_grid(shared: Sequence[Weights]) -> Grid:
    """One column per method: weights that all layers share."""
    sources = tuple(dict.fromkeys(name for weights in shared for name in weights.sources))
    values, change = np.full((2, len(sources), len(shared)), np.nan)
    for column, weights in enumerate(shared):
        places = [sources.index(source) for source in weights.sources]
        values[places, column] = weights.values[:, 0]
        if weights.change is not None:
            change[places, column] = weights.change[:, 0]
    moved = None if np.isnan(change).all() else change
    return Grid("the same in all layers", sources, values, moved, tuple(weights.condition.method for weights in shared))


def _change_words(shown: Sequence[Weights]) -> str:
    """What the right side shows, and of which methods it is not known."""
    learned = [weights for weights in shown if weights.condition.method in SCALINGS]
    unknown = [weights.condition.method for weights in learned if weights.change is None]
    words = "Right: how far the weights moved from their start, mean absolute change, from the mean 2/n of the start's draw (1/n where normalised)."
    if unknown and len(unknown) == len(learned):
        words = "How far the weights moved from their start is not shown"
        return f"{words}: the run kept no models."
    return f"{words} Not known of {', '.join(unknown)}: the run kept no models." if unknown else words


def _weight_alt(comparison: Comparison, target: str, shown: Sequence[Weights]) -> str:
    sentences = []
    for weights in shown:
        mean = np.abs(weights.values).mean(axis=1)
        most = int(np.nanargmax(mean))
        where = (
            f", most in layer {int(np.abs(weights.values[most]).argmax()) + 1}" if weights.values.shape[1] > 1 else ""
        )
        sentence = f"{comparison.label(weights.condition)} weighs {weights.sources[most]} most (mean size {mean[most]:.2f}{where})"
        if weights.change is not None and not math.isnan(float(np.nanmax(weights.change))):
            moved = weights.change.mean(axis=1)
            farthest = int(np.nanargmax(moved))
            sentence += f" and moved {weights.sources[farthest]} farthest ({moved[farthest]:.3f})"
        sentences.append(sentence)
    return f"Learned weights of {len(shown)} mixes for {target}: {'; '.join(sentences)}."
