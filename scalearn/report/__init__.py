"""The report of a run, from what is stored, never from memory: finished, stopped half way, or not begun.

    OUT/report.html       one page that needs nothing else
    OUT/report.md         every table, and the pictures
    OUT/tables/           each table as Markdown and LaTeX
    OUT/pictures/         each picture as SVG and PNG

Where no picture can be drawn (no matplotlib, say), the rest is written, and says why.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from scalearn.comparison.records import RunFolder
from scalearn.report.figures.gallery import draw_gallery, prefix
from scalearn.report.markdown import markdown_report, missing_lines, nothing_finished, title
from scalearn.report.page.page import write_page
from scalearn.report.statistics import comparisons
from scalearn.report.tables import rankings_sheet, sheets, table
from tasksel.display.figures import file_name
from tasksel.display.tables import Sheet, latex, markdown
from tasksel.storage.atomic import write_text
from tasksel.storage.user_path import user_path

FOLDER = "report"


def write_report(folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Writes the report of a run and returns the path of its page; after a run, or while it goes on.

    Args:
        folder: of the run: what `scalearn compare --out` wrote, or the `RunFolder` that `Experiment.run` and `load_run` give.
        out: of the report; by default RUN/report.

    Raises:
        UserError: no run there, or rows that this version does not read.

    >>> import scalearn as sl
    >>> sl.write_report("runs/quickstart")  # doctest: +SKIP
    PosixPath('runs/quickstart/report/report.html')
    """
    run = RunFolder(folder)
    out = user_path(out) if out else run.folder / FOLDER
    compared = comparisons(run.rows, run.config)
    for comparison in compared:
        for size in comparison.sizes:
            for sheet in sheets(comparison, size):
                _write(sheet, out / "tables", prefix(comparison, compared))
    rankings = rankings_sheet(run.rankings)
    if rankings:
        _write(rankings, out / "tables", "")
    gallery = draw_gallery(run, compared)
    pictures = [path.relative_to(out) for path in gallery.save(out / "pictures") if path.suffix == ".svg"]
    write_text(out / "report.md", markdown_report(run, compared, pictures, gallery.missing))
    return write_page(run, compared, gallery, out / "report.html")


def show_run(folder: str | os.PathLike[str]) -> list[Any]:
    """What a terminal shows of a run: the main tables of each base and protocol, and what is missing.

    Returns:
        Strings and rich renderables, in their order: give them to `rich.print` or to a console.

    Raises:
        UserError: no run there, or rows that this version does not read.

    >>> import rich
    >>> from scalearn.report import show_run
    >>> rich.print(*show_run("docs/results/glue_minilm"), sep="\\n")  # doctest: +SKIP
    Base minilm, protocol sound
    ...
    """
    run = RunFolder(folder)
    blocks: list[Any] = []
    for comparison in comparisons(run.rows, run.config):
        blocks += [title(comparison), table(comparison), *missing_lines(run, comparison)]
    return blocks or [nothing_finished(run)]


def _write(sheet: Sheet, folder: Path, before: str) -> None:
    path = folder / file_name(before, sheet.name)
    write_text(path.with_name(path.name + ".md"), markdown(sheet, level=1))
    write_text(path.with_name(path.name + ".tex"), latex(sheet))
