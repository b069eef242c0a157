"""Rows of local data files, each with its place: `train.jsonl:17`, or `train.parquet:row 17`.

    .csv .tsv                  `tasksel.tasks.separated`
    .jsonl .ndjson .json       `tasksel.tasks.json_rows`
    .parquet .arrow .feather   `tasksel.tasks.arrow_rows`

Cells of separated files are text as it stands; values of the other files keep their type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasksel.errors import UserError
from tasksel.tasks.arrow_rows import arrow_rows
from tasksel.tasks.data_files import ENDINGS as ENDINGS
from tasksel.tasks.data_files import ending_of, expand
from tasksel.tasks.json_rows import json_rows, line_rows
from tasksel.tasks.row import Row as Row
from tasksel.tasks.row import need_columns as need_columns
from tasksel.tasks.separated import separated_rows
from tasksel.tasks.templates import template_columns as template_columns
from tasksel.tasks.text_files import TextFile


def read_rows(
    path: str | Path | Sequence[str], *, separator: str | None = None, encoding: str | None = None
) -> list[Row]:
    """Every row of a file, of the shards that a pattern (`data/train-*.jsonl`) or a list names, or of a folder's training files.

    Args:
        separator: between the cells of a CSV or TSV file; by default found from its header.
        encoding: of a text file; by default what its byte order mark says, else UTF-8.

    Raises:
        UserError: no such file, an unknown ending, broken rows (how many, the first five with their places), or no rows at all.
    """
    return list(iter_rows(path, separator=separator, encoding=encoding))


def iter_rows(
    path: str | Path | Sequence[str], *, separator: str | None = None, encoding: str | None = None
) -> Iterator[Row]:
    """`read_rows`, row by row: what is wrong with the file's form may be raised after its last row.

    >>> next(iter_rows("reviews.csv")).values  # doctest: +SKIP
    {'text': 'rich and hot', 'label': 'good'}
    """
    files, empty = expand(path), True
    for file in files:
        for row in _file_rows(file, separator, encoding):
            empty = False
            yield row
    if empty:
        raise UserError(f"{files[0]}: the file is empty: it has no rows")


def _file_rows(path: Path, separator: str | None, encoding: str | None) -> Iterator[Row]:
    ending, packing = ending_of(path) or ("", "")
    text = TextFile(path, packing, encoding)
    if ending in (".csv", ".tsv"):
        return separated_rows(text, separator=separator, default="\t" if ending == ".tsv" else ",")
    if ending == ".json":
        return json_rows(text)
    return line_rows(text) if ending in (".jsonl", ".ndjson") else arrow_rows(path, ending)
