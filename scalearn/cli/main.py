"""scalearn: train sources, choose among them for a target, learn to scale them, keep and ship the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from scalearn.cli.doctor import checks
from scalearn.comparison.config import Config, RecipeChange, Sources, read_config
from scalearn.comparison.experiment import Experiment, SizedTargets
from scalearn.comparison.find import find_result
from scalearn.comparison.measure_matrix import MatrixConfig, MatrixRun, ScoredTargets, units
from scalearn.comparison.plan import Plan
from scalearn.methods.base import METHODS, SOURCE_RECIPE, get_method
from scalearn.report import show_run, write_report
from scalearn.results.explain import explain
from scalearn.results.explain_table import explained
from scalearn.results.predict import predict_file, predict_text, prediction_lines, write_predictions
from scalearn.results.push import local_paths, plan_push
from scalearn.results.result import TransferResult
from scalearn.results.transfer import transfer
from tasksel.adapters.importing import adopt
from tasksel.adapters.scalearn_pool import AdapterPool, Source
from tasksel.adapters.train_source import Existing, train_source
from tasksel.cli.app import Commands, run_command
from tasksel.errors import UserError
from tasksel.processes import is_main
from tasksel.selection.ranking import rank
from tasksel.storage.atomic import write_json
from tasksel.tasks.registry import given_task

out = Console(highlight=False)

Name = tyro.conf.Positional[str]
Names = tyro.conf.Positional[tuple[str, ...]]
Folder = tyro.conf.Positional[Path]
PoolFolder = Annotated[Path, tyro.conf.arg(name="pool", help="the pool's folder")]
BaseName = Annotated[
    str | None, tyro.conf.arg(name="base", help="alias (minilm), hub id or folder; by default the pool's own")
]
Data = Annotated[str | None, tyro.conf.arg(help="a folder of task folders, 'hub', or nothing for the built-in suite")]
Text = Annotated[tuple[str, ...], tyro.conf.arg(help="for a data file: the text column, or two for a pair")]
Label = Annotated[str, tyro.conf.arg(help="for a data file: the label column")]
Rows = Annotated[int | None, tyro.conf.arg(help="at most so many training rows (a seeded, stratified draw)")]
OneText = tyro.conf.UseAppendAction[tuple[str, ...]]
DEFAULT_POOL = Path("pools/minilm")
SHOWN_RANKINGS = 8  # of a run, in the terminal; the report has all
NO_EXPERIMENT = Experiment(name="experiment", sources=Sources(tasks=()), targets=SizedTargets(tasks=()))
NO_MATRIX = MatrixConfig(name="matrix", sources=Sources(tasks=()), targets=ScoredTargets(tasks=()))

commands = Commands("scalearn", __doc__)
pool_commands = commands.group("pool")


def show(text: object) -> None:
    """Prints a result, from the main process only."""
    if is_main():
        out.print(text, markup=False, soft_wrap=True) if isinstance(text, str) else out.print(text)


@commands.command("train-source")
def train_source_command(
    tasks: Names, pool_folder: PoolFolder = DEFAULT_POOL, base: BaseName = None, data: Data = None, rows: Rows = None, seed: int = 0, name: str | None = None,
    text: Text = (), label: Label = "label", overwrite: Existing = "only-missing", recipe: RecipeChange = RecipeChange(),
) -> None:  # fmt: skip
    """Train one source adapter a task and store it in the pool; what the pool holds is skipped.

    For example:
      scalearn train-source entail_travel sentiment_films --pool pools/mine --base minilm
      scalearn train-source rte mrpc --data path/to/tasks --rows 2000 --recipe.epochs 10
      scalearn train-source reviews.csv --text body --label stars
      accelerate launch --multi_gpu --num_processes 4 -m scalearn train-source rte --data path/to/tasks
    """
    if not tasks:
        raise UserError("name at least one task (see them: tasksel ls)")
    if name and len(tasks) > 1:
        raise UserError(f"--name goes with one task; {len(tasks)} are given")
    found = [given_task(task, data=data, text=text, label=label) for task in tasks]
    pool = _pool(pool_folder, base)
    for task in found:
        show(
            repr(
                train_source(
                    task, pool, name=name, rows=rows, seed=seed, recipe=recipe.of(SOURCE_RECIPE), overwrite=overwrite
                )
            )
        )


def _pool(folder: Path, base: str | None) -> AdapterPool:
    """A pool; a new one begins with the packaged encoder where no base is named."""
    return AdapterPool(folder, base=base or (None if any(folder.glob("*/card.json")) else "minilm"))


@pool_commands.command("ls")
def pool_ls(pool_folder: PoolFolder = DEFAULT_POOL) -> None:
    """List a pool's sources.

    Example: scalearn pool ls --pool pools/mine
    """
    pool = AdapterPool(pool_folder)
    shown = Table(title=repr(pool.base), title_justify="left")
    shown.add_column("source", no_wrap=True)  # a name must be whole to be of use
    for column in ("kind", "rows", "scores", "seconds", "origin"):
        shown.add_column(column)
    for source in pool:
        card = source.card
        scores = ", ".join(f"{metric} {value:.3f}" for metric, value in card.scores.items())
        shown.add_row(
            source.name,
            card.task.kind.replace("_", " ") if card.task else "not told",
            str(card.rows or "all"),
            scores,
            f"{card.seconds or 0:.0f}",
            card.origin,
        )
    show(shown)


@pool_commands.command("show")
def pool_show(source: Name, pool_folder: PoolFolder = DEFAULT_POOL) -> None:
    """Show a source's card.

    Example: scalearn pool show rte --pool pools/mine
    """
    show(AdapterPool(pool_folder)[source].card.model_dump_json(indent=2))


@pool_commands.command("add")
def pool_add(
    origin: Name, pool_folder: PoolFolder = DEFAULT_POOL, base: BaseName = None, name: str | None = None, task: str | None = None, data: Data = None,
    rows: Rows = None, text: Text = (), label: Label = "label", same_base: bool = False,
) -> None:  # fmt: skip
    """Take in an adapter that was trained with plain `adapters`, from a folder or a hub id.

    For example:
      scalearn pool add path/to/adapter --pool pools/mine --task rte --data path/to/tasks
      scalearn pool add someone/their-adapter --name theirs
    """
    found = given_task(task, data=data, text=text, label=label) if task else None
    show(repr(adopt(_pool(pool_folder, base), origin, name=name, task=found, rows=rows, same_base=same_base)))


@pool_commands.command("verify")
def pool_verify(pool_folder: PoolFolder = DEFAULT_POOL) -> None:
    """Check every file of a pool against its hash.

    Example: scalearn pool verify --pool pools/mine
    """
    pool = AdapterPool(pool_folder)
    pool.verify()
    show(f"{len(pool)} sources, every file as it was stored")


@commands.command("transfer")
def transfer_command(
    target: Name, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the result's folder")], pool_folder: PoolFolder = DEFAULT_POOL,
    method: Annotated[str, tyro.conf.arg(help=f"one of {', '.join(METHODS)}")] = "scalearn",
    sources: Annotated[tuple[str, ...], tyro.conf.arg(help="sources by name, or 'all'; without it, the top k of a ranking")] = (),
    top: Annotated[int, tyro.conf.arg(help="how many sources the ranking gives")] = 4, by: str = "connectivity", own: bool = False,
    data: Data = None, rows: Rows = None, seeds: tuple[int, ...] = (0,), text: Text = (), label: Label = "label", validation: str | None = None,
    recipe: RecipeChange = RecipeChange(),
) -> None:  # fmt: skip
    """Rank the pool's sources for a target, learn to scale the best, score the validation set, store the result.

    For example:
      scalearn transfer entail_kitchen --pool pools/mine --top 4 --out out/entail
      scalearn transfer reviews.csv --text body --label stars --pool pools/mine --method scalearn-uniform --seeds 0 1 2 --out out/reviews
      scalearn transfer rte --data path/to/tasks --sources mrpc qnli --out out/rte
    """
    chosen, task = get_method(method), given_task(target, data=data, text=text, label=label, validation=validation)
    pool = AdapterPool(pool_folder)
    selected: list[Source] = []
    similarities: tuple[float, ...] | None = None
    if chosen.most != 0:
        selected, similarities = _sources(
            pool, task, sources, top=top, by=by, own=own, rows=rows, seed=seeds[0] if seeds else 0
        )
    result = transfer(
        task,
        selected,
        method=method,
        seeds=seeds,
        rows=rows,
        recipe=recipe.of(chosen.recipe),
        base=pool.base,
        out=out_folder,
        similarities=similarities,
    )
    show(f"{result}\nstored in {result.folder}")


def _sources(
    pool: AdapterPool, task: Any, names: tuple[str, ...], *, top: int, by: str, own: bool, rows: int | None, seed: int
) -> tuple[list[Source], tuple[float, ...] | None]:
    """Sources by name, all of them, or the best of a ranking with their similarities."""
    if names == ("all",):
        return [source for source in pool if own or source.name != task.name], None
    if names:
        return pool.select(names), None
    available = sum(own or source.name != task.name for source in pool)
    if not 1 <= top <= available:
        raise UserError(
            f"--top {top}, but the pool {pool.folder} has {available} sources for '{task.name}': choose 1 to {available}"
        )
    ranking = rank(task, pool, by=by, rows=rows, seed=seed, include_target=own, cache_dir=pool.folder / ".targets")
    show(str(ranking))
    return pool.select(ranking.top(top)), ranking.scores[:top]


@commands.command()
def export(result: Folder, out_folder: Annotated[Path, tyro.conf.arg(name="out")], seed: int | None = None) -> None:
    """Write a result as one ordinary adapter that plain `adapters` loads.

    Example: scalearn export out/rte --out out/rte-adapter
    """
    show(f"exported to {TransferResult.load(result).export(out_folder, seed=seed)}")


@commands.command()
def predict(
    model: Folder,
    file: tyro.conf.Positional[Path | None] = None,
    text: Annotated[OneText, tyro.conf.arg(help="one text instead of a file; --text twice for a pair")] = (),
    choice: Annotated[OneText, tyro.conf.arg(help="with --text, for multiple choice: once each choice")] = (),
    out_file: Annotated[Path | None, tyro.conf.arg(name="out", help="JSONL or CSV")] = None,
    seed: int | None = None,
) -> None:
    """Predict a file's rows, or one text, with a result or an export; with labels in the file, score them too.

    For example:
      scalearn predict out/rte new.jsonl --out predictions.jsonl
      scalearn predict out/rte-adapter new.csv
      scalearn predict out/reviews --text "would buy again"
      scalearn predict out/rte --text "Two cooks peel carrots" --text "Nobody cooks"
      scalearn predict out/copa --text "The glass fell." --choice "It broke." --choice "It flew."
    """
    if (file is None) == (not text) or (choice and not text):
        raise UserError("give a FILE, or --text (twice for a pair, with --choice for multiple choice), and not both")
    if file is None:
        _predict_text(model, text, choice, out_file, seed)
        return
    said, measured = predict_file(model, file, seed=seed)
    if out_file:
        write_predictions(said, out_file)
        show(f"{len(said)} predictions in {out_file}")
    else:
        for row in said:
            show(f"{row['prediction']}\t{row['scores']}")
    if measured is not None:
        show(f"score on the labels in {file}: {measured:.4f}")


def _predict_text(
    model: Path, text: tuple[str, ...], choice: tuple[str, ...], out_file: Path | None, seed: int | None
) -> None:
    """What `scalearn predict --text` does."""
    said = predict_text(model, text, choices=choice, seed=seed)
    if out_file:
        write_predictions([{key: said[key] for key in ("prediction", "scores")}], out_file)
        show(f"1 prediction in {out_file}")
    else:
        show("\n".join(prediction_lines(said)))


@commands.command("explain")
def explain_command(
    folder: Folder,
    target: tyro.conf.Positional[str | None] = None,
    method: Annotated[str | None, tyro.conf.arg(help="of a run's folder; by default the first that has a mix")] = None,
    seed: Annotated[int | None, tyro.conf.arg(help="by default the best, by its dev score")] = None,
    size: Annotated[
        str | None, tyro.conf.arg(help="of a run's folder: 'full' or a number of training rows; by default the most")
    ] = None,
    rows: Annotated[int | None, tyro.conf.arg(help="score at most so many validation rows")] = None,
    out_file: Annotated[Path | None, tyro.conf.arg(name="out", help="also write it as JSON")] = None,
) -> None:
    """Show which sources a stored mix draws on, in which layers, and its score without each.

    FOLDER is a result's folder, or a run's folder followed by one of its targets.

    For example:
      scalearn explain out/reviews
      scalearn explain out/reviews --seed 1 --rows 500 --out explained.json
      scalearn explain runs/quickstart entail_kitchen --method scalearn
    """
    if out_file and out_file.suffix != ".json":
        raise UserError(f"{out_file}: cannot write '{out_file.suffix}'; allowed: .json")
    found = explain(find_result(folder, target, method, seed=seed, size=size), seed=seed, rows=rows)
    show(explained(found))
    if out_file and is_main():
        write_json(out_file, found.to_json())
        show(f"written to {out_file}")


@commands.command()
def push(
    export: Folder,
    to: Annotated[str, tyro.conf.arg(help="user/name on the hub")],
    private: Annotated[bool, tyro.conf.arg(help="a repository that only you see")] = False,
    yes: Annotated[bool, tyro.conf.arg(help="send; without it, only say what would be sent")] = False,
) -> None:
    """Upload an export to the hub; without --yes, list what would be sent where, and send nothing.

    For example:
      scalearn push out/rte-adapter --to me/rte-adapter
      scalearn push out/rte-adapter --to me/rte-adapter --private --yes
    """
    plan = plan_push(export, to=to, private=private)
    show(str(plan))
    for path in local_paths(export):
        show(f"note: {path} of this machine is named in these files, for all who may read it")
    if not yes:
        show("nothing was sent; --yes sends it")
    elif is_main():
        show(f"sent: {plan.send()}")


@commands.command()
def report(
    run: Folder,
    out_folder: Annotated[
        Path | None, tyro.conf.arg(name="out", help="the report's folder; by default RUN/report")
    ] = None,
) -> None:
    """Write what a run stored as one HTML page, pictures, and Markdown and LaTeX tables; finished or not.

    For example:
      scalearn report runs/quickstart
      scalearn report docs/glue --out /tmp/glue
    """
    for block in show_run(run):
        show(block)
    if is_main():
        show(f"the report: {write_report(run, out_folder)}")


@commands.command()
def doctor(pool_folder: Annotated[Path | None, tyro.conf.arg(name="pool")] = None) -> None:
    """Check what this machine has: versions, devices, threads, the packaged encoder, a pool.

    Example: scalearn doctor --pool pools/mine
    """
    shown = Table("check", "state", "found")
    found = checks(pool_folder)
    for check in found:
        shown.add_row(check.name, "ok" if check.ok else "PROBLEM", check.found)
    show(shown)
    wrong = [check.name for check in found if not check.ok]
    if wrong:
        raise UserError(f"{len(wrong)} problem(s): {', '.join(wrong)}; see the table")


def run_experiment(experiment: Experiment, out_folder: Path, store: Path | None, jobs: int, plan: bool) -> None:
    """What `scalearn run` does once the configuration is read."""
    made = Plan(experiment, out_folder, store=store)
    if plan:
        steps = [(step, made.done(step)) for step in made.steps()]
        for number, (step, done) in enumerate(steps, 1):
            show(f"{number:>4}  {'done ' if done else 'to do'}  {step}")
        show(f"{len(steps)} steps, {sum(done for _, done in steps)} done; nothing was run")
        return
    made.run(jobs=jobs)
    for ranking in made.rankings()[:SHOWN_RANKINGS]:
        near = ", ".join(f"{name} {score:.3f}" for name, score in zip(ranking.names, ranking.scores, strict=True))
        show(f"sources for {ranking.target} by {ranking.by}, seed {ranking.seed}: {near}")
    for block in show_run(out_folder):
        show(block)
    if is_main():
        show(f"the report: {write_report(out_folder)}")


def measure_matrix(config: MatrixConfig, out_folder: Path, jobs: int, plan: bool) -> None:
    """What `scalearn matrix` does once the configuration is read."""
    made = MatrixRun(config, out_folder)
    todo, total = made.todo(), len(units(config))
    if plan:
        for target in config.targets.tasks:
            show(f"{target}: {sum(unit.target == target for unit in todo)} runs to do")
        minutes = made.estimate(todo, jobs) / 60
        show(
            f"{total} runs, {total - len(todo)} done; about {minutes:.0f} minutes with {jobs} processes, after the sources"
        )
        return
    made.run(jobs=jobs)
    show(f"{total} runs in {made.rows_file}")


def _config(arguments: Sequence[str], command: str, kind: type[Config], nothing: Config) -> Config:
    """The configuration file that a command line names, wherever it stands."""
    if not arguments or arguments[0] != command:
        return nothing
    given = next((one for one in arguments[1:] if one.endswith((".yaml", ".yml"))), (*arguments, "-")[1])
    return nothing if given.startswith("-") else read_config(Path(given), kind)


def _parse(arguments: Sequence[str]) -> Callable[[], Any]:
    """Parses; `run` and `matrix` take the configuration they are given as the defaults of their options."""
    experiment_given = _config(arguments, "run", Experiment, NO_EXPERIMENT)
    matrix_given = _config(arguments, "matrix", MatrixConfig, NO_MATRIX)

    def run(
        config: Folder, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the run's folder")],
        store: Annotated[Path | None, tyro.conf.arg(help="where the work is kept; runs that name the same one share it; by default OUT/store")] = None,
        jobs: Annotated[int, tyro.conf.arg(help="processes that share the work")] = 1, plan: bool = False,
        experiment: Annotated[Experiment, tyro.conf.arg(name="")] = experiment_given,
    ) -> None:  # fmt: skip
        """Run a whole comparison: sources, rankings, transfers, report; what is done is skipped. --plan only lists the steps.

        Every key of the file is an option.

        For example:
          scalearn run scripts/quickstart.yaml --out runs/quickstart
          scalearn run scripts/glue_minilm.yaml --data path/to/tasks --out runs/glue --store runs/store --jobs 2
          scalearn run scripts/glue_roberta.yaml --data hub --out runs/glue --plan
          scalearn run scripts/quickstart.yaml --out runs/small --targets.sizes 16 100 --recipe.epochs 2
        """
        run_experiment(experiment, out_folder, store, jobs, plan)

    def matrix(
        config: Folder, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the measurement's folder")],
        jobs: Annotated[int, tyro.conf.arg(help="processes that share the runs")] = 1, plan: bool = False,
        measured: Annotated[MatrixConfig, tyro.conf.arg(name="")] = matrix_given,
    ) -> None:  # fmt: skip
        """Measure what each source gives each target: one stored row a run; what is done is skipped. --plan only says how long.

        Every key of the file is an option.

        For example:
          scalearn matrix scripts/matrix_minilm.yaml --data path/to/tasks --out runs/matrix --plan
          scalearn matrix scripts/matrix_minilm.yaml --data path/to/tasks --out runs/matrix --jobs 2
        """
        measure_matrix(measured, out_folder, jobs, plan)

    commands.command("run")(run)
    commands.command("matrix")(matrix)
    return commands.parse(arguments)


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    return run_command(_parse, argv)
