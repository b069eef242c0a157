"""The published comparisons: whole, of the configurations in `scripts/`, and their tables made again from the rows that are committed."""

import importlib.util
import re
from pathlib import Path

import pytest

from scalearn.comparison.config import of_any_version, read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.experiment_config import units
from scalearn.comparison.records import RunFolder, UnitRecord, read_lines
from scalearn.methods.registry import get_method
from scalearn.report.markdown import markdown_report
from scalearn.report.statistics import comparisons

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob("*/rows.jsonl") if (path.parent / "report").is_dir())
FOLDERS = pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)


def test_there_are_published_comparisons():
    assert "glue_minilm" in {folder.name for folder in PUBLISHED}


@FOLDERS
def test_a_published_run_is_of_its_configuration_and_has_every_unit(folder):
    told, run = read_config(ROOT / "scripts" / f"{folder.name}.yaml", Experiment), RunFolder(folder)
    assert Experiment.model_validate(of_any_version(run.config)) == told.model_copy(update={"data": "tasks"})
    assert run.planned == [str(unit) for unit in units(told)]
    assert not run.missing


@FOLDERS
def test_the_published_report_is_made_again_from_its_rows(folder):
    published, run = (folder / "report" / "report.md").read_text(), RunFolder(folder)
    pictures = [Path(name) for name in re.findall(r"!\[[^\]]*\]\((pictures/[^)]+)\)", published)]
    assert pictures
    assert all((folder / "report" / picture).is_file() for picture in pictures)
    assert markdown_report(run, comparisons(run.rows, run.config), pictures) == published


@FOLDERS
def test_no_path_of_the_machine_that_made_it_is_published(folder):
    for name in ("experiment.json", "report/report.md"):
        assert not re.search(r"/(root|home|work|tmp)/", (folder / name).read_text()), name


def test_every_table_row_on_the_page_of_a_published_comparison_stands_in_a_published_report():
    rows = {line for folder in PUBLISHED for line in page(folder).splitlines() if line.startswith("| ")}
    published = {line for folder in PUBLISHED for line in (folder / "report" / "report.md").read_text().splitlines()}
    assert len(rows) > 50
    assert rows <= published


@FOLDERS
def test_the_commands_of_a_published_comparison_stand_on_its_page_and_the_index_links_it(folder):
    assert f"scalearn compare scripts/{folder.name}.yaml" in page(folder)
    assert f"scalearn report docs/results/{folder.name}" in page(folder)
    assert f"({folder.name}/README.md)" in (RESULTS / "README.md").read_text()


def script_of(name):
    """A script of the project as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recall_of_shortlists_is_made_again_from_the_scores_beside_it():
    script = script_of("shortlist_recall")
    assert script.page(RESULTS / "matrix") == (RESULTS / "matrix" / "shortlist.md").read_text()
    assert script.order_of({"b": 1.0, "a": 1.0, "c": 2.0}, ["b", "a", "c"]) == [2, 1, 0]


def test_the_recall_on_the_page_is_that_of_the_whole_table():
    whole = (RESULTS / "matrix" / "shortlist.md").read_text().splitlines()
    six = [[cell.strip() for cell in line.split("|")[2:-1]] for line in whole if line.startswith("| 6 ")]
    (shown,) = re.findall(r"\| k = 6 \|.*?\n\n", page(RESULTS / "matrix"), flags=re.DOTALL)
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in shown.splitlines()[2:] if line]
    assert rows == [[six[number][column] for column in (0, 1, 3)] for number in (0, 2, 3)]


@pytest.mark.parametrize(
    "folders", [("default",), ("default_fresh",), ("glue_converged",), ("loras", "default")], ids=lambda names: names[0]
)
def test_the_tables_of_the_default_are_made_again_from_the_rows_beside_them(folders):
    script, folder = script_of("default_table"), RESULTS / folders[0]
    tables = (folder / "tables.md").read_text()
    assert script.page(*(RESULTS / name for name in folders)) == tables
    shown = [line for line in page(folder).splitlines() if re.match(r"\| .*\| \d+( cpu)?", line)]
    assert len(shown) > {"default_fresh": 3, "glue_converged": 12}.get(folders[0], 20)
    assert set(shown) <= set(tables.splitlines())


@pytest.mark.parametrize(
    ("folder", "first"),
    [
        ("default", "default_auto"),
        ("default_fresh", "default_fresh"),
        ("glue_converged", "glue_minilm_converged"),
        ("loras", "default_loras"),
    ],
)
def test_the_runs_of_the_default_are_of_their_configurations_and_their_commands_stand_on_the_page(folder, first):
    runs = sorted((RESULTS / folder).glob("*/rows.jsonl"))
    assert first in {path.parent.name for path in runs}
    for path in runs:
        config = read_config(ROOT / "scripts" / f"{path.parent.name}.yaml", Experiment)
        rows = read_lines(path, UnitRecord)
        assert {row.target for row in rows} <= set(config.targets.tasks)
        assert {row.method for row in rows} <= set(config.methods)
        for row in rows:
            recipe = config.recipe_of(get_method(row.method), row.size).model_dump(mode="json", exclude={"log_with"})
            chosen = {"micro_batch": row.recipe["micro_batch"]}  # on a GPU the whole batch, by --recipe.micro-batch 32
            assert recipe | chosen == row.recipe, (path.parent.name, row.method)
            assert row.recipe["micro_batch"] in (16, 32)
        assert f"scalearn compare scripts/{path.parent.name}.yaml" in page(RESULTS / folder)


@pytest.mark.parametrize(
    ("folder", "head", "columns", "count"),
    [
        ("default", "| all thirteen | five held out |", (2, 3), 16),
        ("glue_converged", "| to convergence |", (2,), 11),
        ("loras", "| | LoRAs | bottlenecks |", (2, 3), 13),
    ],
)
def test_the_readme_shows_scores_as_the_tables_have_them(folder, head, columns, count):
    tables = (RESULTS / folder / "tables.md").read_text()
    (shown,) = re.findall(rf"{re.escape(head)}.*?\n\n", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    cells = {line.split("|")[column].strip() for line in shown.splitlines()[2:] for column in columns if line} - {""}
    assert len(cells) == count
    scores = {line.split("|")[2].strip() for line in tables.splitlines() if line.startswith("| ")}
    constant = ("28.6", "25.7", "40.7")  # a guess's, shown without an interval
    scores |= {score.split(" [")[0] for score in scores if score.startswith(constant)}
    assert cells <= scores


def page(folder):
    """The page beside a published comparison's data."""
    return (folder / "README.md").read_text()
