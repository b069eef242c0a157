"""The report of a run, from what is stored, never from memory: finished, stopped half way, or not begun.

    OUT/report.html       one page that needs nothing else
    OUT/report.md         every table, and the pictures
    OUT/tables/           each table as Markdown and LaTeX
    OUT/pictures/         each picture as SVG and PNG

Where no picture can be drawn (no matplotlib, say), the rest is written, and says why.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalearn.comparison.records import RunFolder, name_of
from scalearn.report.figures.gallery import draw_gallery, prefix
from scalearn.report.page.page import write_page
from scalearn.report.statistics import Comparison, comparisons, rows_words
from scalearn.report.tables import rankings_sheet, sheets, table
from tasksel.display.figures import file_name
from tasksel.display.tables import Sheet, latex, listed, markdown, plain
from tasksel.storage.atomic import write_text

FOLDER = "report"


def write_report(folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Writes the report and gives its page.

    Args:
        folder: of the run, or the `RunFolder` that `Experiment.run` and `load_run` give. out: of the report; by default RUN/report.

    Raises:
        UserError: no run there, or rows that this version does not read.

    >>> write_report(experiment.run("runs/quickstart"))  # doctest: +SKIP
    """
    run = RunFolder(folder)
    out = Path(out) if out else run.folder / FOLDER
    compared = comparisons(run.rows, run.config)
    for one in compared:
        for size in one.sizes:
            for sheet in sheets(one, size):
                _write(sheet, out / "tables", prefix(one, compared))
    ranked = rankings_sheet(run.rankings)
    if ranked:
        _write(ranked, out / "tables", "")
    gallery = draw_gallery(run, compared)
    drawn = [path.relative_to(out) for path in gallery.save(out / "pictures") if path.suffix == ".svg"]
    write_text(out / "report.md", markdown_report(run, compared, drawn, gallery.missing))
    return write_page(run, compared, gallery, out / "report.html")


def _write(sheet: Sheet, folder: Path, before: str) -> None:
    path = folder / file_name(before, sheet.name)
    write_text(path.with_name(path.name + ".md"), markdown(sheet, level=1))
    write_text(path.with_name(path.name + ".tex"), latex(sheet))


def show_run(folder: Path) -> list[Any]:
    """What a terminal shows of a run: the main tables of each base and protocol, and what is missing.

    Raises:
        UserError: no run there, or rows that this version does not read.
    """
    run = RunFolder(folder)
    blocks: list[Any] = []
    for one in comparisons(run.rows, run.config):
        blocks += [_title(one), table(one), *missing_lines(run, one)]
    return blocks or [_nothing_yet(run)]


def markdown_report(
    run: RunFolder, compared: Sequence[Comparison], drawn: Sequence[Path] = (), missing: str = ""
) -> str:
    """The whole report as Markdown.

    Args:
        drawn: pictures, as the report names them. missing: which are not there, and why.
    """
    parts = [f"# {plain(run.config['name'])}", "\n".join(_state(run))]
    if not compared:
        parts.append(_nothing_yet(run))
    for one in compared:
        parts += [f"## {plain(_title(one))}", *_section(run, one)]
    if missing:
        parts.append(plain(missing))
    if drawn:
        parts += ["## Pictures", *(f"![{path.stem.replace('-', ' ')}]({path.as_posix()})" for path in drawn)]
    ranked = rankings_sheet(run.rankings)
    parts += [markdown(ranked, level=2).rstrip()] if ranked else []
    parts += ["## What made it", "\n".join(_provenance(run))]
    return "\n\n".join(parts) + "\n"


def _title(comparison: Comparison) -> str:
    return f"Base {comparison.base}, protocol {comparison.protocol}"


def _state(run: RunFolder) -> Iterator[str]:
    missing, planned = run.missing, len(run.planned)
    yield f"{planned - len(missing):,} of {planned:,} planned units are finished."
    if missing:
        yield f"Started again, the run goes on: `scalearn compare` with the same configuration and `--out {run.folder.name}`."


def _nothing_yet(run: RunFolder) -> str:
    return f"No finished unit yet, of {len(run.planned):,} planned: {listed(run.missing)}."


def missing_lines(run: RunFolder, comparison: Comparison) -> list[str]:
    """What this base and protocol lack of the plan, the first of it by name; what stands twice."""
    done = {name_of(row) for row in comparison.rows}
    missing = [name for name in run.planned if name not in done]
    lines = [f"Not finished: {listed(missing)}"] if missing else []
    nothing = [name for name in run.config.get("methods", ()) if name not in comparison.methods]
    lines += [f"Nothing yet by {', '.join(nothing)}"] if nothing else []
    if comparison.repeated:
        lines.append(f"Rows that a later one of the same target, size, way and seed replaces: {comparison.repeated:,}")
    return lines


def _section(run: RunFolder, comparison: Comparison) -> Iterator[str]:
    lines = missing_lines(run, comparison)
    if lines:
        yield "\n".join(f"- {plain(line)}" for line in lines)
    for size in comparison.sizes:
        yield from (markdown(sheet).rstrip() for sheet in sheets(comparison, size))


def _provenance(run: RunFolder) -> Iterator[str]:
    provenance, config = run.provenance, run.config
    yield from (_fenced(str(provenance.get("command", "the command is not told")), "text"), "")
    yield f"- Versions: {_pairs(provenance.get('versions', {}))}"
    yield f"- Machine: {_pairs(provenance.get('machine', {}))}"
    for text in dict.fromkeys(_pairs(row.versions) for row in run.rows):
        count = sum(_pairs(row.versions) == text for row in run.rows)
        yield f"- Rows made with {text}: {count:,}"
    for name, fingerprint in dict.fromkeys((row.base["name"], row.base["fingerprint"]) for row in run.rows):
        yield f"- Base {plain(name)}: weights {fingerprint}"
    targets = config.get("targets", {})
    sizes, seeds = map(rows_words, targets.get("sizes", ())), map(str, targets.get("seeds", ()))
    yield f"- Protocol {config.get('protocol', 'not told')}; {', '.join(sizes)}; seeds {', '.join(seeds)}"
    yield f"- {len(run.rows):,} rows, each with its key, data fingerprint, sources and recipe: rows.jsonl"
    yield from ("", "The configuration:", "", _fenced(json.dumps(config, indent=2, ensure_ascii=False), "json"))


def _fenced(text: str, language: str) -> str:
    """A block of code, whatever backticks it holds."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _pairs(values: dict[str, Any]) -> str:
    return plain(", ".join(f"{name} {value}" for name, value in values.items()) or "not told")
