"""What tests of transfer share: pools filled without training, results of every method and kind, a guard."""

import copy
import json
import shutil
import sys
from functools import partial

import pytest
import torch

from scalearn import METHODS, AdapterPool, Recipe, TransferResult, transfer
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.plan import Plan
from tasksel import get_task
from tasksel.model.adapter_config import SEQ_BN

RECIPE = Recipe(lr=1e-2, epochs=1, batch=8, max_length=32)
SIMILARITIES = (0.5, 0.2, 0.1)
KINDS = {
    "single": "sentiment_phones",
    "pair": "entail_kitchen",
    "number": "rating_hotels",
    "several labels": "complaints_orders",
    "choices": "endings_daily",
}


@pytest.fixture(scope="session")
def recipe():
    """Three steps on 32 rows: enough to move what is trained."""
    return RECIPE


@pytest.fixture(scope="session")
def target():
    return get_task("entail_kitchen")


@pytest.fixture(scope="session")
def loud_adapter():
    """Adds an ordinary adapter with weights far from zero, so that a wrong mix cannot pass for a right one."""

    def add(model, name, config=None, *, seed=0, size=0.3):
        model.add_adapter(name, config=config or {**SEQ_BN, "reduction_factor": 16})
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if f".adapters.{name}." in key:
                    parameter.copy_(size * torch.randn(parameter.shape, generator=draw))
        return model

    return add


@pytest.fixture(scope="session")
def fill(loud_adapter):
    """Stores untrained, loud adapters in a pool, each under its name, and gives the sources."""

    def store(folder, base, *names, config=None, seed=0):
        pool = AdapterPool(folder, base=base)
        for number, name in enumerate(names):
            model = loud_adapter(pool.base.model(), name, config, seed=100 * seed + number)
            pool.store(model, name, name=name, key=f"{seed}-{number}")
        return list(pool)

    return store


@pytest.fixture(scope="session")
def results(pool_folder, target, shared):
    """One result per method on the session's pool, two seeds for plain scalearn. Read them, or copy before you write."""

    def train(method, folder):
        pool, seeds = AdapterPool(pool_folder), [0, 1] if method == "scalearn" else [0]
        options = {"method": method, "seeds": seeds, "rows": 32, "recipe": RECIPE, "base": pool.base}
        transfer(target, list(pool), out=folder / "result", similarities=SIMILARITIES, **options)

    folders = shared.fill_all({f"result-{method}": partial(train, method) for method in METHODS})
    return {method: TransferResult.load(folders[f"result-{method}"] / "result") for method in METHODS}


@pytest.fixture(scope="session")
def kinds(pool_folder, results, shared):
    """One scalearn result per kind of task."""

    def train(name, folder):
        sources, out = list(AdapterPool(pool_folder)), folder / "result"
        transfer(get_task(name), sources, method="scalearn", rows=24, recipe=RECIPE, out=out)

    others = {kind: name for kind, name in KINDS.items() if kind != "pair"}
    folders = shared.fill_all({f"result-of-{name}": partial(train, name) for name in others.values()})
    loaded = {kind: TransferResult.load(folders[f"result-of-{name}"] / "result") for kind, name in others.items()}
    return {"pair": results["scalearn"], **loaded}


@pytest.fixture
def own_pool(pool_folder, tmp_path):
    """A copy of the session's pool, to be written to."""
    shutil.copytree(pool_folder, tmp_path / "own-pool")
    return AdapterPool(tmp_path / "own-pool")


@pytest.fixture
def no_training(monkeypatch):
    """From here on, whoever trains fails."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("something was trained again")

    for module in ("tasksel.adapters.train", "scalearn.methods.training", "tasksel.embeddings.connectivity"):
        monkeypatch.setattr(sys.modules[module], "fit", refuse)
    monkeypatch.setattr("scalearn.methods.joint.fit_parts", refuse)


SINGLE, PAIR = "single_sentence_classification", "pair_classification"
FOLDERS = {
    **dict.fromkeys(("mnli", "cb"), (PAIR, ["entailment", "neutral", "contradiction"])),
    **dict.fromkeys(("qqp", "qnli", "mrpc", "rte", "boolq", "multirc", "wsc"), (PAIR, ["no", "yes"])),
    **dict.fromkeys(("sst2", "cola", "wic", "crisislex_t6_ontopic", "disaster_tweets"), (SINGLE, ["no", "yes"])),
    **dict.fromkeys(("crisislex_t26_infotype", "crisislex_t26_informativeness"), (SINGLE, ["a", "b", "c"])),
    **dict.fromkeys(("disaster_response", "trec_is"), ("multi_label", ["food", "water", "roads"])),
    **dict.fromkeys(("scitail", "snli", "anli_r3"), (PAIR, ["no", "yes"])),
    **dict.fromkeys(
        ("trec", "sst5", "ag_news", "tweeteval_hate", "imdb", "emotion", "subj", "tweeteval_emotion"),
        (SINGLE, ["no", "yes"]),
    ),
    **dict.fromkeys(("stsb", "sick_relatedness"), ("regression", None)),
    **dict.fromkeys(("copa", "commonsenseqa", "social_iqa", "piqa"), ("multiple_choice", None)),
}
DRAWN_500 = ("trec", "sst5", "boolq", "scitail", "sick_relatedness", "trec_is", "ag_news", "tweeteval_hate", "snli", "imdb", "emotion", "disaster_response", "commonsenseqa")  # fmt: skip


def made_row(name, kind, labels, place, number):
    """One made-up row of a kind of task."""
    fields = (
        {"s": f"{name} {place} {number}"}
        if kind in (SINGLE, "multi_label", "multiple_choice")
        else {"s": f"{place} {number}", "t": "then"}
    )
    if kind == "multi_label":
        return {**fields, "label": [number % 2, 1, number % 3 % 2]}
    if kind == "multiple_choice":
        return {**fields, "choices": ["it fell", "it rose"], "label": number % 2}
    return {**fields, "label": number % len(labels) if labels else number / 3}


@pytest.fixture(scope="session")
def all_folders(real_data, shared):
    """Folders of every task that a configuration here names: the real ones where SCALEARN_DATA names them, otherwise made up."""
    return real_data or shared.fill("tasks", make_up_tasks)


def make_up_tasks(root):
    """A folder per task, with made-up rows."""
    columns = {"multiple_choice": ["s", "choices"], SINGLE: ["s"], "multi_label": ["s"]}
    for name, (kind, labels) in FOLDERS.items():
        (root / name).mkdir()
        card = {"name": name, "suite": "made", "kind": kind, "text_fields": columns.get(kind, ["s", "t"])}
        (root / name / "task.json").write_text(json.dumps({**card, "label_names": labels, "num_labels": 2}))
        for split, size in (("train", 1010 if name in DRAWN_500 else 130), ("validation", 12)):
            rows = [json.dumps(made_row(name, kind, labels, split, number)) + "\n" for number in range(size)]
            (root / name / f"{split}.jsonl").write_text("".join(rows))


CONFIG = {
    "name": "small",
    "sources": {
        "tasks": ["sentiment_films", "grammar_garden", "entail_travel"],
        "rows": 24,
        "recipe": {"lr": 1e-3, "epochs": 1, "batch": 8, "max_length": 24},
    },
    "targets": {"tasks": ["entail_kitchen"], "rows": 24, "seeds": [0, 1]},
    "rank": {"by": "connectivity", "top": 2},
    "methods": ["scalearn", "head-only"],
    "recipe": {"epochs": 1, "batch": 8, "max_length": 24},
}


@pytest.fixture
def config(tiny):
    """A small experiment as the dictionary that its YAML holds, to be changed at will."""
    return {**copy.deepcopy(CONFIG), "base": tiny}


@pytest.fixture(scope="session")
def experiment_run(tiny, shared):
    """The folder of that experiment, run once to its end. Read it, or copy it before you write."""

    def run(folder):
        Plan(Experiment.model_validate({**CONFIG, "base": tiny}), folder / "run").run()

    return shared.fill("experiment", run) / "run"
