"""Which rates a method wants with few rows: every value of a grid on development targets, each from the solved start. Ours.

    python scripts/sweep_recipes.py --data PATH/TO/TASKS --pool pools/glue --targets trec sst5 scitail sick_relatedness --out runs/sweep

A run takes the target's best source (or two) by LogME on pooled features, 100 rows and as many dev rows, and at most 100 steps. The table has, of each
setting, the mean test score over targets and seeds, its gain over step 0, and the step that dev chose. The rows are kept in --out/rows.jsonl: a
sweep that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import tyro

from scalearn import AdapterPool, transfer
from scalearn.methods.registry import get_method
from tasksel import rank
from tasksel.display.tables import markdown_table
from tasksel.selection.own import without_own
from tasksel.tasks.registry import get_task
from tasksel.tasks.task import Subsample

START = 1e-12, 1e-12  # one step that changes nothing: what the solved start scores
# method -> sources, and the settings that are tried: lr, head_lr
GRID: dict[str, tuple[int, list[tuple[float, float]]]] = {
    "scalearn-uniform": (2, [(6e-3, 1e-3), (3e-2, 1e-3), (3e-2, 3e-4)]),
    "scalearn": (2, [(6e-3, 1e-3), (3e-2, 1e-3)]),
    "sequential": (1, [(3e-4, 3e-4), (1e-3, 3e-4), (1e-3, 1e-3)]),
    "single-adapter": (0, [(3e-4, 3e-4), (1e-3, 3e-4), (1e-3, 1e-3)]),
    "full": (0, [(2e-5, 2e-5), (1e-4, 1e-4), (1e-4, 1e-3)]),
}


@dataclass(frozen=True)
class Sweep:
    """What is swept over.

    Attributes:
        rows: of each target, and as many dev rows. steps: of each run, at most. patience: epochs without a better dev score.
    """

    data: str
    pool: Path
    out: Path
    targets: tuple[str, ...]
    methods: tuple[str, ...] = tuple(GRID)
    rows: int = 100
    seeds: tuple[int, ...] = (0,)
    steps: int = 100
    patience: int = 12
    test_rows: int = 400
    base: str = "minilm"


def runs(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Every run of a sweep, as the row that it fills."""
    for seed in sweep.seeds:
        for target in sweep.targets:
            for method in sweep.methods:
                for lr, head_lr in (START, *GRID[method][1]):
                    named = {"target": target, "method": method, "lr": lr, "head_lr": head_lr, "seed": seed}
                    yield {**named, "rows": sweep.rows, "steps": sweep.steps}


def measure(sweep: Sweep, run: dict[str, Any]) -> dict[str, Any]:
    """A run's row with its score."""
    seed, method = run["seed"], get_method(run["method"])
    draw = Subsample(shots=sweep.rows, test_rows=sweep.test_rows)
    task = get_task(run["target"], data=sweep.data).model_copy(update={"draw": draw})
    pool = AdapterPool(sweep.pool, base=sweep.base)
    ranking = rank(task, without_own(task, list(pool)), by="logme", base=pool.base, seed=seed)
    sources = pool.select(ranking.top(GRID[run["method"]][0])) if GRID[run["method"]][0] else []
    changes = {"lr": run["lr"], "head_lr": run["head_lr"], "epochs": 1000, "max_length": 64, "select": "metric-loss"}
    steps = 1 if (run["lr"], run["head_lr"]) == START else sweep.steps
    recipe = method.recipe.model_copy(update={**changes, "max_steps": steps, "patience": sweep.patience})
    result = transfer(task, sources, method=method.name, recipe=recipe, seeds=[seed], base=pool.base)
    entry = result.seeds[seed]
    found = {"score": result.mean, "dev": entry.dev, "epoch": entry.epoch, "taken": entry.steps}
    return {**run, **found, "seconds": entry.seconds}


def main(sweep: Sweep) -> None:
    """Runs what is not done, and prints the table."""
    path = sweep.out / "rows.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    for run in runs(sweep):
        if not any(run.items() <= row.items() for row in kept):
            kept.append(measure(sweep, run))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(kept[-1]) + "\n")
            print(json.dumps(kept[-1]), flush=True)
    print(table(sweep, kept))


def table(sweep: Sweep, kept: list[dict[str, Any]]) -> str:
    """The mean score of every setting, its gain over step 0, and its epoch."""
    lines = []
    for method in sweep.methods:
        start = 0.0
        for lr, head_lr in (START, *GRID[method][1]):
            rows = [row for row in kept if (row["method"], row["lr"], row["head_lr"]) == (method, lr, head_lr)]
            score, epoch = (fmean(row[name] for row in rows) for name in ("score", "epoch"))
            start = score if (lr, head_lr) == START else start
            rates = ["", ""] if (lr, head_lr) == START else [f"{lr:g}", f"{head_lr:g}"]
            lines.append([method, *rates, f"{100 * score:.1f}", f"{100 * (score - start):+.1f}", f"{epoch:.0f}"])
    return markdown_table(["method", "lr", "head lr", "score", "over step 0", "epoch"], lines)


if __name__ == "__main__":
    main(tyro.cli(Sweep, description=__doc__))
