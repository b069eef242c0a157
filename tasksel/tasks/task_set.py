"""Tasks in order, looked up by name; one whose description is broken does not block its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tasksel.errors import UserError, unknown

if TYPE_CHECKING:
    from tasksel.tasks.task import Task


class TaskSet:
    """Tasks in order, looked up by name; the error for an unknown name suggests the nearest one.

    Args:
        broken: why the other tasks of that place cannot be read, by the name of their folder.

    >>> from tasksel.tasks.registry import find_tasks
    >>> tasks = find_tasks()
    >>> len(tasks), tasks["sentiment_films"].metric
    (13, 'accuracy')
    """

    def __init__(self, tasks: Iterable[Task], *, origin: str, broken: Mapping[str, str] | None = None) -> None:
        self._tasks = {task.name: task for task in tasks}
        self.origin, self._broken = origin, dict(broken or {})

    def __getitem__(self, name: str) -> Task:
        """The task of that name; `task+label` is one label of a multi-label task.

        Raises:
            UserError: an unknown name (with the nearest one), or a task whose description is broken.
        """
        whole, _, label = name.partition("+")
        if name not in self._tasks and label and whole in self._tasks:
            return self._tasks[whole].one_label(label)
        if name not in self._tasks and name in self._broken:
            raise UserError(self._broken[name])
        if name not in self._tasks:
            raise unknown("task", name, self._tasks, f"looked in {self.origin}")
        return self._tasks[name]

    def and_tasks(self, tasks: Iterable[Task]) -> TaskSet:
        """These tasks and others."""
        return TaskSet((*self, *tasks), origin=self.origin, broken=self._broken)

    def __contains__(self, name: str) -> bool:
        return name in self._tasks or name.partition("+")[0] in self._tasks

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def names(self) -> list[str]:
        """The tasks' names, in order."""
        return list(self._tasks)

    def __repr__(self) -> str:
        return f"TaskSet({', '.join(self._tasks)}; from {self.origin})"
