"""Rows of files with a separator between cells: CSV, TSV, and what spreadsheets write with semicolons.

The reader is the standard library's, since that of pandas fills up rows that are too short and knows no line. Cells stay the text that
they are: "NA", "null" and "1.0" too. A file of tabs knows quoting only where every row agrees with it; otherwise its quotation marks are text.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Literal

from tasksel.errors import UserError
from tasksel.tasks.bad_rows import BadRows
from tasksel.tasks.row import Row
from tasksel.tasks.text_files import TextFile

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
HEAD, LONG_LINE = 20, 100_000  # lines that the separator is found from; longer ones take long and say no more
Quoting = Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
LONGEST = 2**31 - 1  # characters of a cell; the library's own limit is 131,072


@dataclass
class Table:
    """What a pass over a file has seen: its header, its rows, those that are bad, and whether a quoted cell went over several lines."""

    header: list[str] = field(default_factory=list)
    rows: int = 0
    bad: BadRows = field(default_factory=BadRows)
    folded: bool = False


def separated_rows(file: TextFile, *, separator: str | None = None, default: str = ",") -> Iterator[Row]:
    """Every row of a file, each with its line; blank lines are left out. Bad rows are refused together, after the last row.

    Args:
        separator: between cells; None finds it from the header and the first rows.
        default: the separator that the file's ending stands for.

    Raises:
        UserError: a column that stands twice in the header; rows with another number of cells than the header, or broken quoting.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise UserError(f"separator {separator!r}: give one character, as ';' (a tab: '\\t')")
    csv.field_size_limit(LONGEST)
    with _lines(file, separator, default) as (chosen, _):
        pass
    quoting: Quoting = _tab_quoting(file, separator, default) if chosen == "\t" else csv.QUOTE_MINIMAL
    table = Table()
    with _lines(file, separator, default) as (chosen, lines):
        yield from _parse(lines, file, chosen, quoting, table)
    table.bad.refuse()


def _tab_quoting(file: TextFile, separator: str | None, default: str) -> Quoting:
    """Whether quotation marks in a file of tabs are quoting: only where every row agrees with it, or the header's names are quoted."""
    quoted, plain = Table(), Table()
    passes: tuple[tuple[Table, Quoting], ...] = ((quoted, csv.QUOTE_MINIMAL), (plain, csv.QUOTE_NONE))
    for table, quoting in passes:
        with _lines(file, separator, default) as (chosen, lines):
            for _ in _parse(lines, file, chosen, quoting, table):
                pass
        if not quoted.bad.count and not quoted.folded:
            return csv.QUOTE_MINIMAL
    quoted_names = plain.rows and any(len(name) > 1 and name[0] == name[-1] == '"' for name in plain.header)
    return csv.QUOTE_MINIMAL if quoted_names or plain.bad.count > quoted.bad.count else csv.QUOTE_NONE


@contextmanager
def _lines(file: TextFile, separator: str | None, default: str) -> Iterator[tuple[str, Iterable[str]]]:
    """The separator of an open file, and its lines."""
    with file.lines(newline="") as lines:
        head = list(islice(lines, HEAD))
        if head and head[0].lower().startswith("sep=") and len(head[0].strip("\r\n")) == 5:  # Excel's own first line
            separator = separator or head[0][4]
            head[0] = "\n"
        yield separator or find_separator(head, default), chain(head, lines)


def find_separator(head: list[str], default: str) -> str:
    """The separator of a file from its first lines: the usual one where rows agree on it, else the one that gives most columns.

    >>> find_separator(["body;verdict\\n", "soup, rich and hot;good\\n"], ",")
    ';'
    """
    widths, head = {}, head[:1] + [line for line in head[1:] if len(line) < LONG_LINE]
    for separator in dict.fromkeys([default, *SEPARATORS]):
        rows = [len(row) for row in csv.reader(head, delimiter=separator) if row]
        widths[separator] = rows[0] if rows else 0, len(set(rows[:-1] if len(rows) > 2 else rows)) <= 1
    columns, agree = widths[default]
    if columns > 1 and agree:
        return default
    agreeing = {separator: width for separator, (width, agree) in widths.items() if width > 1 and agree}
    if agreeing:
        return max(agreeing, key=agreeing.__getitem__)
    return default if columns > 1 else max(widths, key=lambda separator: widths[separator][0])


def _parse(lines: Iterable[str], file: TextFile, separator: str, quoting: Quoting, table: Table) -> Iterator[Row]:
    """The rows of lines, counted in `table`; it is complete after the last one."""
    reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
    header: list[str] | None = None
    for first, values in _records(reader, file, table.bad):
        if not values:
            continue
        if header is None:
            header = table.header = _header(values, f"{file.path}:{first}")
        elif len(values) == len(header):
            last = reader.line_num
            table.folded = table.folded or (last > first and len(header) > 1)
            table.rows += 1
            yield Row(dict(zip(header, values, strict=True)), f"{file.path}:{last}")
        else:
            table.bad.add(_other_number(f"{file.path}:{reader.line_num}", len(header), len(values), separator))


def _records(reader: Any, file: TextFile, bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    """The first line and the cells of each record; those with broken quoting are bad."""
    while True:
        first = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.add(f"{file.path}:{first}: broken CSV ({error}); double a quotation mark within a quoted cell")
            continue
        yield first, values


def _header(names: list[str], where: str) -> list[str]:
    """The columns' names, of which none but an empty one may stand twice."""
    if any("\0" in name for name in names):
        raise UserError(f"{where}: NUL characters in the header; say the encoding, for example --encoding utf-16-le")
    for name, times in Counter(names).items():
        if times > 1 and name.strip():
            raise UserError(f"{where}: column '{name:.60}' stands twice in the header; rename or remove one")
    return names


def _other_number(where: str, columns: int, cells: int, separator: str) -> str:
    name = SEPARATORS.get(separator, repr(separator))
    return f"{where}: {columns} columns in the header, another number in this row ({cells}; the separator is a {name})"
