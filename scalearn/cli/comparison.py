"""Commands about many transfers: compare, report, measure-matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from scalearn.comparison.config import Config, Sources, configuration_file, in_precision, read_config
from scalearn.comparison.experiment import Experiment
from scalearn.comparison.experiment_config import AdapterSources, SizedTargets
from scalearn.comparison.matrix_config import MatrixConfig, ScoredTargets
from scalearn.comparison.sharing import check_engine
from tasksel.cli.app import show
from tasksel.cli.arguments import Folder, PinnedPrecision
from tasksel.processes import is_main

SHOWN_RANKINGS = 8  # in the terminal; the report has all of a run
NO_EXPERIMENT = Experiment(name="experiment", sources=AdapterSources(tasks=()), targets=SizedTargets(tasks=()))
NO_MATRIX = MatrixConfig(name="matrix", sources=Sources(tasks=()), targets=ScoredTargets(tasks=()))
Out = Annotated[Path, tyro.conf.arg(name="out", help="the run's folder")]
Store = Annotated[
    Path | None,
    tyro.conf.arg(help="where work is stored; runs with the same store share it; by default OUT/store"),
]
Jobs = Annotated[
    int | None,
    tyro.conf.arg(help="processes that share the work; by default 1, with --on as many as the cluster takes"),
]
On = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="ray",
        help="a Ray cluster that does the work: 'ray' (this machine), 'auto', HOST:PORT or ray://HOST:PORT",
    ),
]
PerGpu = Annotated[int | None, tyro.conf.arg(help="workers of the cluster that share a GPU; by default 1")]


ShardOption = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="I/N", help="the I-th of N commands that share the work by the store alone, as in a Slurm array"
    ),
]


def compare(
    config: Folder, out_folder: Out, store: Store = None, jobs: Jobs = None, on: On = None, per_gpu: PerGpu = None,
    shard: ShardOption = None, plan: bool = False, precision: PinnedPrecision = None,
    experiment: Annotated[Experiment, tyro.conf.arg(name="")] = NO_EXPERIMENT,
) -> None:  # fmt: skip
    """Compare transfer methods as a configuration says.

    Trains sources, ranks them, transfers, and writes a report; steps that are done are skipped, and --plan only lists them.
    CONFIG is a YAML file, or 'quickstart'. Every key of the file is an option.

    For example:
      scalearn compare quickstart --out runs/quickstart
      scalearn compare scripts/glue_minilm.yaml --data path/to/tasks --out runs/glue --store runs/store --jobs 2
      scalearn compare scripts/glue_roberta.yaml --data hub --out runs/glue --plan
      scalearn compare scripts/glue_roberta.yaml --data hub --out /shared/glue --on auto --per-gpu 4
      scalearn compare quickstart --out runs/small --targets.sizes 16 100 --recipe.epochs 2
    """
    from scalearn.report import show_run, write_report

    check_engine(jobs, on, per_gpu, shard)
    experiment = in_precision(experiment, precision)
    if plan:
        show(f"{experiment.plan(out_folder, store=store)}; nothing was run")
        return
    run = experiment.run(out_folder, store=store, jobs=jobs, on=on, per_gpu=per_gpu, shard=shard)
    if shard and run.missing:
        show(
            f"shard {shard} is finished, and {len(run.missing)} of {len(run.planned)} units of the run are left to the others"
        )
        return
    for ranking in run.rankings[:SHOWN_RANKINGS]:
        near = ", ".join(f"{name} {score:.3f}" for name, score in zip(ranking.names, ranking.scores, strict=True))
        show(f"sources for {ranking.target} by {ranking.by}, seed {ranking.seed}: {near}")
    for block in show_run(out_folder):
        show(block)
    if is_main():
        show(f"the report: {write_report(run)}")


def report(
    run: Folder,
    out_folder: Annotated[
        Path | None, tyro.conf.arg(name="out", help="the report's folder; by default RUN/report")
    ] = None,
) -> None:
    """Write a run's report: an HTML page, figures, tables.

    The run may be unfinished. Tables come as Markdown and LaTeX too.

    For example:
      scalearn report runs/quickstart
      scalearn report docs/results/glue_minilm --out /tmp/glue
    """
    from scalearn.report import show_run, write_report

    for block in show_run(run):
        show(block)
    if is_main():
        show(f"the report: {write_report(run, out_folder)}")


def measure_matrix(
    config: Folder, out_folder: Out, jobs: Jobs = None, on: On = None, per_gpu: PerGpu = None, plan: bool = False,
    precision: PinnedPrecision = None,
    measured: Annotated[MatrixConfig, tyro.conf.arg(name="")] = NO_MATRIX,
) -> None:  # fmt: skip
    """Measure the transfer from each source to each target.

    One row is stored per run; runs that are done are skipped, and --plan only says how long the others take.
    Every key of the file is an option.

    For example:
      scalearn measure-matrix scripts/matrix_minilm.yaml --data path/to/tasks --out runs/matrix --plan
      scalearn measure-matrix scripts/matrix_minilm.yaml --data path/to/tasks --out runs/matrix --jobs 2
    """
    from scalearn.comparison.matrix_config import matrix_units
    from scalearn.comparison.measure_matrix import MatrixMeasurement

    check_engine(jobs, on, per_gpu)
    measured = in_precision(measured, precision)
    run = MatrixMeasurement(measured, out_folder)
    todo, total = run.todo(), len(matrix_units(measured))
    if plan:
        for target in measured.targets.tasks:
            show(f"{target}: {sum(unit.target == target for unit in todo)} runs to do")
        minutes = run.estimate(todo, jobs or 1) / 60
        show(
            f"{total} runs, {total - len(todo)} done; about {minutes:.0f} minutes with {jobs or 1} processes, after the sources"
        )
        return
    run.run(jobs=jobs, on=on, per_gpu=per_gpu)
    show(f"{total} runs in {run.rows_file}")


def with_configuration(arguments: Sequence[str]) -> dict[str, Callable[..., None]]:
    """The commands with the configuration that a command line names as the default of its options.

    Raises:
        UserError: see `read_config`.
    """
    commands: dict[str, tuple[Callable[..., None], str, type[Any]]] = {
        "compare": (compare, "experiment", Experiment),
        "measure-matrix": (measure_matrix, "measured", MatrixConfig),
    }
    if not arguments or arguments[0] not in commands:
        return {}
    command, parameter, kind = commands[arguments[0]]
    configuration = _configuration(arguments[1:], kind)
    return {} if configuration is None else {arguments[0]: _with_default(command, parameter, configuration)}


def _configuration(arguments: Sequence[str], kind: type[Config]) -> Config | None:
    """The configuration file among a command's arguments, at any place; None where there is none."""
    file = next((word for word in arguments if word.endswith((".yaml", ".yml"))), (*arguments, "-")[0])
    return None if file.startswith("-") else read_config(configuration_file(file), kind)


def _with_default(command: Callable[..., None], parameter: str, value: object) -> Callable[..., None]:
    """The command with another default of one parameter."""
    import functools
    import inspect

    signature = inspect.signature(command)
    parameters = [p.replace(default=value) if p.name == parameter else p for p in signature.parameters.values()]

    @functools.wraps(command)
    def configured(*args: Any, **kwargs: Any) -> None:
        command(*args, **{parameter: value, **kwargs})

    configured.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return configured
