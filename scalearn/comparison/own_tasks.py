"""The tasks that a configuration's names stand for: those of its place, and its own files; and whose rows are the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from scalearn.comparison.config import Sources, Targets
from scalearn.comparison.own_file import OwnFile
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.storage.user_path import user_path
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
    path = user_path(file.path)
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
    """Refuses an own file with a target's rows under another name: it would be ranked and combined as if it were another task.

    Two tasks of the configuration's place, which says that they are two, are only named to the user where their files are of one size and
    hold the same rows.

    Raises:
        UserError: the first such source.
    """
    from tasksel.selection.candidate import TaskCandidate
    from tasksel.selection.own import own_names

    for target in config.targets.tasks:
        others = [name for name in config.sources.tasks if name != target and _comparable(config, tasks, name, target)]
        own = own_names(tasks[target], [TaskCandidate(tasks[name], config.sources.rows) for name in others])
        refused = [name for name in own if {name, target} & config.files.keys()]
        if refused:
            raise UserError(
                f"sources.tasks: '{refused[0]}' holds the rows of the target '{target}' under another name: leave one of them out"
            )
        if own:
            say(f"sources that hold the rows of the target '{target}' under another name: {', '.join(own)}")


def _comparable(config: WithFiles, tasks: TaskSet | Mapping[str, Task], source: str, target: str) -> bool:
    """Whether the rows of two tasks are compared: both lie in files, one of which is the configuration's own, or both of one size."""
    places = [tasks[name].source for name in (source, target)]
    paths = [place.files.get("train", "") for place in places if isinstance(place, FileSource)]
    if len(paths) < len(places):
        return False
    own = source in config.files or target in config.files
    return own or (paths[0] != paths[1] and _size(paths[0]) == _size(paths[1]))


def _size(path: Any) -> Any:
    """A file's size; of a pattern or a file that is not there, itself."""
    return Path(path).stat().st_size if isinstance(path, str) and Path(path).is_file() else path
