"""A comparison in code: its configuration, which plans itself and runs; what `scalearn compare` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scalearn.comparison.experiment_config import ExperimentConfig

if TYPE_CHECKING:  # a configuration is read, and its mistakes are named, before torch is imported
    from scalearn.comparison.plan import Plan
    from scalearn.comparison.records import RunFolder


class Experiment(ExperimentConfig):
    """A comparison of transfer methods, as `scalearn compare` runs it: in code, or `Experiment.from_yaml(path)`.

    Its fields are those of `ExperimentConfig`, as in a YAML file.

    Raises:
        UserError: every wrong field at once, each with its path and the nearest key.

    >>> from scalearn.comparison.experiment_config import units
    >>> experiment = Experiment(
    ...     name="phones",
    ...     sources={"tasks": ["sentiment_films", "grammar_garden"], "rows": 600},
    ...     targets={"tasks": ["sentiment_phones"], "sizes": [50], "seeds": [0, 1]},
    ...     rank={"by": "text", "top": 1},
    ...     methods=["scalearn", "single-adapter"],
    ... )
    >>> [str(unit) for unit in units(experiment)][:2]
    ['sentiment_phones with 50 rows by scalearn from 1 source by text, seed 0', 'sentiment_phones with 50 rows by single-adapter, seed 0']
    >>> run = experiment.run("runs/phones")  # doctest: +SKIP
    >>> {(row.method, row.seed): row.score for row in run.rows}  # doctest: +SKIP
    """

    def plan(self, out: str | Path, *, store: str | Path | None = None) -> Plan:
        """The steps that this comparison takes in a run folder; `print(experiment.plan(out))` lists them, `.run()` does them.

        Args:
            store: where the work is kept; by default `out/store`. Runs that name the same one share it.

        Raises:
            UserError: what would fail later and can be seen now; see `Plan`.
        """
        from scalearn.comparison.plan import Plan

        return Plan(self, out, store=store)

    def run(
        self,
        out: str | Path,
        *,
        store: str | Path | None = None,
        jobs: int | None = None,
        on: str | None = None,
        per_gpu: int | None = None,
        shard: str | None = None,
    ) -> RunFolder:
        """Runs the comparison and gives its run folder; what is done already is skipped, and a stopped run goes on.

        Args:
            store: see `plan`. jobs, on, per_gpu, shard: who shares the work, see `Plan.run`.

        Raises:
            UserError: see `Plan` and `Plan.run`.
        """
        return self.plan(out, store=store).run(jobs=jobs, on=on, per_gpu=per_gpu, shard=shard)
