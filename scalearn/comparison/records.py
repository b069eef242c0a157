"""What a comparison stores, one record per finished unit: tables and pictures are drawn from nothing else.

    store/units/<key>.json      one unit, whole or not there; the key is a hash of all that decides its numbers, so that runs share it
    run/rows.jsonl              the units of one run, one per line; while several commands share it, in run/shards/ too
    run/rankings.jsonl          the rankings that chose the sources
    run/experiment.json         configuration, plan, versions, command

Each has its format and a hash of itself (`tasksel.storage.hashed`). A unit is one target under one condition (a transfer method with a choice of sources), with one number of rows and one seed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from scalearn.comparison.condition import EACH, Condition, unit_name
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import FORMAT, parse_record, read_hashed, read_record
from tasksel.storage.jsonl import whole_lines
from tasksel.storage.user_path import user_path

NO_ROW = "a row that this version reads"  # what a file is not, in the errors
ROWS_FILE, RANKINGS_FILE, EXPERIMENT_FILE = "rows.jsonl", "rankings.jsonl", "experiment.json"
SHARDS = "shards"  # a folder of rows files, where several commands share a run


class UnitRecord(Frozen):
    """One finished unit. Scores are fractions; the main one is the target's metric on (at most `test_rows` of) the public validation set.

    Attributes:
        format: 2; 1 in a row of version 0.1, which has neither a hash nor `settings`.
        key: 16 hex digits of all that decided it.
        settings: the method's class, version and values (`TransferMethod.settings`); None in a row of version 0.1.
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
    score: Score | None
    scores: dict[str, Score] = Field(default_factory=dict)
    dev: Score | None = None
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
    settings: dict[str, Any] | None = None

    @model_serializer(mode="wrap")
    def _without_unrecorded(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A row of version 0.1 is written again as it was."""
        return {name: value for name, value in dump(self).items() if name != "settings" or value is not None}

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


def read_unit(path: Path) -> UnitRecord:
    """The record of one unit in a store.

    Raises:
        UserError: see `tasksel.storage.hashed.read_record`.
    """
    return read_record(path, UnitRecord, NO_ROW)


def read_lines(path: Path, kind: type[Frozen]) -> list[Any]:
    """The records of a JSONL file; none where there is no file. A last line that a killed run cut short is left out, and said.

    Args:
        kind: `UnitRecord` or `RankingRecord`.

    Raises:
        UserError: any other line that cannot be read, with its number.
    """
    if not path.is_file():
        return []
    lines, cut = whole_lines(path)
    if cut:
        say(f"{cut[0]}: the last line is cut short (a killed run) and is left out; {len(lines)} whole rows")
    return [parse_record(values, kind, where, NO_ROW) for where, values in lines]


class RunProvenance(Frozen):
    """`experiment.json`: what a run computes, and by what.

    Attributes:
        experiment: the configuration. key: its hash. plan: every unit in words. store: where the work is kept, from the run's folder.
        machine: processor, device and threads.
    """

    experiment: dict[str, Any]
    key: str = ""
    plan: tuple[str, ...]
    store: str = "store"
    versions: dict[str, str] = Field(default_factory=dict)
    command: str = ""
    machine: dict[str, Any] = Field(default_factory=dict)


def read_provenance(folder: Path) -> dict[str, Any]:
    """What a run's `experiment.json` holds.

    Raises:
        UserError: no such file, or one that is broken, altered or of another version.
    """
    path = folder / EXPERIMENT_FILE
    values: dict[str, Any] = read_hashed(path)
    parse_record(values, RunProvenance, str(path), "of this version: run it again in another folder")
    return values


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
        self.provenance: dict[str, Any] = read_provenance(folder)
        self.rows: list[UnitRecord] = self._rows()
        self.rankings: list[RankingRecord] = read_lines(folder / RANKINGS_FILE, RankingRecord)

    def _rows(self) -> list[UnitRecord]:
        """The rows of the run, and those of its shards that it does not have yet."""
        rows: list[UnitRecord] = read_lines(self.folder / ROWS_FILE, UnitRecord)
        shards = sorted((self.folder / SHARDS).glob("*.jsonl"))
        if not shards:
            return rows
        by_name = {name_of(row): row for path in shards for row in read_lines(path, UnitRecord)}
        by_name |= {name_of(row): row for row in rows}
        return [by_name[name] for name in self.planned if name in by_name]

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
