"""What each method costs: seconds per seed and peak memory, as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scalearn.report.figures.shown import ascending, shown_conditions, shown_words
from scalearn.report.statistics import Cell, Comparison, Condition, rows_words
from tasksel.display.figures import BLUE, GRID, SMALL, WIDTH
from tasksel.display.layout import panels, shortened
from tasksel.display.picture import Picture

KIB, MIB, GIB = 2**10, 2**20, 2**30


def costs_picture(comparison: Comparison, name: str) -> Picture | None:
    """Seconds per seed and peak memory of each method at the largest size, over the targets that all of them have; None where there is none."""
    largest = _largest(comparison)
    if largest is None:
        return None
    size, conditions, targets = largest
    cells = [[cell for t in targets if (cell := comparison.cell(t, size, condition))] for condition in conditions]
    seconds = [float(np.mean([cell.seconds for cell in group])) for group in cells]
    memory = [_mean_memory(group) for group in cells]
    methods = [condition.method for condition in conditions]
    figure = _figure(methods, seconds, memory)
    over = f"{len(targets)} target{'s' if len(targets) > 1 else ''}"
    caption = f"Training and scoring one seed with {rows_words(size)}: means over {over}. Shorter is cheaper."
    caption += shown_words(conditions, comparison)
    quick, slow = (methods[int(place)] for place in (np.argmin(seconds), np.argmax(seconds)))
    alt = (
        f"Costs of {len(methods)} methods with {rows_words(size)}. Quickest: {quick}, {seconds_words(min(seconds))} per seed; "
        f"slowest: {slow}, {seconds_words(max(seconds))}."
    )
    if not all(map(math.isnan, memory)):
        alt += f" Most memory: {methods[int(np.nanargmax(memory))]}, {bytes_words(float(np.nanmax(memory)))}."
    return Picture(name, "Time and memory", alt, caption, figure)


def _largest(comparison: Comparison) -> tuple[int | str, list[Condition], list[str]] | None:
    """The largest size at which some targets have every method that any target has; those methods' conditions, those targets."""
    for size in reversed(ascending(comparison.sizes)):
        every = [
            (condition, {t for t in comparison.targets if comparison.cell(t, size, condition)})
            for condition in shown_conditions(comparison)
        ]
        present = [(condition, targets) for condition, targets in every if targets]
        common = [t for t in comparison.targets if all(t in targets for _, targets in present)]
        if present and common:
            return size, [condition for condition, _ in present], common
    return None


def _figure(methods: Sequence[str], seconds: Sequence[float], memory: Sequence[float]) -> Any:
    """Bars of seconds, and of memory where any was measured."""
    known = not all(map(math.isnan, memory))
    drawn = panels(2 if known else 1, height=0.75 + 0.17 * len(methods))
    _bars(drawn.axes[0], seconds, "seconds per seed", seconds_words)
    drawn.axes[0].set_yticks(range(len(methods)), [shortened(name, 0.36 * 72 * WIDTH) for name in methods])
    if known:
        _bars(drawn.axes[1], memory, "peak memory", bytes_words)
        drawn.axes[1].set_yticks(range(len(methods)), [""] * len(methods))
    for ax in drawn.axes:
        ax.set_ylim(len(methods) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
    return drawn.figure


def _mean_memory(cells: Sequence[Cell]) -> float:
    known = [cell.peak_memory for cell in cells if cell.peak_memory is not None]
    return float(np.mean(known)) if known else math.nan


def _bars(ax: Any, values: Sequence[float], label: str, words: Any) -> None:
    """Horizontal bars with their values at the ends; on a log axis where the largest is 30 times the smallest."""
    positive = [value for value in values if value > 0]
    log = bool(positive) and max(positive) > 30 * min(positive)
    if log:
        ax.set_xscale("log")
    floor = min(positive) / 3 if log else 0.0
    for place, value in enumerate(values):
        if math.isnan(value):
            ax.annotate(
                "not measured", (floor, place), xytext=(3, 0), textcoords="offset points", fontsize=6, va="center"
            )
            continue
        ax.barh(place, max(value - floor, 0), left=floor, height=0.62, color=BLUE)
        ax.annotate(words(value), (max(value, floor), place), xytext=(3, 0), textcoords="offset points", fontsize=SMALL - 0.5, va="center")  # fmt: skip
    top = max(positive, default=1.0)
    ax.set_xlim(floor, floor * (top / floor) ** 1.5 if log else top * 1.45)
    ax.grid(visible=False, axis="both")
    ax.spines[["bottom"]].set_visible(False)
    ax.spines[["left"]].set_color(GRID)
    ax.set_xticks([])
    ax.minorticks_off()
    ax.set_title(f"{label}{' (log)' if log else ''}", fontsize=SMALL)


def seconds_words(seconds: float) -> str:
    """A time.

    >>> [seconds_words(s) for s in (0.4, 12.3, 600, 7200)]
    ['0.4 s', '12 s', '10 min', '2.0 h']
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def bytes_words(count: float) -> str:
    """A size in memory.

    >>> [bytes_words(b) for b in (512, 300 * 2**10, 2**20, 3.5 * 2**30)]
    ['512 B', '300 KiB', '1 MiB', '3.5 GiB']
    """
    for unit, word in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {word}" if unit == GIB else f"{count / unit:.0f} {word}"
    return f"{count:.0f} B"
