"""A comparison as one Markdown file: what is finished, every table, the pictures, the rankings, and the provenance of all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalearn.comparison.records import RunFolder, name_of
from scalearn.report.statistics import Comparison, rows_words
from scalearn.report.tables import rankings_sheet, sheets
from tasksel.display.tables import listed, markdown, plain


def markdown_report(
    run: RunFolder, comparisons: Sequence[Comparison], pictures: Sequence[Path] = (), missing: str = ""
) -> str:
    """The whole report as Markdown.

    Args:
        pictures: their files, relative to the report. missing: which pictures are not there, and why.
    """
    parts = [f"# {plain(run.config['name'])}", "\n".join(_state(run))]
    if not comparisons:
        parts.append(nothing_finished(run))
    for comparison in comparisons:
        parts += [f"## {plain(title(comparison))}", *_section(run, comparison)]
    if missing:
        parts.append(plain(missing))
    if pictures:
        parts += ["## Pictures", *(f"![{path.stem.replace('-', ' ')}]({path.as_posix()})" for path in pictures)]
    rankings = rankings_sheet(run.rankings)
    parts += [markdown(rankings, level=2).rstrip()] if rankings else []
    parts += ["## Provenance", "\n".join(_provenance(run))]
    return "\n\n".join(parts) + "\n"


def title(comparison: Comparison) -> str:
    """Base and protocol, as headings have them."""
    return f"Base {comparison.base}, protocol {comparison.protocol}"


def nothing_finished(run: RunFolder) -> str:
    """The sentence of a run without a row."""
    return f"No finished unit yet, of {len(run.planned):,} planned: {listed(run.missing)}."


def missing_lines(run: RunFolder, comparison: Comparison) -> list[str]:
    """Which planned units this base and protocol lack, the first of them by name, and how many rows are replaced."""
    done = {name_of(row) for row in comparison.rows}
    missing = [name for name in run.planned if name not in done]
    lines = [f"Not finished: {listed(missing)}"] if missing else []
    unseen = [name for name in run.config.get("methods", ()) if name not in comparison.methods]
    lines += [f"Nothing yet by {', '.join(unseen)}"] if unseen else []
    if comparison.repeated:
        lines.append(
            f"Rows that a later one of the same target, size, condition and seed replaces: {comparison.repeated:,}"
        )
    return lines


def _state(run: RunFolder) -> Iterator[str]:
    missing, planned = run.missing, len(run.planned)
    yield f"{planned - len(missing):,} of {planned:,} planned units are finished."
    if missing:
        yield f"Started again, the run goes on: `scalearn compare` with the same configuration and `--out {run.folder.name}`."


def _section(run: RunFolder, comparison: Comparison) -> Iterator[str]:
    lines = missing_lines(run, comparison)
    if lines:
        yield "\n".join(f"- {plain(line)}" for line in lines)
    for size in comparison.sizes:
        yield from (markdown(sheet).rstrip() for sheet in sheets(comparison, size))


def _provenance(run: RunFolder) -> Iterator[str]:
    stored, config = run.provenance, run.config
    yield from (_fenced(str(stored.get("command", "the command is not stored")), "text"), "")
    yield f"- Versions: {_pairs(stored.get('versions', {}))}"
    yield f"- Machine: {_pairs(stored.get('machine', {}))}"
    for text in dict.fromkeys(_pairs(row.versions) for row in run.rows):
        count = sum(_pairs(row.versions) == text for row in run.rows)
        yield f"- Rows computed with {text}: {count:,}"
    for name, fingerprint in dict.fromkeys((row.base["name"], row.base["fingerprint"]) for row in run.rows):
        yield f"- Base {plain(name)}: weights {fingerprint}"
    targets = config.get("targets", {})
    sizes, seeds = map(rows_words, targets.get("sizes", ())), map(str, targets.get("seeds", ()))
    yield f"- Protocol {config.get('protocol', 'not stored')}; {', '.join(sizes)}; seeds {', '.join(seeds)}"
    yield f"- {len(run.rows):,} rows, each with its key, data fingerprint, sources and recipe: rows.jsonl"
    yield from ("", "The configuration:", "", _fenced(json.dumps(config, indent=2, ensure_ascii=False), "json"))


def _fenced(text: str, language: str) -> str:
    """A block of code, whatever backticks it holds."""
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _pairs(stored: dict[str, Any]) -> str:
    return plain(", ".join(f"{name} {value}" for name, value in stored.items()) or "not stored")
