"""Which of your tasks will help this one? Tasks, their embeddings, and rankings by them."""

from tasksel.catalog import find_tasks, get_task, get_tasks
from tasksel.data import load
from tasksel.embedders import EMBEDDERS, get_embedder
from tasksel.embedding import Embedder, TaskEmbedding
from tasksel.encoder import Base, load_base
from tasksel.errors import UserError
from tasksel.ranking import Ranking, rank
from tasksel.task import Task, TaskSet

__all__ = [
    "EMBEDDERS", "Base", "Embedder", "Ranking", "Task", "TaskEmbedding", "TaskSet", "UserError", "find_tasks", "get_embedder", "get_task", "get_tasks",
    "load", "load_base", "rank",
]  # fmt: skip
