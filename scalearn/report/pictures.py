"""All pictures of a run, drawn from its stored rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalearn.comparison.records import RankingRow, Run
from scalearn.report.benefit_pictures import benefit_pictures
from scalearn.report.cost_picture import costs_picture
from scalearn.report.drawing import Picture, file_name, look
from scalearn.report.map_pictures import map_pictures
from scalearn.report.score_pictures import few_shot_picture, lead_picture, parameters_picture
from scalearn.report.statistics import Comparison
from scalearn.report.sweep_picture import sweep_picture
from scalearn.report.weight_pictures import weight_pictures
from tasksel.errors import UserError
from tasksel.storage.atomic import read_json

MAP = "map.json"


def draw_all(run: Run, comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Every picture that the run has rows for, as NAME.svg and NAME.png; the same rows give the same bytes.

    Raises:
        UserError: no matplotlib; a broken map.json.
    """
    made = [p for one in comparisons for p in comparison_pictures(one, run.rankings, prefix(one, comparisons))]
    return [path for picture in [*made, *run_pictures(run)] for path in picture.save(folder)]


def comparison_pictures(comparison: Comparison, rankings: Sequence[RankingRow], prefix: str = "") -> list[Picture]:
    """The pictures of one base and protocol.

    Raises:
        UserError: no matplotlib.
    """
    with look(prefix):
        made = [
            parameters_picture(comparison, file_name(prefix, "parameters")),
            few_shot_picture(comparison, file_name(prefix, "few-shot")),
            lead_picture(comparison, file_name(prefix, "lead")),
            sweep_picture(comparison, file_name(prefix, "sources")),
            costs_picture(comparison, file_name(prefix, "costs")),
        ]
        found = [picture for picture in made if picture is not None]
        found += [*benefit_pictures(comparison, rankings, prefix), *weight_pictures(comparison, prefix)]
        return _apart(found)


def _apart(made: Sequence[Picture]) -> list[Picture]:
    """The same pictures, no two with the same name: tasks a/b and a-b would both give a-b."""
    taken: dict[str, int] = {}
    renamed = []
    for picture in made:
        count = taken[picture.name] = taken.get(picture.name, 0) + 1
        renamed.append(replace(picture, name=f"{picture.name}--{count}") if count > 1 else picture)
    return renamed


def run_pictures(run: Run) -> list[Picture]:
    """The pictures that belong to no comparison: the map of the tasks, where the run has one.

    Raises:
        UserError: no matplotlib; a broken map.json.
    """
    path = run.folder / MAP
    if not path.is_file():
        return []
    told = read_json(path)
    _check_map(told, path)
    with look(MAP):
        return map_pictures(told, "")


def prefix(comparison: Comparison, comparisons: Sequence[Comparison]) -> str:
    """What tells a comparison's files from those of others; nothing where it is alone."""
    return file_name(comparison.base, comparison.protocol) if len(comparisons) > 1 else ""


def _check_map(told: Any, path: Path) -> None:
    parts = ("by", "base", "names", "similarity")
    if not isinstance(told, dict) or any(part not in told for part in parts):
        raise UserError(f"{path}: not a map of tasks (needs {', '.join(parts)}); take it away and run again")
    count = len(told["names"])
    if len(told["similarity"]) != count or any(len(row) != count for row in told["similarity"]):
        raise UserError(f"{path}: {count} names, but a similarity of another size; take it away and run again")
