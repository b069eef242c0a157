"""A table, and its three forms: terminal, Markdown, LaTeX.

A sheet is a head, blocks of lines with a rule between them, and notes below. The best of a column is bold, the second underlined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tasksel.display.streams import printable

NOTHING = "–"
Mark = Literal["", "best", "second"]
STYLES: dict[str, str] = {"": "", "best": "bold", "second": "underline"}


@dataclass(frozen=True)
class Item:
    """What stands in one place of a table."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Block:
    """Lines between two rules; the name says what they have in common."""

    name: str
    lines: tuple[tuple[Item, ...], ...]


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        name: of its file. head: a line end in a column's name is kept in a terminal only. words: how many of the first columns hold words; the others hold numbers, and stand to the right.
    """

    name: str
    title: str
    head: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = field(default=())
    words: int = 1


def items(*cells: str | Item) -> tuple[Item, ...]:
    """Texts as unmarked items."""
    return tuple(cell if isinstance(cell, Item) else Item(cell) for cell in cells)


@dataclass(frozen=True)
class Terminal:
    """A sheet for a terminal, with a rule between blocks and notes below. Columns that do not fit go under the others, beside the first again."""

    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, columns in enumerate(self._parts(options.max_width)):
            yield self._table(columns, self.sheet.title if number == 0 else f"{self.sheet.title}, continued")
        yield from (Text(printable(note), style="dim") for note in self.sheet.notes)

    def _parts(self, width: int) -> list[list[int]]:
        """The columns of each part: the first ones of words, and as many others as fit, one at least."""
        words, parts = list(range(self.sheet.words)), [list(range(self.sheet.words))]
        for column in range(self.sheet.words, len(self.sheet.head)):
            taken = 1 + sum(
                self._width(other) + 2 for other in [*parts[-1], column]
            )  # a space after each, one between, two edges
            if taken > width and len(parts[-1]) > len(words):
                parts.append([*words])
            parts[-1].append(column)
        return parts

    def _width(self, column: int) -> int:
        """The most letters in a line of a column."""
        texts = [self.sheet.head[column], *(line[column].text for block in self.sheet.blocks for line in block.lines)]
        return max(len(line) for text in texts for line in printable(text).split("\n"))

    def _table(self, columns: Sequence[int], title: str) -> Table:
        shown = Table(
            title=Text(printable(title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for column in columns:
            words = column < self.sheet.words
            shown.add_column(
                Text(printable(self.sheet.head[column])), justify="left" if words else "right", no_wrap=not words
            )
        for block in self.sheet.blocks:
            for number, line in enumerate(block.lines, 1):
                texts = [Text.assemble((printable(line[column].text), STYLES[line[column].mark])) for column in columns]
                shown.add_row(*texts, end_section=number == len(block.lines))
        return shown


def markdown(sheet: Sheet, *, level: int = 3) -> str:
    """As Markdown, under a heading. It has no rule between lines: each block begins with its name."""
    lines: list[Iterable[str]] = []
    for block in sheet.blocks:
        if len(sheet.blocks) > 1:
            lines.append([f"*{plain(block.name)}*", *[""] * (len(sheet.head) - 1)])
        lines += [map(_marked, line) for line in block.lines]
    notes = [f"{plain(note)}  " for note in sheet.notes]
    table = markdown_table(map(plain, sheet.head), lines, words=sheet.words)
    return "\n".join([f"{'#' * level} {plain(sheet.title)}", "", table, "", *notes]).rstrip() + "\n"


def markdown_table(head: Iterable[str], lines: Iterable[Iterable[str]], *, words: int = 1, bare: bool = False) -> str:
    """Cells that are Markdown already, as a table; the first `words` columns stand to the left, the others to the right.

    Args:
        bare: the rule below the head without spaces, as published gain reports have it.

    >>> print(markdown_table(["task", "score"], [["rte", "0.62"]]))
    | task | score |
    | :-- | --: |
    | rte | 0.62 |
    """
    head = list(head)
    signs = [":--" if place < words else "--:" for place in range(len(head))]
    rule = f"|{'|'.join(signs)}|".replace(":--", "---") if bare else _row(signs)
    return "\n".join([_row(head), rule, *map(_row, lines)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marked(item: Item) -> str:
    text = plain(item.text)
    return {"": text, "best": f"**{text}**", "second": f"<u>{text}</u>"}[item.mark]


def plain(text: str) -> str:
    """A text that Markdown shows as it is.

    >>> plain("a|b_c<d>")
    'a\\\\|b\\\\_c\\\\<d\\\\>'
    """
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(text.split()))


LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
    "−": "$-$",
    NOTHING: "--",
    "≥": r"$\geq$",
    "×": r"$\times$",
}


def tex(text: str) -> str:
    """A text that LaTeX shows as it is.

    >>> tex("50 % ± 1_a")
    '50 \\\\% $\\\\pm$ 1\\\\_a'
    """
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def latex(sheet: Sheet) -> str:
    """As a LaTeX table (packages booktabs and graphicx), shrunk to the line where it is wider."""
    lines: list[str] = []
    for number, block in enumerate(sheet.blocks):
        lines += ["\\midrule"] if number else []
        lines += [_tex_row(map(_tex_marked, line)) for line in block.lines]
    columns = "l" * sheet.words + "r" * (len(sheet.head) - sheet.words)
    return "\n".join(
        [
            "% \\usepackage{booktabs,graphicx}",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{tex(sheet.title)}}}",
            f"\\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', sheet.name)}}}",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            _tex_row(map(tex, sheet.head)),
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}}",
            "\\par\\smallskip\\begin{minipage}{\\linewidth}\\footnotesize",
            *(f"{tex(_sentence(note))}\\par" for note in sheet.notes),
            "\\end{minipage}",
            "\\end{table}",
            "",
        ]
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", ":")) else f"{text}."


def _tex_row(cells: Iterable[str]) -> str:
    cells = list(cells)
    first = f"{{{cells[0]}}}" if cells[0].startswith("[") else cells[0]  # after a line's end, [ would be its skip
    return f"{' & '.join([first, *cells[1:]])} \\\\"


def _tex_marked(item: Item) -> str:
    text = tex(item.text)
    return {"": text, "best": f"\\textbf{{{text}}}", "second": f"\\underline{{{text}}}"}[item.mark]


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a; b; and 1 more'
    """
    more = len(names) - most
    return "; ".join([*names[:most], *([f"and {more:,} more"] if more > 0 else [])])
