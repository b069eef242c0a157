"""The commands about pools take LoRAs as they take bottlenecks, and say which kind a pool holds."""

import json
import shutil

import pytest
from golden import change_json

import scalearn.cli.main as cli
from scalearn import AdapterPool

SMALL = ["--rows", 32, "--recipe.epochs", "1", "--recipe.max-length", "24"]


@pytest.fixture
def run(capsys):
    """Runs a command and gives its exit code, what it printed and its errors."""

    def call(*arguments):
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_lora_is_trained_listed_shown_and_verified(run, tiny, tmp_path):
    pool = ["--pool", tmp_path / "pool"]
    lora = ["--adapter", "lora", "--rank", 2, "--alpha", 6, "--target-modules", "query", "intermediate.dense"]
    code, _, said = run("train-source", "sentiment_films", *pool, "--base", tiny, *lora, *SMALL)
    assert code == 0, said
    assert run("train-source", "entail_travel", *pool, *SMALL)[0] == 0  # of a pool's own kind unless told otherwise
    _, listed, _ = run("pool", "ls", *pool)
    assert "LoRAs; base" in listed
    assert [AdapterPool(tmp_path / "pool")[name].config["r"] for name in ("sentiment_films", "entail_travel")] == [2, 8]
    shown = json.loads(run("pool", "show", "sentiment_films", *pool)[1])
    assert shown["lora"]["lora_alpha"] == 6
    assert shown["lora"]["target_modules"] == ["query", "intermediate.dense"]
    assert "2 sources, every file as it was stored" in run("pool", "verify", *pool)[1]


def test_an_option_of_a_lora_without_one_and_another_kind_are_mistakes(run, pool_folder, lora_pool_folder):
    for arguments, said in {
        ("--pool", pool_folder, "--rank", 8): "--rank is an option of a LoRA: add --adapter lora",
        ("--pool", pool_folder, "--adapter", "lora"): "holds bottleneck adapters, and this is of LoRAs",
        ("--pool", lora_pool_folder, "--adapter", "bottleneck"): "holds LoRAs, and this is of bottleneck adapters",
        (
            "--pool",
            lora_pool_folder,
            "--target-modules",
            "q_proj",
        ): "target_modules q_proj: the base has no such Linear",
        ("--pool", lora_pool_folder, "--rank", 0): "--rank 0: a LoRA's rank is 1 or more",
        (
            "--pool",
            lora_pool_folder,
            "--rank",
            4,
            "--name",
            "grammar_garden",
        ): "holds 'grammar_garden' trained with other data or settings",
    }.items():
        code, _, error = run("train-source", "question_type", *arguments, *SMALL)
        assert (code, error.count("\n")) == (2, 1), error
        assert said in error


def test_ls_clips_nothing_and_says_what_is_not_known(run, lora_pool_folder, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = lora_pool_folder / "grammar_garden"
    run("pool", "add", folder, "--pool", tmp_path / "pool", "--base", tiny, "--same-base")
    _, listed, _ = run("pool", "ls", "--pool", tmp_path / "pool")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in listed.splitlines() if line.startswith("│")]
    columns = ["".join(column) for column in zip(*cells, strict=True)]
    assert "…" not in listed
    assert [columns[place] for place in (0, 5, 7)] == ["grammar_garden", "-", "-"]
    assert columns[3] == "not known"


def test_several_loras_are_added_at_once_and_those_that_are_there_skipped(run, lora_pool_folder, tiny, tmp_path):
    names = [source.name for source in AdapterPool(lora_pool_folder)][:3]
    for name in names:
        (tmp_path / "mine" / name).mkdir(parents=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(lora_pool_folder / name / file, tmp_path / "mine" / name)
    folders, pool = [tmp_path / "mine" / name for name in names], ["--pool", tmp_path / "pool", "--same-base"]
    code, said, error = run("pool", "add", *folders[:2], *pool, "--base", tiny)
    assert (code, len(said.splitlines())) == (0, 2), error
    code, said, _ = run("pool", "add", *folders, *pool)
    assert code == 0
    assert f"{folders[0]}: the pool holds it, as '{names[0]}'" in said
    assert "the pool holds it" not in said.splitlines()[-1]
    assert sorted(AdapterPool(tmp_path / "pool").names) == sorted(names)
    for arguments, line in {
        ("--name", "mine"): "--name goes with one adapter; 3 are named",
        ("--task", "rte"): "--task goes with one adapter; 3 are named",
    }.items():
        assert run("pool", "add", *folders, *pool, *arguments)[::2] == (2, f"error: {line}\n")
    assert run("pool", "add", *pool)[0] == 2
    assert run("pool", "add", folders[0], *pool)[0] == 2, "one alone that is there is a mistake"
    gone = run("pool", "add", *folders, tmp_path / "gone", *pool)
    assert gone[0] == 2
    assert "gone" in gone[2]


def test_of_several_one_that_is_refused_does_not_keep_the_others_out(run, lora_pool_folder, tiny, tmp_path):
    names = [source.name for source in AdapterPool(lora_pool_folder)][:3]
    mine = tmp_path / "mine"
    for name in names:
        shutil.copytree(lora_pool_folder / name, mine / name)
    (mine / "README.md").write_text("mine")
    change_json(mine / names[0] / "adapter_config.json", use_dora=True)
    folders = [mine / "README.md", *(mine / name for name in names), mine / "gone"]
    code, said, error = run("pool", "add", *folders, "--pool", tmp_path / "pool", "--base", tiny, "--same-base")
    assert code == 2
    assert AdapterPool(tmp_path / "pool").names == sorted(names[1:])
    assert len(said.splitlines()) == 2
    assert f"{mine / 'README.md'}: a file, not an adapter's folder: skipped" in error
    assert f"refused: {mine / names[0]}: cannot be used as a source: it is a DoRA" in error
    assert "2 of 5 were refused, for the reasons above; the pool holds the others" in error.splitlines()[-1]


def test_of_several_a_base_that_is_wrong_is_said_once(run, lora_pool_folder, tmp_path):
    folders = [lora_pool_folder / name for name in AdapterPool(lora_pool_folder).names]
    code, said, error = run("pool", "add", *folders, "--pool", tmp_path / "pool", "--base", tmp_path / "nowhere")
    assert (code, said, error.count("\n")) == (2, "", 1), error
