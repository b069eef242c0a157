"""Finished units of work, one row each: what a table or a picture of a comparison is drawn from.

    store/units/<key>.json      one unit, whole or not there; the key names all that decides its numbers, so that tables share it
    run/rows.jsonl              the units of one run, a line each
    run/rankings.jsonl          what each choice of sources rested on
    run/experiment.json         configuration, plan, versions, command

A unit is one target by one method from one choice of sources, with one number of rows and one seed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from scalearn.comparison.condition import EACH, Condition, unit_name
from tasksel.errors import UserError
from tasksel.storage.atomic import read_json
from tasksel.storage.frozen import Frozen
from tasksel.storage.jsonl import whole_lines

FORMAT = 1


ROWS, RANKINGS, EXPERIMENT = "rows.jsonl", "rankings.jsonl", "experiment.json"


class UnitRecord(Frozen):
    """One finished unit. Scores are fractions; the main one is the target's metric on (at most `test_rows` of) the public validation set.

    Attributes:
        key: 16 hex digits of all that decided it.
        size: "full", or so many training rows (few-shot). rows, dev_rows, test_rows: what was trained on, chosen by and scored.
        by, k, own: the choice of sources (`Condition`; `own` is its `include_target`).
        sources: fingerprints by name, in omega's order.
        score: None where the run diverged. dev: what chose the checkpoint.
        parameters: learned numbers of the "transfer" and of the "head" beside it.
        bytes, peak_memory: see `scalearn.results.result.SeedRecord`.
        omega: mean over the width of each weight [layers, or 1 if shared][sources]; None without a mix.
    """

    format: int = FORMAT
    key: str
    target: str
    kind: str
    metric: str
    base: dict[str, str]
    method: str
    protocol: str
    size: int | str
    rows: int
    dev_rows: int
    test_rows: int
    seed: int
    by: str | None = None
    k: int = 0
    own: bool = False
    sources: dict[str, str] = Field(default_factory=dict)
    score: float | None
    scores: dict[str, float] = Field(default_factory=dict)
    dev: float | None = None
    epoch: int | None = None
    steps: int = 0
    seconds: float = 0.0
    parameters: dict[str, int] = Field(default_factory=dict)
    bytes: int | None = None
    peak_memory: int | None = None
    omega: tuple[tuple[float, ...], ...] | None = None
    data: str
    recipe: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def condition(self) -> Condition:
        """The transfer method with its choice of sources."""
        source = next(iter(self.sources)) if self.by == EACH else None
        return Condition(self.method, self.by, self.k, self.own, source)


class RankingRecord(Frozen):
    """A ranking of sources for a target, best first; larger scores are nearer."""

    format: int = FORMAT
    key: str
    target: str
    size: int | str
    seed: int
    by: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    seconds: float = 0.0


def parse(told: Any, kind: type[Frozen], where: str) -> Any:
    """A stored row of a kind.

    Raises:
        UserError: a newer version wrote it; fields other than this version's.
    """
    if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > FORMAT:
        raise UserError(
            f"{where}: written by a newer version (format {told['format']}, this one reads {FORMAT}): upgrade scalearn, or choose another store"
        )
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"])) or "row"
        raise UserError(f"{where}: not a row that this version reads ({path}: {first['msg']})") from error


def read_unit(path: Path) -> UnitRecord:
    """One unit of a store.

    Raises:
        UserError: see `parse`.
    """
    row: UnitRecord = parse(read_json(path), UnitRecord, str(path))
    return row


def read_lines(path: Path, kind: type[Frozen]) -> list[Any]:
    """The rows of a JSONL file; none where there is no file. A last line that a killed run cut short is left out.

    Raises:
        UserError: any other line that cannot be read, with its number.
    """
    if not path.is_file():
        return []
    return [parse(told, kind, where) for where, told in whole_lines(path)[0]]


class RunFolder(os.PathLike[str]):
    """What a run's folder holds: its configuration, plan and finished rows. Stands for the folder where a path is expected.

    Attributes:
        rows: the finished units, in the plan's order. rankings: the rankings that chose their sources.

    Raises:
        UserError: no run there, or one that this version does not read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = folder = Path(folder)
        if not (folder / EXPERIMENT).is_file():
            raise UserError(
                f"{folder}: no run there (no {EXPERIMENT}): scalearn compare CONFIG.yaml --out {folder} makes one"
            )
        self.told: dict[str, Any] = read_json(folder / EXPERIMENT)
        if not isinstance(self.told, dict) or "experiment" not in self.told or "plan" not in self.told:
            raise UserError(f"{folder / EXPERIMENT} is not of this version: run it again in another folder")
        self.rows: list[UnitRecord] = read_lines(folder / ROWS, UnitRecord)
        self.rankings: list[RankingRecord] = read_lines(folder / RANKINGS, RankingRecord)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        planned = len(self.told["plan"])
        return f"RunFolder({str(self.folder)!r}, {planned - len(self.missing)} of {planned} units finished)"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as it was read."""
        return dict(self.told["experiment"])

    @property
    def missing(self) -> list[str]:
        """Units of the plan that are not finished, by name."""
        done = {name_of(row) for row in self.rows}
        return [name for name in self.told["plan"] if name not in done]


def load_run(folder: str | os.PathLike[str]) -> RunFolder:
    """The run in a folder, finished or not: its rows, rankings, missing units and configuration.

    Raises:
        UserError: no run there, or one that this version does not read.

    >>> run = load_run("runs/quickstart")  # doctest: +SKIP
    >>> {(row.target, row.method, row.seed): row.score for row in run.rows}  # doctest: +SKIP
    >>> run.missing  # doctest: +SKIP
    []
    """
    return RunFolder(folder)


def name_of(row: UnitRecord) -> str:
    """A row's unit in words, as a run's plan holds it."""
    return unit_name(row.target, row.size, row.condition, row.seed)
