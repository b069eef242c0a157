"""`scalearn transfer` over a pool of LoRAs: a method without a meaning is a mistake before the ranking; a new adapter is a LoRA as the pool's."""

import shutil

import pytest

import scalearn.cli.main as cli
from scalearn import TransferResult

SMALL = ["--rows", "24", "--recipe.epochs", "1", "--recipe.max-length", "24", "--recipe.max-steps", "2"]


@pytest.fixture
def run(capsys, lora_pool_folder, tmp_path):
    """Runs the command on a copy of the pool and gives its exit code, what it printed and its errors."""
    shutil.copytree(lora_pool_folder, tmp_path / "pool")

    def call(*arguments):
        capsys.readouterr()
        options = ["transfer", "entail_kitchen", "--pool", tmp_path / "pool", "--out", tmp_path / "out", *SMALL]
        code = cli.main([str(argument) for argument in [*options, *arguments]])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_method_that_takes_no_loras_is_a_mistake_before_the_ranking(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tasksel.selection.ranking.rank", lambda *_, **__: pytest.fail("ranked"))
    code, _, said = run("--method", "soup")
    assert (code, said.count("\n")) == (2, 1)
    assert "method 'soup' merges bottlenecks unit by unit" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("few_strengths")
def test_a_ranking_chooses_loras_and_the_result_exports(run, tmp_path, capsys):
    code, said, error = run("--method", "scalearn", "--by", "logme", "--top", "2")
    assert code == 0, error
    result = TransferResult.load(tmp_path / "out")
    assert len(result.run.sources) == 2
    assert f"scalearn export {tmp_path / 'out'}" in said
    assert cli.main(["export", str(tmp_path / "out"), "--out", str(tmp_path / "adapter")]) == 0
    assert "this loads it in stock PEFT, with nothing of scalearn" in capsys.readouterr().out


@pytest.mark.usefixtures("few_strengths")
def test_a_single_adapter_beside_loras_is_a_new_lora_as_theirs(run, tmp_path):
    code, _, error = run("--method", "single-adapter")
    assert code == 0, error
    run_record = TransferResult.load(tmp_path / "out").run
    assert run_record.adapter_config["architecture"] == "lora"
    assert run_record.recipe.lr == 1e-3
