"""Rows of pandas DataFrames, lists of dicts and Hugging Face Datasets, with the place of each and the type of its label.

Neither pandas nor `datasets` is imported here: a caller that has a DataFrame has imported it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasksel.errors import UserError, unknown
from tasksel.tasks.files import Row, need_columns
from tasksel.tasks.infer import CLASSES, Columns, LabelType, declared_kind, feature_type
from tasksel.tasks.stored_rows import plain

Container = Literal["DataFrame", "Dataset", "DatasetDict", "dict", "list", "path"]


@dataclass(frozen=True)
class Table:
    """Rows of plain values, and what the type of the label column says."""

    rows: list[Row]
    label_type: LabelType | None


def container_of(data: Any) -> Container | None:
    """The container of the data, by the name of its type or of a base class of it; None for one that is not read.

    >>> container_of([{"text": "fine"}]), container_of("reviews.csv"), container_of(7)
    ('list', 'path', None)
    """
    libraries: dict[tuple[str, str], Container] = {
        ("pandas", "DataFrame"): "DataFrame",
        ("datasets", "Dataset"): "Dataset",
        ("datasets", "DatasetDict"): "DatasetDict",
        ("builtins", "dict"): "dict",
        ("builtins", "list"): "list",
        ("builtins", "tuple"): "list",
        ("builtins", "str"): "path",
        ("pathlib", "PurePath"): "path",
    }
    for kind in type(data).__mro__:
        if container := libraries.get((kind.__module__.split(".")[0], kind.__name__)):
            return container
    return None


def read_table(data: Any, columns: Columns, *, split: str = "train") -> Table:
    """The columns that a task reads, as plain values; class labels and categories as their names.

    Raises:
        UserError: no such container, no rows, a missing column (with the nearest), a value that cannot be stored (with its row).
    """
    readers = {"DataFrame": _frame, "Dataset": _dataset, "list": _dicts}
    container = container_of(data)
    if container not in readers:
        raise UserError(
            f"{split} rows as {type(data).__name__}: give a pandas DataFrame, a list of dicts or a datasets.Dataset (not streamed)"
        )
    what = f"the {container}" if split == "train" else f"the {split} {container}"
    if not len(data):
        raise UserError(f"{what} is empty: it has no rows")
    return readers[str(container)](data, columns, what)


def _frame(frame: Any, columns: Columns, what: str) -> Table:
    """Rows of a DataFrame; an error names a row by its number, from 1, and its index."""
    names = [str(name) for name in frame.columns]
    _need_columns(names, columns, what)
    for name in columns.used:
        if names.count(name) > 1:
            raise UserError(f"{what} has {names.count(name)} columns '{name}'; rename all but one")
    series = {name: frame.iloc[:, names.index(name)] for name in columns.used}
    values = zip(*(column.tolist() for column in series.values()), strict=True)
    places = [f"row {n} of {what} (index {index!r})" for n, index in enumerate(frame.index.tolist(), 1)]
    rows = [(dict(zip(series, row, strict=True)), where) for row, where in zip(values, places, strict=True)]
    categories = (
        getattr(getattr(series.get(columns.label), "dtype", None), "categories", None)
        if isinstance(columns.label, str)
        else None
    )
    if categories is None:
        return Table(_plain_rows(rows, columns), None)
    names_by_category = {category: str(category).strip() for category in categories.tolist()}
    label_type = LabelType("classes", tuple(names_by_category.values()))
    return Table(_plain_rows(rows, columns, label_type, names_by_category.get), label_type)


def _dicts(dicts: Sequence[Any], columns: Columns, what: str) -> Table:
    """Rows of a list of dicts, which may hold further keys."""
    rows = []
    for number, values in enumerate(dicts, 1):
        where = f"row {number} of {what}"
        if not isinstance(values, Mapping):
            raise UserError(f"{where}: a row must be a dict, given {type(values).__name__}")
        rows.append(Row({str(key): value for key, value in values.items()}, where))
    need_columns(rows, columns.used)
    return Table(_plain_rows(((row.values, row.where) for row in rows), columns), None)


def _dataset(dataset: Any, columns: Columns, what: str) -> Table:
    """Rows of a Dataset; an index outside its class labels, -1 by custom, is not a label."""
    _need_columns(dataset.column_names, columns, what)
    label_type = feature_type(dataset.features.get(columns.label)) if isinstance(columns.label, str) else None
    names = label_type.names if label_type else ()

    def name_of(index: Any) -> Any:
        if isinstance(index, list):
            return [name_of(item) for item in index]
        return names[index] if index is not None and 0 <= index < len(names) else None

    dicts = dataset.select_columns(columns.used).to_list()
    rows = [(values, f"row {number} of {what}") for number, values in enumerate(dicts, 1)]
    return Table(_plain_rows(rows, columns, label_type, name_of), label_type)


def _need_columns(names: Iterable[str], columns: Columns, what: str) -> None:
    for column in columns.used:
        if column not in names:
            raise unknown(f"column in {what}:", column, names)


def _plain_rows(
    rows: Iterable[tuple[Mapping[str, Any], str]],
    columns: Columns,
    label_type: LabelType | None = None,
    name_of: Callable[[Any], Any] | None = None,
) -> list[Row]:
    """The used columns of each row and its place; labels by name, where the task has named labels and `name_of` knows them."""
    kind = columns.kind or declared_kind(label_type, columns)
    by_name = name_of if label_type and label_type.names and kind in (*CLASSES, "multi_label") else None
    plain_rows = []
    for values, where in rows:
        used = {name: values[name] for name in columns.used}
        if by_name:
            used[str(columns.label)] = by_name(used[str(columns.label)])
        plain_rows.append(Row({name: plain(value, f"{where}: column '{name}'") for name, value in used.items()}, where))
    return plain_rows
