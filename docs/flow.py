"""Draws docs/flow.svg: the two stages as a picture.

python docs/flow.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tasksel.display.figures import INK, look, save_figure

STAGE1, CHOICE, STAGE2 = "#dbe9f6", "#fdebd0", "#d9f0e3"
BOXES = [  # x, y, width, height, colour, text
    (0.0, 3.0, 2.6, 1.5, STAGE1, "tasks\nhub · CSV · folder · built-in"),
    (3.4, 3.0, 2.8, 1.5, STAGE1, "one adapter + head per task\nfrozen base (train-source)"),
    (7.0, 3.0, 2.4, 1.5, STAGE1, "pool\nsafetensors + card"),
    (0.0, 0.2, 2.6, 1.5, CHOICE, "target task\nlittle data"),
    (3.4, 0.2, 2.8, 1.5, CHOICE, "connectivity patterns\nwhich heads and neurons?"),
    (7.0, 0.2, 2.4, 1.5, CHOICE, "ranking\ntop k sources"),
    (10.2, 1.6, 2.9, 1.5, STAGE2, "ScaLearn: one slot\ny = res + Σ ωₛ · adapterₛ(x)"),
    (13.9, 1.6, 2.5, 1.5, STAGE2, "result → ONE plain\nadapter (export)"),
]
ARROWS = [(0, 1), (1, 2), (3, 4), (4, 5), (2, 5), (2, 6), (5, 6), (6, 7)]
STAGES = [
    (0, 4.85, "stage 1: train sources"),
    (0, 2.05, "which of them will help?"),
    (10.2, 3.45, "stage 2: learn a weight for each source"),
]
SIDES = {(2, 5): ("bottom", "top")}


def point(box: tuple, side: str) -> tuple[float, float]:
    """The middle of a box's side."""
    x, y, w, h, *_ = box
    return {"left": (x, y + h / 2), "right": (x + w, y + h / 2), "top": (x + w / 2, y + h), "bottom": (x + w / 2, y)}[
        side
    ]


def main() -> None:
    """Draws the boxes and arrows and writes the picture beside this file."""
    with look("flow", axes_grid=False):
        figure = Figure(figsize=(15, 4.4))
        axes = figure.add_axes((0, 0, 1, 1))
        for x, y, w, h, colour, text in BOXES:
            axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle="round,pad=0.08", facecolor=colour, edgecolor=INK))
            axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=9)
        for start, end in ARROWS:
            out, into = SIDES.get((start, end), ("right", "left"))
            ends = {"xytext": point(BOXES[start], out), "xy": point(BOXES[end], into)}
            axes.annotate("", **ends, arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 5, "shrinkB": 5})
        for x, y, text in STAGES:
            axes.text(x, y, text, fontsize=11, weight="bold")
        axes.set(xlim=(-0.3, 16.7), ylim=(-0.2, 5.3))
        axes.axis("off")
        save_figure(figure, Path(__file__).with_name("flow.svg"), "The two stages")


if __name__ == "__main__":
    main()
