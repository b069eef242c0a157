"""Draws docs/flow.svg: the two stages as a picture.

python docs/flow.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

INK, STAGE1, CHOICE, STAGE2 = "#222222", "#dbe9f6", "#fdebd0", "#d9f0e3"
BOXES = [  # x, y, width, height, colour, text
    (0.0, 3.0, 2.6, 1.5, STAGE1, "tasks\nhub · CSV · folder · built-in"),
    (3.4, 3.0, 2.8, 1.5, STAGE1, "one adapter + head a task\nfrozen base (train-source)"),
    (7.0, 3.0, 2.4, 1.5, STAGE1, "pool\nsafetensors + card"),
    (0.0, 0.2, 2.6, 1.5, CHOICE, "target task\nlittle data"),
    (3.4, 0.2, 2.8, 1.5, CHOICE, "connectivity patterns\nwhich heads and neurons?"),
    (7.0, 0.2, 2.4, 1.5, CHOICE, "ranking\ntop k sources"),
    (10.2, 1.6, 2.9, 1.5, STAGE2, "ScaLearn: one slot\ny = res + Σ ωₛ · adapterₛ(x)"),
    (13.9, 1.6, 2.5, 1.5, STAGE2, "result → ONE plain\nadapter (export)"),
]
ARROWS = [(0, 1), (1, 2), (3, 4), (4, 5), (2, 5), (2, 6), (5, 6), (6, 7)]
SIDES = {(2, 5): ("bottom", "top")}


def point(box: tuple, side: str) -> tuple[float, float]:
    """The middle of a box's side."""
    x, y, w, h, *_ = box
    return {"left": (x, y + h / 2), "right": (x + w, y + h / 2), "top": (x + w / 2, y + h), "bottom": (x + w / 2, y)}[
        side
    ]


def main() -> None:
    """Draws the boxes and arrows and writes the picture beside this file."""
    matplotlib.rcParams["svg.hashsalt"] = "flow"  # the same bytes each time
    figure, axes = plt.subplots(figsize=(15, 4.4))
    for x, y, w, h, colour, text in BOXES:
        axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle="round,pad=0.08", facecolor=colour, edgecolor=INK))
        axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=9, color=INK)
    for start, end in ARROWS:
        out, into = SIDES.get((start, end), ("right", "left"))
        ends = {"xytext": point(BOXES[start], out), "xy": point(BOXES[end], into)}
        axes.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 5, "shrinkB": 5})
    axes.text(0, 4.85, "stage 1: train sources", fontsize=11, weight="bold", color=INK)
    axes.text(0, 2.05, "which of them will help?", fontsize=11, weight="bold", color=INK)
    axes.text(10.2, 3.45, "stage 2: learn how loudly each speaks", fontsize=11, weight="bold", color=INK)
    axes.set(xlim=(-0.3, 16.7), ylim=(-0.2, 5.3))
    axes.axis("off")
    figure.savefig(Path(__file__).with_name("flow.svg"), bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
