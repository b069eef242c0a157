"""Every block of the README, and those of the guides that compare and launch, run as they stand, on a tiny base and few rows; every script and configuration is run or planned."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from scalearn.cli.main import main as scalearn
from scalearn.comparison.config import read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.measure_matrix import MatrixConfig
from tasksel.cli.main import main as tasksel

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDES = ROOT / "docs" / "guides"
RESULTS = ROOT / "docs" / "results"
MATRIX = RESULTS / "matrix"
REVIEWS = [("good, would buy again", 5), ("broke after a day", 1), ("does what it says", 4), ("not worth the money", 2)]
SHORT = {"transfer": "--rows 40 --recipe.epochs 1", "train-source": "--overwrite never", "explain": "--rows 8"}


def block(language, having, page=README):
    """A page's block of a language that contains a text."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, flags=re.DOTALL)
    return next(text for kind, text in blocks if kind == language and having in text)


def commands(text):
    """The commands of a block, without comments."""
    return [shlex.split(line, comments=True) for line in text.strip().splitlines() if not line.startswith("#")]


@pytest.fixture
def workplace(tmp_path, pool_folder, monkeypatch):
    """A folder with what the README's reader would have: reviews, and a pool on the tiny base in MiniLM's place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scalearn.methods.auto.affordable_steps", lambda *_, **__: 6)  # a tiny model affords thousands
    rows = [(f"{text}, number {i}", stars) for i in range(10) for text, stars in REVIEWS]
    Path("reviews.csv").write_text("body,stars\n" + "".join(f'"{text}",{stars}\n' for text, stars in rows))
    shutil.copytree(pool_folder, "pools/mine")
    shutil.copytree(ROOT / "scripts", "scripts")
    return tmp_path


def test_the_python_script_runs_as_written(workplace, tiny, capsys):
    script = block("python", "sl.AdapterPool").replace("pools/minilm", "pools/mine")
    script = script.replace('base="minilm"', f"base={tiny!r}")
    quick = "rows=64, recipe=sl.Recipe(lr=1e-3, epochs=1, max_length=32)"  # those of the pool that lies here
    script = script.replace(
        "sl.train_source(ts.get_task(name), pool)", f"sl.train_source(ts.get_task(name), pool, {quick})"
    )
    assert len([line for line in script.splitlines() if line.strip()]) <= 12
    exec(compile(script, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "reviews by auto over " in printed
    assert "accuracy" in printed
    assert (workplace / "out/reviews-adapter/adapter.safetensors").is_file()


def test_the_command_line_block_runs_as_written(workplace, capsys):
    for tool, *arguments in commands(block("bash", "scalearn transfer")):
        extra = shlex.split(SHORT.get(arguments[0], ""))
        assert {"tasksel": tasksel, "scalearn": scalearn}[tool]([*arguments, *extra]) == 0, arguments
    assert "nothing was run" in capsys.readouterr().out
    assert (workplace / "out/reviews-adapter/adapter.safetensors").is_file()


def test_the_comparison_block_runs_as_written(workplace, tiny, capsys):
    """On few rows and a tiny base; the paper's table is planned."""
    few = "--sources.tasks entail_travel sentiment_films grammar_garden --sources.rows 24 --sources.recipe.epochs 1"
    few += " --recipe.epochs 1 --few-shot.max-steps 4"
    for _, *arguments in commands(block("bash", "scalearn report", (GUIDES / "compare.md").read_text())):
        if arguments[0] == "compare" and "--plan" not in arguments:
            assert arguments[-2:] == ["--jobs", "2"]  # worker processes are started in test_plan.py
            arguments[-1:] = ["1", "--base", tiny, *shlex.split(few)]
        if arguments[0] == "explain":
            arguments += ["--rows", "8"]
        assert scalearn(arguments) == 0, arguments
    assert "nothing was run" in capsys.readouterr().out
    assert Path("runs/few/report/report.html").stat().st_size > 10_000


def test_the_launch_commands_are_what_accelerate_and_scalearn_understand(workplace, monkeypatch):
    from accelerate.commands.launch import launch_command_parser

    found = commands(block("bash", "accelerate launch", (GUIDES / "scale_out.md").read_text()))
    assert len(found) == 3
    for tool, verb, *arguments in found:
        assert (tool, verb) == ("accelerate", "launch")
        parsed = launch_command_parser().parse_args(arguments)
        assert parsed.module
        assert parsed.training_script == "scalearn"
        assert parsed.multi_gpu
        assert parsed.training_script_args[0] in ("train-source", "compare")


def test_the_two_commands_of_the_first_screen_are_scripts_that_parse():
    for line in commands(block("bash", "quickstart.sh")):
        assert line[0] == "bash"
        assert subprocess.run(["bash", "-n", ROOT / line[1]], check=False).returncode == 0
    assert "scripts/test.sh" in (ROOT / ".ci" / "run").read_text()


def test_every_file_and_picture_that_the_readme_names_is_there():
    named = re.findall(r"\]\(([\w/.]+)\)", README) + re.findall(
        r"`((?:docs|scripts|benchmarks|tasksel|scalearn)/[\w/.]*)`", README
    )
    assert len(named) > 4
    for name in named:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("config", sorted((ROOT / "scripts").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_can_be_read_and_says_its_command(config):
    kind = MatrixConfig if config.stem.startswith("matrix") else Experiment
    assert read_config(config, kind).name == config.stem
    assert f"scripts/{config.stem}" in config.read_text().split("name:")[0]


def test_the_quickstart_configuration_plans(tmp_path, capsys):
    assert scalearn(["compare", "quickstart", "--out", str(tmp_path / "run"), "--plan"]) == 0
    assert "source sentiment_films" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_the_published_evaluation_is_made_again_by_the_command_beside_it(tmp_path, monkeypatch):
    page = (MATRIX / "README.md").read_text()
    (line,) = re.findall(
        r"^    (tasksel evaluate docs/results/matrix .* --out docs/results/matrix)$", page, flags=re.MULTILINE
    )
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(line)[1:]
    assert tasksel([*arguments[:-1], str(tmp_path)]) == 0
    assert (tmp_path / "judge.md").read_text() == (MATRIX / "judge.md").read_text()
    assert (tmp_path / "judge.svg").stat().st_size > 10_000


def test_the_table_of_selectors_says_what_the_whole_evaluation_says():
    whole, (head, *rows) = (_rows((MATRIX / name).read_text()) for name in ("judge.md", "README.md"))
    columns = [whole[0].index(name) for name in head]
    assert rows == [[row[column] for column in columns] for row in whole[1:]]


@pytest.mark.parametrize("folder", ["matrix", "matrix_trec_is"])
def test_the_published_prediction_of_gains_is_made_again_by_the_command_beside_it(folder, tmp_path, monkeypatch):
    page = (RESULTS / folder / "README.md").read_text()
    (line,) = re.findall(rf"^    (tasksel predict-gain docs/results/{folder} .*)$", page, flags=re.MULTILINE)
    monkeypatch.chdir(ROOT)
    assert tasksel([*shlex.split(line)[1:-1], str(tmp_path)]) == 0
    assert (tmp_path / "benefit.md").read_text() == (RESULTS / folder / "benefit.md").read_text()


def _rows(page):
    """The cells of a page's table of selectors that begins with the method's nDCG, without its rule."""
    (table,) = re.findall(r"^(\| selector +\| +nDCG taskweb .*?)\n\n", page, flags=re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [rows[0], *rows[2:]]
