"""Tables from what a run stored, never from memory."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.table import Table

from scalearn.result import TransferResult
from tasksel.errors import UserError
from tasksel.storage import read_json, write_text


@dataclass(frozen=True)
class Row:
    """One line of the main table: a target by a method."""

    target: str
    method: str
    metric: str
    mean: float
    std: float
    scores: dict[int, float]
    transfer_parameters: int
    head_parameters: int
    seconds: float
    folder: Path

    @property
    def score(self) -> str:
        """Mean and standard deviation over seeds, in percent."""
        spread = f" ± {100 * self.std:.1f}" if len(self.scores) > 1 else ""
        return f"{100 * self.mean:.1f}{spread}"

    @property
    def costs(self) -> tuple[str, str, str]:
        """Learned numbers of the transfer and of the head, seconds a seed."""
        return f"{self.transfer_parameters:,}", f"{self.head_parameters:,}", f"{self.seconds:.0f}"


def rankings(run: Path) -> dict[str, list[tuple[str, float]]]:
    """Each target's sources with their similarities, best first."""
    found = {path.stem: read_json(path) for path in sorted((run / "rankings").glob("*.json"))}
    return {target: list(zip(told["names"], told["scores"], strict=True)) for target, told in found.items()}


def report_rows(run: Path) -> list[Row]:
    """A row for every finished result under a run folder, in the configuration's order.

    Raises:
        UserError: no run there.
    """
    told = read_json(run / "experiment.json")["experiment"]
    rows = []
    for target in told["targets"]["tasks"]:
        for method in told["methods"]:
            folder = run / "results" / target / method
            if (folder / "result.json").is_file():
                result = TransferResult.load(folder)
                entries = list(result.seeds.values())
                seconds = sum(entry.seconds for entry in entries) / len(entries)
                learned = entries[0].parameters
                rows.append(
                    Row(
                        target,
                        method,
                        result.task.metric,
                        result.mean,
                        result.std,
                        result.scores,
                        learned["transfer"],
                        learned["head"],
                        seconds,
                        folder,
                    )
                )
    if not rows:
        raise UserError(f"{run}: no finished result yet; scalearn run goes on where it was")
    return rows


def table(rows: list[Row]) -> Table:
    """The rows for a terminal: scores in percent, the best of each target in bold."""
    title = "score on the validation set in %; learned numbers"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("target", "method", "metric"):
        shown.add_column(column, no_wrap=True)
    for column in ("score", "transfer", "head", "seconds"):
        shown.add_column(column, justify="right", no_wrap=True)
    best = {row.target: max(other.mean for other in rows if other.target == row.target) for row in rows}
    for i, row in enumerate(rows):
        style = "bold" if row.mean == best[row.target] else ""
        last = i + 1 == len(rows) or rows[i + 1].target != row.target
        shown.add_row(row.target, row.method, row.metric, row.score, *row.costs, style=style, end_section=last)
    return shown


def markdown(run: Path) -> str:
    """The whole report as Markdown: the command, versions, sources, rankings and results."""
    told = read_json(run / "experiment.json")
    config, rows = told["experiment"], report_rows(run)
    made_by = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    lines = [
        f"# {config['name']}",
        "",
        f"`{told['command']}`",
        "",
        f"{made_by}; {platform.machine()}, {torch.get_num_threads()} threads.",
        "",
    ]
    lines += ["| source | rows | metric: validation score (%) | steps | seconds |", "|---|--:|---|--:|--:|"]
    for name in config["sources"]["tasks"]:
        card = read_json(run / "pool" / name / "card.json")
        scores = ", ".join(f"{metric} {100 * score:.1f}" for metric, score in card["scores"].items() if metric != "dev")
        lines.append(f"| {name} | {card['rows'] or 'all'} | {scores} | {card['steps']} | {card['seconds']:.0f} |")
    lines += ["", "| target | its sources, nearest first |", "|---|---|"]
    lines += [
        f"| {target} | {', '.join(f'{name} {score:.3f}' for name, score in order)} |"
        for target, order in rankings(run).items()
    ]
    lines += [
        "",
        "| target | method | metric | score (%) | each seed | learned (transfer) | learned (head) | seconds a seed |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        each = " ".join(f"{100 * score:.1f}" for score in row.scores.values())
        lines.append(f"| {' | '.join((row.target, row.method, row.metric, row.score, each, *row.costs))} |")
    return "\n".join(lines) + "\n"


def write_report(run: Path) -> Path:
    """Writes `report.md` into the run folder."""
    write_text(run / "report.md", markdown(run))
    return run / "report.md"
