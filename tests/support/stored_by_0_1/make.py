"""Makes every kind of file that version 0.1 stores in the current folder, and expected.json, what must be read back from them.

Kept as the record of how these files were made; it runs on the code of that commit alone (README.md). The functions stand in the order
of the steps.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from adapters import AutoAdapterModel
from expect import BASE, RANKED_BY, ROWS, expected, own_tasks
from scalearn.config import read_config
from scalearn.experiment import Experiment
from scalearn.plan import Plan
from tasksel.data import Split
from tokenizers import BertWordPieceTokenizer
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from scalearn import METHODS, AdapterPool, Recipe, TransferResult, adopt, train_source, transfer
from tasksel import EMBEDDERS, find_tasks, get_embedder, get_task, load, rank
from tasksel.cli import main as tasksel

TARGET = "entail_kitchen"
RECIPE = Recipe(lr=1e-2, epochs=1, batch=8, max_length=32)
SOURCE_RECIPE = Recipe(lr=1e-2, epochs=2, batch=8, max_length=32)
SIMILARITIES = (0.5, 0.2, 0.1)
SCORED_BY = ("text", "vocabulary", "size", "logme", "esm", "rows-feature")
SOURCES = ("sentiment_films", "grammar_garden", "entail_travel")
QUICK = {"lr": 0.01, "epochs": 1, "batch": 8, "max_length": 32}
RUN = {
    "name": "stored run", "base": BASE, "test_rows": 40,
    "sources": {"tasks": list(SOURCES), "rows": ROWS, "recipe": QUICK},
    "targets": {"tasks": ["sentiment_phones", "rating_hotels"], "sizes": [12], "seeds": [0, 1], "seeds_of": {"rating_hotels": [0]}},
    "rank": {"by": "connectivity", "top": 2}, "methods": ["scalearn", "joint", "single-adapter"],
    "recipe": QUICK, "few_shot": {"epochs": 2, "max_steps": 4}, "map": "connectivity",
}  # fmt: skip
INTERRUPTED = {
    "name": "stored interrupted run", "base": BASE, "data": "tasks", "protocol": "paper",
    "sources": {"tasks": ["topics", "endings", "entails"], "recipe": QUICK},
    "targets": {"tasks": ["topics"], "rows": ROWS, "seeds": [0, 1]},
    "rank": {"by": "text", "top": 2, "own": [False, True]}, "methods": ["single-adapter", "scalearn"], "recipe": QUICK,
}  # fmt: skip
MATRIX = {
    "name": "stored matrix", "base": BASE, "sources": {"tasks": list(SOURCES), "rows": ROWS, "recipe": QUICK},
    "targets": {"tasks": ["sentiment_phones", "rating_hotels", "grammar_garden"], "rows": ROWS, "test_rows": 60},
    "methods": ["sequential"], "recipe": {**QUICK, "epochs": 4},
}  # fmt: skip


def make_base() -> None:
    """A random BERT over the most frequent words of the built-in tasks; its weights are large, so that texts differ in what they give."""
    words: Counter[str] = Counter()
    for task in find_tasks():
        data = load(task)
        for split in (data.train, data.dev, data.test):
            texts = [text for row in (*split.texts, *(split.choices or ())) for text in row]
            words.update(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    letters = sorted({letter for word in words for letter in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))[:300]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *frequent]))
    pieces = BertWordPieceTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})
    BertTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=128).save_pretrained(BASE)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=130, pad_token_id=0, initializer_range=0.2, **sizes
    )
    BertModel(config).save_pretrained(BASE, safe_serialization=True)


def built_in(name: str, *, train: int, test: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first rows of a built-in task: columns text (and other), label, and choices where it has them."""

    def rows(split: Split, count: int) -> list[dict[str, Any]]:
        kept = []
        for number in range(count):
            row: dict[str, Any] = dict(zip(("text", "other"), split.texts[number], strict=False))
            row["label"] = split.labels[number].tolist()
            kept.append({**row, "choices": split.choices[number]} if split.choices else row)
        return kept

    data = load(get_task(name))
    return rows(data.train, train), rows(data.test, test)


def write_table(path: Path, rows: Iterable[dict[str, Any]], delimiter: str = ",") -> None:
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_task_folder(folder: Path, fields: dict[str, Any], rows: dict[str, list[dict[str, Any]]], ending: str) -> None:
    folder.mkdir()
    fields = {"name": folder.name, "suite": "stored", **fields}
    (folder / "task.json").write_text(json.dumps(fields, indent=2) + "\n")
    for split, part in rows.items():
        if ending == "tsv":
            write_table(folder / f"{split}.tsv", part, "\t")
        else:
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def make_tasks() -> None:
    """A data file, a task file with the files it names, and three task folders; every kind of task once."""
    tasks = Path("tasks")
    tasks.mkdir()
    train, _ = built_in("sentiment_restaurants", train=40, test=1)
    write_table(tasks / "reviews.csv", ({**row, "label": ("bad", "good")[row["label"]]} for row in train))
    for place, rows in zip(("train", "validation"), built_in("rating_hotels", train=32, test=12), strict=True):
        write_table(tasks / f"stay_{place}.csv", rows)
    (tasks / "stay.yaml").write_text(
        "name: stay\nkind: regression\ntext: [text]\nmetric: pearson\n"
        "source: {type: files, files: {train: tasks/stay_train.csv, validation: tasks/stay_validation.csv}}\n"
    )
    for name, like, fields, ending in (
        ("topics", "complaints_orders", {"kind": "multi_label", "text_fields": ["text"]}, "jsonl"),
        ("entails", "entail_travel", {"kind": "pair_classification", "text_fields": ["text", "other"]}, "tsv"),
        ("endings", "endings_daily", {"kind": "multiple_choice", "text_fields": ["text", "choices"]}, "jsonl"),
    ):
        task = get_task(like)
        train, test = built_in(like, train=32, test=12)
        fields |= {"label_names": list(task.labels) or None, "num_labels": task.outputs}
        write_task_folder(tasks / name, fields, {"train": train, "validation": test}, ending)


def make_plain_adapter() -> None:
    """An adapter with a head, trained with nothing but `adapters` and torch."""
    data = load(own_tasks()["reviews"]).train
    torch.manual_seed(1)
    model = AutoAdapterModel.from_pretrained(BASE)
    model.add_adapter("reviews", config="seq_bn")
    model.add_classification_head("reviews", num_labels=2, id2label={0: "bad", 1: "good"})
    model.train_adapter("reviews")
    encoded = AutoTokenizer.from_pretrained(BASE)([text for (text,) in data.texts], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(**encoded).logits, torch.from_numpy(data.labels)).backward()
        optimizer.step()
    model.save_adapter("plain_adapter", "reviews", with_head=True, use_safetensors=True)


def make_pool() -> None:
    """Two sources that are trained, one that is adopted; and what ranking them for a target keeps beside them and in `targets/`."""
    pool = AdapterPool("pool", base=BASE)
    for name in ("sentiment_films", "entail_travel"):
        train_source(get_task(name), pool, rows=ROWS, recipe=SOURCE_RECIPE)
    adopt(pool, "plain_adapter", task=own_tasks()["reviews"])
    for by in RANKED_BY:
        rank(get_task("sentiment_phones"), pool, by=by, base=pool.base, rows=ROWS, store=Path("targets"))


def make_results() -> None:
    """A result by every method, and one of each kind of own task; joint trainings lie in `joint/`."""
    pool = AdapterPool("pool", base=BASE)
    for method in METHODS:
        seeds = [0, 1] if method == "scalearn" else [0]
        options: dict[str, Any] = {"method": method, "seeds": seeds, "rows": ROWS, "recipe": RECIPE, "base": pool.base}
        options |= {"similarities": SIMILARITIES, "store": "joint", "out": f"results/{method}"}
        transfer(get_task(TARGET), list(pool), **options)
    for name, task in own_tasks().items():
        transfer(task, list(pool), rows=ROWS, recipe=RECIPE, out=f"results_by_kind/{name}")
    TransferResult.load("results/scalearn").export("exported/entail_kitchen", seed=1)
    TransferResult.load("results_by_kind/topics").export("exported/topics")


def make_embeddings() -> None:
    """A file of every embedder, and two indexes."""
    keys: dict[str, str] = {}
    for name in EMBEDDERS:
        keys.setdefault(get_embedder(name).key, name)
    for by in keys.values():
        tasks = ["sentiment_films"] + (["entail_travel", "grammar_garden"] if by in ("connectivity", "text") else [])
        tasksel(["embed", *tasks, "--by", by, "--base", BASE, "--rows", str(ROWS), "--out", "embeddings"])
    shutil.rmtree("embeddings/.kept")
    for by, folder in (("connectivity", "index_of_patterns"), ("text", "index_of_vectors")):
        files = sorted(map(str, Path("embeddings").glob(f"*-{get_embedder(by).key}-*")))
        tasksel(["index", "build", *files, "--out", folder])


def write_configuration(name: str, config: dict[str, Any]) -> None:
    Path(name).write_text(json.dumps(config, indent=1) + "\n")  # JSON is YAML


def make_run() -> None:
    """A whole comparison, but for its report, which is made again from its rows."""
    write_configuration("run.yaml", RUN)
    subprocess.run([sys.executable, "-m", "scalearn", "run", "run.yaml", "--out", "run"], check=True)
    shutil.rmtree("run/report")


def make_interrupted_run() -> None:
    """A comparison that is stopped while its third transfer trains, as a kill at the worst moment leaves it.

    The last line of its rows and the state of a seed are cut in half here.
    """
    write_configuration("interrupted.yaml", INTERRUPTED)
    sys.argv = ["scalearn", "run", "interrupted.yaml", "--out", "interrupted"]
    module = sys.modules["scalearn.transfer"]
    plain, calls = module.fit, []

    def stopped(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(*args, **options)

    module.fit = stopped
    with suppress(KeyboardInterrupt):
        Plan(read_config(Path("interrupted.yaml"), Experiment), Path("interrupted")).run()
    module.fit = plain
    rows = Path("interrupted/rows.jsonl")
    *whole, last = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(whole) + last[: len(last) // 2])
    results = sorted(Path("interrupted/store/results").iterdir())
    (begun,) = [path for path in results if not (path / "result.json").is_file()]
    state = next(Path("interrupted/store/results").glob("*/seed-0/state.safetensors")).read_bytes()
    partial = begun / ".partial-seed-1-k2x9w_0a"
    partial.mkdir()
    (partial / "state.safetensors").write_bytes(state[: len(state) // 2])


def make_matrix() -> None:
    """A measured matrix with scores of selectors and features of pairs."""
    write_configuration("matrix.yaml", MATRIX)
    subprocess.run([sys.executable, "-m", "scalearn", "matrix", "matrix.yaml", "--out", "matrix"], check=True)
    of_pool = ["--pool", "matrix/pool", "--rows", str(ROWS), "--store", "scratch"]
    tasksel(["judge", "matrix", "--by", *SCORED_BY, *of_pool])
    tasksel(["benefit", "matrix", *of_pool])
    shutil.rmtree("scratch")


def main() -> None:
    torch.set_num_threads(1)
    for make in (
        make_base, make_tasks, make_plain_adapter, make_pool, make_results, make_embeddings, make_run, make_interrupted_run, make_matrix,
    ):  # fmt: skip
        make()
    Path("expected.json").write_text(json.dumps(expected(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
