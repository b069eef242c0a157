"""tasksel: which of your tasks will help this one?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from tasksel.adapters.pool import stored_base, stored_sources
from tasksel.cli.app import Commands, run_command
from tasksel.display.progress import say
from tasksel.embeddings import get_embedder
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.index import EmbeddingIndex, build_from_files
from tasksel.errors import UserError, unknown
from tasksel.evaluation.leaderboard import judge
from tasksel.evaluation.leaderboard_figure import picture
from tasksel.evaluation.score_records import FILE as SCORES
from tasksel.evaluation.score_records import Scores, read_scores
from tasksel.evaluation.score_selectors import Bench, at_hand, missing, named_methods, score_all
from tasksel.evaluation.transfer_matrix import beside, read_matrix
from tasksel.gain.pair_features import FILE as PAIRS
from tasksel.gain.pair_features import attribute, read_pairs, rows_with_features, with_scores
from tasksel.gain.predictor import assess
from tasksel.gain.report import markdown as benefit_markdown
from tasksel.gain.report import write as write_benefit
from tasksel.gain.tradeoff import measured_pairs
from tasksel.model.base import Base, load_base
from tasksel.processes import is_main
from tasksel.selection.candidate import TaskCandidate, TaskOnBase
from tasksel.selection.ranking import Ranking, rank
from tasksel.selection.selectors import get_selector, parse_settings
from tasksel.storage.atomic import write_text
from tasksel.tasks.load import load
from tasksel.tasks.registry import find_tasks, given_task, suites
from tasksel.tasks.task import Task

app = Commands("tasksel", __doc__)
index_commands = app.group("index")
out = Console()

Tasks = tyro.conf.Positional[tuple[str, ...]]
TaskName = tyro.conf.Positional[str]
Files = tyro.conf.Positional[tuple[Path, ...]]
Folder = tyro.conf.Positional[Path]
MatrixPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="matrix.jsonl, or the folder that holds it")]
By = Annotated[str, tyro.conf.arg(help="a way of choosing; a+b fuses two (docs/methods.md)")]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", help="the method's settings, as name=value")]
PoolFolder = Annotated[Path | None, tyro.conf.arg(name="pool", help="a pool of trained sources")]
BaseName = Annotated[
    str | None, tyro.conf.arg(name="base", help="alias, hub id or folder; by default the pool's own, or minilm")
]
Store = Annotated[Path, tyro.conf.arg(help="where what is computed of a target is kept")]
Data = Annotated[str | None, tyro.conf.arg(help="a folder of task folders, 'hub', or nothing for the built-in suite")]
Rows = Annotated[int | None, tyro.conf.arg(help="at most so many training rows (a seeded, stratified draw)")]


@app.command()
def ls(data: Data = None, suite: str | None = None) -> None:
    """List tasks: name, suite, kind, metric.

    For example:
      tasksel ls
      tasksel ls --data hub --suite glue
      tasksel ls --data path/to/tasks
    """
    tasks = find_tasks(data)
    shown = Table("task", "suite", "kind", "outputs", "metric", "licence")
    for task in tasks:
        if suite is None or suite in task.suite.split("+"):
            shown.add_row(
                task.name, task.suite, task.kind.replace("_", " "), str(task.outputs), task.metric, task.licence
            )
    out.print(shown)
    if data is None:
        out.print(
            f"the built-in suite; published suites ({', '.join(suites())}): tasksel ls --data hub", highlight=False
        )


@app.command()
def show(
    task: TaskName, data: Data = None, text: tuple[str, ...] = (), label: str = "label", rows: Rows = None
) -> None:
    """Show a task: what it is, how many rows each split has, its first rows.

    For example:
      tasksel show entail_travel
      tasksel show rte --data path/to/tasks
      tasksel show reviews.csv --text body --label stars
    """
    found = given_task(task, data=data, text=text, label=label)
    told = found.model_dump(mode="json", exclude_defaults=True)
    told["source"] = {"type": found.source.type, **told["source"]}  # so that what is shown is a task file
    out.print(json.dumps(told, indent=2, ensure_ascii=False), highlight=False, markup=False)
    splits = load(found, rows=rows)
    out.print(
        f"rows: train {len(splits.train)}, dev {len(splits.dev)} (a stratified tenth of train), test {len(splits.test)}",
        highlight=False,
    )
    for i in range(min(3, len(splits.train))):
        choices = f" {splits.train.choices[i]}" if splits.train.choices else ""
        out.print(
            f"  {_label_text(found, splits.train.labels[i])}: {' | '.join(splits.train.texts[i])}{choices}",
            highlight=False,
            markup=False,
        )


def _label_text(task: Task, label: object) -> str:
    if task.kind == "multi_label":
        return ", ".join(name for name, on in zip(task.labels, label, strict=True) if on) or "none"  # type: ignore[call-overload]
    return task.labels[int(label)] if task.labels else str(label)  # type: ignore[call-overload]


@app.command()
def embed(
    tasks: Tasks, data: Data = None, by: By = "connectivity", settings: Settings = (), base: str = "minilm", rows: Rows = None, seed: int = 0,
    out_folder: Annotated[Path, tyro.conf.arg(name="out")] = Path("embeddings"), text: tuple[str, ...] = (), label: str = "label",
) -> None:  # fmt: skip
    """Embed tasks; one safetensors file a task. A method that compares adapters trains one a task first.

    For example:
      tasksel embed entail_travel entail_kitchen
      tasksel embed rte mrpc --by fisher --data path/to/tasks --rows 1000
      tasksel embed rte --set co_train=true max_steps=40 --data path/to/tasks
    """
    model, embedder = load_base(base), get_embedder(by, **parse_settings(settings))
    for name in tasks:
        task = given_task(name, data=data, text=text, label=label)
        candidate = TaskCandidate(task, rows, seed, folder=out_folder / ".kept" / task.name)
        embedding = TaskOnBase(candidate, model).embedding(embedder)
        if is_main():
            path = out_folder / f"{task.name}-{embedder.key}-seed{seed}.safetensors"
            embedding.save(path)
            out.print(f"{embedding!r} -> {path}", highlight=False, markup=False)


@app.command("rank")
def rank_command(
    target: TaskName, sources: Tasks = (), data: Data = None, by: By = "connectivity", settings: Settings = (), base: BaseName = None, rows: Rows = None, seed: int = 0,
    pool: PoolFolder = None, matrix: Annotated[Path | None, tyro.conf.arg(help="for --by oracle: what was measured")] = None,
    store: Store = Path("embeddings/.kept"), text: tuple[str, ...] = (), label: str = "label",
) -> None:  # fmt: skip
    """Rank tasks, or the trained sources of a pool, for a target. Without SOURCES, all other tasks of the same place.

    For example:
      tasksel rank entail_travel
      tasksel rank reviews.csv sst2 imdb rte --text body --label stars --data path/to/tasks
      tasksel rank rte --data path/to/tasks --pool pools/mine --by logme
      tasksel rank rte --data path/to/tasks --pool pools/mine --by connectivity+text
      tasksel rank rte --data path/to/tasks --by oracle --matrix runs/matrix
    """
    task = given_task(target, data=data, text=text, label=label)
    selector = get_selector(by, **parse_settings(settings))
    if matrix:
        measured, scores = read_matrix(matrix).truth(task.name)
        selector = selector.with_truth({task.name: dict(zip(measured, scores.mean(axis=0).tolist(), strict=True))})
        sources = sources or (() if pool else measured)
    model = _base(base, pool)
    if pool:
        held = stored_sources(pool, model, tasks=_tasks(data, pool) if data else None)
        candidates: list[Any] = [source for source in held if not sources or source.name in sources]
        missing_names = set(sources) - {source.name for source in held}
        if missing_names:
            raise unknown("source", sorted(missing_names)[0], [source.name for source in held], f"pool: {pool}")
    else:
        candidates = [given_task(name, data=data) for name in sources] or list(find_tasks(data))
    ranking = rank(task, candidates, by=selector, base=model, rows=rows, seed=seed, cache_dir=store)
    if is_main():
        out.print(str(ranking), highlight=False, markup=False)


@app.command("judge")
def judge_command(
    matrix: MatrixPath, by: Annotated[tuple[str, ...], tyro.conf.arg(help="methods, or 'all'; a+b fuses")] = ("all",), method: str = "sequential",
    pool: PoolFolder = None, data: Data = None, base: BaseName = None, rows: Rows = None,
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help="ranking seeds; by default 0 is computed, and all that are stored are judged")] = (),
    targets: Annotated[tuple[str, ...], tyro.conf.arg(help="judge on these alone")] = (), store: Store = Path("embeddings/.kept"),
    out_folder: Annotated[Path | None, tyro.conf.arg(name="out", help="a folder for judge.md and judge.svg")] = None,
) -> None:  # fmt: skip
    """Judge ways of choosing sources on a measured matrix. Scores that are not there yet are computed from --pool and --data.

    For example:
      tasksel judge docs/matrix
      tasksel judge runs/matrix --pool runs/matrix/pool --data path/to/tasks --rows 256 --seeds 0 1
      tasksel judge docs/matrix --by logme leep --targets scitail sst5 trec
      tasksel judge runs/matrix --by connectivity text connectivity+text --method scalearn --out judged
    """
    measured, path = read_matrix(matrix).only(targets), beside(matrix, SCORES)
    wanted = named_methods(by)
    todo = missing(wanted, measured.targets, seeds or (0,), path)
    if todo and pool:
        score_all(_bench(measured.targets, pool, data, base, rows, store), todo, path)
    scores = [one for one in _stored_scores(wanted, path) if not seeds or one.seed in seeds]
    if wanted and not scores:
        raise UserError(
            f"no scores under seed {', '.join(map(str, seeds))} in {path}: compute them (--pool POOL, --data TASKS)"
        )
    judgement = judge(measured, [one for one in scores if not targets or one.target in targets], method=method)
    if not is_main():
        return
    wide = out if out.is_terminal else Console(width=130)  # a pipe has no width of its own
    wide.print(judgement.table())
    if out_folder:
        write_text(out_folder / "judge.md", judgement.markdown() + "\n" + judgement.per_target_markdown())
        picture(judgement, out_folder / "judge.svg")
        out.print(f"judge.md and judge.svg lie in {out_folder}", highlight=False)


def _stored_scores(wanted: Sequence[str], path: Path) -> list[Scores]:
    """The wanted methods' scores in a file; those that it has none of are said.

    Raises:
        UserError: none at all.
    """
    scores = at_hand(wanted, read_scores(path))
    if wanted and not scores:
        raise UserError(
            f"no scores by {', '.join(wanted[:3])}{', …' if len(wanted) > 3 else ''} in {path}: compute them from trained sources (--pool POOL, --data TASKS)"
        )
    have = {one.by for one in scores}
    if lost := [by for by in wanted if by not in have]:
        say(f"left out, as {path} has no scores by them (--pool and --data compute them): {', '.join(lost)}")
    return scores


@app.command("benefit")
def benefit_command(
    matrix: MatrixPath, also: Annotated[tuple[str, ...], tyro.conf.arg(help="methods whose scores are features too")] = (), method: str = "sequential",
    max_loss: Annotated[float, tyro.conf.arg(help="points of score (of 1) that may be lost")] = 0.01,
    pool: PoolFolder = None, data: Data = None, base: BaseName = None, rows: Rows = None, seed: int = 0, store: Store = Path("embeddings/.kept"),
    out_folder: Annotated[Path | None, tyro.conf.arg(name="out", help="a folder for benefit.md, .json and .svg")] = None,
) -> None:  # fmt: skip
    """Predict from attributions which transfers will help, and say what leaving the others out saves and costs.

    Features that are not there yet are computed from --pool and --data.

    For example:
      tasksel benefit docs/matrix
      tasksel benefit runs/matrix --pool runs/matrix/pool --data path/to/tasks --rows 256 --out runs/benefit
    """
    measured, path = read_matrix(matrix), beside(matrix, PAIRS)
    if pool:
        attribute(_bench(measured.targets, pool, data, base, rows, store), measured.targets, path, seed=seed)
    known = read_pairs(path)
    if not known:
        raise UserError(
            f"no features of pairs in {path}: compute them from trained sources (--pool POOL, --data TASKS)"
        )
    columns = named_methods(also)
    features = with_scores(
        known, _stored_scores(columns, beside(matrix, SCORES)) if columns else [], columns, seed=seed
    )
    measured_rows, lost = rows_with_features(measured.rows, features, method=method)
    if lost:
        say(f"left out, as {path} has no features of them (--pool and --data compute them): {', '.join(lost)}")
    pairs, diverged = measured_pairs(map(asdict, measured_rows), features, method=method)
    for name in diverged:
        say(f"left out, as it diverged under every seed: {name}")
    found = assess(pairs, sizes={pair.source: pair.source_rows for pair in known.values()}, max_loss=max_loss)
    if not is_main():
        return
    out.print(benefit_markdown(found), highlight=False, markup=False, soft_wrap=True)  # its tables stay whole
    if out_folder:
        write_benefit(found, out_folder)
        out.print(f"benefit.md, benefit.json and benefit.svg lie in {out_folder}", highlight=False)


def _bench(
    targets: Sequence[str], pool: Path, data: str | None, base: str | None, rows: int | None, store: Path
) -> Bench:
    """What scores and features are computed from: a pool's sources and the tasks of a place."""
    model, tasks = _base(base, pool), _tasks(data, pool, targets)
    return Bench(stored_sources(pool, model, tasks=tasks), tasks, model, rows, store)


def _base(name: str | None, pool: Path | None) -> Base:
    """The base of that name, else the one that a pool's sources were trained on, else MiniLM."""
    return load_base(name or (pool and stored_base(pool)) or "minilm")


def _tasks(data: str | None, pool: Path, targets: Sequence[str] = ()) -> dict[str, Task]:
    """The tasks of a place that a pool's sources or the targets are named after."""
    found = find_tasks(data)
    names = {*targets, *(path.parent.name for path in pool.glob("*/card.json"))}
    return {name: found[name] for name in sorted(names) if name in found}


@index_commands.command("build")
def index_build(
    files: Files, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the index's folder")]
) -> None:
    """Put stored embeddings into one index: connectivity patterns, or embeddings of one vector.

    Example: tasksel index build embeddings/*.safetensors --out my-index
    """
    made = build_from_files(files)
    made.save(out_folder)
    out.print(f"{made!r} -> {out_folder}", highlight=False, markup=False)


@index_commands.command("nearest")
def index_nearest(index: Folder, target: tyro.conf.Positional[Path], k: int | None = None) -> None:
    """The k tasks (10, or all where there are fewer) of an index that lie nearest to a stored embedding.

    Example: tasksel index nearest my-index embeddings/rte-connectivity-1a2b3c4d-seed0.safetensors --k 5
    """
    found = EmbeddingIndex.load(index)
    embedding = TaskEmbedding.load(target)
    near = found.nearest(embedding, min(10, len(found)) if k is None else k)
    provenance = {"by": embedding.provenance["method"]}
    ranking = Ranking(
        embedding.provenance["task"], tuple(near[0]), tuple(map(float, near[1])), provenance, "similarity"
    )
    out.print(str(ranking), highlight=False, markup=False)


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    return run_command(app.parse, argv)
