"""The table of docs/reference/reliability.md: written between two marks from the stored rows, and read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.verdict import VERDICTS, WANTED_NONE, Row

BEGIN, END = "<!-- written by python -m benchmarks.faults -->", "<!-- end -->"
HEAD = ["| kind | tried | " + " | ".join(VERDICTS) + " |", "|---|" + "--:|" * (len(VERDICTS) + 1)]


def line(name: str, counts: Sequence[int]) -> str:
    """A line of the table.

    >>> line("transfer", [4, 0, 4, 0, 0, 0])
    '| transfer | 4 | 0 | 4 | 0 | 0 | 0 |'
    """
    return f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |"


def table(rows: Sequence[Row], settings: str) -> str:
    """A table per part, with its sum; what ended as none shall is listed below."""
    blocks = [settings]
    for part in dict.fromkeys(row.part for row in rows):
        own = [row for row in rows if row.part == part]
        totals = [sum(row.tried for row in own), *(sum(row.counts[verdict] for row in own) for verdict in VERDICTS)]
        lines = [line(row.kind, [row.tried, *(row.counts[verdict] for verdict in VERDICTS)]) for row in own]
        blocks.append("\n".join([f"### {part[0].upper()}{part[1:]}", "", *HEAD, *lines, line("**all**", totals)]))
    left = sum(row.counts["leftovers"] for row in rows)
    blocks.append(f"Temporary files or folders that were still there after a killed command had gone on: {left}.")
    unwanted = [f"- {row.part}, {row.kind}: {example}" for row in rows for example in row.examples]
    if unwanted:
        blocks.append("\n".join([f"### Not as wanted ({', '.join(WANTED_NONE)})", "", *map(_escaped, unwanted)]))
    return "\n\n".join(blocks)


def _escaped(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain[:2] + plain[2:].replace("<", "&lt;").replace("|", "\\|").replace("`", "'").replace("*", "\\*").replace(
        "[", "\\["
    )


def write_table(path: Path, rows: Sequence[Row], settings: str) -> None:
    """Puts the table between the marks of a document, or makes a document of it alone."""
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# Reliability\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{table(rows, settings)}\n\n{END}{after}", encoding="utf-8")
