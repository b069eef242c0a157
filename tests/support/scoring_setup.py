"""A small bench for tests: a copy of the tiny pool, built-in targets, and matrices written by their numbers."""

import shutil

from tasksel import get_task
from tasksel.adapters.pool import pool_sources
from tasksel.evaluation.score_selectors import ScoringSetup
from tasksel.evaluation.transfer_matrix import SINGLE, MatrixRecord
from tasksel.model.base import load_base
from tasksel.storage.jsonl import append_row

SOURCES = ("entail_travel", "grammar_garden", "sentiment_films")
TARGETS = ("sentiment_phones", "entail_kitchen")


def make_bench(folder, pool_folder, base, *, targets=TARGETS, rows=20):
    """A bench over a copy of the pool, so that what is embedded here is embedded anew."""
    model, pool = load_base(base), folder / "pool"
    if not pool.exists():
        shutil.copytree(pool_folder, pool, ignore=shutil.ignore_patterns("embeddings"))
    return ScoringSetup(
        pool_sources(pool, model), {name: get_task(name) for name in targets}, model, rows, folder / "kept"
    )


def write_matrix(path, targets=TARGETS, *, sources=SOURCES, seeds=(0, 1), method="sequential"):
    """A matrix in which target i gains i + 1 hundredths less from each source than from the one before it, but for a little noise."""
    for i, target in enumerate(targets):
        for seed in seeds:
            told = {"target": target, "seed": seed, "metric": "accuracy", "steps": 10, "seconds": 2.0}
            append_row(path, MatrixRecord(source=None, method=SINGLE, score=0.6, dev=0.6, **told))
            for place, source in enumerate(name for name in sources if name != target):
                score = round(0.65 - 0.01 * (i + 1) * place + 0.001 * seed, 4)
                append_row(path, MatrixRecord(source=source, method=method, score=score, dev=score, **told))
    return path
