"""An explanation as tables for the terminal: one strip of blocks per source, one block per layer; readable without colour.

source                 layers  share  without  change  95 % interval  verdict
sentiment_restaurants  ▇▆█▇▇█   40.1     86.0    -6.0  -11.5 to -1.5  helps
grammar_garden         ▅▅▅▄▃▄   22.9     92.5    +0.5   -2.0 to +3.0  -
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from scalearn.methods.candidate import AS_IT_IS, Candidate
from scalearn.results.explain import Explanation

BLOCKS = "▁▂▃▄▅▆▇█"
COLUMNS = 12  # layers side by side: 12 layers of a base model fit into 80 columns
STYLES = {"helps": "green", "harms": "red", "no difference": "dim"}


def strip(values: Sequence[float], top: float) -> str:
    """One block per value, from the lowest for 0 to the highest for `top`.

    >>> strip([0.0, 0.25, 0.5], 0.5)
    '▁▅█'
    """
    steps = len(BLOCKS) - 1
    return "".join(BLOCKS[min(steps, int(steps * value / top + 0.5)) if top > 0 else 0] for value in values)


def explanation_tables(explanation: Explanation) -> Group:
    """The whole explanation: each source's share and the score without it, then shares and weights by layer.

    >>> rich.print(explanation_tables(explain(result)))  # doctest: +SKIP
    """
    score = f"{explanation.metric} {100 * explanation.score:.1f} % on {explanation.rows} validation rows"
    weights = "mean |omega|" + (
        ", one for all layers" if len(explanation.omega) < len(explanation.shares) else " by layer"
    )
    percent = by_layer(explanation.slots, [[100 * share for share in row] for row in explanation.shares])
    return Group(
        Text(f"{explanation.target} by {explanation.method}, seed {explanation.seed}: {score}\n"),
        Text("each source: its share of the mix, and the score without it, in %"),
        _by_source(explanation),
        Text("- : no difference, the interval of the change holds 0\n", style="dim"),
        Text(f"share of the mix by layer in % ({explanation.dev_rows} dev rows)"),
        *_by_layer(explanation.sources, percent, "{:.0f}"),
        Text(f"\n{weights}"),
        *_by_layer(explanation.sources, by_layer(explanation.slots, explanation.omega), "{:.2f}"),
        *_candidates(explanation),
    )


def by_layer(slots: Sequence[str], rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """The mean over the slots of each layer: LoRAs have one on each Linear that a source targets. Rows that are not by slot stay as they are.

    >>> by_layer(["encoder.layer.0.query", "encoder.layer.0.value", "encoder.layer.1.query"], [[0.0], [1.0], [0.25]])
    [[0.5], [0.25]]
    """
    if len(rows) != len(slots):
        return [list(row) for row in rows]
    layers: dict[str, list[Sequence[float]]] = {}
    for slot, row in zip(slots, rows, strict=True):
        number = re.search(r"\.(\d+)(\.|$)", slot)
        layers.setdefault(number[1] if number else "", []).append(row)
    return [np.mean(part, axis=0).tolist() for part in layers.values()]


def _by_source(explanation: Explanation) -> Table:
    """One line per source, the largest share first."""
    shown = _table()
    shown.add_column("source", overflow="fold")
    shown.add_column("layers", no_wrap=True)
    for column in ("share", "without", "change", "95 % interval"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    shares = by_layer(explanation.slots, explanation.shares)
    top, mean = max(max(row) for row in shares), explanation.mean_shares
    for number, left in sorted(enumerate(explanation.left_out), key=lambda item: -mean[item[1].source]):
        shown.add_row(
            Text(left.source),
            strip([row[number] for row in shares], top),
            f"{100 * mean[left.source]:.1f}",
            f"{100 * left.score:.1f}",
            f"{100 * left.difference:+.1f}",
            f"{100 * left.low:+.1f} to {100 * left.high:+.1f}",
            Text(left.verdict.replace("no difference", "-"), style=STYLES[left.verdict]),
        )
    return shown


def _candidates(explanation: Explanation) -> list[Text | Table]:
    """The candidates that `auto` compared, from cheap to dear; the chosen one in bold."""
    if not explanation.candidates:
        return []
    shown, base = _table(), explanation.candidates[0].score
    shown.add_column("candidate", overflow="fold")
    for column in ("score", "over the base", "seconds"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for one in explanation.candidates:
        scores = ("-", "-")
        if one.score is not None and base is not None:
            scores = f"{100 * one.score:.1f}", f"{100 * (one.score - base):+.1f}"
        style = "bold" if one.chosen else ""
        shown.add_row(Text(str(one), style=style), *scores, f"{one.seconds:.1f}", _verdict(one, explanation.candidates))
    measure = "the cross-validated score on train and dev"
    if any(one.name == AS_IT_IS for one in explanation.candidates):
        measure = "the likelihood of an answer's token on dev"
    return [Text(f"\ncandidates: {measure}, in %"), shown, *_footnotes(explanation.candidates)]


def _verdict(one: Candidate, candidates: Sequence[Candidate]) -> str:
    """Whether a candidate is chosen, and why not where its score does not say it."""
    if one.chosen:
        return "chosen"
    if one.folds:
        return "given up"
    ahead = one.rank - max(other.rank for other in candidates if other.chosen)
    return f"within {100 * one.margin:.1f}" if ahead > 0 else ""


def _footnotes(candidates: Sequence[Candidate]) -> list[Text]:
    """What the verdicts say."""
    lines = [f"given up: not ahead of the best closed form after {one.folds} folds" for one in candidates if one.folds]
    if any(_verdict(one, candidates).startswith("within") for one in candidates):
        lines.append("within: ahead by less than its standard error, in points")
    return [Text(line, style="dim") for line in lines]


def _by_layer(sources: Sequence[str], rows: Sequence[Sequence[float]], form: str) -> list[Table]:
    """One line per source, one column per layer, the largest of each layer in bold; at most COLUMNS layers per table.

    Args:
        rows: [layers, sources]; a single row has no header.
    """
    tables = []
    for start in range(0, len(rows), COLUMNS):
        part = rows[start : start + COLUMNS]
        shown = _table()
        shown.show_header = len(rows) > 1
        shown.add_column("layer", overflow="fold")
        for layer in range(start, start + len(part)):
            shown.add_column(str(layer + 1), justify="right", no_wrap=True)
        for number, source in enumerate(sources):
            cells = [Text(form.format(row[number]), style="bold" if row[number] == max(row) else "") for row in part]
            shown.add_row(Text(source), *cells)
        tables.append(shown)
    return tables


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
