"""Tells which sources hold the target's own rows: by the rows, and not by a name that two data sets may share.

own     the rows have the target's fingerprint, under the source's own draw of them
        or the source was read from the target's place (which may have changed since) and from the same label
        or nothing but its name is known of the source, and that is the target's
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.selection.candidate import Candidate
from tasksel.tasks.load import load_data
from tasksel.tasks.task import BuiltinSource, FileSource, HubSource, Task

C = TypeVar("C", bound=Candidate)


def without_own(target: Task, sources: Sequence[C]) -> list[C]:
    """The sources but those that hold the target's own rows; which are left out is said in one line.

    >>> from tasksel.selection.candidate import TaskCandidate
    >>> from tasksel.tasks.registry import find_tasks
    >>> tasks = find_tasks()
    >>> [source.name for source in without_own(tasks["grammar_school"], [TaskCandidate(task) for task in list(tasks)[9:]])]
    ['grammar_garden', 'question_type', 'endings_daily']
    """
    names = own_names(target, sources)
    if 0 < len(names) < len(sources):
        say(f"left out, as the rows are those of '{target.name}' itself: {', '.join(names)}")
    return [source for source in sources if source.name not in names]


def own_names(target: Task, sources: Sequence[Candidate]) -> list[str]:
    """The names of the sources that hold the target's own rows."""
    fingerprints: dict[str, str | None] = {}
    return [source.name for source in sources if _is_own(target, source, fingerprints)]


def _is_own(target: Task, source: Candidate, fingerprints: dict[str, str | None]) -> bool:
    task = source.task
    if task is None:
        return source.name == target.name
    if _place(task) == _place(target):
        return True
    generated = isinstance(task.source, BuiltinSource) and isinstance(target.source, BuiltinSource)
    if generated or _shape(task) != _shape(target):
        return False
    data = source.data or _fingerprint(task, source.rows, source.seed)
    drawn = target.model_copy(update={"draw": task.draw})
    key = f"{source.rows} {source.seed} {task.draw}"
    if key not in fingerprints:
        fingerprints[key] = _fingerprint(drawn, source.rows, source.seed)
    return data is not None and data == fingerprints[key]


def _place(task: Task) -> list[Any]:
    """Where its rows and labels are read from."""
    source = task.source
    if isinstance(source, FileSource):
        where: list[Any] = [source.files.get("train")]
    elif isinstance(source, HubSource):
        where = [source.path, source.config, source.folder, source.splits.get("train")]
    else:
        where = [task.name.partition("+")[0], source.seed]
    return [type(source), *where, task.label, task.among and task.labels]


def _shape(task: Task) -> tuple[str, int, int]:
    """What two tasks of the same rows have alike; rows are read only where it is."""
    return task.kind, task.outputs, len(task.text)


def _fingerprint(task: Task, rows: int | None, seed: int) -> str | None:
    """The fingerprint of its rows; None where they cannot be read."""
    try:
        return load_data(task, rows=rows, seed=seed).fingerprint
    except UserError:
        return None
