"""Looks tasks up by name: in the built-in suite, in a folder of task folders, or in the catalogues of published suites.

A catalogue is data: one YAML file per suite in `tasksel/tasks/suites/`, each entry the fields of `Task`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.storage.user_files import read_fields
from tasksel.storage.user_path import user_path
from tasksel.tasks.builtin import builtin_tasks
from tasksel.tasks.data_files import beside, ending_of, is_pattern, is_task_file
from tasksel.tasks.infer import Texts
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.row_sources import FileSource
from tasksel.tasks.task import Task, TaskSet

CATALOG = Path(__file__).parent / "suites"


@cache
def _suite(path: Path) -> TaskSet:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return TaskSet((Task(**{"suite": path.stem, **entry}) for entry in entries), origin=f"the catalogue {path.stem}")


def suites() -> dict[str, TaskSet]:
    """Every published suite that has a catalogue file, by name.

    >>> "glue" in suites()
    True
    """
    return {path.stem: _suite(path) for path in sorted(CATALOG.glob("*.yaml"))}


def _folder_set(root: Path) -> TaskSet:
    folders = [root] if (root / "task.json").is_file() else sorted(path.parent for path in root.glob("*/task.json"))
    if not folders:
        raise UserError(f"{root}: no task folders there (a folder with task.json each)")
    tasks, broken = [], {}
    for folder in folders:
        try:
            tasks.append(Task.from_folder(folder))
        except UserError as error:
            broken[folder.name] = str(error)
    if not tasks:
        raise UserError(next(iter(broken.values())))
    for reason in broken.values():
        say(f"left out: {reason}")
    return TaskSet(tasks, origin=str(root), broken=broken)


def find_tasks(data: str | Path | None = None) -> TaskSet:
    """All tasks of one place: None or "builtin" the built-in suite, "hub" every catalogue, anything else a folder.

    >>> find_tasks().names[:2]
    ['sentiment_films', 'sentiment_restaurants']

    Raises:
        UserError: the folder is not there or holds no task.
    """
    if data is None or str(data) == "builtin":
        return TaskSet(builtin_tasks(), origin="the built-in suite; another place: --data")
    if str(data) == "hub":
        by_name: dict[str, Task] = {}
        for suite in suites().values():
            for task in suite:
                by_name.setdefault(task.name, task)  # RTE is in GLUE and SuperGLUE, with the same rows
        return TaskSet(by_name.values(), origin="the catalogues of published suites")
    folder = user_path(data)
    if not folder.is_dir():
        raise UserError(f"no folder {data}; data is a folder of task folders, 'hub' or 'builtin'")
    return _folder_set(folder)


def get_task(name: str, *, data: str | Path | None = None) -> Task:
    """One task by name, or by the path of its folder.

    >>> print(get_task("entail_travel"))
    entail_travel (builtin; pair classification; 2 outputs; accuracy)

    Raises:
        UserError: unknown name (with the nearest one).
    """
    return Task.from_folder(name) if (user_path(name) / "task.json").is_file() else find_tasks(data)[name]


def get_tasks(suite: str, *, data: str | Path | None = None) -> TaskSet:
    """The tasks of one suite, e.g. `get_tasks("glue", data="hub")` or `get_tasks("glue", data="a/folder")`.

    >>> get_tasks("glue", data="hub").names[:2]
    ['cola', 'sst2']

    Raises:
        UserError: unknown suite (with the nearest one).
    """
    if str(data) == "hub":
        if suite not in suites():
            raise unknown("suite", suite, suites())
        return suites()[suite]
    tasks = find_tasks(data)
    chosen = [task for task in tasks if suite in task.suite.split("+")]
    if not chosen:
        raise unknown(
            "suite", suite, {part for task in tasks for part in task.suite.split("+")}, f"looked in {tasks.origin}"
        )
    return TaskSet(chosen, origin=tasks.origin)


def read_task_file(path: Path) -> Task:
    """A task written as YAML or JSON, with the fields of `Task`; paths of its files are relative to it.

    Raises:
        UserError: every wrong field, each with its path.
    """
    path = user_path(path)
    described = read_fields(path, "a task file")
    try:
        task = Task(**described)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(task.source, FileSource):
        return task
    source = task.source.model_copy(update={"files": beside(path, task.source.files)})
    return task.model_copy(update={"source": source})


def resolve_task(
    name: str, *, data: str | Path | None = None, text: tuple[str, ...] = (), label: Texts = "label", **options: Any
) -> Task:
    """The task that a user names: a known name, a task folder, a task file (YAML or JSON), or a data file with its columns.

    Args:
        text, label: a data file's columns. options: what else `Task.from_file` takes, of a data file.

    Raises:
        UserError: unknown name (with the nearest one), a data file without `text`, a column that is missing.
    """
    path = user_path(name)
    if path.suffix.lower() in (".yaml", ".yml") or is_task_file(path):
        return read_task_file(path)
    if path.suffix.lower() == ".json" and not text:
        try:
            return read_task_file(path)
        except UserError as error:
            raise UserError(f"{error}; if it holds rows, say which columns hold the text: --text COLUMN") from error
    named = bool(text) or options.get("kind") == GENERATION  # whose columns have names of their own
    holds_rows = named and path.exists() and not (path / "task.json").is_file()
    if ending_of(path) or is_pattern(path) or holds_rows:
        if not named:
            raise UserError(
                f"{name}: say which columns hold the text: --text COLUMN (two for a pair), and --label COLUMN; "
                "of prompts and completions, or of chats, --kind generation"
            )
        return Task.from_file(path, text=text, label=label, **options)
    return get_task(name, data=data)
