"""The report as ONE page of HTML: no network, no other file, readable on a phone, in print, in the dark and without JavaScript.

`template.html` escapes whatever comes from a run. A content security policy lets nothing in but the page's own style and its own script,
by hash: a name that slipped through as HTML could do nothing. The script only sorts and folds; all that it folds is there without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from scalearn.comparison.records import RunFolder
from scalearn.report.figures.gallery import Gallery
from scalearn.report.figures.shown import ascending
from scalearn.report.page.inline_svg import inline
from scalearn.report.page.sentences import grouped, summary
from scalearn.report.page.tables import alone_table, costs_table, score_table
from scalearn.report.statistics import Comparison, rows_words
from tasksel.display.picture import Picture
from tasksel.storage.atomic import write_text

GROUPS = {"weights": "Learned weights, one picture per target", "gain": "Rankings and measured gain"}
SECTIONS = ("Scores", "Figures", "Costs")


def write_page(run: RunFolder, comparisons: Sequence[Comparison], gallery: Gallery, path: Path) -> Path:
    """Writes the page, whole or not at all, and gives its path."""
    write_text(path, page(run, comparisons, gallery))
    return path


def page(run: RunFolder, comparisons: Sequence[Comparison], gallery: Gallery) -> str:
    """The page as text; the same run gives the same text. Pictures that are not in the gallery are not there, and the page says why."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    name = str(run.config.get("name", run.folder.name))
    return environment.from_string(_file("template.html")).render(
        title=f"{name}: {'report' if comparisons else 'nothing yet'}",
        name=name,
        style=_file("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        inline=inline,
        **_finished(run, comparisons),
        parts=[
            _part(comparison, f"part-{number}", gallery.of_comparisons[number]) for number, comparison in enumerate(comparisons)
        ],
        tasks=gallery.of_tasks,
        no_pictures=gallery.missing if not any(gallery.of_comparisons) else "",
        no_map=gallery.missing,
        **_provenance(run),
    ).lstrip() + "\n"  # fmt: skip


def _file(name: str) -> str:
    return files("scalearn.report.page").joinpath(name).read_text(encoding="utf-8")


def _finished(run: RunFolder, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """How much is finished, what is missing by name, and what diverged."""
    missing, planned = run.missing, len(run.planned)
    titles = [_title(comparison) for comparison in comparisons] or ["no finished unit"]
    diverged = [
        f"{comparison.base}: {row.target}, {rows_words(row.size)}, {comparison.label(comparison.condition(row))}, seed {row.seed}"
        for comparison in comparisons
        for row in comparison.rows
        if row.score is None
    ]
    return {
        "subtitle": f"{'; '.join(titles)} · {planned - len(missing):,} of {planned:,} planned units finished",
        "planned": planned,
        "unfinished": len(missing),
        "missing": grouped(missing),
        "diverged": diverged,
    }


def _title(comparison: Comparison) -> str:
    return f"{comparison.base}, protocol {comparison.protocol}"


def _part(comparison: Comparison, ident: str, pictures: Sequence[Picture]) -> dict[str, Any]:
    """One base and protocol: what it says, scores, pictures, costs."""
    groups = [
        {
            "ident": f"{ident}-{group}",
            "title": f"{title} ({len(members)})" if len(members) > 1 else title,
            "pictures": members,
        }
        for group, title in GROUPS.items()
        if (members := [picture for picture in pictures if picture.group == group])
    ]
    return {
        "ident": ident,
        "title": _title(comparison),
        "sections": SECTIONS,
        "summary": summary(comparison),
        "repeated": comparison.repeated,
        "how_to_read": _how_to_read(comparison),
        "sizes": [
            _size(comparison, size, f"{ident}-{place}")
            for place, size in enumerate(reversed(ascending(comparison.sizes)))
        ],
        "pictures": [picture for picture in pictures if not picture.group],
        "groups": groups,
        "costs": costs_table(comparison),
    }


def _size(comparison: Comparison, size: int | str, ident: str) -> dict[str, Any]:
    alone = (alone_table(comparison, size, method) for method in comparison.methods)
    return {
        "ident": ident,
        "title": rows_words(size).capitalize(),
        "scores": score_table(comparison, size, ident),
        "alone": [table for table in alone if table is not None],
    }


def _how_to_read(comparison: Comparison) -> str:
    seeds = sorted({row.seed for row in comparison.rows})
    return (
        f"Scores in %: means over seeds ({', '.join(map(str, seeds))}), below them the 95 % interval of the mean. "
        "★ bold: best of a column; underlined: second. A heading sorts; a condition opens each seed, sources, tests and recipe. "
        "Gain: the paired difference, seed by seed: a win or a loss where its 95 % interval holds no 0 (not corrected for many comparisons)."
    )


def _provenance(run: RunFolder) -> dict[str, Any]:
    """Command, versions, machine, data and the configuration."""
    facts = {
        "Run": run.folder.name,
        "Versions": _pairs(run.provenance.get("versions")),
        "Machine": _pairs(run.provenance.get("machine")),
        "Bases": ", ".join(sorted({f"{row.base['name']} ({row.base['fingerprint']})" for row in run.rows})),
    }
    prints: dict[str, list[str]] = {}
    for target, data in sorted({(row.target, row.data) for row in run.rows}):
        prints.setdefault(target, []).append(data)
    return {
        "data": [f"{target}: {', '.join(some)}" for target, some in prints.items()],
        "command": run.provenance.get("command") or "the command was not kept",
        "provenance": [(name, value) for name, value in facts.items() if value],
        "config": json.dumps(run.config, indent=2, ensure_ascii=False),
    }


def _pairs(facts: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) if isinstance(facts, dict) else ""
