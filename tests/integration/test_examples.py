"""Every file of `examples/` runs to its end, on a tiny base with few rows and one epoch, and says what it promises."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from safetensors.torch import load_file

from scalearn import METHODS
from scalearn.cli.main import main as scalearn

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ["--rows", "40", "--epochs", "1"]
RUNS = {  # arguments beside the base, and what is printed
    "own_csv_to_adapter": (SMALL, "plain adapters"),
    "pool_of_my_adapters": (["--epochs", "1"], "sentiment_phones by scalearn over entail_travel, sentiment_films"),
    "bring_loras": ([*SMALL], "stock PEFT: largest difference"),
    "compare_methods": ([*SMALL, "--seeds", "0"], "single-adapter"),
    "add_an_embedder": (["--rows", "40"], "sources for sentiment_films by word-lengths"),
    "add_a_transfer_method": (SMALL, "sentiment_phones by soup-median over"),
}


@pytest.fixture
def methods_as_before():
    """A method that an example registers is gone afterwards."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name, tiny, tmp_path, monkeypatch, capsys, methods_as_before):
    arguments, printed = RUNS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scalearn.methods.auto.affordable_steps", lambda *_, **__: 6)  # a tiny model affords thousands
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--base", tiny, *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert printed in capsys.readouterr().out


def test_the_pool_example_writes_the_library_s_files_without_it(library, tiny, tmp_path, monkeypatch):
    example = runpy.run_path(str(EXAMPLES / "pool_of_my_adapters.py"))
    example["with_plain_adapters"](tiny, tmp_path / "library")
    monkeypatch.setitem(sys.modules, "adapters", None)  # importing it fails
    example["with_plain_adapters"](tiny, tmp_path / "ours")
    ours, expected = (
        json.loads((tmp_path / folder / "adapter_config.json").read_text()) for folder in ("ours", "library")
    )
    assert ours == expected
    ours, expected = (load_file(tmp_path / folder / "adapter.safetensors") for folder in ("ours", "library"))
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in expected.items()}


def test_the_notebook_runs_and_is_stored_without_outputs(tiny, tmp_path):
    path = EXAMPLES / "quickstart.ipynb"
    stored = json.loads(path.read_text())
    assert not any(cell.get("outputs") for cell in stored["cells"])
    notebook = nbformat.read(path, as_version=4)
    (settings,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source = f"BASE, ROWS, EPOCHS = {tiny!r}, 40, 1"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "sentiment_phones by scalearn-uniform" in str([cell.get("outputs") for cell in notebook.cells])
    assert (tmp_path / "out/notebook/adapter/adapter_config.json").is_file()


def test_several_processes_are_started_by_a_command_that_accelerate_and_scalearn_understand(tmp_path, capsys):
    """Two processes that share a comparison are started in test_launch.py: this is the command alone."""
    from accelerate.commands.launch import launch_command_parser

    shim = tmp_path / "bin" / "accelerate"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    shim.chmod(0o755)
    command = ["bash", str(EXAMPLES / "several_gpus.sh"), "2", "--out", str(tmp_path / "run"), "--plan"]
    environment = {**os.environ, "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    launch, *arguments = done.stdout.splitlines()
    parsed = launch_command_parser().parse_args(arguments)
    assert (launch, parsed.num_processes, parsed.multi_gpu) == ("launch", 2, True)
    assert (parsed.module, parsed.training_script) == (True, "scalearn")
    assert scalearn(parsed.training_script_args) == 0
    assert "nothing was run" in capsys.readouterr().out


def test_every_example_is_listed_and_run():
    listed = (EXAMPLES / "README.md").read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh", ".ipynb")}
    assert all(f"`{name}`" in listed for name in files)
    assert files == {f"{name}.py" for name in RUNS} | {"several_gpus.sh", "quickstart.ipynb"}
