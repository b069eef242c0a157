"""How step time and peak memory grow with the number of sources: a Markdown table and a figure of what `benchmarks.step --scale` measured.

python -m benchmarks.scale docs/results/costs          step.svg again, from the numbers of step.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasksel.display.figures import BLUE, DOTS, INK, ORANGE, SKY, Style, look, save_figure
from tasksel.display.layout import panels, settle

COUNTS = (1, 2, 4, 8, 16, 32, 64)
SCALED = {"single": "one adapter", "scalearn": "ScaLearn", "loop": "naive loop", "fusion": "AdapterFusion"}
STYLES = {
    "single": Style(INK, "", DOTS),
    "scalearn": Style(BLUE, "o"),
    "loop": Style(SKY, "s", "--", False),
    "fusion": Style(ORANGE, "d", "-."),
}


@dataclass(frozen=True)
class Measurement:
    """One contender at one number of sources: a step's milliseconds, its ratio to one adapter's, and peak MiB."""

    name: str
    sources: int
    ms: float
    ratio: float
    mib: float


def scaling_markdown(measurements: Sequence[Measurement], conditions: str) -> str:
    """The table: one row per number of sources, "milliseconds (times one adapter)" and MiB for each contender."""
    names, by_cell = list(SCALED), {(p.sources, p.name): p for p in measurements}
    titles = [f"{SCALED[name]} {unit}" for unit in ("[ms]", "[MiB]") for name in names]
    lines = ["| sources | " + " | ".join(titles) + " |", "|--:" * (len(titles) + 1) + "|"]
    for count in sorted({p.sources for p in measurements}):
        row = [by_cell[count, name] for name in names]
        cells = [f"{p.ms:,.0f} ({p.ratio:.2f})" for p in row] + [f"{p.mib:,.0f}" for p in row]
        lines.append(f"| {count} | " + " | ".join(cells) + " |")
    head = f"Training step, median; in brackets the ratio to one adapter within a round. {conditions}."
    return "\n".join([head, "", *lines, ""])


def read_scaling(text: str) -> list[Measurement]:
    """The measurements of a table that `scaling_markdown` wrote, as it rounds them."""
    measurements = []
    for line in text.splitlines():
        if re.match(r"\| \d", line):
            count, *cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
            times, memory = cells[: len(SCALED)], cells[len(SCALED) :]
            for name, time, mib in zip(SCALED, times, memory, strict=True):
                ms, ratio = time.removesuffix(")").split(" (")
                measurements.append(Measurement(name, int(count), float(ms), float(ratio), float(mib)))
    return measurements


def draw_scaling(measurements: Sequence[Measurement], path: Path) -> None:
    """Step time and peak memory over the number of sources, both axes logarithmic."""
    from matplotlib import ticker

    with look("step"):
        drawn = panels(2, height=2.3, labels=list(SCALED.values()))
        for ax, field, title in zip(
            drawn.axes, ("ms", "mib"), ("training step [ms]", "peak memory [MiB]"), strict=True
        ):
            for name, style in STYLES.items():
                line = sorted((p.sources, getattr(p, field)) for p in measurements if p.name == name)
                ax.plot(
                    *zip(*line, strict=True), color=style.colour, marker=style.marker, markerfacecolor=style.face,
                    markersize=4, linestyle=style.line,
                )  # fmt: skip
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:,.0f}")
            ax.minorticks_off()
            counts = sorted({p.sources for p in measurements})
            ax.set_xticks(counts, [str(count) for count in counts])
            ax.set_xlabel("sources")
            ax.set_title(title)
        drawn.legend(list(SCALED.values()), list(STYLES.values()))
        settle(drawn.figure)
        save_figure(drawn.figure, path, "Training step and peak memory over the number of sources")


def write_scaling(measurements: Sequence[Measurement], folder: Path, conditions: str) -> None:
    """Writes step.md and step.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.md").write_text(scaling_markdown(measurements, conditions), encoding="utf-8")
    draw_scaling(measurements, folder / "step.svg")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    draw_scaling(read_scaling((folder / "step.md").read_text(encoding="utf-8")), folder / "step.svg")
