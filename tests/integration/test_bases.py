"""Bases and task names as users bring them, through the commands: what fits runs to the end, what does not is one line before any work."""

import json
import shutil

import pytest
import torch
import yaml
from published_bases import save_published
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

import scalearn.cli.main as cli
import tasksel.cli.main as selection
from scalearn import AdapterPool, Recipe, TransferResult, train_source, transfer
from scalearn.comparison.records import RunFolder
from scalearn.results.explain import explain
from scalearn.results.predict import predict_text
from tasksel import Task, rank
from tasksel.embeddings.soft_prompt import SoftPrompt
from tasksel.model.base import load_base

QUICK = Recipe(lr=1e-3, epochs=1, batch=8, max_length=24)
SMALL = ["--rows", "24", "--recipe.epochs", "1", "--recipe.batch", "8", "--recipe.max-length", "24"]
NAMES = ("train", "values", "update")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture
def command(capsys):
    """Runs a command: its exit code, and what it wrote on standard output and error."""

    def run(*arguments, main=cli.main):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    return run


@pytest.fixture
def refuse(command):
    """Runs a command that must fail as a user's mistake, and gives its one line."""

    def run(*arguments, main=cli.main):
        code, _, errors = command(*arguments, main=main)
        assert code == 2
        (line,) = [
            line for line in errors.splitlines() if line.startswith("error: ")
        ]  # beside it, what was guessed of the file
        return line

    return run


def write_reviews(path, *, long=False, rows=60):
    """A CSV of rows, good and bad, every fourth one long if asked."""
    words = ("The kettle pours well", "The kettle leaks")
    texts = [
        f"{words[i % 2]}, number {i} of {path.stem}" + " and again" * (40 if long and i % 4 == 0 else 0)
        for i in range(rows)
    ]
    lines = [f'"{text}","It was liked",{("bad", "good")[i % 2 == 0]}' for i, text in enumerate(texts)]
    path.write_text("\n".join(["text,other,label", *lines]) + "\n")
    return path


def save_base(model, folder):
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(load_base("minilm").path).save_pretrained(folder)
    return folder


class TestMaskedLanguageModels:
    @pytest.mark.parametrize("kind", ["bert", "roberta"])
    def test_a_base_saved_with_its_head_trains_a_source(self, command, tmp_path, kind):
        torch.manual_seed(0)
        if kind == "bert":
            model = BertForMaskedLM(BertConfig(vocab_size=30522, **SIZES))
        else:
            model = RobertaForMaskedLM(
                RobertaConfig(vocab_size=30522, pad_token_id=0, type_vocab_size=2, max_position_embeddings=130, **SIZES)
            )
        base = save_base(model, tmp_path / "base")
        reviews = write_reviews(tmp_path / "reviews.csv")
        code, _, errors = command(
            "train-source", reviews, "--text", "text", "--base", base, "--pool", tmp_path / "pool", *SMALL
        )
        assert (code, (tmp_path / "pool" / "reviews" / "card.json").is_file()) == (0, True), errors

    @pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "xlm-roberta-base"])
    def test_a_published_checkpoint_is_trained_on_mixed_and_exported_to_the_same_logits(self, tmp_path, name):
        save_published(name, tmp_path / "base")
        task = Task.from_file(write_reviews(tmp_path / "reviews.csv"), text=("text", "other"), label="label")
        pool = AdapterPool(tmp_path / "pool", base=str(tmp_path / "base"))
        for source in ("first", "second"):
            train_source(task, pool, name=source, rows=24, recipe=QUICK)
        result = transfer(task, list(pool), method="scalearn", rows=24, recipe=QUICK, out=tmp_path / "out")
        result.export(tmp_path / "export")
        said = [
            predict_text(folder, ["The kettle leaks", "It was liked"])
            for folder in (tmp_path / "out", tmp_path / "export")
        ]
        assert said[0]["scores"] == pytest.approx(said[1]["scores"], abs=1e-5)


class TestNames:
    def test_a_task_called_train_is_trained_on_mixed_explained_exported_and_predicted(self, command, tiny, tmp_path):
        train, pool, out = write_reviews(tmp_path / "train.csv"), tmp_path / "pool", tmp_path / "out"
        for file in (train, write_reviews(tmp_path / "values.csv")):
            assert command("train-source", file, "--text", "text", "--base", tiny, "--pool", pool, *SMALL)[0] == 0
        assert sorted(path.name for path in pool.iterdir()) == ["train", "values"]
        chosen = ["--sources", "train", "values", "--method", "scalearn", *SMALL]
        code, _, errors = command("transfer", train, "--text", "text", "--pool", pool, "--out", out, *chosen)
        assert code == 0, errors
        assert command("export", out, "--out", tmp_path / "export")[0] == 0
        said = [predict_text(folder, ["The kettle leaks"])["scores"] for folder in (out, tmp_path / "export")]
        assert said[0] == pytest.approx(said[1], abs=1e-5)
        assert explain(TransferResult.load(out), rows=8, draws=10).left_out

    @pytest.mark.parametrize(
        "method", ["joint", "fusion", "compacter++", "single-adapter", "sequential", "fixed-grid", "soup"]
    )
    def test_every_kind_of_method_takes_such_names(self, tiny, tmp_path, method):
        tasks = [Task.from_file(write_reviews(tmp_path / f"{name}.csv"), text="text", label="label") for name in NAMES]
        pool = AdapterPool(tmp_path / "pool", base=tiny)
        for task in tasks[1:]:
            train_source(task, pool, rows=24, recipe=QUICK)
        result = transfer(tasks[0], list(pool), method=method, base=tiny, rows=24, recipe=QUICK, out=tmp_path / "out")
        model = TransferResult.load(result.folder).model()
        assert list(model.heads) == ["task:train"]
        assert result.task.name == "train"

    @pytest.mark.parametrize("by", [SoftPrompt(max_steps=1), "connectivity", "conductance", "fisher", "weights", "logme", "leep", "esm"], ids=str)  # fmt: skip
    def test_they_are_ranked(self, tiny, tmp_path, by):
        tasks = [Task.from_file(write_reviews(tmp_path / f"{name}.csv"), text="text", label="label") for name in NAMES]
        pool = AdapterPool(tmp_path / "pool", base=tiny)
        for task in tasks[1:]:
            train_source(task, pool, rows=24, recipe=QUICK)
        ranking = rank(tasks[0], pool, by=by, rows=24, cache_dir=tmp_path / "cache")
        assert sorted(ranking.names) == ["update", "values"]


class TestRefusedBeforeWork:
    @pytest.mark.parametrize("length", [600, 131, 2, 1, 0, -1])
    def test_tokens_that_the_base_does_not_take(self, refuse, tiny, tmp_path, length):
        reviews, pool = write_reviews(tmp_path / "reviews.csv", long=True), tmp_path / "pool"
        given = ["--text", "text", "--pool", pool, "--recipe.max-length", length]
        said = (
            f"recipe.max_length is {length}" if length > 2 else "recipe.max_length must be greater than or equal to 3"
        )
        assert said in refuse("train-source", reviews, "--base", tiny, *given)
        assert not pool.exists()

    def test_a_transfer_an_embedding_a_ranking_and_a_comparison(self, refuse, tiny, pool_folder, tmp_path):
        reviews, out = write_reviews(tmp_path / "reviews.csv"), tmp_path / "out"
        own = [reviews, "--text", "text"]
        given = ["--pool", pool_folder, "--out", out, "--sources", "all", "--recipe.max-length", "200"]
        assert "recipe.max_length is 200; base" in refuse("transfer", *own, *given)
        embed = ["embed", *own, "--by", "text", "--base", tiny, "--out", out, "--set", "max_length=200"]
        assert "max_length of 'text' is 200; base" in refuse(*embed, main=selection.main)
        config = {
            "name": "small", "base": tiny, "methods": ["scalearn"], "recipe": {"max_length": 131},
            "sources": {"tasks": ["sentiment_films", "grammar_garden"]}, "targets": {"tasks": ["entail_travel"]}, "rank": {"by": "all"},
        }  # fmt: skip
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
        said = refuse("compare", tmp_path / "small.yaml", "--out", out, "--plan")
        assert "max_length of the recipe of 'scalearn' is 131; base" in said
        assert not out.exists()

    @pytest.mark.parametrize("kind", ["no tokenizer", "no config", "a decoder"])
    def test_a_base_that_lacks_a_part_or_is_none(self, refuse, tiny, tmp_path, kind):
        base = shutil.copytree(tiny, tmp_path / "base")
        if kind == "no tokenizer":
            for path in base.iterdir():
                if path.name not in ("config.json", "model.safetensors"):
                    path.unlink()
        elif kind == "no config":
            (base / "config.json").unlink()
        else:
            (base / "config.json").write_text(json.dumps({"model_type": "opt"}))
        reviews = write_reviews(tmp_path / "reviews.csv")
        said = refuse("train-source", reviews, "--text", "text", "--base", base, "--pool", tmp_path / "pool")
        assert {"no tokenizer": "has no tokenizer", "no config": "has no config.json", "a decoder": "is a opt"}[
            kind
        ] in said
        assert not (tmp_path / "pool").exists()


def test_pairs_train_on_a_base_of_one_segment_whose_tokenizer_gives_two(command, make_base, tmp_path):
    reviews, base = write_reviews(tmp_path / "pairs.csv"), make_base("roberta", type_vocab_size=1)
    given = ["--text", "text", "other", "--label", "label", "--base", base, "--pool", tmp_path / "pool", *SMALL]
    code, _, errors = command("train-source", reviews, *given)
    assert code == 0, errors


def test_rows_that_are_cut_are_said_once_with_their_share(command, tiny, pool_folder, tmp_path):
    reviews = write_reviews(tmp_path / "reviews.csv", long=True)
    own = [reviews, "--text", "text"]
    _, _, said = command("train-source", *own, "--base", tiny, "--pool", tmp_path / "pool", *SMALL)
    (line,) = [line for line in said.splitlines() if "max_length" in line]
    assert line.startswith("reviews: ")
    assert "%) are longer than max_length 24 and are cut" in line
    given = ["--pool", pool_folder, "--sources", "all", "--out", tmp_path / "out", "--seeds", "0", *SMALL]
    _, _, said = command("transfer", *own, *given)
    assert len([line for line in said.splitlines() if "max_length 24" in line]) == 1


def test_a_comparison_of_tasks_of_such_names_runs_and_is_reported(command, tiny, tmp_path):
    data = tmp_path / "data"
    for name in NAMES:
        (data / name).mkdir(parents=True)
        write_reviews(data / name / "train.csv")
        write_reviews(data / name / "validation.csv", rows=20)
        task = {"name": name, "kind": "single_sentence_classification", "text_fields": ["text"], "label_field": "label", "label_names": ["bad", "good"], "metric": "accuracy"}  # fmt: skip
        (data / name / "task.json").write_text(json.dumps(task))
    small = {"epochs": 1, "batch": 8, "max_length": 24}
    config = {
        "name": "small", "base": tiny, "data": str(data), "methods": ["scalearn", "joint", "single-adapter"], "recipe": small, "test_rows": 8,
        "sources": {"tasks": list(NAMES[1:]), "rows": 16, "recipe": small}, "targets": {"tasks": ["train"], "rows": 16}, "rank": {"by": "all"},
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    code, _, errors = command("compare", tmp_path / "small.yaml", "--out", tmp_path / "run")
    assert code == 0, errors
    assert {row.target for row in RunFolder(tmp_path / "run").rows} == {"train"}
    assert command("report", tmp_path / "run")[0] == 0
