"""How step time and peak memory grow with the number of sources: a Markdown table and a figure of what `benchmarks.step --scale` measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COUNTS = (1, 2, 4, 8, 16, 32, 64)
SCALED = {"single": "one adapter", "scalearn": "ScaLearn", "loop": "naive loop", "fusion": "AdapterFusion"}
COLOURS = {"single": "0.55", "scalearn": "C0", "loop": "C1", "fusion": "C3"}


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


def draw_scaling(measurements: Sequence[Measurement], path: Path) -> None:
    """Step time and peak memory over the number of sources, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "step", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    from matplotlib import pyplot, ticker

    figure, panels = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for panel, field, title in zip(panels, ("ms", "mib"), ("training step [ms]", "peak memory [MiB]"), strict=True):
        for name, label in SCALED.items():
            line = sorted((p.sources, getattr(p, field)) for p in measurements if p.name == name)
            style = "--" if name == "single" else "o-"
            panel.plot(*zip(*line, strict=True), style, color=COLOURS[name], label=label, markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.minorticks_off()
        counts = sorted({p.sources for p in measurements})
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.set_xlabel("sources")
        panel.set_title(title, loc="left")
        panel.grid(axis="y", alpha=0.25)
    panels[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})  # no date: the same numbers give the same file
    pyplot.close(figure)


def write_scaling(measurements: Sequence[Measurement], folder: Path, conditions: str) -> None:
    """Writes step.md and step.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "step.md").write_text(scaling_markdown(measurements, conditions), encoding="utf-8")
    draw_scaling(measurements, folder / "step.svg")
