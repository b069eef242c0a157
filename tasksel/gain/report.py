"""What predicting gains saves: one sentence, a table, and a picture of time saved against score lost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tasksel.display.figures import BLUE, GREEN, GREY, INK, ORANGE, check_ending, look, save_figure
from tasksel.display.layout import settle
from tasksel.display.tables import NOTHING, markdown_table
from tasksel.gain.predictor import GainEvaluation
from tasksel.gain.tradeoff import TradeoffCurve, TradeoffPoint
from tasksel.storage.atomic import write_json, write_text

TITLES = {
    "gain": "predicted gain",
    "sign": "predicted sign",
    "cosine": "mean cosine, no learning",
    "largest": "largest source first",
    "random": "random pairs",
    "oracle": "oracle: measured gain",
}
LOOKS: dict[str, dict[str, Any]] = {
    "gain": {"color": BLUE, "linewidth": 2.2, "zorder": 4},
    "sign": {"color": BLUE, "linestyle": (0, (4, 1.5)), "zorder": 3},
    "cosine": {"color": GREEN},
    "largest": {"color": ORANGE},
    "random": {"color": GREY},
    "oracle": {"color": INK, "linestyle": ":"},
}


def headline(curve: TradeoffCurve, *, metric: str, max_loss: float = 0.01, nested: TradeoffPoint | None = None) -> str:
    """One sentence in the paper's form: "x % less training time at a cost of y points of METRIC".

    The rule: the point that saves most time with at most `max_loss` (a fraction) lost. Its threshold was chosen on the targets it is reported
    for, so it is optimistic, as the paper's "up to" is; so that nothing is picked in silence, the sentence also gives the fixed threshold (gain 0,
    probability 0.5), and `nested`, the same rule with each target's threshold chosen on the other targets only.
    """
    best = curve.most_saved(max_loss)
    sentences = [
        f"{_cost(best)} of {metric} (the most saved with at most {_points(max_loss)} lost, its threshold chosen on these same targets)"
    ]
    if curve.fixed is not None:
        sentences.append(f"{_cost(curve.fixed)} at the fixed threshold {curve.fixed.threshold:g}")
    if nested is not None:
        sentences.append(f"{_cost(nested)} with each target's threshold chosen on the other targets")
    return "; ".join(sentences) + "."


def _cost(point: TradeoffPoint) -> str:
    points = round(100 * point.lost, 1) + 0.0  # no "-0.0"
    cost = f"a cost of {points:.1f} points" if points >= 0 else f"a gain of {-points:.1f} points"
    return f"{100 * point.saved:.0f} % less training time at {cost}"


def _points(loss: float) -> str:
    return f"{100 * loss:g} point" + ("s" if loss != 0.01 else "")


def markdown(evaluation: GainEvaluation) -> str:
    """The report as Markdown: the sentence, how well gains are predicted, and what each predictor saves and loses."""
    targets, sources = ({getattr(pair, what) for pair in evaluation.pairs} for what in ("target", "source"))
    gaining = np.mean([pair.gain > 0 for pair in evaluation.pairs])
    facts = f"{len(evaluation.pairs)} transfers, {len(targets)} targets, {len(sources)} sources; {100 * gaining:.0f} % of the transfers gain."
    parts = [
        headline(
            evaluation.curves["gain"], metric=evaluation.metric, max_loss=evaluation.max_loss, nested=evaluation.nested
        ),
        f"{facts} Each prediction is made by trees that have seen no pair of its target.",
        _quality_table(evaluation),
        _saving_table(evaluation),
        "Time: seconds of training, the runs without transfer included on both sides; training the sources and making the attributions are not "
        "counted. Lost: mean over targets, in points, of the test score of the run that dev chooses; below 0 is a gain. "
        '"random": lost on average by random transfers that save as much; in brackets the share of random draws that lose no more. '
        "The oracle knows every gain, but orders the pairs of all targets in one line: it is no lower bound.",
        *evaluation.notes,
    ]
    return "\n\n".join(parts) + "\n"


def _quality_table(evaluation: GainEvaluation) -> str:
    head = ("prediction", "AUC, pooled", "AUC, mean of targets", "Spearman, pooled", "Spearman, mean of targets")
    lines = [
        [TITLES[predictor], *(NOTHING if value is None else f"{value:.2f}" for value in asdict(quality).values())]
        for predictor, quality in evaluation.quality.items()
    ]
    return markdown_table(head, lines, bare=True)


def _saving_table(evaluation: GainEvaluation) -> str:
    head, lines = ("transfers chosen by", "threshold", "run", "time saved", "lost", "random"), []
    for predictor, curve in evaluation.curves.items():
        rows = [(f"fixed: {curve.fixed.threshold:g}", curve.fixed)] if curve.fixed else []
        rows.append((f"at most {_points(evaluation.max_loss)} lost", curve.most_saved(evaluation.max_loss)))
        if predictor == "gain" and evaluation.nested:
            rows.append(("from the other targets", evaluation.nested))
        for rule, point in rows:
            cells = [
                TITLES[predictor],
                rule,
                f"{point.run:.0f}",
                f"{100 * point.saved:.0f} %",
                f"{100 * point.lost:.2f}",
            ]
            lines.append([*cells, _random(evaluation, predictor, point)])
    return markdown_table(head, lines, words=2, bare=True)


def _random(evaluation: GainEvaluation, predictor: str, point: TradeoffPoint) -> str:
    if predictor == "random":
        return NOTHING
    lost = evaluation.curves["random"].lost_at(point.saved)
    return f"{100 * lost:.2f} ({100 * evaluation.draws.no_worse(point):.0f} %)"


def draw_tradeoff(evaluation: GainEvaluation, path: Path) -> None:
    """Draws time saved against points lost, one line per predictor; of the predicted gain, a dot at threshold 0 and a ring at `nested`.

    Args:
        path: .svg (the same bytes for the same numbers) or .png; written whole or not at all.

    Raises:
        UserError: another ending, or matplotlib is not installed.
    """
    check_ending(path)
    with look("benefit"):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        _panel(evaluation, figure.subplots())
        figure.legend(loc="outside right center")  # outside: the lines may run anywhere
        settle(figure)
        save_figure(figure, path, "Training time saved against score lost")


def _panel(evaluation: GainEvaluation, panel: Any) -> None:
    panel.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    for predictor, curve in evaluation.curves.items():
        panel.plot(*zip(*map(_at, curve.points), strict=True), label=TITLES[predictor], **LOOKS[predictor])
    marks = {"markersize": 7, "markeredgewidth": 1.8, "color": BLUE, "linestyle": "none", "zorder": 6, "clip_on": False}
    fixed = evaluation.curves["gain"].fixed
    if fixed is not None:
        panel.plot(*_at(fixed), "o", label="run where predicted gain ≥ 0", **marks)
    if evaluation.nested is not None:
        panel.plot(*_at(evaluation.nested), "o", markerfacecolor="white", label="threshold from other targets", **marks)
    panel.set_xlabel("training time saved [%]")
    panel.set_title(f"points of {evaluation.metric} lost (lower right is better)", loc="left")
    panel.set_xlim(left=0)
    panel.grid(visible=True, axis="both")


def _at(point: TradeoffPoint) -> tuple[float, float]:
    return 100 * point.saved, 100 * point.lost


def as_json(evaluation: GainEvaluation) -> dict[str, Any]:
    """All numbers as JSON: settings, each pair's measured and predicted gain, every point (infinite thresholds are null)."""
    pairs: list[dict[str, Any]] = [
        {"target": pair.target, "source": pair.source, "metric": pair.metric, "gain": pair.gain}
        for pair in evaluation.pairs
    ]
    for i, pair in enumerate(pairs):
        pair["predicted"] = {predictor: float(values[i]) for predictor, values in evaluation.predicted.items()}
    return {
        "trees": asdict(evaluation.trees),
        "max_loss": evaluation.max_loss,
        "quality": {predictor: asdict(quality) for predictor, quality in evaluation.quality.items()},
        "pairs": pairs,
        "curves": {
            predictor: [_point(point) for point in curve.points] for predictor, curve in evaluation.curves.items()
        },
        "fixed": {predictor: _point(curve.fixed) for predictor, curve in evaluation.curves.items() if curve.fixed},
        "nested": evaluation.nested and _point(evaluation.nested),
        "notes": list(evaluation.notes),
    }


def _point(point: TradeoffPoint) -> dict[str, float | None]:
    threshold = point.threshold if point.threshold is not None and np.isfinite(point.threshold) else None
    return asdict(point) | {"threshold": threshold}


def write_gain_report(evaluation: GainEvaluation, folder: Path) -> None:
    """Writes benefit.md, benefit.json and benefit.svg, each atomically."""
    write_text(folder / "benefit.md", markdown(evaluation))
    write_json(folder / "benefit.json", as_json(evaluation))
    draw_tradeoff(evaluation, folder / "benefit.svg")
