"""A report is drawn from a run's files alone, whole, partly finished or empty, and says what made it."""

import json
import sys

import pytest
from rich.console import Console
from run_rows import VERSIONS, made_rows, make_run

from scalearn.comparison.records import RunFolder, name_of
from scalearn.report import show_run, write_report
from scalearn.report.markdown import markdown_report
from scalearn.report.statistics import comparisons
from scalearn.report.tables import rankings_sheet, sheets
from tasksel import UserError
from tasksel.display.tables import latex, markdown
from tasksel.storage.jsonl import append_line, write_lines


@pytest.fixture
def text_only(monkeypatch):
    """Reports as where there is no matplotlib: pictures have their own tests and take their time."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def text_of(run, **options):
    found = RunFolder(run)
    return markdown_report(found, comparisons(found.rows, found.config), **options)


def written(run):
    return (write_report(run).parent / "report.md").read_text()


def shown(run):
    console = Console(width=300)
    with console.capture() as caught:
        for block in show_run(run):
            console.print(block)
    return caught.get()


def test_a_report_is_a_page_tables_and_pictures(reported):
    run, page = reported
    assert page == run / "report" / "report.html"
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")
    found = RunFolder(run)
    (comparison,) = comparisons(found.rows, found.config)
    names = {sheet.name for size in comparison.sizes for sheet in sheets(comparison, size)} | {"rankings"}
    files = {path.name for path in (run / "report" / "tables").iterdir()}
    assert files == {f"{name}.{ending}" for name in names for ending in ("md", "tex")}
    assert "main-16.tex" in files


def test_every_table_stands_in_the_report_as_it_stands_alone(reported):
    run, page = reported
    found, folder = RunFolder(run), page.parent
    (comparison,) = comparisons(found.rows, found.config)
    text = (folder / "report.md").read_text()
    every = [sheet for size in comparison.sizes for sheet in sheets(comparison, size)]
    assert len(every) == 12
    for sheet in every:
        assert markdown(sheet).rstrip() in text
        assert (folder / "tables" / f"{sheet.name}.md").read_text() == markdown(sheet, level=1)
        assert (folder / "tables" / f"{sheet.name}.tex").read_text() == latex(sheet)
    assert markdown(rankings_sheet(found.rankings), level=2).rstrip() in text


def test_every_picture_that_is_named_is_there(reported):
    _, page = reported
    lines = [line for line in (page.parent / "report.md").read_text().splitlines() if line.startswith("![")]
    linked = {line.rsplit("(", 1)[1].rstrip(")") for line in lines}
    drawn = {f"pictures/{path.name}" for path in (page.parent / "pictures").glob("*.svg")}
    assert linked == drawn
    assert len(linked) == len(lines) > 3


def test_the_report_says_what_made_it(reported):
    run, _ = reported
    text = text_of(run)
    assert text.startswith("# made\n")
    assert "```text\nscalearn run made.yaml --out runs/made\n```" in text
    assert "Versions: python 3.12.0, scalearn 0.1.0, torch 2.6.0" in text
    assert f"Base minilm: weights {'a1' * 8}" in text
    assert "Protocol sound; all rows, 16 rows, 4 rows; seeds 0, 1, 2, 3, 4\n" in text
    assert json.dumps(RunFolder(run).config, indent=2) in text
    assert "1,035 of 1,035 planned units are finished." in text
    assert "Not finished" not in text


def test_rows_of_other_versions_are_counted(tmp_path):
    run = make_run(tmp_path)
    append_line(run / "rows.jsonl", made_rows()[0].model_copy(update={"versions": {**VERSIONS, "torch": "2.7.1"}}))
    text = text_of(run)
    assert "Rows computed with python 3.12.0, scalearn 0.1.0, torch 2.6.0: 1,035\n" in text
    assert "Rows computed with python 3.12.0, scalearn 0.1.0, torch 2.7.1: 1\n" in text
    assert "Rows that a later one of the same target, size, condition and seed replaces: 1\n" in text


def test_numbers_come_from_the_files(tmp_path, text_only):
    run = make_run(tmp_path)
    before = written(run)
    rows = [
        row.model_copy(update={"score": 0.1234}) if row.method == "head-only" else row for row in RunFolder(run).rows
    ]
    write_lines(run / "rows.jsonl", rows)
    after = written(run)
    assert "| head-only | 12.3 ± 0.0 | 12.3 ± 0.0 | 12.3 ± 0.0 | 12.3 ± 0.0 | 0 |" in after
    assert "12.3 ± 0.0" not in before


def test_the_same_rows_give_the_same_report(tmp_path, text_only):
    run = make_run(tmp_path, partial=True)
    first = {path: path.read_bytes() for path in (write_report(run).parent).rglob("*.*")}
    write_report(run)
    assert {path: path.read_bytes() for path in (run / "report").rglob("*.*")} == first


def test_a_partly_finished_run_shows_what_there_is_and_names_the_rest(tmp_path):
    run = make_run(tmp_path, partial=True)
    text = text_of(run)
    missing = RunFolder(run).missing
    assert "975 of 1,035 planned units are finished. Started again" in text.replace("\n", " ")
    assert f"- Not finished: {'; '.join(missing[:10])}; and 50 more" in text
    assert missing[10] not in text
    assert "Diverged, and left out of means: fusion (2 by connectivity) on mrpc (1 of 5 seeds)" in text
    assert "Not finished" in shown(run)


def test_a_method_without_any_row_is_named(tmp_path):
    run = make_run(tmp_path)
    rows = [row for row in RunFolder(run).rows if row.method not in ("fusion", "average")]
    write_lines(run / "rows.jsonl", rows)
    assert "- Nothing yet by average, fusion\n" in text_of(run)


@pytest.mark.parametrize("keep_file", [True, False])
def test_an_empty_run_says_that_it_is(tmp_path, keep_file):
    run = make_run(tmp_path, bases=0)
    if not keep_file:
        (run / "rows.jsonl").unlink()
    page = write_report(run)
    assert page.is_file()
    first = name_of(made_rows()[0])
    said = f"No finished unit yet, of 1,035 planned: {first}; "
    assert said in (page.parent / "report.md").read_text()
    assert "and 1,025 more" in (page.parent / "report.md").read_text()
    assert said in shown(run).replace("\n", " ")


def test_several_bases_have_a_section_and_files_each(tmp_path, text_only):
    run = make_run(tmp_path, bases=2)
    lines = (run / "rows.jsonl").read_text().splitlines(keepends=True)
    (run / "rows.jsonl").write_text("".join(lines[:-5]))  # the second base lacks a unit's five seeds
    text = written(run)
    first, second = (
        text.index("\n## Base minilm, protocol sound\n"),
        text.index("\n## Base roberta-base, protocol sound\n"),
    )
    assert first < second
    assert "Not finished" not in text[first:second]
    assert f"- Not finished: {RunFolder(run).planned[-5]}; " in text[second:]
    files = {path.name for path in (run / "report" / "tables").iterdir()}
    assert {"minilm-sound-main-full.md", "roberta-base-sound-main-full.md"} <= files
    assert "main-full.md" not in files
    assert shown(run).count("protocol sound") == 2


def test_the_report_goes_where_it_is_told(tmp_path, text_only):
    run = make_run(tmp_path / "run")
    assert write_report(run, tmp_path / "elsewhere") == tmp_path / "elsewhere" / "report.html"
    assert not (run / "report").exists()


def test_without_matplotlib_the_rest_is_written_and_says_so(tmp_path, text_only):
    run = make_run(tmp_path)
    assert 'No pictures: pictures need matplotlib: pip install "scalearn\\[plot\\]"' in written(run)
    assert "matplotlib" in (run / "report" / "report.html").read_text()
    assert not (run / "report" / "pictures").exists()
    assert (run / "report" / "tables" / "main-4.tex").is_file()


def test_a_broken_map_is_said_and_keeps_nothing_else_away(tmp_path):
    run = make_run(tmp_path)
    rows = [row for row in RunFolder(run).rows if row.method == "head-only" and row.target == "rte"]
    write_lines(run / "rows.jsonl", rows)
    (run / "map.json").write_text('{"names": ["a"]}')
    text = written(run)
    assert "No map of the tasks: " in text
    assert "(pictures/costs.svg)" in text
    assert "map.json: not a map of tasks" in text.replace("\\", "")
    assert "| head-only |" in text
    assert "not a map of tasks" in (run / "report" / "report.html").read_text()


def test_no_run_a_newer_row_and_an_older_run_are_said(tmp_path):
    with pytest.raises(UserError, match="no run there"):
        write_report(tmp_path)
    run = make_run(tmp_path / "run")
    told = json.loads((run / "rows.jsonl").read_text().splitlines()[0])
    with (run / "rows.jsonl").open("a") as file:
        file.write(json.dumps({**told, "format": 99}) + "\n")
    for read in (write_report, show_run):
        with pytest.raises(UserError, match=r"rows\.jsonl:1036: written by a newer version \(format 99"):
            read(run)
    (run / "experiment.json").write_text('{"experiment": {}}')
    with pytest.raises(UserError, match="not of this version"):
        write_report(run)
    assert not (run / "report").exists()


def test_a_command_with_backticks_stays_in_its_block(tmp_path):
    run = make_run(tmp_path)
    told = json.loads((run / "experiment.json").read_text()) | {"command": "scalearn run '```' x"}
    (run / "experiment.json").write_text(json.dumps(told))
    assert "````text\nscalearn run '```' x\n````" in text_of(run)


def test_the_terminal_shows_the_main_tables(reported):
    run, _ = reported
    text = shown(run)
    assert "Base minilm, protocol sound" in text
    found = RunFolder(run)
    (comparison,) = comparisons(found.rows, found.config)
    best, _ = comparison.best("average", "full")
    cell = comparison.mean_cell("full", best)
    assert f"{100 * cell.mean:.1f} ± {100 * cell.std:.1f}" in text
    assert "Not finished" not in text
