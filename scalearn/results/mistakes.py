"""Where a model errs on the rows that it is scored on: of each kind of task what shows it best.

classes          rows by true and predicted label
several labels   precision and recall of each label
numbers          mean absolute error, mean residual (predicted - true), the rows with the largest
choices          the share that is right, by the place of the right choice
texts            how many are the target, how many are empty, the rows with the lowest scores
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tasksel.storage.frozen import Frozen
from tasksel.tasks.examples import Split
from tasksel.tasks.kinds import CLASSES
from tasksel.tasks.metrics import decide, row_scores
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task

LARGEST = 3  # residuals that are listed
BEGINNING = 60  # letters of a listed row's text


class Confusion(Frozen):
    """Of classes: `rows[t][p]` rows of label t are predicted as label p."""

    type: Literal["confusion"] = "confusion"
    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


class LabelErrors(Frozen):
    """One of several labels: the rows that have it, the rows that are said to have it, and the rows of which both hold."""

    label: str
    rows: int
    predicted: int
    right: int

    @property
    def precision(self) -> float | None:
        """The share of the predicted rows that have the label; None if none is predicted."""
        return self.right / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """The share of the label's rows that are predicted; None if there is none."""
        return self.right / self.rows if self.rows else None

    @property
    def f1(self) -> float | None:
        """2 right / (rows + predicted); None if it is neither there nor predicted."""
        return 2 * self.right / (self.rows + self.predicted) if self.rows + self.predicted else None


class Labels(Frozen):
    """Of several labels: each of them."""

    type: Literal["labels"] = "labels"
    labels: tuple[LabelErrors, ...]


class Residual(Frozen):
    """A row: its number among the scored rows from 1, how its text begins, label and prediction."""

    row: int
    text: str
    label: float
    predicted: float


class Residuals(Frozen):
    """Of numbers.

    Attributes:
        mean_absolute: mean |predicted - true|. constant: the same of the training rows' mean as prediction.
        bias: mean (predicted - true). largest: the rows with the largest |predicted - true|.
    """

    type: Literal["residuals"] = "residuals"
    mean_absolute: float
    constant: float
    bias: float
    largest: tuple[Residual, ...]


class Place(Frozen):
    """Of choices: the rows whose right choice is the one of this number from 1, those that are right, and how often it is predicted."""

    place: int
    rows: int
    predicted: int
    right: int


class Places(Frozen):
    """Of choices: each place of the right one."""

    type: Literal["places"] = "places"
    places: tuple[Place, ...]


class WrittenText(Frozen):
    """A row: its number among the scored rows from 1, how its prompt, its target and the written text begin, and the score."""

    row: int
    prompt: str
    target: str
    written: str
    score: float


class WrittenTexts(Frozen):
    """Of written texts.

    Attributes:
        rows: that are scored. exact: that are the target, normalised. empty: in which nothing was written. lowest: those with the lowest scores.
    """

    type: Literal["texts"] = "texts"
    rows: int
    exact: int
    empty: int
    lowest: tuple[WrittenText, ...]


Mistakes = Annotated[Confusion | Labels | Residuals | Places | WrittenTexts, Field(discriminator="type")]


def mistakes(task: Task, logits: np.ndarray, split: Split, *, constant: float = 0.0) -> Mistakes:
    """Where logits [rows, outputs] of a split's rows err, or the texts [rows] that were written.

    Args:
        constant: of numbers, the prediction that is compared with.

    >>> task = Task(name="t", kind="single_sentence_classification", text=("s",), labels=("no", "yes"), metric="accuracy",
    ...             source={"type": "builtin"})
    >>> mistakes(task, np.eye(2)[[0, 0, 1]], Split([("a",), ("b",), ("c",)], None, np.array([0, 1, 1]))).rows
    ((1, 0), (1, 1))
    """
    labels = split.labels
    if task.kind == GENERATION:
        return _written(task.metric, logits, split)
    if task.kind == "regression":
        return _residuals(logits[:, 0].astype(float), split, constant)
    decided = decide(logits, labels)
    if task.kind == "multi_label":
        counts = zip(task.labels, labels.T.astype(int), decided.T, strict=True)
        return Labels(
            labels=tuple(
                LabelErrors(label=name, rows=int(true.sum()), predicted=int(said.sum()), right=int((true * said).sum()))
                for name, true, said in counts
            )
        )
    table = np.zeros((task.outputs, task.outputs), dtype=int)
    np.add.at(table, (labels.astype(int), decided), 1)
    if task.kind in CLASSES:
        return Confusion(labels=task.labels, rows=tuple(tuple(map(int, line)) for line in table))
    return Places(
        places=tuple(
            Place(place=i + 1, rows=int(table[i].sum()), predicted=int(table[:, i].sum()), right=int(table[i, i]))
            for i in range(task.outputs)
        )
    )


def _written(metric: str, texts: np.ndarray, split: Split) -> WrittenTexts:
    scores = row_scores(metric, texts, split.labels)
    lowest = np.argsort(scores, kind="stable")[:LARGEST].tolist()
    return WrittenTexts(
        rows=len(split),
        exact=int(row_scores("exact_match", texts, split.labels).sum()),
        empty=sum(not text for text in texts),
        lowest=tuple(
            WrittenText(
                row=i + 1,
                prompt=_beginning(split.texts[i]),
                target=_beginning((split.labels[i],)),
                written=_beginning((texts[i],)),
                score=float(scores[i]),
            )
            for i in lowest
        ),
    )


def _residuals(predicted: np.ndarray, split: Split, constant: float) -> Residuals:
    truth = split.labels.astype(float)
    gaps = predicted - truth
    largest = np.argsort(-np.abs(gaps), kind="stable")[:LARGEST].tolist()
    return Residuals(
        mean_absolute=float(np.abs(gaps).mean()),
        constant=float(np.abs(constant - truth).mean()),
        bias=float(gaps.mean()),
        largest=tuple(
            Residual(row=i + 1, text=_beginning(split.texts[i]), label=float(truth[i]), predicted=float(predicted[i]))
            for i in largest
        ),
    )


def _beginning(texts: tuple[str, ...]) -> str:
    """How a row's texts begin, on one line."""
    text = " | ".join(" ".join(part[: 4 * BEGINNING].split()) for part in texts)
    return text if len(text) <= BEGINNING else f"{text[: BEGINNING - 1].rstrip()}…"
