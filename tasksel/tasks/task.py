"""A task: its kind, where its rows lie, which columns it reads, and its metric.

A `Task` is a frozen value that reads and writes as JSON or YAML; nothing is loaded until `tasksel.tasks.load.load_data` is called.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from tasksel.bounds import Count, check_name
from tasksel.errors import UserError, unknown
from tasksel.storage.frozen import Frozen
from tasksel.tasks.infer import Columns, Kind, KindWord, Texts
from tasksel.tasks.metrics import METRICS
from tasksel.tasks.name_lists import Names, OneOrSeveral
from tasksel.tasks.prompts import GENERATION, NEW_TOKENS, check_generation
from tasksel.tasks.row_sources import BuiltinSource, FileSource, HubSource
from tasksel.tasks.task_set import TaskSet as TaskSet
from tasksel.tasks.templates import template_columns
from tasksel.tasks.text_metrics import TEXT_METRICS


class Subsample(Frozen):
    """Which of a task's rows are used; by default all.

    >>> Subsample(shots=16, seed=0).test_rows is None
    True

    Attributes:
        shots: exactly so many training rows, and none of them for choosing the checkpoint (few-shot). None: train and dev share all rows.
        dev: with `shots`, at most so many other rows to choose the checkpoint by; by default as many as shots.
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

    >>> Task(name="reviews", kind="regression", text=("body",), label="stars", metric="pearson",
    ...      source={"type": "files", "files": {"train": "reviews.csv"}}).outputs
    1

    `text` names one or two columns, or templates over them: `("premise", "hypothesis")`, `("{paragraph} {question}", "answer")`.
    `choices` (multiple choice only) is one column that holds a list, or one column or template for each choice.
    `label` is the label's column, or a column of 0 and 1 for each of several labels, which are then named after their columns.
    `labels` are the label names in the order of their indices (empty for regression).
    Labels in the data may be indices or names; multi-label rows hold a multi-hot list, a list of names, or names joined by `|`.
    `among` are the label names of a multi-label column of which this task asks for `labels[1]` alone (see `one_label`).
    `explode` names a list column whose items become one row each, in the column of the same name (ReCoRD's entities).
    `draw` says which of its rows are used; by default all.
    Of generation, `text` is the prompt and `label` the target, each a column or a template; an answer has at most `max_new_tokens` tokens (32),
    and `chat` puts the prompt through the tokenizer's chat template.
    """

    name: str
    kind: Kind
    text: Names
    label: OneOrSeveral = "label"
    labels: Names = ()
    among: Names = ()
    choices: str | tuple[str, ...] | None = None
    num_choices: int | None = None
    metric: str
    suite: str = "own"
    source: Source
    explode: str | None = None
    draw: Subsample = Subsample()
    max_new_tokens: Count | None = None
    chat: bool = False
    licence: str = "not stated"
    note: str = ""

    def __init__(self, **fields: Any) -> None:
        """Checks every field.

        Raises:
            UserError: all that is wrong, in one line, with the nearest name.
        """
        if fields.get("kind") == GENERATION and fields.get("max_new_tokens") is None:
            fields["max_new_tokens"] = NEW_TOKENS
        if isinstance(fields.get("label"), list | tuple) and not fields.get("labels"):
            fields["labels"] = fields["label"]
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UserError("; ".join(_message(item) for item in error.errors())) from error

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_generation(self)
        if not re.fullmatch(r"[\w+-]+", self.name):
            raise UserError(
                f"task name '{self.name}': use letters, digits, '_', '-' and '+' only (it names adapters and folders)"
            )
        check_name(self.name, "task")
        if self.metric not in METRICS:
            raise unknown("metric", self.metric, METRICS)
        if self.metric not in self._metrics():
            fitting = ", ".join(sorted(self._metrics()))
            raise UserError(
                f"task '{self.name}': metric '{self.metric}' does not fit a {self.kind} task with {len(self.labels)} labels; choose one of {fitting}"
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
        if not isinstance(self.label, str) and len(self.label) != len(self.among or self.labels):
            raise UserError(
                f"task '{self.name}': {len(self.label)} label columns {list(self.label)} for {len(self.among or self.labels)} label names; "
                "give as many, for a multi_label task"
            )
        if self.among and (len(self.labels) != 2 or self.labels[1] not in self.among):
            raise UserError(f"task '{self.name}': `among` needs two labels, the second one of {list(self.among)}")
        if len(set(self.labels)) != len(self.labels):
            raise UserError(f"task '{self.name}': duplicate label names in {list(self.labels)}")
        return self

    @model_serializer(mode="wrap")
    def _stored(self, fields_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields as they are stored; those of generation alone are left out of other tasks, as in version 0.1."""
        fields: dict[str, Any] = fields_of(self)
        own = () if self.kind == GENERATION else ("max_new_tokens", "chat")
        return {name: value for name, value in fields.items() if name not in own}

    def _metrics(self) -> set[str]:
        """The metrics that fit: F1 of the class with index 1 needs two classes, correlations need numbers."""
        if self.kind == GENERATION:
            return set(TEXT_METRICS)
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
    def label_columns(self) -> tuple[str, ...]:
        """The label's column, or one for each label; those of a target's template."""
        if self.kind == GENERATION:
            return tuple(template_columns((str(self.label),)))
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def outputs(self) -> int:
        """The head's outputs per row: classes, labels, choices, or 1 for a number or a text."""
        if self.kind in ("regression", GENERATION):
            return 1
        return (self.num_choices or 0) if self.kind == "multiple_choice" else len(self.labels)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that decides rows and labels, except the bytes of local files (see `Data.fingerprint`)."""
        decisive = self.model_dump(mode="json", exclude={"suite", "licence", "note"})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_data(cls, data: Any, **options: Any) -> Task:
        """A task from data of any supported form: calls the `from_…` constructor that reads it.

        Args:
            data: a CSV, TSV, JSONL or Parquet file, a task folder, a hub id (a string that names nothing on this machine), a pandas
                DataFrame, a list of dicts, a `datasets.Dataset` or `DatasetDict`, or a dict of splits: `{"train": ..., "validation": ...}`.
            **options: those of the constructor, e.g. `name`, `text`, `label`.

        Raises:
            UserError: data that no constructor reads, an unknown option (with the nearest), or a required one that is missing.

        >>> Task.from_data([{"text": "good", "label": 1}, {"text": "bad"}], name="reviews", text="text")
        Traceback (most recent call last):
        tasksel.errors.UserError: no column at row 2 of the list: 'label'; 1 known: text
        """
        from tasksel.tasks.from_data import task_from_data

        return task_from_data(cls, data, options)

    @classmethod
    def from_file(
        cls, path: str | Path, *, text: Texts, label: Texts = "label", validation: str | Path | None = None,
        name: str | None = None, kind: KindWord | None = None, labels: Sequence[str] | None = None,
        choices: Texts | None = None, metric: str | None = None, separator: str | None = None, encoding: str | None = None,
        max_new_tokens: int | None = None,
    ) -> Task:  # fmt: skip
        """A task from a data file, shards that a pattern matches (`data/train-*.jsonl`), or a folder of them.

        Kind and label names are read from the file where they are not stated; the kind is said in one line with the reason, and
        refused where it is doubtful (`tasksel.tasks.kinds`). Several label columns hold 0 and 1: one for each label.
        Without `validation`, a seeded fifth of the rows is held out as the validation set.

        Raises:
            UserError: no such file, an unknown ending, a missing column, an empty file.

        >>> Task.from_file("reviews.csv", text="body", label="stars", validation="held_out.csv")  # doctest: +SKIP
        """
        from tasksel.tasks.from_data import task_from_file

        columns = Columns.of(text, label, choices, kind, labels, max_new_tokens)
        reading = {"separator": separator, "encoding": encoding}
        return task_from_file(cls, path, columns, validation=validation, name=name, metric=metric, **reading)

    from_csv = from_file

    @classmethod
    def from_folder(cls, folder: str | Path) -> Task:
        """The task of a folder that holds `task.json` and one file per split.

        Raises:
            UserError: no `task.json`, a broken one, or no training file.

        >>> Task.from_folder("path/to/tasks/rte")  # doctest: +SKIP
        """
        from tasksel.tasks.from_data import task_from_folder

        return task_from_folder(cls, Path(folder))

    @classmethod
    def from_hub(
        cls, path: str, *, text: Texts, label: Texts = "label", config: str | None = None, revision: str | None = None,
        folder: str | None = None, splits: Mapping[str, str] | None = None, name: str | None = None,
        kind: KindWord | None = None, choices: Texts | None = None, metric: str | None = None, max_new_tokens: int | None = None,
    ) -> Task:  # fmt: skip
        """A task from a data set on the Hugging Face hub, e.g. `Task.from_hub("nyu-mll/glue", config="cola", text="sentence")`.

        Kind and label names are those of the features: class labels, lists of them (multi-label), floats (regression); what the
        features do not say is read from the rows. The task keeps the commit that `revision` stands for now.

        Args:
            folder: the configuration's folder, where `revision` is the Parquet branch (see `tasksel.tasks.hub`).
            splits: the data set's name for each of our splits, e.g. `{"train": "train", "validation": "test"}`; by default `train`,
                and `validation` where there is one. A split `test` is never scored.

        Raises:
            UserError: no such data set, configuration, split or column (with the nearest), or no network and nothing in the cache.
        """
        from tasksel.tasks.from_data import slug, task_from_hub

        source = HubSource(path=path, config=config, folder=folder, revision=revision)
        if splits:
            source = source.model_copy(update={"splits": dict(splits)})
        name = name or slug("_".join([path.split("/")[-1], *([config] if config else [])]))
        columns = Columns.of(text, label, choices, kind, max_new_tokens=max_new_tokens)
        return task_from_hub(cls, source, columns, splits=splits, name=name, metric=metric)

    @classmethod
    def from_pandas(
        cls, frame: Any, *, name: str, text: Texts, label: Texts = "label", validation: Any = None,
        kind: KindWord | None = None, labels: Sequence[str] | None = None, choices: Texts | None = None,
        metric: str | None = None, folder: str | Path | None = None, max_new_tokens: int | None = None,
    ) -> Task:  # fmt: skip
        """A task from a pandas DataFrame.

        The rows are kept once, in a file named after their content, so that other processes read the same ones: in `folder`, or
        in `tasks/` below SCALEARN_CACHE (by default `~/.cache/scalearn`). The categories of a Categorical label are the label
        names, in their order; otherwise as `from_file`.

        Args:
            validation: the validation rows, as another DataFrame; without, a seeded fifth is held out.

        Raises:
            UserError: a missing column (with the nearest), or a value that is wrong, with its row.

        >>> import pandas, tempfile
        >>> frame = pandas.DataFrame({"body": ["fine", "poor", "good"], "stars": [5, 1, 4]})
        >>> task = Task.from_pandas(frame, name="reviews", text="body", label="stars", folder=tempfile.mkdtemp())
        >>> print(task, task.labels)
        reviews (own; single sentence classification; 3 outputs; accuracy) ('1', '4', '5')
        """
        from tasksel.tasks.from_data import need_container, task_from_memory, with_validation

        need_container(frame, "DataFrame", "from_pandas")
        columns = Columns.of(text, label, choices, kind, labels, max_new_tokens)
        return task_from_memory(
            cls, with_validation(frame, validation), columns, name=name, metric=metric, folder=folder
        )

    @classmethod
    def from_dicts(
        cls, rows: Sequence[Mapping[str, Any]], *, name: str, text: Texts, label: Texts = "label", validation: Any = None,
        kind: KindWord | None = None, labels: Sequence[str] | None = None, choices: Texts | None = None,
        metric: str | None = None, folder: str | Path | None = None, max_new_tokens: int | None = None,
    ) -> Task:  # fmt: skip
        """A task from a list of rows, each a dict; kept as those of `from_pandas` are.

        Raises:
            UserError: a row without a column (with the nearest), or a value that is wrong, with its row.

        >>> import tempfile
        >>> rows = [{"text": "rain in the north", "topics": ["weather"]}, {"text": "a goal", "topics": ["sport", "news"]}]
        >>> task = Task.from_dicts(rows, name="topics", text="text", label="topics", folder=tempfile.mkdtemp())
        >>> print(task.kind, task.labels)
        multi_label ('news', 'sport', 'weather')
        """
        from tasksel.tasks.from_data import need_container, task_from_memory, with_validation

        need_container(rows, "list", "from_dicts")
        columns = Columns.of(text, label, choices, kind, labels, max_new_tokens)
        return task_from_memory(
            cls, with_validation(rows, validation), columns, name=name, metric=metric, folder=folder
        )

    @classmethod
    def from_dataset(
        cls, data: Any, *, name: str, text: Texts, label: Texts = "label", validation: Any = None,
        splits: Mapping[str, str] | None = None, kind: KindWord | None = None, labels: Sequence[str] | None = None,
        choices: Texts | None = None, metric: str | None = None, folder: str | Path | None = None, max_new_tokens: int | None = None,
    ) -> Task:  # fmt: skip
        """A task from a Hugging Face `Dataset`, or a `DatasetDict` with its splits; kept as those of `from_pandas` are.

        Features say what they say for `from_hub`. Of a `DatasetDict`, `train` and `validation` are used, or what `splits` names.

        Raises:
            UserError: a missing column or split (with the nearest), or a value that is wrong, with its row.
        """
        from tasksel.tasks.from_data import task_from_dataset

        columns = Columns.of(text, label, choices, kind, labels, max_new_tokens)
        return task_from_dataset(
            cls, data, columns, validation=validation, splits=splits, name=name, metric=metric, folder=folder
        )

    def one_label(self, label: str) -> Task:
        """One label of this multi-label task as a yes/no task, scored by the F1 of yes; its name is `task+label`.

        Raises:
            UserError: not a multi-label task, or no such label (with the nearest one).

        >>> from tasksel.tasks.registry import get_task
        >>> print(get_task("complaints_orders").one_label("price"))
        complaints_orders+price (builtin; single sentence classification; 2 outputs; f1)
        """
        if self.kind != "multi_label":
            raise UserError(f"task '{self.name}' is {self.kind}: only a multi-label task can be split into its labels")
        labels = {_slug(name): name for name in self.labels}
        if _slug(label) not in labels:
            raise unknown(f"label of '{self.name}'", label, labels)
        label = labels[_slug(label)]
        fields = self.model_dump(exclude={"among"})
        fields |= {"name": f"{self.name}+{_slug(label)}", "labels": ("no", label), "among": self.labels, "metric": "f1"}
        return Task(
            **fields | {"kind": "pair_classification" if len(self.text) == 2 else "single_sentence_classification"}
        )

    def renamed(self, name: str) -> Task:
        """The same task under another name."""
        return Task(**{**self.model_dump(), "name": re.sub(r"[^\w+-]+", "_", name)})

    def __str__(self) -> str:
        shape = {"regression": "a number", GENERATION: "a text"}.get(self.kind, f"{self.outputs} outputs")
        return f"{self.name} ({self.suite}; {self.kind.replace('_', ' ')}; {shape}; {self.metric})"


def _slug(label: str) -> str:
    """A label as part of a task's name."""
    return re.sub(r"[^\w-]+", "_", label)


def _message(item: Any) -> str:
    """One of pydantic's errors about a task, as a line for the user."""
    path = ".".join(map(str, item["loc"]))
    if item["type"] == "literal_error" and path == "kind":
        return str(unknown("kind", str(item["input"]), get_args(Kind)))
    if item["type"] == "extra_forbidden" and path not in Task.model_fields and "." not in path:
        return str(unknown("field", path, Task.model_fields))
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
