"""The map of the tasks: those that are alike lie near each other on a plane, and join early in a tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from scalearn.report.figures.projection import distances, plane
from tasksel.display.figures import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    YELLOW,
    Style,
    file_name,
)
from tasksel.display.layout import label_points, panels, settle, shortened
from tasksel.display.picture import Picture

MARKERS = "osD^v<>PXphd8H*"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, INK, YELLOW)


def map_pictures(stored: dict[str, Any], prefix: str) -> list[Picture]:
    """The plane and the tree of a map.json: {"by", "base", "names", "suites", "similarity"}; none for fewer than three tasks."""
    names = [str(name) for name in stored["names"]]
    if len(names) < 3:
        return []
    similarity = np.array(stored["similarity"], dtype=float)
    suites = [str(stored.get("suites", {}).get(name, "")) for name in names]
    of = f"by {stored['by']} on {stored['base']}"
    return [
        _plane_picture(names, suites, similarity, of, file_name(prefix, "map")),
        _tree_picture(names, similarity, of, file_name(prefix, "tree")),
    ]


def _plane_picture(names: list[str], suites: list[str], similarity: np.ndarray, of: str, name: str) -> Picture:
    points, kept = plane(similarity)
    order = list(dict.fromkeys(suites))
    drawn = panels(1, height=3.9, labels=order if len(order) > 1 else ())
    ax = drawn.axes[0]
    looks = [Style(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]) for place in range(len(order))]
    for suite, style in zip(order, looks, strict=True):
        members = [i for i, other in enumerate(suites) if other == suite]
        ax.plot(*points[members].T, marker=style.marker, color=style.colour, linestyle="")
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.16)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_color(GRID)
    ax.spines[:].set_visible(True)
    if len(order) > 1:
        drawn.legend([suite or "no suite" for suite in order], looks, lines=False)
    settle(drawn.figure)
    label_points(ax, [(float(x), float(y)) for x, y in points], names, size=6.5)
    near, far = _extremes(names, similarity)
    caption = (
        f"Tasks that are alike ({of}) lie near each other: classical scaling of 1 − similarity. "
        f"The plane keeps {100 * kept:.0f} % of the spread; the axes have no meaning of their own."
    )
    return Picture(
        name, "Map of the tasks", f"{len(names)} tasks on a plane. {near} {far}", caption, drawn.figure, "map"
    )


def _extremes(names: list[str], similarity: np.ndarray) -> tuple[str, str]:
    first, second = np.triu_indices(len(names), 1)
    values = similarity[first, second]
    most, least = int(values.argmax()), int(values.argmin())
    return (
        f"Most alike: {names[first[most]]} and {names[second[most]]} ({values[most]:.2f}).",
        f"Least alike: {names[first[least]]} and {names[second[least]]} ({values[least]:.2f}).",
    )


def _tree_picture(names: list[str], similarity: np.ndarray, of: str, name: str) -> Picture:
    tree = dendrogram(linkage(squareform(distances(similarity), checks=False), "average"), no_plot=True)
    drawn = panels(1, height=0.6 + 0.17 * len(names))
    ax = drawn.axes[0]
    for at, apart in zip(tree["icoord"], tree["dcoord"], strict=True):
        ax.plot(apart, at, color=BLUE, linewidth=1.0, solid_joinstyle="miter")
    ax.set_yticks(5 + 10 * np.arange(len(names)), [shortened(names[leaf], 0.5 * 72 * WIDTH) for leaf in tree["leaves"]])
    ax.set_ylim(10 * len(names), 0)
    ax.set_xlim(left=0)
    ax.grid(visible=False)
    ax.spines[["left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("1 − similarity at which two groups join")
    near, _ = _extremes(names, similarity)
    caption = f"The same tasks as a tree ({of}): average linkage of 1 − similarity. The further left two tasks join, the more alike they are."
    return Picture(name, "Tree of the tasks", f"A tree of {len(names)} tasks. {near}", caption, drawn.figure, "map")
