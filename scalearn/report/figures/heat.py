"""Tables of numbers as coloured cells, one below the other, with a second table of the same rows and columns beside each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasksel.display.figures import BLUE, INK, ORANGE, PAPER, SMALL, WIDTH
from tasksel.display.layout import shortened, text_width

IN_CELLS = 120  # numbers stand in the cells of a table of at most so many
CELL = 17.0  # points that a number in a cell takes
CELL_INK = ("#111111", "#fefefe")  # on a light, on a dark cell; neither changes with the page
DIVERGING = ("#00446b", BLUE, "#f7f7f7", ORANGE, "#8a4b00")  # around 0
SEQUENTIAL = ("#f7f7f7", "#7fc9b0", "#009e73", "#00523c")  # from 0


@dataclass(frozen=True, eq=False)
class Grid:
    """One table and what stands beside it.

    Attributes:
        values: [rows, columns]. beside: like values; None where it is not known.
        columns: their names; None for layers, which have numbers.
    """

    title: str
    rows: tuple[str, ...]
    values: np.ndarray
    beside: np.ndarray | None = None
    columns: tuple[str, ...] | None = None


def draw_grids(grids: Sequence[Grid], label: str, beside: tuple[str, tuple[str, ...]]) -> Any:
    """The figure: values in colours around 0 on the left, and on the right, where any grid has it, what stands beside them.

    Args:
        label: of the left colours. beside: the label and the colours of the right.
    """
    from matplotlib.figure import Figure

    sides = 2 if any(grid.beside is not None for grid in grids) else 1
    heights = [_height(grid) for grid in grids]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.55), layout="constrained")
    axes = figure.subplots(len(grids), sides, squeeze=False, height_ratios=heights)
    names = [text_width(name) for grid in grids for name in grid.rows]
    space = 72 * WIDTH * (0.3 if sides == 2 else 0.42)
    wide = (72 * WIDTH - min(max(names), space) - 16 * sides) / sides
    top = max(float(np.nanmax(np.abs(grid.values))) for grid in grids) or 1.0
    known = [float(np.nanmax(grid.beside)) for grid in grids if grid.beside is not None]
    for number, grid in enumerate(grids):
        mesh = _heat(axes[number, 0], grid.values, (-top, top), DIVERGING, wide)
        axes[number, 0].set_yticks(np.arange(len(grid.rows)) + 0.5, [shortened(name, space) for name in grid.rows])
        axes[number, 0].set_title(grid.title)
        _columns(axes[number, 0], grid)
        if sides == 2 and grid.beside is not None:
            moved = _heat(axes[number, 1], grid.beside, (0.0, max(known) or 1.0), beside[1], wide)
            axes[number, 1].set_yticks([])
            _columns(axes[number, 1], grid)
        elif sides == 2:
            _unknown(axes[number, 1])
    _colours(figure, mesh, axes[:, 0], label)
    if sides == 2:
        _colours(figure, moved, axes[:, 1], beside[0])
    return figure


def _height(grid: Grid) -> float:
    """Inches of a table with its title and the names of its columns."""
    return 0.55 + 0.17 * len(grid.rows) + (0.3 if grid.columns else 0.05)


def _columns(ax: Any, grid: Grid) -> None:
    places = np.arange(grid.values.shape[1]) + 0.5
    if grid.columns:
        names = [shortened(name, 110) for name in grid.columns]
        ax.set_xticks(places, names, rotation=25, ha="right", rotation_mode="anchor", fontsize=SMALL - 0.5)
    else:
        ax.set_xticks(places, [str(layer + 1) for layer in range(len(places))])
        ax.set_xlabel("layer", labelpad=1)


def _unknown(ax: Any) -> None:
    ax.axis("off")
    ax.text(0.5, 0.5, "change not known:\nno model was kept", ha="center", va="center", fontsize=SMALL - 0.5, transform=ax.transAxes)  # fmt: skip


def _colours(figure: Any, mesh: Any, axes: Any, label: str) -> None:
    bar = figure.colorbar(mesh, ax=list(axes), location="bottom", shrink=0.75, aspect=26, pad=0.03, label=label)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=SMALL - 0.5)
    bar.ax.locator_params(nbins=5)


def _heat(ax: Any, values: np.ndarray, limits: tuple[float, float], colours: Sequence[str], wide: float) -> Any:
    """Cells in colours, with their numbers where they are few and wide enough."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("cells", list(colours), N=41)
    mesh = ax.pcolormesh(np.ma.masked_invalid(values), cmap=shades, vmin=limits[0], vmax=limits[1], edgecolors=PAPER, linewidth=0.5)  # fmt: skip
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, colors=INK)
    largest = max(map(abs, limits))
    if values.size <= IN_CELLS and wide / values.shape[1] >= CELL:
        for (row, column), value in np.ndenumerate(values):
            if not math.isnan(value):
                red, green, blue, _ = shades(mesh.norm(value))
                ink = CELL_INK[int(0.299 * red + 0.587 * green + 0.114 * blue < 0.55)]
                ax.text(
                    column + 0.5, row + 0.5, few_digits(value, largest), ha="center", va="center", fontsize=6, color=ink
                )
    return mesh


def few_digits(value: float, largest: float = 1.0) -> str:
    """Two decimals, or three where all are small; a true minus, no minus before 0.

    >>> few_digits(-0.031), few_digits(-0.001), few_digits(0.5), few_digits(0.0124, 0.03)
    ('−0.03', '0.00', '0.50', '.012')
    """
    digits = f"{round(value, 2) + 0.0:.2f}" if largest >= 0.1 else f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1)
    return digits.replace("-", "−")
