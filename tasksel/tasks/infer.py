"""Infers a task from its label column: its kind, its label names, and how many choices a row has.

    by type     ClassLabel, Categorical     classes, named in their own order
                lists of ClassLabel         multi-label
                float feature               regression
    by value    a list, or `a|b`            multi-label
                a fraction                  regression
                anything else               classes, sorted

A column that names `choices` makes the task multiple choice, whatever its labels are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from tasksel.errors import UserError
from tasksel.tasks.files import Row, need_columns, template_columns

Kind = Literal["single_sentence_classification", "pair_classification", "regression", "multi_label", "multiple_choice"]
DEFAULT_METRIC: dict[str, str] = {
    "single_sentence_classification": "accuracy",
    "pair_classification": "accuracy",
    "regression": "pearson_spearman",
    "multi_label": "macro_f1",
    "multiple_choice": "accuracy",
}
Texts = str | Sequence[str]  # a column, or several

CLASSES = ("single_sentence_classification", "pair_classification")


@dataclass(frozen=True)
class Columns:
    """The columns that a task reads, and what its user says of them; None is inferred from the data.

    Attributes:
        text, label, choices, kind, labels: as in `Task`.
    """

    text: tuple[str, ...]
    label: str
    choices: str | tuple[str, ...] | None = None
    kind: Kind | None = None
    labels: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, text: Texts, label: str, choices: Texts | None, kind: Kind | None, labels: Sequence[str] | None = None
    ) -> Self:
        """From arguments as users write them: one text column or several, label names in any sequence."""
        return cls(
            text=(text,) if isinstance(text, str) else tuple(text),
            label=label,
            choices=choices if choices is None or isinstance(choices, str) else tuple(choices),
            kind=kind,
            labels=None if labels is None else tuple(str(name) for name in labels),
        )

    @property
    def used(self) -> list[str]:
        """Every column that is read, each once."""
        choices = (self.choices,) if isinstance(self.choices, str) else self.choices or ()
        return list(dict.fromkeys([*template_columns((*self.text, *choices)), self.label]))


@dataclass(frozen=True)
class LabelType:
    """What the type of a label column says, before any value is read."""

    holds: Literal["classes", "multi_label", "regression"]
    names: tuple[str, ...] = ()  # in the order of their indices


def class_names(feature: object) -> tuple[str, ...] | None:
    """The names of a column of class labels, or of lists of them, of a Hugging Face data set."""
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return None if names is None else tuple(names)


def feature_type(feature: object) -> LabelType | None:
    """What the feature of a column of a Hugging Face data set says of it; None where the values decide.

    >>> from datasets import ClassLabel, Value
    >>> feature_type(ClassLabel(names=["no", "yes"]))
    LabelType(holds='classes', names=('no', 'yes'))
    >>> feature_type(Value("float32")), feature_type(Value("string"))
    (LabelType(holds='regression', names=()), None)
    """
    names = class_names(feature)
    if names is not None:
        return LabelType("multi_label" if hasattr(feature, "feature") else "classes", names)
    return LabelType("regression") if str(getattr(feature, "dtype", "")).startswith(("float", "decimal")) else None


def infer_shape(rows: Sequence[Row], columns: Columns, label_type: LabelType | None = None) -> dict[str, Any]:
    """A task's kind, label names and number of choices: what the user says, else the column's type, else its values.

    Raises:
        UserError: a missing column, a row of a classification task without a label, choices that are not a list.
    """
    need_columns(list(rows), columns.used)
    values = [row.values[columns.label] for row in rows]
    kind = columns.kind or declared_kind(label_type, columns) or infer_kind(values, columns.text, columns.choices)
    if kind in CLASSES:
        need_labels(rows, columns.label)
    labels = columns.labels or (label_type.names if label_type else ())
    unnamed = kind in ("regression", "multiple_choice")
    return {
        "kind": kind,
        "labels": () if unnamed else labels or infer_labels(values, kind),
        "num_choices": count_choices(rows, columns.choices) if columns.choices else None,
    }


def declared_kind(label_type: LabelType | None, columns: Columns) -> Kind | None:
    """The kind that the type of the label column stands for; None where it says nothing."""
    if columns.choices is not None:
        return "multiple_choice"
    if label_type is None:
        return None
    return _classes(columns.text) if label_type.holds == "classes" else label_type.holds


def infer_kind(values: Sequence[Any], columns: Sequence[str], choices: object) -> Kind:
    """The kind that the values of the label column imply.

    >>> infer_kind(["good", "bad"], ["text"], None)
    'single_sentence_classification'
    >>> infer_kind([1, 2.5], ["text"], None), infer_kind(["food|water", ""], ["text"], None)
    ('regression', 'multi_label')
    """
    if choices is not None:
        return "multiple_choice"
    if any(isinstance(value, list) or (isinstance(value, str) and "|" in value) for value in values):
        return "multi_label"
    if any(isinstance(value, float) or (isinstance(value, str) and _is_fraction(value)) for value in values):
        return "regression"
    return _classes(columns)


def _classes(columns: Sequence[str]) -> Kind:
    return "pair_classification" if len(columns) == 2 else "single_sentence_classification"


def _is_fraction(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return not value.strip().lstrip("+-").isdecimal()


def infer_labels(values: Sequence[Any], kind: Kind) -> tuple[str, ...]:
    """The label names in the rows, sorted; numbers by size, so that stars run 1, 2, 3 and not 1, 10, 2.

    >>> infer_labels([10, 2, 1], "single_sentence_classification")
    ('1', '2', '10')
    """
    if kind == "multi_label":
        lists = [
            value if isinstance(value, list) else [part for part in str(value).split("|") if part] for value in values
        ]
        if all(len(items) == len(lists[0]) and all(item in (0, 1) for item in items) for items in lists):
            return tuple(f"label_{i}" for i in range(len(lists[0])))
        names = {str(item).strip() for items in lists for item in items}
    else:
        names = {str(value).strip() for value in values}
    return tuple(sorted(names, key=lambda name: (0, int(name), "") if name.lstrip("-").isdecimal() else (1, 0, name)))


def count_choices(rows: Sequence[Row], choices: str | tuple[str, ...]) -> int:
    """The most choices that a row has.

    Raises:
        UserError: `choices` is one column, and a row of it does not hold a list.
    """
    if not isinstance(choices, str):
        return len(choices)
    for row in rows:
        if not isinstance(row.values[choices], list):
            raise UserError(f"{row.where}: choices {row.values[choices]!r} in '{choices}'; give a list of texts")
    return max(len(row.values[choices]) for row in rows)


def need_labels(rows: Sequence[Row], label: str) -> None:
    """Refuses rows of a classification task that have no label: a missing label is not a class.

    Raises:
        UserError: the first such row.
    """
    for row in rows:
        if row.values[label] is None or not str(row.values[label]).strip():
            raise UserError(f"{row.where}: no label in '{label}'; fill it or remove the row")
