"""What a comparison stores, one record per finished unit: tables and pictures are drawn from nothing else.

    store/units/<key>.json      one unit, whole or not there; the key is a hash of all that decides its numbers, so that runs share it
    run/rows.jsonl              the units of one run, one per line
    run/rankings.jsonl          the rankings that chose the sources
    run/experiment.json         configuration, plan, versions, command

A unit is one target under one condition (a transfer method with a choice of sources), with one number of rows and one seed.
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
from tasksel.storage.user_path import user_path

FORMAT = 1
ROWS_FILE, RANKINGS_FILE, EXPERIMENT_FILE = "rows.jsonl", "rankings.jsonl", "experiment.json"


class UnitRecord(Frozen):
    """One finished unit. Scores are fractions; the main one is the target's metric on (at most `test_rows` of) the public validation set.

    Attributes:
        key: 16 hex digits of all that decided it.
        size: "full", or a number of training rows (few-shot). rows, dev_rows, test_rows: how many were trained on, chosen by and scored.
        by, k, own: the choice of sources (`Condition`; `own` is its `include_target`).
        sources: fingerprints by name, in omega's order.
        score: None where the training diverged. dev: the dev score that chose the checkpoint.
        parameters: trainable parameters, of the "transfer" and of the "head".
        bytes, peak_memory: see `scalearn.results.result.SeedRecord`.
        omega: mean over the hidden size of each weight [layers, or 1 if shared][sources]; None without a mix.

    >>> [row.score for row in load_run("runs/quickstart").rows if row.method == "scalearn"]  # doctest: +SKIP
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
    """A selector's ranking of the sources for a target, best first; larger scores are better.

    >>> load_run("runs/quickstart").rankings[0].names  # doctest: +SKIP
    """

    format: int = FORMAT
    key: str
    target: str
    size: int | str
    seed: int
    by: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    seconds: float = 0.0


def parse_record(values: Any, kind: type[Frozen], where: str) -> Any:
    """A stored record, from the JSON value that a file holds.

    Args:
        kind: `UnitRecord` or `RankingRecord`. where: the file, and the line of it, for the errors.

    Raises:
        UserError: a newer version wrote it; fields other than this version's.
    """
    if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise UserError(
            f"{where}: written by a newer version (format {values['format']}, this one reads {FORMAT}): upgrade scalearn, or choose another store"
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"])) or "row"
        raise UserError(f"{where}: not a row that this version reads ({path}: {first['msg']})") from error


def read_unit(path: Path) -> UnitRecord:
    """The record of one unit in a store.

    Raises:
        UserError: see `parse_record`.
    """
    record: UnitRecord = parse_record(read_json(path), UnitRecord, str(path))
    return record


def read_lines(path: Path, kind: type[Frozen]) -> list[Any]:
    """The records of a JSONL file; none where there is no file. A last line that a killed run cut short is left out.

    Args:
        kind: `UnitRecord` or `RankingRecord`.

    Raises:
        UserError: any other line that cannot be read, with its number.
    """
    if not path.is_file():
        return []
    return [parse_record(values, kind, where) for where, values in whole_lines(path)[0]]


class RunFolder(os.PathLike[str]):
    """What a run's folder holds: its configuration, plan and finished rows. Stands for the folder where a path is expected.

    Attributes:
        folder: where it is. provenance: what `experiment.json` holds: configuration, plan, store, versions, command, machine.
        rows: the finished units, in the plan's order. rankings: the rankings that chose their sources.

    Raises:
        UserError: no run there, or one that this version does not read.

    >>> run = RunFolder("runs/quickstart")  # doctest: +SKIP
    >>> write_report(run)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = folder = user_path(folder)
        if not (folder / EXPERIMENT_FILE).is_file():
            raise UserError(
                f"{folder}: no run there (no {EXPERIMENT_FILE}): scalearn compare CONFIG.yaml --out {folder} makes one"
            )
        self.provenance: dict[str, Any] = read_json(folder / EXPERIMENT_FILE)
        if not isinstance(self.provenance, dict) or not {"experiment", "plan"} <= self.provenance.keys():
            raise UserError(f"{folder / EXPERIMENT_FILE} is not of this version: run it again in another folder")
        self.rows: list[UnitRecord] = read_lines(folder / ROWS_FILE, UnitRecord)
        self.rankings: list[RankingRecord] = read_lines(folder / RANKINGS_FILE, RankingRecord)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        planned = len(self.planned)
        return f"RunFolder({str(self.folder)!r}, {planned - len(self.missing)} of {planned} units finished)"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the comparison, as it is stored."""
        return dict(self.provenance["experiment"])

    @property
    def planned(self) -> list[str]:
        """Every unit of the plan, by name, finished or not."""
        return list(self.provenance["plan"])

    @property
    def missing(self) -> list[str]:
        """Units of the plan that are not finished, by name."""
        done = {name_of(row) for row in self.rows}
        return [name for name in self.planned if name not in done]


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


def name_of(record: UnitRecord) -> str:
    """The name of a record's unit, as a run's stored plan holds it."""
    return unit_name(record.target, record.size, record.condition, record.seed)
