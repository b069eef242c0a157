"""Arguments that several commands take, each with its help; the commands of both packages share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tasksel.errors import UserError
from tasksel.tasks.infer import KindWord
from tasksel.training.precision import PrecisionChoice

if TYPE_CHECKING:
    from tasksel.tasks.task import Task

Name = tyro.conf.Positional[str]
Names = tyro.conf.Positional[tuple[str, ...]]
Files = tyro.conf.Positional[tuple[Path, ...]]
Folder = tyro.conf.Positional[Path]
MatrixPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="matrix.jsonl, or the folder that holds it")]
By = Annotated[str, tyro.conf.arg(help="a selector; a+b fuses two (docs/reference/selectors.md lists them)")]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", help="the selector's settings, as name=value")]
PoolFolder = Annotated[Path | None, tyro.conf.arg(name="pool", help="a pool of trained sources")]
BaseName = Annotated[
    str | None, tyro.conf.arg(name="base", help="alias, hub id or folder; by default that of the pool, or minilm")
]
StoredBase = Annotated[
    str | None,
    tyro.conf.arg(
        name="base", help="where the base lies now, if it was moved: alias, hub id or folder of the same weights"
    ),
]
CacheDir = Annotated[Path, tyro.conf.arg(help="the folder that keeps a target's embeddings and adapter")]
Data = Annotated[str | None, tyro.conf.arg(help="a folder of task folders, 'hub', or nothing for the built-in suite")]
Rows = Annotated[int | None, tyro.conf.arg(help="at most so many training rows (a seeded, stratified draw)")]
ChosenPrecision = Annotated[
    PrecisionChoice,
    tyro.conf.arg(
        name="precision", help="of training steps; auto is the launch's, else bf16 on a GPU that has it, else float32"
    ),
]
PinnedPrecision = Annotated[
    PrecisionChoice | None,
    tyro.conf.arg(
        name="precision",
        help="of training steps; by default what CONFIG or the launch says, or float32; auto: bf16 on a GPU that has it",
    ),
]
CACHE_DIR = Path("embeddings/.kept")
WAS_STORE = {"--store": "--cache-dir"}


@dataclass(frozen=True)
class FileColumns:
    """Which columns of a data file are read, and as what; a named task and a task file say it themselves.

    Attributes:
        text: the text column, or two for a pair; a template like "{title}. {body}" is one.
        label: the label column, or one column of 0 and 1 for each of several labels.
        kind: by default guessed from the labels, which is said.
        metric: by default the kind's own.
        labels: the label names, in the order of their indices; by default sorted.
        choices: for multiple choice: the column that holds a list, or one column for each choice.
        validation: a file with the rows to score; by default a fifth of the rows is held out.
        separator: between the cells of a CSV or TSV file; by default found from its header.
        encoding: of a text file; by default UTF-8, or what its byte order mark says.
        max_new_tokens: for generation: the most tokens of an answer; by default 32.
    """

    text: tuple[str, ...] = ()
    label: tuple[str, ...] = ("label",)
    kind: KindWord | None = None
    metric: str | None = None
    labels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    validation: str | None = None
    separator: str | None = None
    encoding: str | None = None
    max_new_tokens: int | None = None

    def task(self, name: str, *, data: str | None = None) -> Task:
        """The task that a user names: a known one, a task file, or a data file with these columns.

        Raises:
            UserError: see `tasksel.tasks.registry.resolve_task`.
        """
        from tasksel.tasks.registry import resolve_task

        choices = self.choices[0] if len(self.choices) == 1 else self.choices or None
        options: dict[str, Any] = {
            "kind": self.kind,
            "metric": self.metric,
            "labels": self.labels or None,
            "choices": choices,
        }
        options |= {"separator": self.separator, "encoding": self.encoding, "max_new_tokens": self.max_new_tokens}
        return resolve_task(name, data=data, text=self.text, label=self.label, validation=self.validation, **options)

    def tasks(self, names: Sequence[str], *, data: str | None = None) -> list[Task]:
        """Several tasks, the first of which has the validation file; files of one name are named after their folders too.

        Raises:
            UserError: see `task`; two tasks of one name.
        """
        tasks: list[Task] = []
        for name in names:
            task = replace(self, validation=None)._further(name, data) if tasks else self.task(name, data=data)
            twins = [other for other in tasks if other.name == task.name and other.source != task.source]
            if twins and Path(name).suffix:
                task = task.renamed(f"{Path(name).resolve().parent.name}_{task.name}")
            if any(other.name == task.name and other.source != task.source for other in tasks):
                raise UserError(f"two tasks are called '{task.name}' ({name} is one of them): rename one")
            tasks.append(task)
        return tasks

    def _further(self, name: str, data: str | None) -> Task:
        """A task beside the first, whose columns may not be these."""
        try:
            return self.task(name, data=data)
        except UserError as error:
            if str(error).startswith("no column "):
                raise UserError(
                    f"{error}; a file with other columns than the first needs a task file (YAML)"
                ) from error
            raise


Columns = Annotated[FileColumns, tyro.conf.arg(name="")]
NO_COLUMNS = FileColumns()
