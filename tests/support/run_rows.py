"""A made-up run folder with known numbers: what tables and pictures are tested on, without training."""

import json
from functools import cache

import numpy as np

from scalearn.comparison.records import RankingRecord, UnitRecord, name_of
from scalearn.layers.scaling import SCALINGS
from tasksel.storage.atomic import value_hash
from tasksel.storage.jsonl import write_lines

TARGETS = {"rte": ("pair_classification", "accuracy", 0.62), "mrpc": ("pair_classification", "f1", 0.80), "stsb": ("pair_regression", "pearson", 0.74)}  # fmt: skip
SOURCES = ("qnli", "qqp", "sst2", "mnli", "cola")
SIZES = ("full", 16, 4)
SEEDS = (0, 1, 2, 3, 4)
TOP = (2, 3, 5)
GAINS = {"head-only": 0.0, "single-adapter": 0.02, "average": 0.01, "fusion": 0.03, "scalearn": 0.06, "scalearn-uniform++": 0.04}  # fmt: skip
LOST = {"full": 0.0, 16: 0.08, 4: 0.15}
SIMILARITY = {"rte": (0.6, 0.4, 0.2, 0.9, 0.1), "mrpc": (0.5, 0.9, 0.3, 0.6, 0.2), "stsb": (0.4, 0.7, 0.3, 0.8, 0.1)}
LAYERS, WIDTH = 4, 32
BASES = ({"name": "minilm", "fingerprint": "a1" * 8}, {"name": "roberta-base", "fingerprint": "b2" * 8})
VERSIONS = {"python": "3.12.0", "scalearn": "0.1.0", "torch": "2.6.0"}


def config():
    """The configuration of the made-up run."""
    return {
        "name": "made",
        "base": "minilm",
        "data": "hub",
        "protocol": "sound",
        "sources": {"tasks": list(SOURCES), "rows": 2000, "seed": 0},
        "targets": {"tasks": list(TARGETS), "sizes": list(SIZES), "rows": 2000, "test_rows": 500, "seeds": list(SEEDS)},
        "rank": {"by": ["connectivity", "all", "each"], "top": list(TOP), "own": [False], "order": "connectivity"},
        "methods": list(GAINS),
    }


def choices(method, target):
    """What a method takes for a target: way of choosing, and source names in order."""
    if method in ("head-only", "single-adapter"):
        return [(None, ())]
    nearest = sorted(SOURCES, key=lambda name: -SIMILARITY[target][SOURCES.index(name)])
    found = [("connectivity", tuple(nearest[:k])) for k in TOP] + [("all", SOURCES)]
    return found + [("each", (name,)) for name in SOURCES] if method == "scalearn" else found


def omega(method, target, names):
    """Larger for nearer sources, and a little larger in later layers; None without a mix."""
    if method not in SCALINGS and method != "average":
        return None
    layers = LAYERS if method in SCALINGS and not SCALINGS[method].shared else 1
    near = [SIMILARITY[target][SOURCES.index(name)] for name in names]
    return [[round((2 if layers > 1 else 1) / len(names) * (one + 0.05 * layer), 4) for one in near] for layer in range(layers)]  # fmt: skip


def unit(target, size, method, by, names, seed, base):
    """One row. Its score rises with the method's gain, the rows and the similarity of the sources; the noise is the same for each method but for a little."""
    kind, metric, level = TARGETS[target]
    shared = np.random.default_rng([seed, list(TARGETS).index(target)]).normal(0, 0.01)
    told = [seed, *f"{target} {size} {method} {by} {names}".encode()]
    near = float(np.mean([SIMILARITY[target][SOURCES.index(name)] for name in names])) if names else 0.0
    score = level - LOST[size] + GAINS[method] + 0.05 * near + shared + np.random.default_rng(told).normal(0, 0.004)
    transfer = {"head-only": 0, "single-adapter": 3200, "average": 0, "fusion": 12288}.get(method)
    if transfer is None:
        transfer = SCALINGS[method].parameters(sources=len(names), layers=LAYERS, width=WIDTH)
    rows = 2000 if size == "full" else size
    return UnitRecord(
        key=value_hash([target, size, method, by, names, seed, base["name"]]),
        target=target,
        kind=kind,
        metric=metric,
        base=base,
        method=method,
        protocol="sound",
        size=size,
        rows=rows,
        dev_rows=min(rows, 200),
        test_rows=500,
        seed=seed,
        by=by,
        k=len(names),
        sources={name: f"{SOURCES.index(name):016x}" for name in names},
        score=round(float(score), 4),
        scores={metric: round(float(score), 4)},
        dev=round(float(score) + 0.01, 4),
        epoch=3,
        steps=120,
        seconds=round(2 + 0.5 * len(names) + 0.002 * rows, 2),
        parameters={"transfer": transfer, "head": 66 if kind == "pair_classification" else 33},
        bytes=4 * transfer + 1000,
        peak_memory=200_000_000 + 1_000_000 * len(names),
        omega=omega(method, target, names),
        data="d4" * 8,
        recipe={"lr": 6e-3, "epochs": 30},
        versions=VERSIONS,
    )


def made_rows(base=BASES[0]):
    """Every unit of the plan, in order; they are frozen, and made once."""
    return list(_rows_of(BASES.index(base)))


@cache
def _rows_of(number):
    base = BASES[number]
    return tuple(
        unit(target, size, method, by, names, seed, base)
        for target in TARGETS
        for size in SIZES
        for method in GAINS
        for by, names in choices(method, target)
        for seed in SEEDS
    )


def made_rankings():
    """Each target's sources by their similarity, the same for each size and seed."""
    told = []
    for target in TARGETS:
        order = sorted(zip(SOURCES, SIMILARITY[target], strict=True), key=lambda pair: -pair[1])
        names, scores = zip(*order, strict=True)
        told += [
            RankingRecord(key=f"{target}-{size}-{seed}", target=target, size=size, seed=seed, by="connectivity", names=names, scores=scores, seconds=1.5)
            for size in SIZES
            for seed in SEEDS
        ]  # fmt: skip
    return told


def made_map():
    """A symmetric matrix of similarities, 1 on the diagonal."""
    names = [*SOURCES, *TARGETS]
    drawn = np.random.default_rng(0).uniform(0.1, 0.9, (len(names), len(names)))
    for row, target in enumerate(TARGETS):
        drawn[len(SOURCES) + row, : len(SOURCES)] = SIMILARITY[target]
    lower = np.tril(drawn, -1)
    similarity = (lower + lower.T + np.eye(len(names))).round(4).tolist()
    return {"by": "connectivity", "base": "minilm", "names": names, "suites": dict.fromkeys(names, "glue"), "similarity": similarity}  # fmt: skip


def make_run(folder, *, partial=False, bases=1):
    """Writes the folder of a run and gives it.

    Args:
        partial: stopped in stsb with 4 rows, after its scalearn by connectivity from 2 sources; the line it was writing is cut short.
            Its mrpc with 16 rows by fusion from 2 sources diverged at seed 1.
        bases: 0 for a run without any row, 2 for rows of two bases.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = [name_of(row) for row in made_rows()]
    told = {"experiment": config(), "plan": plan, "versions": VERSIONS, "command": "scalearn run made.yaml --out runs/made", "machine": {"processor": "x86_64", "device": "cpu", "threads": 2}}  # fmt: skip
    (folder / "experiment.json").write_text(json.dumps(told))
    rows = [row for base in BASES[:bases] for row in made_rows(base)]
    if partial and rows:
        last = next(i for i, name in enumerate(plan) if name.startswith("stsb with 4 rows by scalearn from 3"))
        rows = [row for row in rows if plan.index(name_of(row)) < last]
        worse = next(i for i, name in enumerate(plan) if name == "mrpc with 16 rows by fusion from 2 sources by connectivity, seed 1")  # fmt: skip
        rows[worse] = rows[worse].model_copy(update={"score": None, "scores": {}, "dev": None, "epoch": None})
    write_lines(folder / "rows.jsonl", rows)
    if partial and rows:
        with (folder / "rows.jsonl").open("a") as file:
            file.write(rows[-1].model_dump_json()[:300])
    write_lines(folder / "rankings.jsonl", made_rankings() if bases else [])
    (folder / "map.json").write_text(json.dumps(made_map()))
    return folder
