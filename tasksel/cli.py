"""tasksel: which of your tasks will help this one?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from tasksel.catalog import find_tasks, given_task, suites
from tasksel.command import Commands, run_command
from tasksel.data import load
from tasksel.embedders import get_embedder
from tasksel.embedders.connectivity import Connectivity
from tasksel.encoder import load_base
from tasksel.progress import is_main
from tasksel.ranking import rank
from tasksel.task import Task

app = Commands("tasksel", __doc__)
out = Console()

Tasks = tyro.conf.Positional[tuple[str, ...]]
TaskName = tyro.conf.Positional[str]
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
    tasks: Tasks,
    data: Data = None,
    base: str = "minilm",
    rows: Rows = None,
    seed: int = 0,
    out_folder: Annotated[Path, tyro.conf.arg(name="out")] = Path("embeddings"),
    text: tuple[str, ...] = (),
    label: str = "label",
    connectivity: Connectivity = Connectivity(),
) -> None:
    """Embed tasks by their connectivity patterns; one safetensors file a task.

    For example:
      tasksel embed entail_travel entail_kitchen
      tasksel embed rte mrpc --data path/to/tasks --rows 1000 --connectivity.co-train
    """
    model = load_base(base)
    for name in tasks:
        task = given_task(name, data=data, text=text, label=label)
        embedding = connectivity.embed(task, load(task, rows=rows, seed=seed), model, seed=seed)
        if is_main():
            path = out_folder / f"{task.name}-{connectivity.key}-seed{seed}.safetensors"
            embedding.save(path)
            out.print(f"{embedding!r} -> {path}", highlight=False, markup=False)


@app.command("rank")
def rank_command(
    target: TaskName, sources: Tasks = (), data: Data = None, by: str = "connectivity", base: str = "minilm", rows: Rows = None, seed: int = 0,
    text: tuple[str, ...] = (), label: str = "label",
) -> None:  # fmt: skip
    """Rank tasks as sources for a target; nothing has to be trained. Without SOURCES, all other tasks of the same place.

    For example:
      tasksel rank entail_travel
      tasksel rank reviews.csv sst2 imdb rte --text body --label stars --data path/to/tasks
    """
    embedder = get_embedder(by)
    task = given_task(target, data=data, text=text, label=label)
    candidates = [given_task(name, data=data) for name in sources] or list(find_tasks(data))
    ranking = rank(task, candidates, by=embedder, base=base, rows=rows, seed=seed)
    if is_main():
        out.print(str(ranking), highlight=False, markup=False)


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    return run_command(app.parse, argv)
