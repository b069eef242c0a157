"""The tasks that a configuration's names stand for: those of its place, and its own files; and whose rows are the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from scalearn.comparison.config import Sources, Targets
from scalearn.comparison.own_file import OwnFile
from tasksel.errors import UserError
from tasksel.tasks.registry import find_tasks, resolve_task
from tasksel.tasks.task import FileSource, Task, TaskSet


class WithFiles(Protocol):
    """A configuration of tasks by name, some of which may be a user's files."""

    @property
    def data(self) -> str | None: ...
    @property
    def files(self) -> dict[str, OwnFile]: ...
    @property
    def sources(self) -> Sources: ...
    @property
    def targets(self) -> Targets: ...


def configured_tasks(config: WithFiles) -> TaskSet:
    """The tasks that a configuration's names stand for: those of its place, and its own files.

    Raises:
        UserError: a path where a name must stand, a file's name that is taken, a file that cannot be read as a task.
    """
    used = (*config.sources.tasks, *config.targets.tasks)
    for name in used:
        if Path(name).suffix or "/" in name:
            known = re.sub(r"[^\w-]+", "_", Path(name).stem)
            raise UserError(
                f"'{name}' is a path, and sources and targets are names: write `files: {{{known}: {{path: {name}, text: COLUMN, label: COLUMN}}}}` "
                f"(a task file needs its path alone) and the name {known}"
            )
    named = find_tasks(config.data)
    wanted = {name.partition("+")[0] for name in used} & config.files.keys()
    for name in sorted(wanted):
        if name in named:
            raise UserError(f"files.{name}: a task has that name already ({named.origin}); choose another")
    return named.and_tasks(_task_of(name, config.files[name]) for name in config.files if name in wanted)


def _task_of(name: str, file: OwnFile) -> Task:
    """The task of a file, which is read anew when the file has changed."""
    path = Path(file.path).expanduser()
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _read_task(name, file, changed)


@lru_cache(maxsize=128)
def _read_task(name: str, file: OwnFile, changed: int) -> Task:
    text = (file.text,) if isinstance(file.text, str) else file.text
    options = file.model_dump(exclude={"path", "text", "label"})
    try:
        return resolve_task(file.path, text=text, label=file.label, **options).renamed(name)
    except UserError as error:
        raise UserError(f"files.{name}: {error}") from error


def check_own_rows(config: WithFiles, tasks: TaskSet | Mapping[str, Task]) -> None:
    """Refuses a source that holds a target's rows under another name: it would be ranked and combined as if it were another task.

    Tasks that are not among the configuration's files are compared only where their files are of one size.

    Raises:
        UserError: the first such pair.
    """
    from tasksel.selection.candidate import TaskCandidate
    from tasksel.selection.own import own_names

    for target in config.targets.tasks:
        others = [name for name in config.sources.tasks if name != target and _comparable(config, tasks, name, target)]
        candidates = [TaskCandidate(tasks[name], config.sources.rows) for name in others]
        if own := own_names(tasks[target], candidates):
            raise UserError(
                f"sources.tasks: '{own[0]}' holds the rows of the target '{target}' under another name: leave one of them out"
            )


def _comparable(config: WithFiles, tasks: TaskSet | Mapping[str, Task], source: str, target: str) -> bool:
    """Whether the rows of two tasks are compared: both lie in files, and one is the configuration's own or both are of one size."""
    sources = [tasks[name].source for name in (source, target)]
    paths = [place.files.get("train", "") for place in sources if isinstance(place, FileSource)]
    if len(paths) < len(sources):
        return False
    return source in config.files or target in config.files or len(set(_sizes(paths))) == 1


def _sizes(paths: Sequence[Any]) -> list[Any]:
    return [Path(path).stat().st_size if isinstance(path, str) and Path(path).is_file() else path for path in paths]
