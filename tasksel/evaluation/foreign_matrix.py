"""Reads a transfer matrix that others measured, from a table as it is: long, or wide.

    long    source, target, score [, seed, method, metric, seconds]     one row a run; an empty source is the baseline without transfer
    wide    the first column names the sources, every other column is a target, cells are scores

Scores are fractions, or percent where one is above 1. An empty cell, or NaN, was not measured. Runs of one pair without a seed are its
seeds. Nothing is said of costs, which stay unknown. All ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.evaluation.score_records import SelectorScores
from tasksel.evaluation.transfer_matrix import SINGLE, MatrixRecord, TransferMatrix
from tasksel.evaluation.transfer_matrix import read_matrix as read_stored_matrix
from tasksel.tasks.files import Row, read_rows
from tasksel.tasks.label_values import as_number, is_blank

NEEDED, OPTIONAL = ("source", "target", "score"), ("seed", "method", "metric", "seconds")
NOT_MEASURED = ("", "nan", "na", "n/a", "-", "none", "null")
METHOD, METRIC, SIZE = "sequential", "score", "size"


def read_matrix(path: str | Path) -> TransferMatrix:
    """A measured transfer matrix: the folder or file of `scalearn measure-matrix`, or a table that others wrote (.csv, .tsv, …).

    What is read in another way than it is written (percent, runs without seeds, a task with itself) is said in one line.

    Raises:
        UserError: no such file, no run in it; of a table: neither form, a score that is no number or outside its range, with its place,
            fractions beside percent; of a stored matrix, see `tasksel.evaluation.transfer_matrix.read_matrix`.

    >>> read_matrix(Path("theirs.csv")).targets  # doctest: +SKIP
    ('rte', 'cola')
    """
    path = Path(path)
    if path.is_dir() or path.suffix in ("", ".jsonl"):
        return read_stored_matrix(path)
    rows = read_rows(path)
    names = {str(name).strip().lower(): name for name in rows[0].values}
    if all(name in names for name in NEEDED):
        cells = [_run(row, names) for row in rows]
    elif len(set(NEEDED) & set(names)) > 1:
        missing = next(name for name in NEEDED if name not in names)
        raise unknown(f"column in {path}: a list of runs needs source, target and score;", missing, names)
    else:
        cells = _cells(rows)
        targets = len(rows[0].values) - 1
        say(f"{path}: {len(rows)} sources (rows) by {targets} targets (columns)")
    runs = [cell for cell in cells if not (cell["source"] and cell["source"] == cell["target"])]
    if len(runs) < len(cells):
        say(f"{path}: left out {len(cells) - len(runs)} cells of a task with itself: no transfer")
    measured = [run for run in runs if run["score"] is not None]
    if not measured:
        raise UserError(
            f"{path}: no score in it; give source, target, score, or a table of sources (rows) by targets (columns)"
        )
    if len(measured) < len(runs):
        say(f"{path}: {len(runs) - len(measured)} of {len(runs)} pairs were not measured (empty cells)")
    return TransferMatrix(tuple(_records(_with_seeds(path, _fractions(path, measured)))))


def _run(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    """One run of a long table."""
    values = {name: row.values[names[name]] for name in (*NEEDED, *OPTIONAL) if name in names}
    target = _name(values["target"])
    if not target:
        raise UserError(f"{row.where}: a run without a target; name it or remove the row")
    return {
        **values,
        "where": row.where,
        "source": _name(values["source"]),
        "target": target,
        "score": _score(values["score"], row.where),
    }


def _cells(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The cells of a wide table."""
    try:
        return [cell for row in rows for cell in _row_of_cells(row)]
    except UserError as error:
        raise UserError(f"{error}; a list of runs has the columns source, target, score") from error


def _row_of_cells(row: Row) -> list[dict[str, Any]]:
    """The cells of a row of a wide table."""
    (first, source), *cells = row.values.items()
    if not _name(source):
        raise UserError(f"{row.where}: a row without a source in the first column '{first}'; name it or remove the row")
    return [
        {
            "source": _name(source),
            "target": _name(target),
            "score": _score(value, f"{row.where}, column '{target}'"),
            "where": row.where,
        }
        for target, value in cells
    ]


def _name(value: Any) -> str:
    return "" if is_blank(value) or str(value).strip().lower() in ("none", "null", "nan") else str(value).strip()


def _score(value: Any, where: str) -> float | None:
    """A cell's score, in the unit it is written in; percent signs are read as such. None where it was not measured."""
    text = str(value).strip()
    if is_blank(value) or text.lower() in NOT_MEASURED:
        return None
    number = as_number(re.sub(r"\s*%$", "", text))
    if number is None or abs(number) > 100:
        raise UserError(
            f"{where}: score {value!r}; give a fraction from -1 to 1, or percent up to 100, or leave the cell empty"
        )
    return number


def _fractions(path: Path, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs with scores as fractions: percent is divided by 100 for all of them.

    Raises:
        UserError: a target whose scores look like fractions beside others in percent.
    """
    largest: dict[str, float] = {}
    for run in runs:
        largest[run["target"]] = max(largest.get(run["target"], 0.0), abs(run["score"]))
    percent = [target for target, score in largest.items() if score > 1]
    if not percent:
        return list(runs)
    if fractions := [target for target, score in largest.items() if 0 < score <= 1]:
        raise UserError(
            f"{path}: the scores of '{percent[0]}' are percent (up to {largest[percent[0]]:g}) and those of '{fractions[0]}' look like "
            f"fractions (up to {largest[fractions[0]]:g}): write all in one unit"
        )
    say(f"{path}: scores are read as percent (the largest is {max(largest.values()):g})")
    return [{**run, "score": round(run["score"] / 100, 12)} for run in runs]


def _with_seeds(path: Path, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs, each pair once under a seed: seeds as they are named; without, a pair's runs are seeds where all pairs have as many, else their mean."""
    pairs: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for run in runs:
        seed = "" if is_blank(run.get("seed")) else str(run["seed"]).strip()
        pairs.setdefault((run["target"], run["source"], _method(run), seed), []).append(run)
    named = {seed: number for number, seed in enumerate(dict.fromkeys(key[3] for key in pairs))}
    seeds = {seed: int(as_number(seed) or 0) for seed in named} if _whole(named) else named
    counts = {len(group) for group in pairs.values()}
    if counts == {1}:
        return [{**group[0], "seed": seeds[key[3]]} for key, group in pairs.items()]
    if set(named) == {""} and len(counts) == 1:
        say(f"{path}: each pair has {counts.pop()} runs, which are read as its seeds")
        return [{**run, "seed": number} for group in pairs.values() for number, run in enumerate(group)]
    say(
        f"{path}: {sum(len(group) > 1 for group in pairs.values())} pairs have several runs (up to {max(counts)}), which are averaged"
    )
    return [
        {**group[0], "seed": seeds[key[3]], "score": math.fsum(run["score"] for run in group) / len(group)}
        for key, group in pairs.items()
    ]


def _whole(seeds: Iterable[str]) -> bool:
    return all(re.fullmatch(r"\d+(\.0+)?", seed) for seed in seeds)


def _method(run: Mapping[str, Any]) -> str:
    return SINGLE if not run["source"] else (_name(run.get("method")) or METHOD)


def _records(runs: Iterable[Mapping[str, Any]]) -> Iterable[MatrixRecord]:
    """The runs as records; costs are unknown where the table has none."""
    for run in runs:
        seconds = as_number(run.get("seconds"))
        metric = _name(run.get("metric")) or METRIC
        yield MatrixRecord(
            run["target"], run["source"] or None, _method(run), run["seed"], metric, run["score"], None, 0,
            math.nan if seconds is None else seconds,
        )  # fmt: skip


def read_sizes(path: Path, matrix: TransferMatrix) -> list[SelectorScores]:
    """The ranking by size that a table of sizes gives for each target: the sources' training rows, as the selector "size" has them.

    The table has a column of names and one of numbers: `source`, `task` or `name`, and `size` or `rows`; else its first two.

    Raises:
        UserError: a source of the matrix that has no size (with the nearest name); a size that is no number, with its place.
    """
    sizes: dict[str, float] = {}
    for row in read_rows(path):
        columns = {str(name).strip().lower(): name for name in row.values}
        if len(columns) < 2:
            raise UserError(
                f"{row.where}: one column; a table of sizes has the names of the sources and their numbers of training rows"
            )
        name, size = (
            next((columns[word] for word in words if word in columns), list(row.values)[place])
            for place, words in enumerate((("source", "task", "name"), ("size", "rows")))
        )
        number = as_number(row.values[size].replace(" ", "") if isinstance(row.values[size], str) else row.values[size])
        if number is None or number < 0:
            raise UserError(
                f"{row.where}: size {row.values[size]!r} in '{size}'; give the number of training rows, as 1234"
            )
        sizes[_name(row.values[name])] = number
    for source in matrix.sources:
        if source not in sizes:
            raise unknown(f"source in {path}, which the matrix has:", source, sizes)
    others = {target: [name for name in matrix.sources if name != target] for target in matrix.targets}
    nan = math.nan
    return [
        SelectorScores(SIZE, target, 0, {name: sizes[name] for name in sources}, nan, nan, 0)
        for target, sources in others.items()
    ]
