"""What must be read back from the files that `make.py` makes, by the code that made them: the contents of expected.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scalearn.config import read_config
from scalearn.experiment import Experiment
from scalearn.plan import Plan
from scalearn.predict import Export
from scalearn.source import source_key
from scalearn.store import Run, name_of
from tasksel.catalog import given_task
from tasksel.data import Split
from tasksel.embedding import TaskEmbedding
from tasksel.index import EmbeddingIndex
from tasksel.judgement import judge
from tasksel.ledger import measured_pairs
from tasksel.matrix import read_matrix
from tasksel.pairs import read_pairs
from tasksel.scores import read_scores
from tasksel.selectors import get_selector
from tasksel.selectors import names as selector_names

from scalearn import METHODS, AdapterPool, TransferResult
from tasksel import EMBEDDERS, Task, find_tasks, get_embedder, get_task, load, load_base, rank

BASE, ROWS = "tiny_base", 24
RANKED_BY = ("connectivity", "text", "fisher")
TEXTS = {
    "sentiment_phones": ["The battery was awful.", "I found the screen bright and quick.", "It was not good."],
    "entail_kitchen": [["Two cooks peel carrots.", "Nobody cooks."], ["A man bakes bread.", "A man bakes."], ["a", "b"]],
    "reviews": ["The soup was cold.", "The waiter was friendly and quick.", "a"],
    "topics": ["The parcel was late and the price too high.", "Fine.", "The box was broken."],
    "stay": ["The room was clean.", "The room was dirty and the bed hard.", "a"],
    "entails": [["Two women wait for a train.", "Somebody waits."], ["A boy sleeps.", "A boy runs."], ["a", "b"]],
    "endings": [["He dropped the glass.", ["It broke.", "It flew.", "a"]], ["a", ["b", "c", "d"]], ["She slept.", ["x", "y", "z"]]],
}  # fmt: skip


def own_tasks() -> dict[str, Task]:
    """The tasks of `tasks/`, each read in its own way."""
    reviews = given_task("tasks/reviews.csv", text=("text",))
    return {"reviews": reviews, "stay": given_task("tasks/stay.yaml"), **{task.name: task for task in find_tasks("tasks")}}  # fmt: skip


def rounded(numbers: Any) -> Any:
    return np.round(np.asarray(numbers, dtype=np.float64), 6).tolist()


def logits(model: Any, texts: list[Any], task: Task) -> Any:
    if task.kind == "multiple_choice":
        split = Split([(text,) for text, _ in texts], [choices for _, choices in texts], np.zeros(len(texts)))
    else:
        split = Split([(row,) if isinstance(row, str) else tuple(row) for row in texts], None, np.zeros(len(texts)))
    return rounded(model.logits(split))


def of_result(folder: Path) -> dict[str, Any]:
    result = TransferResult.load(folder)
    values: dict[str, Any] = {"key": result.run.key, "sources": result.run.sources}
    values |= {
        "seeds": {seed: rounded([entry.dev, entry.scores[result.task.metric]]) for seed, entry in result.seeds.items()}
    }
    values["data"] = {seed: entry.data for seed, entry in result.seeds.items()}
    values["parameters"] = result.seeds[0].parameters
    values["omega"] = rounded(result.omega().mean(-1)) if result.omega().size else None
    return {**values, "logits": logits(result, TEXTS[result.task.name], result.task)}


def of_task(task: Task) -> dict[str, Any]:
    data = load(task, rows=ROWS)
    fields = {"kind": task.kind, "labels": list(task.labels), "metric": task.metric, "outputs": task.outputs}
    return {**fields, "rows": [len(data.train), len(data.dev), len(data.test)], "data": data.fingerprint}


def of_pool() -> dict[str, Any]:
    pool, values = AdapterPool("pool"), {}
    for source in pool:
        card = source.card
        values[source.name] = {"key": card.key, "data": card.data, "weights": source.fingerprint, "origin": card.origin}
        values[source.name] |= {
            "scores": card.scores,
            "parameters": card.parameters,
            "kind": card.task and card.task.kind,
        }
        if card.recipe:
            data = load(source.task, rows=source.rows, seed=source.seed)
            assert card.key == source_key(source.task, data, pool.base, card.recipe, source.seed)
    return values


def of_ranking(by: str) -> dict[str, Any]:
    pool = AdapterPool("pool", base=BASE)
    ranking = rank(get_task("sentiment_phones"), pool, by=by, base=pool.base, rows=ROWS, store=Path("targets"))
    return {"names": list(ranking.names), "scores": rounded(ranking.scores)}


def of_embedding(path: Path) -> dict[str, Any]:
    one = TaskEmbedding.load(path)
    arrays = {
        name: [str(array.dtype), list(array.shape), rounded(array.astype(np.float64).sum())]
        for name, array in sorted(one.arrays.items())
    }
    fields = ("task", "data", "base", "base_fingerprint", "method", "key", "settings", "seed", "version")
    return {"arrays": arrays, "made": {name: one.made[name] for name in fields}}


def of_index(folder: str, by: str) -> dict[str, Any]:
    query = f"embeddings/sentiment_films-{get_embedder(by).key}-seed0.safetensors"
    names, near = EmbeddingIndex.load(Path(folder)).rank_all(TaskEmbedding.load(Path(query)))
    return {"query": query, "names": names, "similarities": rounded(near)}


def of_rows(rows: Iterable[Any]) -> dict[str, Any]:
    """What of a run's rows is the same whenever they are computed."""
    timed = {"seconds", "peak_memory", "versions", "base"}
    return {name_of(row): row.model_dump(mode="json", exclude=timed) for row in rows}


def of_run() -> dict[str, Any]:
    plan = Plan(read_config(Path("run.yaml"), Experiment), Path("run"))
    run = Run(Path("run"))
    values: dict[str, Any] = {"units": {str(unit): plan.workshop.key(unit) for unit in plan.units}}
    values["sources"] = {
        f"{name}/{seed}": plan.workshop.source_key(name, seed)
        for name in plan.experiment.sources.tasks
        for seed in (0, 1)
    }
    values["own"] = {
        f"{name}/{seed}": plan.workshop.own_key(name, 12, seed)
        for name in plan.experiment.targets.tasks
        for seed in (0, 1)
    }
    values["rows"] = of_rows(run.rows)
    values["rankings"] = [row.model_dump(mode="json", exclude={"seconds"}) for row in run.rankings]
    values["joint"] = sorted(path.name for path in Path("run/store/joint").iterdir() if path.is_dir())
    values["map"] = json.loads(Path("run/map.json").read_text())
    result = TransferResult.load(Path("run/store/results") / values["units"][str(plan.units[0])])
    values["first"] = {"logits": logits(result, TEXTS[result.task.name], result.task)}
    return values


def of_interrupted_run() -> dict[str, Any]:
    """What is stored, and what it becomes once it has gone on (in a copy)."""
    before = Run(Path("interrupted"))
    shutil.copytree("interrupted", "scratch")
    plan = Plan(read_config(Path("interrupted.yaml"), Experiment), Path("scratch"))
    values: dict[str, Any] = {
        "missing": before.missing,
        "done": sum(map(plan.done, plan.steps())),
        "steps": len(plan.steps()),
    }
    plan.run()
    values["rows"] = of_rows(Run(Path("scratch")).rows)
    shutil.rmtree("scratch")
    return values


def of_matrix() -> dict[str, Any]:
    matrix, scores = read_matrix(Path("matrix")), read_scores(Path("matrix"))
    truth = {}
    for target in matrix.targets:
        sources, measured = matrix.truth(target)
        truth[target] = {
            "sources": list(sources),
            "scores": rounded(measured),
            "baseline": rounded(matrix.baseline(target)),
        }
    pairs = read_pairs(Path("matrix/pairs.jsonl"))
    features = {key: pair.features for key, pair in pairs.items()}
    gains, _ = measured_pairs(map(asdict, matrix.rows), features, method="sequential")
    judged = judge(matrix, list(scores.values()))
    values: dict[str, Any] = {
        "truth": truth,
        "scores": {"/".join(map(str, key)): one.scores for key, one in scores.items()},
    }
    values["judgement"] = {
        row.by: {name: rounded(value.mean) for name, value in row.values.items()}
        for row in judged.rows
        if row.by != "one seed"  # a matrix of one seed has none: NaN
    }
    values["gains"] = {pair.name: rounded(pair.gain) for pair in gains}
    values["pairs"] = {
        f"{target} <- {source}": [pair.source_rows, pair.features] for (target, source), pair in pairs.items()
    }
    return values


def expected() -> dict[str, Any]:
    """What must be read back."""
    exported = [Export.load(folder) for folder in sorted(Path("exported").iterdir())]
    return {
        "root": str(Path.cwd()),
        "base": load_base(BASE).fingerprint,
        "texts": TEXTS,
        "embedder_keys": {name: get_embedder(name).key for name in EMBEDDERS},
        "selector_keys": {name: get_selector(name).key for name in [*selector_names(), "text+vocabulary"]},
        "tasks": {name: of_task(task) for name, task in own_tasks().items()},
        "built_in": {task.name: of_task(task) for task in find_tasks()},
        "pool": of_pool(),
        "rankings": {by: of_ranking(by) for by in RANKED_BY},
        "results": {method: of_result(Path("results") / method) for method in METHODS},
        "results_by_kind": {name: of_result(Path("results_by_kind") / name) for name in own_tasks()},
        "exported": {one.task.name: logits(one, TEXTS[one.task.name], one.task) for one in exported},
        "embeddings": {path.name: of_embedding(path) for path in sorted(Path("embeddings").glob("*.safetensors"))},
        "indexes": {
            "index_of_patterns": of_index("index_of_patterns", "connectivity"),
            "index_of_vectors": of_index("index_of_vectors", "text"),
        },
        "run": of_run(),
        "interrupted": of_interrupted_run(),
        "matrix": of_matrix(),
    }
