"""Infers a task from its label column: its kind, its label names, and how many choices a row has.

    by type     ClassLabel, Categorical     classes, named in their own order
                lists of ClassLabel         multi-label
                float feature               regression, unless its values are few whole numbers
    by value    see `tasksel.tasks.kinds`   said in one line with the reason; refused where it is doubtful

A column that names `choices` makes the task multiple choice, whatever its labels are; several label columns make it multi-label.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast, get_args

from tasksel.display.progress import say
from tasksel.errors import UserError, unknown
from tasksel.tasks.bad_rows import BadRows
from tasksel.tasks.files import Row, need_columns, template_columns
from tasksel.tasks.kinds import CLASSES, Kind, check_lists, class_kind, guess_kind
from tasksel.tasks.label_values import as_number, is_blank, label_name, listed, whole_name
from tasksel.tasks.prompts import GENERATION, default_columns, holds_messages

DEFAULT_METRIC: dict[str, str] = {
    "single_sentence_classification": "accuracy",
    "pair_classification": "accuracy",
    "regression": "pearson_spearman",
    "multi_label": "macro_f1",
    "multiple_choice": "accuracy",
    "generation": "token_f1",
}
Texts = str | Sequence[str]  # a column, or several

Note = Callable[[str], None]  # takes a line for the user

CLASSIFICATION = "classification"  # a user's short word for either of CLASSES
KindWord = Kind | Literal["classification"]


@dataclass(frozen=True)
class Columns:
    """The columns that a task reads, and what its user says of them; None is inferred from the data.

    Attributes:
        text, label, choices, kind, labels, max_new_tokens: as in `Task`.
    """

    text: tuple[str, ...]
    label: str | tuple[str, ...]
    choices: str | tuple[str, ...] | None = None
    kind: Kind | None = None
    labels: tuple[str, ...] | None = None
    max_new_tokens: int | None = None

    @classmethod
    def of(
        cls, text: Texts, label: Texts, choices: Texts | None, kind: str | None, labels: Sequence[str] | None = None,
        max_new_tokens: int | None = None,
    ) -> Self:  # fmt: skip
        """From arguments as users write them: one text or label column or several, label names in any sequence.

        Raises:
            UserError: an unknown kind, or one that several label columns cannot have.
        """
        texts = (text,) if isinstance(text, str) else tuple(text)
        columns = label if isinstance(label, str) else tuple(label) if len(label) > 1 else str(label[0])
        if kind is not None and kind not in (CLASSIFICATION, *get_args(Kind)):
            raise unknown("kind", str(kind), (CLASSIFICATION, *get_args(Kind)))
        if not isinstance(columns, str) and kind not in (None, "multi_label"):
            raise UserError(
                f"{len(columns)} label columns make a multi_label task, not '{kind}': name one column, or leave kind out"
            )
        return cls(
            text=texts,
            label=columns,
            choices=choices if choices is None or isinstance(choices, str) else tuple(choices),
            kind=class_kind(texts) if kind == CLASSIFICATION else cast("Kind | None", kind),
            labels=None if labels is None else tuple(str(name) for name in labels),
            max_new_tokens=max_new_tokens,
        )

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The label's column, or one for each label; those of a target's template."""
        if self.kind == GENERATION:
            return tuple(template_columns((str(self.label),)))
        return (self.label,) if isinstance(self.label, str) else self.label

    def among(self, known: Collection[str]) -> Self:
        """The same, with `toxic,obscene` as two label columns where the data has no column of that whole name.

        Of generation, with the columns that other libraries' files have, where none is named.
        """
        if self.kind == GENERATION:
            if self.text:
                return self
            text, label = default_columns(list(known))
            return replace(self, text=(text,), label=label if self.label == "label" else self.label)
        if not isinstance(self.label, str) or "," not in self.label or self.label in known:
            return self
        parts = tuple(part.strip() for part in self.label.split(",") if part.strip())
        return type(self).of(self.text, parts, self.choices, self.kind, self.labels)

    @property
    def used(self) -> list[str]:
        """Every column that is read, each once."""
        choices = (self.choices,) if isinstance(self.choices, str) else self.choices or ()
        return list(dict.fromkeys([*template_columns((*self.text, *choices)), *self.label_columns]))


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


def infer_shape(
    rows: Sequence[Row], columns: Columns, label_type: LabelType | None = None, *, name: str = "", note: Note = say
) -> dict[str, Any]:
    """A task's kind, label names and number of choices: what the user says, else the column's type, else its values.

    A kind that is inferred from values is said, with the reason; of the task `name`, by `note`.

    Raises:
        UserError: a missing column, a row of a classification task without a label, choices that are not a list, values that may be of
            two kinds.
    """
    need_columns(rows, columns.used)
    if columns.kind == GENERATION:
        return prompt_shape(rows, columns)
    if columns.max_new_tokens is not None:
        raise UserError(f"max_new_tokens {columns.max_new_tokens}: it is for generation; say so (--kind generation)")
    kind = columns.kind or declared_kind(label_type, columns) or _said_kind(rows, columns, label_type, name, note)
    if kind in CLASSES:
        need_labels(rows, str(columns.label))
    if kind == "multi_label" and isinstance(columns.label, str):
        check_lists([(row.values[columns.label], row.where) for row in rows])
    labels = columns.labels or (label_type.names if label_type else ())
    if kind in ("regression", "multiple_choice"):
        labels = ()
    elif not labels:
        several = not isinstance(columns.label, str)
        labels = (
            columns.label_columns if several else infer_labels([row.values[str(columns.label)] for row in rows], kind)
        )
    elif not isinstance(columns.label, str) and len(labels) != len(columns.label):
        raise UserError(
            f"{len(labels)} label names for {len(columns.label)} label columns: give one for each, in their order"
        )
    return {
        "kind": kind,
        "labels": labels,
        "num_choices": count_choices(rows, columns.choices) if columns.choices else None,
    }


def prompt_shape(rows: Sequence[Row], columns: Columns) -> dict[str, Any]:
    """A generation task's fields: a chat where a row's prompt is a list of messages."""
    chat = len(columns.text) == 1 and any(holds_messages(row.values.get(columns.text[0])) for row in rows)
    return {"kind": GENERATION, "chat": chat, "max_new_tokens": columns.max_new_tokens}


def declared_kind(label_type: LabelType | None, columns: Columns) -> Kind | None:
    """The kind that the type of the label column stands for; None where it says nothing, or where the values of a float column decide."""
    if columns.choices is not None:
        return "multiple_choice"
    if not isinstance(columns.label, str):
        return "multi_label"
    if label_type is None or label_type.holds == "regression":
        return None
    return class_kind(columns.text) if label_type.holds == "classes" else label_type.holds


def _said_kind(rows: Sequence[Row], columns: Columns, label_type: LabelType | None, name: str, note: Note) -> Kind:
    """The kind that the values imply, which is said."""
    label = str(columns.label)
    cells = [(row.values[label], row.where) for row in rows]
    kind, reason = guess_kind(cells, columns.text, floats=label_type is not None and label_type.holds == "regression")
    note(f"{name}{': ' * bool(name)}label '{label}': {reason}")
    return kind


def infer_labels(values: Sequence[Any], kind: Kind) -> tuple[str, ...]:
    """The label names in the rows, sorted; numbers by size, so that stars run 1, 2, 3 and not 1, 10, 2.

    Whole numbers have one name however they are written: 1, "1" and 1.0 are "1".

    >>> infer_labels([10, 2, 1], "single_sentence_classification")
    ('1', '2', '10')
    """
    lists = [listed(value) if kind == "multi_label" else [value] for value in values if not is_blank(value)]
    filled = [items for items in lists if items]
    bits = bool(filled) and all(
        len(items) == len(filled[0]) and all(_is_bit(item) for item in items) for items in filled
    )
    if kind == "multi_label" and bits:
        return tuple(f"label_{i}" for i in range(len(filled[0])))
    items = [item for cell in filled for item in cell]
    numbers = [as_number(item) for item in items]
    whole = all(number is not None and number == int(number) for number in numbers)
    return tuple(sorted({(whole_name if whole else label_name)(item) for item in items}, key=_order))


def _is_bit(item: Any) -> bool:
    return isinstance(item, bool) or as_number(item) in (0, 1)


def _order(name: str) -> tuple[int, float, str]:
    number = as_number(name)
    return (1, 0.0, name) if number is None else (0, number, name)


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
        UserError: how many such rows there are, and the first ones.
    """
    bad = BadRows()
    for row in rows:
        if is_blank(row.values[label]):
            bad.add(f"{row.where}: no label in '{label}'; fill it or remove the row")
    bad.refuse()
