"""Tasks from a user's own data; the constructors of `Task` call these functions.

    file        Task.from_file      kind and label names from its rows; the file stays where it is
    folder      Task.from_folder    what its task.json says
    hub id      Task.from_hub       what the features say, pinned to a commit
    memory      Task.from_pandas, from_dicts, from_dataset      rows are stored once in a file named after their content

Every row in memory is checked before it is stored, so that an error names the row of the user's own object.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasksel.display.progress import say
from tasksel.errors import UserError, one_line, unknown
from tasksel.storage.user_files import read_fields
from tasksel.storage.user_path import user_path
from tasksel.tasks.data_files import data_name, ending_of, is_pattern, named_files, split_files
from tasksel.tasks.examples import to_split
from tasksel.tasks.files import Row
from tasksel.tasks.hub import COMMIT, held_commit, load_hub, plain_rows
from tasksel.tasks.in_memory import Container, Table, container_of, read_table
from tasksel.tasks.infer import DEFAULT_METRIC, Columns, declared_kind, feature_type, infer_shape, prompt_shape
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.row_sources import FileSource, HubSource
from tasksel.tasks.shapes import file_shape
from tasksel.tasks.splits import scored_rows
from tasksel.tasks.stored_rows import keep_text, rows_path, rows_text

if TYPE_CHECKING:  # `Task` hands itself over: it stands above this file
    from datasets import Dataset

    from tasksel.tasks.task import Task

HUB_ID = re.compile(r"[\w-]+|[\w.-]+/[\w.-]+")
SEEN = 100  # rows of a hub's data set that say whether prompts are chats
SPLIT_NAMES = ("train", "validation", "test")


def task_from_file(
    cls: type[Task],
    path: str | Path,
    columns: Columns,
    *,
    validation: str | Path | None,
    name: str | None,
    metric: str | None,
    separator: str | None = None,
    encoding: str | None = None,
) -> Task:
    """See `Task.from_file`."""
    if validation is not None and container_of(validation) != "path":
        raise UserError(
            f"validation rows as {type(validation).__name__} beside the file {path}; give a validation file"
        )
    files = named_files(path, validation)
    name = name or slug(data_name(path))
    columns, shape = file_shape(files["train"], columns, name=name, separator=separator, encoding=encoding)
    source = FileSource(files=files, separator=separator, encoding=encoding)
    return _task(cls, columns, shape, source, name=name, metric=metric)


def task_from_folder(cls: type[Task], folder: Path) -> Task:
    """The task of a folder that holds `task.json` and one file a split.

    Raises:
        UserError: no `task.json`, a broken one, or no training file.
    """
    folder = user_path(folder)
    card = folder / "task.json"
    if not card.is_file():
        raise UserError(f"{folder}: no task.json there; a task folder holds task.json and train.jsonl")
    described = read_fields(card, "a task description")
    try:
        if "train" not in split_files(folder):
            raise UserError("no training file beside it; give train.jsonl (or .csv, .tsv, .parquet)")
        files = named_files(folder)
        if empty := [
            name for name in ("metric", "num_choices", "suite", "label_field") if described.get(name, "") is None
        ]:
            raise UserError(f"{empty[0]} is null; leave it out for the default")
        kind = described["kind"]
        choices = "choices" if kind == "multiple_choice" else None
        return cls(
            name=described["name"],
            suite=described.get("suite", "own"),
            kind=kind,
            text=_texts(tuple(name for name in described["text_fields"] if name != choices)),
            choices=choices,
            num_choices=described.get("num_choices", described.get("num_labels") if choices else None),
            label=described.get("label_field", "label"),
            labels=() if kind in ("regression", "multiple_choice", GENERATION) else tuple(described["label_names"]),
            metric=described.get("metric", DEFAULT_METRIC.get(kind, "accuracy")),
            source=FileSource(files=files),
            max_new_tokens=described.get("max_new_tokens"),
            chat=described.get("chat", False),
            licence=described.get("upstream_licence") or described.get("licence") or "not stated",
            note=described.get("note") or "",
        )
    except UserError as error:
        raise UserError(f"{card}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{card}: not a task description ({type(error).__name__}: {one_line(error)})") from error


def _texts(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Three text fields become two: what follows the first joins it, as a question joins its passage."""
    if not all(isinstance(name, str) for name in fields):
        raise UserError(f"text_fields {list(fields)}: put quotes around each column's name")
    return fields if len(fields) < 3 else ("{" + "} {".join(fields[:-1]) + "}", fields[-1])


def task_from_memory(
    cls: type[Task],
    splits: Mapping[str, Any],
    columns: Columns,
    *,
    name: str,
    metric: str | None,
    folder: str | Path | None,
) -> Task:
    """A task over rows in memory, by split; see `Task.from_pandas`, `from_dicts` and `from_dataset`.

    Raises:
        UserError: what a reader of files refuses, with the row's place in the DataFrame, list or Dataset.
    """
    tables = {split: read_table(data, columns, split=split) for split, data in splits.items()}
    train = tables["train"]
    shape = infer_shape(train.rows, columns, train.label_type)
    _same_names(tables)
    texts = {split: rows_text(table.rows) for split, table in tables.items()}
    paths = {split: rows_path(text, folder) for split, text in texts.items()}
    source = FileSource(files={split: str(path) for split, path in paths.items()})
    task = _task(cls, columns, shape, source, name=name, metric=metric)
    for split, table in tables.items():
        to_split(task, table.rows if split == "train" else scored_rows(task, split, table.rows))
    for split, path in paths.items():
        if keep_text(path, texts[split]):
            say(f"{name}: {len(tables[split].rows)} {split} rows are stored in {path}")
    return task


def _same_names(tables: Mapping[str, Table]) -> None:
    """Refuses splits whose label columns have class names that the training split has not."""
    train = tables["train"].label_type
    for split, table in tables.items():
        if train and table.label_type and set(table.label_type.names) - set(train.names):
            raise UserError(
                f"the {split} rows have the label names {list(table.label_type.names)}, "
                f"the training rows {list(train.names)}; give both the same"
            )


def task_from_dataset(
    cls: type[Task],
    data: Any,
    columns: Columns,
    *,
    validation: Any,
    splits: Mapping[str, str] | None,
    name: str,
    metric: str | None,
    folder: str | Path | None,
) -> Task:
    """See `Task.from_dataset`."""
    container = container_of(data)
    if container == "DatasetDict":
        if validation is not None:
            raise UserError(f"task '{name}': a DatasetDict has its own validation split; say which with splits=")
        names = pick_splits(data, splits, f"task '{name}'")
        picked = {split: data[name_in_data] for split, name_in_data in names.items() if split != "test"}
    else:
        need_container(data, "Dataset", "from_dataset")
        if splits is not None:
            raise UserError(f"task '{name}': splits= picks from a DatasetDict, given a Dataset; use validation=")
        picked = with_validation(data, validation)
    return task_from_memory(cls, picked, columns, name=name, metric=metric, folder=folder)


def with_validation(train: Any, validation: Any) -> dict[str, Any]:
    """The splits of a task that may come without validation rows."""
    return {"train": train} if validation is None else {"train": train, "validation": validation}


def need_container(data: Any, container: Container, constructor: str) -> None:
    """Refuses data that another constructor reads.

    Raises:
        UserError: names what this constructor reads.
    """
    if container_of(data) != container:
        readable = {"list": "a list of dicts", "Dataset": "a datasets.Dataset or DatasetDict"}.get(
            container, f"a {container}"
        )
        raise UserError(
            f"Task.{constructor} reads {readable}, given {type(data).__name__}; Task.from_data reads either"
        )


def task_from_hub(
    cls: type[Task],
    source: HubSource,
    columns: Columns,
    *,
    splits: Mapping[str, str] | None,
    name: str,
    metric: str | None,
) -> Task:
    """See `Task.from_hub`."""
    where = f"task '{name}', hub id '{source.path}'"
    loaded = load_hub(source, name)
    commit = held_commit(loaded)
    pinned = commit if COMMIT.fullmatch(commit) else source.revision  # a cache of `datasets` 2 knows no commit
    picked = pick_splits(loaded, splits, where)
    train = loaded[picked["train"]]
    for column in columns.used:
        if column not in train.column_names:
            raise unknown("column", column, train.column_names, where)
    pinned_source = source.model_copy(update={"splits": picked, "revision": pinned})
    return _task(cls, columns, _hub_shape(train, columns, where), pinned_source, name=name, metric=metric)


def _hub_shape(train: Dataset, columns: Columns, where: str) -> dict[str, Any]:
    """Kind, labels and number of choices; the rows are looked at only for what the features do not say."""
    if columns.kind == GENERATION:
        dicts = plain_rows(train.select_columns(columns.used).select(range(min(SEEN, len(train)))))
        return prompt_shape([Row(row, where) for row in dicts], columns)
    label_type = feature_type(train.features[columns.label]) if isinstance(columns.label, str) else None
    kind = columns.kind or declared_kind(label_type, columns)
    names = label_type.names if label_type else ()
    unnamed = kind in ("regression", "multiple_choice")
    if kind and (names or unnamed) and not isinstance(columns.choices, str):
        count = len(columns.choices) if columns.choices else None
        return {"kind": kind, "labels": () if unnamed else names, "num_choices": count}
    dicts = plain_rows(train.select_columns(columns.used))
    return infer_shape([Row(row, f"{where}: row {n}") for n, row in enumerate(dicts, 1)], columns, label_type)


def pick_splits(known: Iterable[str], splits: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """The data's own name for each of our splits: as the user says, or `train`, and `validation` where there is one.

    >>> pick_splits(["train", "validation", "test"], None, "task 'rte'")
    {'train': 'train', 'validation': 'validation'}

    Raises:
        UserError: a split that the data does not have, or none to train on.
    """
    known = list(known)
    picked: dict[str, str] = dict(splits or {})
    if not splits:
        picked = {name: name for name in known if name in ("train", "validation")}
    for name in picked.values():
        if name not in known:
            raise unknown("split", name, known, where)
    if "train" not in picked:
        raise UserError(f"{where}: no split to train on; name one of {', '.join(known)} with splits={{'train': ...}}")
    if not splits and "validation" not in picked and len(known) > 1:
        say(
            f"{where}: no split 'validation' among {', '.join(known)}: a fifth of train is held out, unless splits= names one"
        )
    return picked


def task_from_data(cls: type[Task], data: Any, options: dict[str, Any]) -> Task:
    """See `Task.from_data`: the constructor for what `data` is, called with the options that it has."""
    options = {name: value for name, value in options.items() if value is not None}
    if container_of(data) == "dict":
        data, options = _from_splits(data, options)
    constructor = _constructor(cls, data)
    parameters = list(inspect.signature(constructor).parameters.values())[1:]  # the first one is the data
    for option in options:
        if option not in (known := [parameter.name for parameter in parameters]):
            raise unknown(f"option of Task.{constructor.__name__}", option, known)
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if missing:
        raise UserError(f"Task.{constructor.__name__} needs {' and '.join(f'{name}=' for name in missing)}")
    return constructor(data, **options)


def _from_splits(splits: Mapping[str, Any], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The training rows of a dict of splits, and the options with its validation rows."""
    for split in splits:
        if split not in SPLIT_NAMES:
            raise unknown(
                "split", str(split), SPLIT_NAMES, "a dict holds splits, each a file, a DataFrame, rows or a Dataset"
            )
    if "train" not in splits:
        raise UserError(f"no split 'train' in the dict, only {', '.join(splits) or 'nothing'}")
    if "validation" in splits and "validation" in options:
        raise UserError("validation rows both in the dict and as validation=; give them once")
    validation = {"validation": splits["validation"]} if "validation" in splits else {}
    return splits["train"], {**options, **validation}


def _constructor(cls: type[Task], data: Any) -> Callable[..., Task]:
    """Which of the constructors reads this data; a string that names nothing on this machine is a hub id."""
    container = container_of(data)
    in_memory: dict[str | None, Callable[..., Task]] = {
        "DataFrame": cls.from_pandas,
        "list": cls.from_dicts,
        "Dataset": cls.from_dataset,
        "DatasetDict": cls.from_dataset,
    }
    if container in in_memory:
        return in_memory[container]
    if container != "path":
        raise UserError(
            f"no task can be read from {type(data).__name__}; give a file, a task folder, a hub id, a pandas DataFrame, "
            "a list of dicts, a datasets.Dataset or DatasetDict (not streamed), or a dict of splits"
        )
    path = user_path(data)
    if path.is_dir():
        return cls.from_folder if (path / "task.json").is_file() or not _data_in(path) else cls.from_file
    local = path.exists() or ending_of(path) or is_pattern(path) or (len(path.parts) > 1 and path.parent.is_dir())
    return cls.from_hub if isinstance(data, str) and not local and HUB_ID.fullmatch(data) else cls.from_file


def _data_in(folder: Path) -> bool:
    """Whether a folder holds data files, and so is one of shards."""
    return any(ending_of(path) for path in folder.iterdir())


def slug(name: str) -> str:
    """A task's name from that of a file or a data set.

    >>> slug("my reviews (2024)")
    'my_reviews_2024_'
    """
    return re.sub(r"[^\w+-]+", "_", name)


def _task(
    cls: type[Task],
    columns: Columns,
    shape: dict[str, Any],
    source: FileSource | HubSource,
    *,
    name: str,
    metric: str | None,
) -> Task:
    return cls(
        name=name,
        text=columns.text,
        label=columns.label,
        choices=columns.choices,
        metric=metric or DEFAULT_METRIC[shape["kind"]],
        source=source,
        **shape,
    )
