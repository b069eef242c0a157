"""Draws the two pictures of the docs.

python scripts/draw_docs.py        # docs/flow.svg, docs/architecture.svg
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

DOCS = Path(__file__).parents[1] / "docs"
INK, STAGE1, CHOICE, STAGE2, SHARED = "#222222", "#dbe9f6", "#fdebd0", "#d9f0e3", "#eeeeee"


@dataclass(frozen=True)
class Box:
    """A rounded box: its lower left corner, its size, its text; a second line may say more."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str

    def side(self, name: str) -> tuple[float, float]:
        """The middle of a side."""
        middle = (self.x + self.width / 2, self.y + self.height / 2)
        return {
            "left": (self.x, middle[1]),
            "right": (self.x + self.width, middle[1]),
            "top": (middle[0], self.y + self.height),
            "bottom": (middle[0], self.y),
        }[name]


FLOW = [
    Box(0.0, 3.0, 2.6, 1.5, STAGE1, "tasks\nhub · CSV · folder · built-in"),
    Box(3.4, 3.0, 2.8, 1.5, STAGE1, "one adapter + head per task\nfrozen base (train-source)"),
    Box(7.0, 3.0, 2.4, 1.5, STAGE1, "pool\nsafetensors + card"),
    Box(0.0, 0.2, 2.6, 1.5, CHOICE, "target task\nlittle data"),
    Box(3.4, 0.2, 2.8, 1.5, CHOICE, "selector\nscores each source"),
    Box(7.0, 0.2, 2.4, 1.5, CHOICE, "ranking\ntop k sources"),
    Box(10.2, 1.6, 2.9, 1.5, STAGE2, "ScaLearn, in one slot\ny = res + Σ ωₛ · adapterₛ(x)"),
    Box(13.9, 1.6, 2.5, 1.5, STAGE2, "result → ONE plain\nadapter (export)"),
]
FLOW_ARROWS = [
    (0, 1, "right", "left"), (1, 2, "right", "left"), (3, 4, "right", "left"), (4, 5, "right", "left"),
    (2, 5, "bottom", "top"), (2, 6, "right", "left"), (5, 6, "right", "left"), (6, 7, "right", "left"),
]  # fmt: skip
FLOW_TITLES = [
    (0, 4.85, "stage 1: train sources"), (0, 2.05, "select sources for a target"),
    (10.2, 3.45, "stage 2: learn one scaling weight per source"),
]  # fmt: skip

W, GAP = 4.9, 0.95  # of a folder's box; from one floor to the next
TASKSEL = [  # from the ground up: a folder imports only those below it; the step of the flow that it has
    ("tasks", "a task; its rows: CSV, folder, hub", STAGE1, "1"),
    ("model", "frozen base, heads, token ids", STAGE1, "2"),
    ("training", "the one loop", STAGE1, "2"),
    ("adapters", "train, store, import: the pool", STAGE1, "3"),
    ("embeddings", "one task embedding per file", CHOICE, "4"),
    ("selection", "rank sources for a target", CHOICE, "4"),
    ("evaluation", "how good is a ranking?", CHOICE, ""),
    ("gain", "which transfers will gain?", CHOICE, ""),
    ("cli", "tasksel …", SHARED, ""),
]
SCALEARN = [
    ("layers", "what sits in an adapter slot", STAGE2, "5"),
    ("methods", "one transfer method per file", STAGE2, "5"),
    ("results", "one transfer: train, keep, export", STAGE2, "5"),
    ("comparison", "many transfers, and their store", STAGE2, "6"),
    ("report", "tables, figures, the page", STAGE2, "6"),
    ("cli", "scalearn …", SHARED, ""),
]


def box(axes: Axes, item: Box, size: float = 9) -> None:
    """Draws a box with its text."""
    shape = FancyBboxPatch(
        (item.x, item.y), item.width, item.height, boxstyle="round,pad=0.08", facecolor=item.colour, edgecolor=INK
    )
    axes.add_patch(shape)
    x, y = item.x + item.width / 2, item.y + item.height / 2
    axes.text(x, y, item.text, ha="center", va="center", fontsize=size, color=INK)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK) -> None:
    """Draws an arrow."""
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 5, "shrinkB": 5}
    axes.annotate("", xytext=start, xy=end, arrowprops=style)


def flow() -> None:
    """From tasks to one exported adapter."""
    _, axes = plt.subplots(figsize=(15, 4.4))
    for item in FLOW:
        box(axes, item)
    for start, end, out, into in FLOW_ARROWS:
        arrow(axes, FLOW[start].side(out), FLOW[end].side(into))
    for x, y, title in FLOW_TITLES:
        axes.text(x, y, title, fontsize=11, weight="bold", color=INK)
    save(axes, (-0.3, 16.7), (-0.2, 5.3), "flow.svg")


def architecture() -> None:
    """The two trees of folders as towers, and what goes from one to the other."""
    _, axes = plt.subplots(figsize=(12.5, 8.2))
    towers = {"tasksel": tower(axes, 0.0, TASKSEL), "scalearn": tower(axes, 7.6, SCALEARN)}
    base = Box(0.0, -GAP, 7.6 + W, 0.6, SHARED, "storage   display   processes   errors: used by all")
    box(axes, base)
    for start, what in (("selection", "ranking"), ("adapters", "sources")):
        begin, finish = towers["tasksel"][start].side("right"), towers["scalearn"]["results"].side("left")
        arrow(axes, begin, finish)
        axes.text(begin[0] + 0.35, begin[1] + 0.1, what, fontsize=10, color=INK)
    for x, name, about in (
        (0.0, "tasksel", "up to the choice of sources"), (7.6, "scalearn", "after the choice of sources"),
    ):  # fmt: skip
        top = GAP * len(TASKSEL) + 0.25
        axes.text(x, top, f"{name}/", fontsize=13, weight="bold", color=INK)
        axes.text(x + 1.9, top, about, fontsize=10, color=INK)
    save(axes, (-0.4, 7.6 + W + 0.4), (-1.4, GAP * len(TASKSEL) + 0.9), "architecture.svg")


def tower(axes: Axes, x: float, folders: list[tuple[str, str, str, str]]) -> dict[str, Box]:
    """Draws folders on top of each other; gives their boxes by name."""
    boxes = {}
    for floor, (name, about, colour, step) in enumerate(folders):
        boxes[name] = Box(x, floor * GAP, W, 0.6, colour, "")
        box(axes, boxes[name])
        axes.text(x + 0.1, floor * GAP + 0.3, f"{name}/", va="center", fontsize=10, weight="bold", color=INK)
        axes.text(x + 1.7, floor * GAP + 0.3, about, va="center", fontsize=9, color=INK)
        axes.text(
            x + W - 0.15, floor * GAP + 0.3, step, va="center", ha="center", fontsize=11, weight="bold", color=INK
        )
    return boxes


def save(axes: Axes, across: tuple[float, float], up: tuple[float, float], name: str) -> None:
    """Writes the picture; the same bytes each time."""
    axes.set(xlim=across, ylim=up)
    axes.axis("off")
    figure = axes.get_figure()
    assert figure is not None
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(DOCS / name, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    flow()
    architecture()
