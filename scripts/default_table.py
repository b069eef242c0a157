"""The tables of docs/results/default: every way of several runs side by side, over targets and seeds. Ours.

    python scripts/default_table.py docs/results/default            # from the rows.jsonl of each folder in it
    python scripts/default_table.py docs/results/default_fresh      # the six targets that were looked at last
    python scripts/default_table.py docs/results/glue_converged     # eight GLUE tasks, each from the seven others
    python scripts/default_table.py docs/results/loras docs/results/default     # runs over LoRAs, beside those over bottlenecks

    score       mean over targets of a seed's scores, then mean and 95 % t interval over seeds
    over A      the same of the difference seed by seed, with p of the paired t test; wins / ties / losses over targets: of a target's mean difference,
                beyond one point

    s           mean seconds of a training: on one H200, 16 to 18 at a time, or "cpu": one core of a server, other work beside it

A target of `HELD_OUT` had no part in any decision before the first of these runs; one of `FRESH` in none at all. A way that lacks a target of a group is left out of its table. Beside
runs over LoRAs stand the others' rows of the same targets, seeds and sizes that begin at the closed form, as those do; what has neither sources nor an adapter is the same for both.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from scalearn.comparison.records import UnitRecord, read_lines
from scalearn.report.statistics import Cell, paired
from tasksel.display.tables import markdown_table

HELD_OUT = ("snli", "imdb", "emotion", "disaster_response", "commonsenseqa")
FRESH = ("subj", "tweeteval_emotion", "anli_r3", "wic", "social_iqa", "piqa")
BASE, DEFAULT = "closed-form-base", "auto"
WITHOUT_STEPS = ("majority", "closed-form-base", "closed-form", "auto")
WITHOUT_ADAPTER = ("majority", "closed-form-base", "head-only", "full")
BOTTLENECK = "bottleneck: "  # before a way, where both kinds are in a table
LORAS = {  # by a run's folder
    "default_loras": "LoRA: ",
    "default_loras_auto": "LoRA: ",
    "default_loras_all_linear": "LoRA, all Linears: ",
}
NO_KINDS: Mapping[str, str] = {}
Scores = dict[str, dict[str, dict[int, float]]]  # way -> target -> seed -> score


def way_of(row: UnitRecord) -> str:
    """How a row was made, as the tables call it."""
    if row.method in WITHOUT_STEPS:
        return row.method + (f" over {row.k}" if row.method == "closed-form" else "")
    chosen = f" over {row.k} by {row.by}" if row.k else ""
    recipe = row.recipe
    length = f"{recipe['budget']:g} s" if recipe["budget"] else f"{recipe['max_steps']} steps"
    return f"{row.method}{chosen}, lr {recipe['lr']:g}, {recipe['start']} start, {length}"


def read(folder: Path, kinds: Mapping[str, str] = NO_KINDS) -> list[tuple[str, UnitRecord]]:
    """Every finished row of the runs in a folder, with its way, before which stands the kind of its sources, by the run's name."""
    return [
        (way_of(row) if row.method in WITHOUT_ADAPTER else kinds.get(path.parent.name, "") + way_of(row), row)
        for path in sorted(folder.glob("*/rows.jsonl"))
        for row in read_lines(path, UnitRecord)
    ]


def read_beside(folder: Path, other: Path) -> list[tuple[str, UnitRecord]]:
    """The rows of runs over LoRAs, and those of the runs over bottlenecks with the same targets, seeds and sizes."""
    loras = read(folder, LORAS)
    shared = {(row.target, row.seed, row.size) for _, row in loras}
    return loras + [
        (way if row.method in WITHOUT_ADAPTER else BOTTLENECK + way, row)
        for way, row in read(other)
        if row.recipe["start"] == "solved" and (row.target, row.seed, row.size) in shared
    ]


def shared_targets(rows: list[tuple[str, UnitRecord]]) -> list[str]:
    """The targets for which every way over LoRAs has a row."""
    targets: dict[str, set[str]] = defaultdict(set)
    for way, row in rows:
        if way.startswith(tuple(LORAS.values())):
            targets[way].add(row.target)
    return sorted(set.intersection(*targets.values())) if targets else []


def by_seed(scores: dict[str, dict[int, float]], targets: list[str]) -> dict[int, float]:
    """A seed's mean over the targets, of the seeds that all of them have."""
    seeds = set.intersection(*(set(scores.get(target, {})) for target in targets)) if targets else set()
    return {seed: fmean(scores[target][seed] for target in targets) for seed in sorted(seeds)}


def against(scores: Scores, way: str, other: str, targets: list[str]) -> list[str]:
    """The difference of two ways with its interval and p, and over how many targets it is a win, a tie or a loss."""
    if way == other or other not in scores:
        return ["", ""]
    first, second = (by_seed(scores[name], targets) for name in (way, other))
    test = paired(first, second, other)
    if test is None:
        shared = first.keys() & second.keys()
        cell = f"{100 * fmean(first[seed] - second[seed] for seed in shared):+.1f}" if shared else ""
    else:
        p = "" if test.p is None else f", p {test.p:.3f}"
        cell = f"{100 * test.difference:+.1f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]{p}"
    differences = []
    for target in targets:
        seeds = scores[way].get(target, {}).keys() & scores[other].get(target, {}).keys()
        differences += (
            [fmean(scores[way][target][seed] - scores[other][target][seed] for seed in seeds)] if seeds else []
        )
    wins, losses = sum(value > 0.01 for value in differences), sum(value < -0.01 for value in differences)
    return [cell, f"{wins} / {len(differences) - wins - losses} / {losses}"]


def table(rows: list[tuple[str, UnitRecord]], targets: list[str]) -> str:
    """One line per way, the best mean first."""
    scores: Scores = defaultdict(lambda: defaultdict(dict))
    seconds: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for way, row in rows:
        if row.target in targets and row.score is not None:
            scores[way][row.target][row.seed] = row.score
            seconds[way].append((row.versions["torch"].endswith("+cpu"), row.seconds))
    lines, default = [], DEFAULT if DEFAULT in scores else BOTTLENECK + DEFAULT
    for way in scores:
        if not (seeds := by_seed(scores[way], targets)):
            continue
        mean, interval = fmean(seeds.values()), _cell(seeds).interval
        shown = f"{100 * mean:.1f}" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if len(seeds) > 1 else "")
        cells = [*against(scores, way, BASE, targets), *against(scores, way, default, targets)]
        lines.append((mean, [way, shown, *cells, str(len(seeds)), spent(seconds[way])]))
    head = ["way", "score", "over the base's closed form", "w / t / l", "over the default", "w / t / l", "seeds", "s"]
    return markdown_table(head, [line for _, line in sorted(lines, key=lambda item: -item[0])])


def spent(seconds: list[tuple[bool, float]]) -> str:
    """Mean seconds, apart for the rows that a CPU computed."""
    parts = {"": [value for cpu, value in seconds if not cpu], " cpu": [value for cpu, value in seconds if cpu]}
    return ", ".join(f"{fmean(values):.0f}{where}" for where, values in parts.items() if values)


def by_target(rows: list[tuple[str, UnitRecord]], targets: list[str]) -> str:
    """One line per way and one column per target: the means over seeds."""
    cells: Scores = defaultdict(lambda: defaultdict(dict))
    for way, row in rows:
        if row.score is not None:
            cells[way][row.target][row.seed] = 100 * row.score
    lines = []
    for way, by_name in cells.items():
        seeds = by_seed(by_name, targets).keys()
        means = [f"{fmean(by_name[target][seed] for seed in seeds):.1f}" for target in targets if seeds]
        lines += [[way, str(len(seeds)), *means]] if seeds else []
    return markdown_table(["way", "seeds", *targets], sorted(lines))


def _cell(seeds: dict[int, float]) -> Cell:
    return Cell("", "", None, "", seeds, 0, 0.0, 0.0, 0.0, None, None, 0, 0)  # type: ignore[arg-type]


def page(folder: Path, beside: Path | None = None) -> str:
    """The tables of the runs in a folder; of LoRAs, beside the runs of another."""
    rows = read_beside(folder, beside) if beside else read(folder)
    parts = ["<!-- made by scripts/default_table.py -->"]
    for size in sorted({int(row.size) for _, row in rows if row.size != "full"}):
        part = [(way, row) for way, row in rows if str(row.size) == str(size)]
        targets = sorted({row.target for _, row in part})
        held_out = [target for target in targets if target in HELD_OUT]
        chosen_on = [target for target in targets if target not in HELD_OUT + FRESH]
        groups = {"all targets": targets}
        if held_out:
            groups |= {"development": chosen_on, "held out": held_out}
        if beside and (measured := shared_targets(part)) != targets:
            groups = {"the targets of every way over LoRAs": measured, "all targets": targets}
        for words, group in groups.items():
            if group:
                parts.append(f"## {size} rows, {words}: {', '.join(group)}\n\n{table(part, group)}")
        parts.append(f"## {size} rows, by target\n\n{by_target(part, targets)}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    FOLDERS = [Path(name) for name in sys.argv[1:]]
    (FOLDERS[0] / "tables.md").write_text(page(*FOLDERS), encoding="utf-8")
