"""Which of your tasks will help this one? Tasks, their embeddings, and rankings by them."""

from tasksel.embeddings import EMBEDDERS, get_embedder
from tasksel.embeddings.base import Embedder, TaskEmbedding
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.selection.base import Selector
from tasksel.selection.ranking import Ranking, rank
from tasksel.selection.selectors import SELECTORS, get_selector
from tasksel.tasks.load import load
from tasksel.tasks.registry import find_tasks, get_task, get_tasks
from tasksel.tasks.task import Task, TaskSet

__all__ = [
    "EMBEDDERS", "SELECTORS", "Base", "Embedder", "Ranking", "Selector", "Task", "TaskEmbedding", "TaskSet", "UserError", "find_tasks", "get_embedder",
    "get_selector", "get_task", "get_tasks", "load", "load_base", "rank",
]  # fmt: skip
