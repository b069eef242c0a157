"""All figures of a run, drawn once from its stored rows: the files and the page show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalearn.comparison.records import RankingRecord, RunFolder
from scalearn.report.figures.cost import costs_picture
from scalearn.report.figures.curves import few_shot_picture, gain_picture
from scalearn.report.figures.gain import source_gain_pictures
from scalearn.report.figures.scores import parameters_picture
from scalearn.report.figures.sweep import sweep_picture
from scalearn.report.figures.task_map import map_pictures
from scalearn.report.figures.weights import weight_pictures
from scalearn.report.statistics import Comparison
from tasksel.display.figures import file_name, look
from tasksel.display.picture import Picture
from tasksel.errors import UserError
from tasksel.storage.hashed import read_hashed

MAP = "map.json"


@dataclass(frozen=True)
class Gallery:
    """A run's pictures.

    Attributes:
        of_comparisons: those of each comparison, in its order. of_tasks: the map of the tasks.
        missing: why pictures are not there; empty where they are.
    """

    of_comparisons: tuple[tuple[Picture, ...], ...] = ()
    of_tasks: tuple[Picture, ...] = ()
    missing: str = ""

    @property
    def pictures(self) -> list[Picture]:
        """All of them."""
        return [*(picture for group in self.of_comparisons for picture in group), *self.of_tasks]

    def save(self, folder: Path) -> list[Path]:
        """Writes each picture as NAME.svg and NAME.png; the same rows give the same bytes."""
        return [path for picture in self.pictures for path in picture.save(folder)]


def draw_gallery(run: RunFolder, comparisons: Sequence[Comparison]) -> Gallery:
    """Every picture that the run has rows for. Without matplotlib there is none; without a whole map.json there is no map; both say why."""
    results = run.folder / str(run.provenance.get("store", "store")) / "results"
    try:
        groups = tuple(
            tuple(comparison_pictures(comparison, run.rankings, prefix(comparison, comparisons), results))
            for comparison in comparisons
        )
    except UserError as error:
        return Gallery(tuple(() for _ in comparisons), missing=f"No pictures: {error}")
    try:
        return Gallery(groups, tuple(map_pictures_of(run)))
    except UserError as error:
        return Gallery(groups, missing=f"No map of the tasks: {error}")


def comparison_pictures(
    comparison: Comparison, rankings: Sequence[RankingRecord], prefix: str = "", results: Path | None = None
) -> list[Picture]:
    """The pictures of one base and protocol.

    Args:
        results: the folder of kept models, which tell how far their weights moved.

    Raises:
        UserError: no matplotlib.
    """
    with look(prefix):
        drawn = [
            parameters_picture(comparison, file_name(prefix, "parameters")),
            few_shot_picture(comparison, file_name(prefix, "few-shot")),
            gain_picture(comparison, file_name(prefix, "gain")),
            sweep_picture(comparison, file_name(prefix, "sources")),
            costs_picture(comparison, file_name(prefix, "costs")),
        ]
        pictures = [picture for picture in drawn if picture is not None]
        pictures += source_gain_pictures(comparison, rankings, prefix)
        pictures += weight_pictures(comparison, prefix, results)
        return _apart(pictures)


def _apart(pictures: Sequence[Picture]) -> list[Picture]:
    """The same pictures with names of their own: tasks a/b and a-b would both give a-b."""
    taken: dict[str, int] = {}
    renamed = []
    for picture in pictures:
        count = taken[picture.name] = taken.get(picture.name, 0) + 1
        renamed.append(replace(picture, name=f"{picture.name}--{count}") if count > 1 else picture)
    return renamed


def map_pictures_of(run: RunFolder) -> list[Picture]:
    """The map of the tasks, where the run has one.

    Raises:
        UserError: no matplotlib; a broken map.json.
    """
    path = run.folder / MAP
    if not path.is_file():
        return []
    stored = read_hashed(path)
    _check_map(stored, path)
    with look(MAP):
        return map_pictures(stored, "")


def prefix(comparison: Comparison, comparisons: Sequence[Comparison]) -> str:
    """What the file names of a comparison begin with; empty where the run has only one."""
    return file_name(comparison.base, comparison.protocol) if len(comparisons) > 1 else ""


def _check_map(stored: Any, path: Path) -> None:
    parts = ("by", "base", "names", "similarity")
    if not isinstance(stored, dict) or any(part not in stored for part in parts):
        raise UserError(f"{path}: not a map of tasks (needs {', '.join(parts)}); take it away and run again")
    count = len(stored["names"])
    if len(stored["similarity"]) != count or any(len(row) != count for row in stored["similarity"]):
        raise UserError(f"{path}: {count} names, but a similarity of another size; take it away and run again")
