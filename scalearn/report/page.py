"""The report as ONE page of HTML: no network, no other file, readable on a phone, in print, in the dark and without JavaScript.

A content security policy lets nothing in but the page's own style and its own script, by hash: a name that slipped through as HTML could do
nothing. The script only sorts and folds; all that it folds is there without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from scalearn.comparison.records import Run
from scalearn.report.drawing import Picture
from scalearn.report.inline_svg import inline
from scalearn.report.markup import Html, el, fold, html, join
from scalearn.report.page_tables import alone_table, costs_table, score_table
from scalearn.report.page_words import grouped, summary
from scalearn.report.pictures import comparison_pictures, prefix, run_pictures
from scalearn.report.score_pictures import ascending
from scalearn.report.statistics import Comparison, rows_words
from tasksel.errors import UserError
from tasksel.storage.atomic import write_text

SLOT = re.compile(r"\{\{([a-z-]+)\}\}")
GROUPS = {"weights": "Learned weights, a picture a target", "benefit": "Ranking and measured benefit"}


def write_page(run: Run, comparisons: Sequence[Comparison], path: Path) -> Path:
    """Writes the page, whole or not at all, and gives its path. Without matplotlib it has no pictures, and says so."""
    write_text(path, page(run, comparisons))
    return path


def page(run: Run, comparisons: Sequence[Comparison]) -> str:
    """The page as text; the same run gives the same text."""
    script, style = _file("page.js"), _file("page.css")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    title = f"{run.config.get('name', run.folder.name)}: {'report' if comparisons else 'nothing yet'}"
    slots = {
        "title": html(title),
        "style": style,
        "script": script,
        "script-hash": f"sha256-{digest}",
        "body": join([_header(run, comparisons), el("main", *_body(run, comparisons)), _foot(run)], "\n"),
    }
    return SLOT.sub(lambda slot: slots[slot[1]], _file("page_template.html"))


def _file(name: str) -> str:
    return files("scalearn.report").joinpath(name).read_text(encoding="utf-8")


def _header(run: Run, comparisons: Sequence[Comparison]) -> Html:
    """Title, what it is of, and links to the parts."""
    done, planned = len(run.told["plan"]) - len(run.missing), len(run.told["plan"])
    of = [f"{one.base}, protocol {one.protocol}" for one in comparisons] or ["no finished unit"]
    links = [el("li", el("a", _title(one), href=f"#part-{number}")) for number, one in enumerate(comparisons)]
    links = links if len(links) > 1 else []
    links += [el("li", el("a", "What made it", href="#made"))]
    return el(
        "header",
        el("h1", run.config.get("name", run.folder.name)),
        el("p", f"{'; '.join(of)} · {done:,} of {planned:,} planned units finished", class_="soft"),
        el("nav", el("ul", *links), aria_label="Parts"),
    )


def _body(run: Run, comparisons: Sequence[Comparison]) -> list[Html]:
    """What is missing, then a part for each base and protocol, then the map of the tasks."""
    parts = [_missing(run, comparisons)]
    if not comparisons:
        words = el("p", "No unit of this run is finished, so there is nothing to compare yet.")
        parts.append(el("div", words, class_="summary"))
    for number, one in enumerate(comparisons):
        parts.append(_part(run, one, number, comparisons))
    made, why_not = _drawn(lambda: run_pictures(run))
    if made:
        parts += [el("h2", "The tasks"), _figures(made)]
    elif why_not and comparisons:
        parts.append(el("p", why_not, class_="note"))
    return parts


def _drawn(draw: Any) -> tuple[list[Picture], str]:
    """Pictures, or why there are none."""
    try:
        return draw(), ""
    except UserError as error:
        return [], f"No pictures here: {error}"


def _missing(run: Run, comparisons: Sequence[Comparison]) -> Html:
    """The planned units that are not finished, by name, and what diverged."""
    missing = run.missing
    lost = [f"{one.base}: {row.target}, {rows_words(row.size)}, {one.label(one.way(row))}, seed {row.seed}" for one in comparisons for row in one.rows if row.score is None]  # fmt: skip
    parts = []
    if missing:
        what = f"{len(missing):,} of {len(run.told['plan']):,} planned units are not finished."
        what += " What stands below is of the rest." if comparisons else ""
        again = "The same command goes on with them."
        parts += [
            el("p", el("strong", "Not finished. "), what, " ", again),
            *_names("missing", "Their names", grouped(missing)),
        ]
    if lost:
        units = "finished unit has" if len(lost) == 1 else "finished units have"
        what = f"{len(lost):,} {units} no score, and count{'s' if len(lost) == 1 else ''} in no mean."
        parts += [el("p", el("strong", "Diverged. "), what), *_names("diverged", "By name", lost)]
    return el("div", *parts, class_="summary missing") if parts else Html("")


def _names(ident: str, words: str, names: Sequence[str]) -> list[Html]:
    items = el("ul", *(el("li", name) for name in names), id=ident, class_="note")
    return [el("p", fold(ident, words))] if not names else [el("p", fold(ident, words)), items]


def _title(comparison: Comparison) -> str:
    return f"{comparison.base}, protocol {comparison.protocol}"


def _part(run: Run, comparison: Comparison, number: int, comparisons: Sequence[Comparison]) -> Html:
    """One base and protocol: what it says, scores, pictures, costs."""
    before = f"part-{number}"
    parts = [el("h2", _title(comparison) if len(comparisons) > 1 else "What it says")]
    parts.append(el("div", *(el("p", told) for told in summary(comparison)), class_="summary"))
    if comparison.repeated:
        told = (
            f"{comparison.repeated:,} rows stand for the same target, rows, way and seed as a later one, which counts."
        )
        parts.append(el("p", told, class_="note"))
    parts.append(el("h2", "Scores"))
    parts.append(el("p", _how_to_read(comparison), class_="note"))
    for place, size in enumerate(reversed(ascending(comparison.sizes))):
        parts += [el("h3", rows_words(size).capitalize()), score_table(comparison, size, f"{before}-scores-{place}")]
        parts += _alone(comparison, size, f"{before}-alone-{place}")
    made, why_not = _drawn(lambda: comparison_pictures(comparison, run.rankings, prefix(comparison, comparisons)))
    parts.append(el("h2", "Pictures"))
    if why_not or not made:
        parts.append(el("p", why_not or "Nothing that is finished can be drawn yet.", class_="note"))
    parts += _all_figures(made, before)
    parts += [el("h2", "Costs"), el("p", "Means over targets and seeds. Learned and stored: for one target, head not in “learned”. Sort by any column.", class_="note")]  # fmt: skip
    parts.append(costs_table(comparison))
    return el("section", *parts, id=before)


def _how_to_read(comparison: Comparison) -> str:
    seeds = sorted({row.seed for row in comparison.rows})
    told = f"Scores in %: means over seeds ({', '.join(map(str, seeds))}), below them the 95 % interval of the mean. "
    told += "★ bold: best of a column; underlined: second. A heading sorts; a way opens each seed, sources, tests and recipe. "
    return (
        told
        + "“Over” is the paired difference, seed by seed: a win or a loss where its 95 % interval holds no 0 (not corrected for many comparisons)."
    )


def _alone(comparison: Comparison, size: int | str, ident: str) -> list[Html]:
    parts = []
    for number, method in enumerate(comparison.methods):
        table = alone_table(comparison, size, method)
        if table is not None:
            button = fold(f"{ident}-{number}", f"{method} from one source alone, with {rows_words(size)}")
            parts += [el("h4", button), el("div", table, id=f"{ident}-{number}")]
    return parts


def _all_figures(made: Sequence[Picture], ident: str) -> list[Html]:
    """Those of one of a kind side by side, then each group, folded where it has many."""
    parts = [_figures([picture for picture in made if not picture.group])]
    for group, words in GROUPS.items():
        own = [picture for picture in made if picture.group == group]
        if own:
            part = f"{ident}-{group}"
            title = fold(part, f"{words} ({len(own)})") if len(own) > 1 else html(words)
            parts += [el("h3", title), el("div", _figures(own), id=part)]
    return parts


def _figures(made: Sequence[Picture]) -> Html:
    shown = [
        el("figure", Html(inline(picture)), el("figcaption", el("strong", picture.title), picture.caption))
        for picture in made
    ]
    return el("div", *shown, class_="figures") if shown else Html("")


def _foot(run: Run) -> Html:
    """Command, versions, machine, data and the configuration."""
    told = {
        "Run": run.folder.name,
        "Versions": _pairs(run.told.get("versions")),
        "Machine": _pairs(run.told.get("machine")),
        "Bases": ", ".join(sorted({f"{row.base['name']} ({row.base['fingerprint']})" for row in run.rows})),
        "Data": ", ".join(f"{target} {data}" for target, data in sorted({(row.target, row.data) for row in run.rows})),
    }
    pairs = [part for name, value in told.items() if value for part in (el("dt", name), el("dd", value))]
    config = json.dumps(run.config, indent=2, ensure_ascii=False)
    return el(
        "footer",
        el("h2", "What made it", id="made"),
        el("p", "Every number above is drawn from this run’s rows.jsonl, a line a unit, with its own recipe, sources, data and versions."),
        el("pre", el("code", run.told.get("command") or "the command was not kept")),
        el("dl", *pairs),
        el("h4", fold("config", "The configuration")),
        el("pre", el("code", config), id="config"),
    )  # fmt: skip


def _pairs(told: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items()) if isinstance(told, dict) else ""
