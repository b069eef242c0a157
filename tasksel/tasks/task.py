"""A task: what kind it is, where its rows lie, which columns matter, how it is scored.

A `Task` is a frozen value that reads and writes as JSON or YAML; nothing is loaded until `tasksel.tasks.load.load` is called.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from tasksel.errors import UserError, unknown
from tasksel.storage.frozen import Frozen
from tasksel.tasks.files import Row, need_columns, read_rows, template_columns
from tasksel.tasks.metrics import METRICS

Kind = Literal["single_sentence_classification", "pair_classification", "regression", "multi_label", "multiple_choice"]


DEFAULT_METRIC: dict[str, str] = {
    "single_sentence_classification": "accuracy",
    "pair_classification": "accuracy",
    "regression": "pearson_spearman",
    "multi_label": "macro_f1",
    "multiple_choice": "accuracy",
}


class HubSource(Frozen):
    """A data set on the Hugging Face hub. `revision` is a branch, tag or commit; `folder` picks a subset by its path."""

    type: Literal["hub"] = "hub"
    path: str
    config: str | None = None
    folder: str | None = None
    revision: str | None = None
    splits: dict[str, str] = Field(default_factory=lambda: {"train": "train", "validation": "validation"})


class FileSource(Frozen):
    """Local CSV, TSV, JSONL or Parquet files, one a split."""

    type: Literal["files"] = "files"
    files: dict[str, str]


class BuiltinSource(Frozen):
    """A task of the generated suite (`tasksel.tasks.builtin`), made from its seed."""

    type: Literal["builtin"] = "builtin"
    seed: int = 0


class Draw(Frozen):
    """Which of a task's rows are used, where that is not all of them.

    Attributes:
        shots: exactly so many training rows, and none of them for choosing the checkpoint (few-shot). None: train and dev share what there is.
        dev: with `shots`, at most so many further rows to choose the checkpoint by; by default as many as shots.
        seed: draws train and dev instead of the run's own seed: the same rows for every seed.
        test_rows: at most so many rows of the validation set are scored, the same ones always.
    """

    shots: int | None = None
    dev: int | None = None
    seed: int | None = None
    test_rows: int | None = None


Source = Annotated[HubSource | FileSource | BuiltinSource, Field(discriminator="type")]


class Task(Frozen):
    """One task, as a value.

    `text` names one or two columns, or templates over them: `("premise", "hypothesis")`, `("{paragraph} {question}", "answer")`.
    `choices` (multiple choice only) is one column that holds a list, or one column or template for each choice.
    `label` is the label's column; `labels` are the label names in the order of their indices (empty for regression).
    Labels in the data may be indices or names; multi-label rows hold a multi-hot list, a list of names, or names joined by `|`.
    `among` are the label names of a multi-label column of which this task asks for `labels[1]` alone (see `one_label`).
    `explode` names a list column whose items become one row each, in the column of the same name (ReCoRD's entities).
    `draw` says which of its rows are used, where that is not all of them.
    """

    name: str
    kind: Kind
    text: tuple[str, ...]
    label: str = "label"
    labels: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    choices: str | tuple[str, ...] | None = None
    num_choices: int | None = None
    metric: str
    suite: str = "own"
    source: Source
    explode: str | None = None
    draw: Draw = Draw()
    licence: str = "not stated"
    note: str = ""

    def __init__(self, **fields: Any) -> None:
        """Checks every field.

        Raises:
            UserError: all that is wrong, in one line, with the nearest name.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UserError("; ".join(_complaint(item) for item in error.errors())) from error

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[\w+-]+", self.name):
            raise UserError(
                f"task name '{self.name}': use letters, digits, '_', '-' and '+' only (it names adapters and folders)"
            )
        if self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS)
        if self.metric not in self._metrics():
            fitting = ", ".join(sorted(self._metrics()))
            raise UserError(
                f"task '{self.name}': metric '{self.metric}' does not fit a {self.kind} task with {len(self.labels)} labels: {fitting}"
            )
        if not 1 <= len(self.text) <= 2:
            raise UserError(
                f"task '{self.name}': {len(self.text)} text columns {list(self.text)}; give one, or two for a pair"
            )
        if self.kind == "pair_classification" and len(self.text) != 2:
            raise UserError(f"task '{self.name}': a pair task needs two text columns, given {list(self.text)}")
        if (self.kind == "multiple_choice") != (self.choices is not None):
            raise UserError(
                f"task '{self.name}': `choices` belongs to multiple choice, and only there (kind: {self.kind})"
            )
        if self.kind == "multiple_choice" and not self.num_choices:
            raise UserError(f"task '{self.name}': multiple choice needs `num_choices`, the most choices a row has")
        if (
            self.kind in ("single_sentence_classification", "pair_classification", "multi_label")
            and len(self.labels) < 2
        ):
            raise UserError(
                f"task '{self.name}': {len(self.labels)} label names {list(self.labels)}; a {self.kind} task needs two or more"
            )
        if self.among and (len(self.labels) != 2 or self.labels[1] not in self.among):
            raise UserError(f"task '{self.name}': `among` wants two labels, the second one of {list(self.among)}")
        if len(set(self.labels)) != len(self.labels):
            raise UserError(f"task '{self.name}': a label name stands twice in {list(self.labels)}")
        return self

    def _metrics(self) -> set[str]:
        """The metrics that fit: F1 of the class with index 1 wants two classes, correlations want numbers."""
        if self.kind == "regression":
            return {"pearson", "spearman", "pearson_spearman"}
        if self.kind == "multi_label":
            return {"accuracy", "macro_f1", "micro_f1"}
        if self.kind == "multiple_choice":
            return {"accuracy"}
        return {"accuracy", "macro_f1", "micro_f1", "matthews"} | (
            {"f1", "accuracy_f1"} if len(self.labels) == 2 else set()
        )

    @property
    def outputs(self) -> int:
        """How many numbers the head gives a row: classes, labels, choices, or 1 for regression."""
        return (
            1
            if self.kind == "regression"
            else (self.num_choices or 0)
            if self.kind == "multiple_choice"
            else len(self.labels)
        )

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that decides rows and labels, but for the bytes of local files (see `data.content`)."""
        told = self.model_dump(mode="json", exclude={"suite", "licence", "note"})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        text: str | tuple[str, ...],
        label: str = "label",
        validation: str | Path | None = None,
        name: str | None = None,
        kind: Kind | None = None,
        choices: str | tuple[str, ...] | None = None,
        metric: str | None = None,
    ) -> Task:
        """A task from one's own CSV, TSV, JSONL or Parquet file.

        Kind and label names are read from the file where they are not given: floats mean regression, a list means multi-label.
        Without `validation`, a seeded fifth of the rows is held out as the validation set.

        Raises:
            UserError: no such file, an unknown ending, a missing column, an empty file.
        """
        columns = (text,) if isinstance(text, str) else tuple(text)
        rows = read_rows(Path(path))
        need_columns(
            rows, [*template_columns((*columns, *((choices,) if isinstance(choices, str) else choices or ()))), label]
        )
        values = [row.values[label] for row in rows]
        kind = kind or _infer_kind(values, columns, choices)
        if kind in ("single_sentence_classification", "pair_classification"):
            for row in rows:
                if row.values[label] is None or not str(row.values[label]).strip():
                    raise UserError(f"{row.where}: no label in '{label}'; fill it or take the row out")
        files = {"train": str(Path(path).resolve())}
        if validation:
            files["validation"] = str(Path(validation).resolve())
        return cls(
            name=name or re.sub(r"[^\w+-]+", "_", Path(path).stem),
            kind=kind,
            text=columns,
            label=label,
            labels=() if kind in ("regression", "multiple_choice") else _infer_labels(values, kind),
            choices=choices,
            num_choices=_count_choices(rows, choices) if choices else None,
            metric=metric or DEFAULT_METRIC[kind],
            source=FileSource(files=files),
        )

    from_csv = from_file

    def one_label(self, label: str) -> Task:
        """One label of this multi-label task as a yes/no task, scored by the F1 of yes; its name is `task+label`.

        Raises:
            UserError: not a multi-label task, or no such label (with the nearest one).
        """
        if self.kind != "multi_label":
            raise UserError(f"task '{self.name}' is {self.kind}: only a multi-label task has labels to take one of")
        named = {_slug(name): name for name in self.labels}
        if _slug(label) not in named:
            raise unknown(f"label of '{self.name}'", label, named)
        label = named[_slug(label)]
        told = self.model_dump(exclude={"among"})
        told |= {"name": f"{self.name}+{_slug(label)}", "labels": ("no", label), "among": self.labels, "metric": "f1"}
        return Task(
            **told | {"kind": "pair_classification" if len(self.text) == 2 else "single_sentence_classification"}
        )

    def __str__(self) -> str:
        shape = f"{self.outputs} outputs" if self.kind != "regression" else "a number"
        return f"{self.name} ({self.suite}; {self.kind.replace('_', ' ')}; {shape}; {self.metric})"


class TaskSet:
    """Tasks in order, found by name; an unknown name is answered with the nearest one."""

    def __init__(self, tasks: Iterable[Task], *, origin: str) -> None:
        self._tasks = {task.name: task for task in tasks}
        self.origin = origin

    def __getitem__(self, name: str) -> Task:
        """The task of that name; `task+label` is one label of a multi-label task."""
        whole, _, label = name.partition("+")
        if name not in self._tasks and label and whole in self._tasks:
            return self._tasks[whole].one_label(label)
        if name not in self._tasks:
            raise unknown("task", name, self._tasks, f"looked in {self.origin}")
        return self._tasks[name]

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


def _slug(label: str) -> str:
    """A label as part of a task's name."""
    return re.sub(r"[^\w-]+", "_", label)


def _complaint(item: Any) -> str:
    """One of pydantic's complaints about a task, in our words."""
    path = ".".join(map(str, item["loc"]))
    if item["type"] == "literal_error" and path == "kind":
        return str(unknown("kind", str(item["input"]), get_args(Kind)))
    if item["type"] == "extra_forbidden" and path not in Task.model_fields and "." not in path:
        return str(unknown("field", path, Task.model_fields))
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def _infer_kind(values: list[Any], columns: tuple[str, ...], choices: object) -> Kind:
    """The kind that the label column shows: a list or `a|b` is multi-label, a fraction is regression, anything else is a class."""
    if choices is not None:
        return "multiple_choice"
    if any(isinstance(value, list) or (isinstance(value, str) and "|" in value) for value in values):
        return "multi_label"
    if any(isinstance(value, float) or (isinstance(value, str) and _is_fraction(value)) for value in values):
        return "regression"
    return "pair_classification" if len(columns) == 2 else "single_sentence_classification"


def _is_fraction(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return not value.strip().lstrip("+-").isdecimal()


def _infer_labels(values: list[Any], kind: Kind) -> tuple[str, ...]:
    """The label names in a file, sorted; numbers by size, so that stars run 1, 2, 3 and not 1, 10, 2."""
    if kind == "multi_label":
        lists = [
            value if isinstance(value, list) else [part for part in str(value).split("|") if part] for value in values
        ]
        if all(set(items) <= {0, 1} and len(items) == len(lists[0]) for items in lists):
            return tuple(f"label_{i}" for i in range(len(lists[0])))
        seen = {str(item).strip() for items in lists for item in items}
    else:
        seen = {str(value).strip() for value in values}
    return tuple(sorted(seen, key=lambda name: (0, int(name), "") if name.lstrip("-").isdecimal() else (1, 0, name)))


def _count_choices(rows: list[Row], choices: str | tuple[str, ...]) -> int:
    """The most choices that a row has."""
    if not isinstance(choices, str):
        return len(choices)
    for row in rows:
        if not isinstance(row.values[choices], list):
            raise UserError(f"{row.where}: choices {row.values[choices]!r} in '{choices}'; give a list of texts")
    return max(len(row.values[choices]) for row in rows)
