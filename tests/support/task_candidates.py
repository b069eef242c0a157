"""Candidates of 40 rows for tests, and a target that must not be trained."""

from tasksel import get_task
from tasksel.selection.candidate import TaskCandidate, TaskOnBase


def candidate(name, trained=None, folder=None, *, rows=40, **of):
    """A built-in task of 40 rows, with an adapter where one is given."""
    return TaskCandidate(get_task(name), rows, folder=folder, trained=trained, **of)


class Untrained(TaskOnBase):
    """A target that must not be trained."""

    @property
    def trained(self):
        raise AssertionError("the target's adapter was asked for")
