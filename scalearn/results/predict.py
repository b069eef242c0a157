"""Predictions for a file or for one text, from a stored result or an exported adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalearn.results.export import EXPORT_FILE, read_export
from scalearn.results.prediction_files import row_ids, score_names
from scalearn.results.result import TransferResult
from tasksel.adapters.folder import load_adapter
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.encoding import encode_split
from tasksel.model.stored_base import stored_base
from tasksel.processes import accelerator
from tasksel.storage.atomic import file_hash
from tasksel.storage.locks import shared
from tasksel.storage.user_path import user_path
from tasksel.tasks.examples import Split, to_split, unlabelled
from tasksel.tasks.files import Row, need_columns, read_rows
from tasksel.tasks.infer import Texts
from tasksel.tasks.labels import are_multi_hot, label_array, labelled_rows
from tasksel.tasks.metrics import Limits, score, within
from tasksel.tasks.prompts import GENERATION, as_chat, holds_messages
from tasksel.tasks.task import FileSource, Task
from tasksel.training.predict import predict


@dataclass(frozen=True)
class Export:
    """An exported adapter with its head, on the base that it was exported for.

    >>> Export.load(Path("out/rte-adapter")).task.name  # doctest: +SKIP
    """

    folder: Path
    task: Task
    base: dict[str, str]
    max_length: int
    only_seed: int
    limits: Limits | None = None
    chosen_base: str | Base | None = None

    @classmethod
    def load(cls, folder: Path, *, base: str | Base | None = None) -> Export:
        """Reads `scalearn.json`, and compares the export's weights with their hashes.

        Args:
            base: where its base lies now, if it was moved; its weights must be the same.

        Raises:
            UserError: another version's export; weights that are missing or altered.
        """
        with shared(folder.parent):  # nobody replaces it meanwhile
            return cls._load(folder, base)

    @classmethod
    def _load(cls, folder: Path, base: str | Base | None) -> Export:
        record = read_export(folder)
        for name, digest in record.files.items():
            if not (folder / name).is_file() or file_hash(folder / name) != digest:
                raise UserError(f"{folder / name}: missing, cut short or altered; export the result again")
        return cls(folder, record.task, record.base, record.max_length, record.seed, record.range, base)

    def range(self, *, seed: int | None = None) -> Limits | None:
        """What predicted numbers are kept in; see `TransferResult.range`."""
        return self.limits

    def load_base(self) -> Base:
        """The base that it was exported for.

        Raises:
            UserError: it is gone, or has other weights.
        """
        return stored_base(self.base, self.chosen_base, owner=str(self.folder), near=self.folder)

    def logits(self, split: Split, *, seed: int | None = None) -> np.ndarray:
        """Logits [rows, outputs] of a split's rows.

        Raises:
            UserError: another seed than the exported one; a base that is gone, or has other weights.
        """
        if seed not in (None, self.only_seed):
            raise UserError(f"{self.folder}: an export holds one seed, {self.only_seed}; not {seed}")
        base = self.load_base()
        model = base.model()
        load_adapter(model, self.folder)
        encoded = encode_split(split, self.task, base.tokenizer, max_length=self.max_length)
        return predict(model.eval().to(accelerator().device), encoded)


def predict_file(
    folder: str | Path, file: str | Path, *, seed: int | None = None, label: Texts | None = None, metric: str | None = None,
    separator: str | None = None, encoding: str | None = None, base: str | Base | None = None,
) -> tuple[list[dict[str, Any]], float | None]:  # fmt: skip
    """Predictions for each row of a file, and the task's metric on the rows that have a label of the task.

    Labels that are hidden (-1, `?`, an empty cell) or not the task's are not scored, which is said.

    Args:
        folder: a transfer result, or an export of one.
        label: the file's label column, where it is not the task's.
        metric: by default the task's.
        separator: between the cells of a text file, where it is not found.
        encoding: of a text file, where it is not found.
        base: where its base lies now, if it was moved; its weights must be the same.

    Returns:
        Rows with `id` (the file's column `id` or `idx`, else the row's number from 1), `prediction` (a label name, a list of names, a
        number, a choice's index, or the written text) and `scores` (the probability of each label, or of each choice by its index; none for a
        number or a text).

    Raises:
        UserError: a folder that is neither; a seed that it does not hold; a file without the task's columns.

    >>> predictions, accuracy = predict_file("out/reviews", "new.csv")  # doctest: +SKIP
    """
    model = _model(folder, base)
    file = user_path(file)
    # one prediction per row of this file, whatever the task's own source
    source = FileSource(files={"predict": str(file)})
    fields = {
        "source": source,
        "explode": None,
        "label": label or model.task.label,
        "metric": metric or model.task.metric,
    }
    task = Task(**model.task.model_dump() | fields)
    rows = read_rows(file, separator=separator, encoding=encoding)
    split = to_split(task, rows, labelled=False)
    logits = within(model.logits(split, seed=seed), model.range(seed=seed))
    names = score_names(task)
    predictions = [
        {"id": name, "prediction": _decision(task, row), "scores": dict(zip(names, _scores(task, row), strict=False))}
        for name, row in zip(row_ids(task, rows), logits, strict=True)
    ]
    empty = sum(row["prediction"] == "" for row in predictions)
    if empty:
        say(f"{empty:,} of {len(predictions):,} texts are empty: the model ended them at once")
    return predictions, _score_of(task, rows, split, logits, named=label is not None)


def _score_of(task: Task, rows: list[Row], split: Split, logits: np.ndarray, *, named: bool) -> float | None:
    """The task's metric on the rows that have a label; None, which is said, where none has or a correlation is not defined.

    Raises:
        UserError: no such label column, where the user named one.
    """
    if not any(column in row.values for row in rows for column in task.label_columns):
        if named:
            need_columns(rows, task.label_columns)
        return None
    known = labelled_rows(task, rows, split.choices)
    if not known:
        say(f"no row has a label of the task '{task.name}': not scored")
        return None
    choices = [split.choices[i] for i in known] if split.choices else None
    labels = label_array(task, [rows[i] for i in known], choices, multi_hot=are_multi_hot(task, rows))
    if task.kind == "regression" and len(np.unique(labels)) < 2:
        say(f"the labels are one number, {labels[0]:g}, with which nothing correlates: not scored")
        return None
    if len(known) < len(rows):
        first = next(i for i in range(len(rows)) if i not in set(known))
        say(
            f"scored on the {len(known)} of {len(rows)} rows that have a label of the task; the first without: {rows[first].where}"
        )
    return score(task.metric, logits[known], labels)


def predict_text(
    folder: str | Path,
    texts: Sequence[str],
    *,
    choices: Sequence[str] = (),
    seed: int | None = None,
    base: str | Base | None = None,
) -> dict[str, Any]:
    """The prediction of a result or an export for one text (two for a pair; with the choices of a multiple-choice task).

    It has `prediction` as `predict_file` gives it, `scores`, and `names`: what each score belongs to (a label, a choice; empty for a
    number, which is its one score).

    Raises:
        UserError: see `predict_file`; too few or too many texts or choices for the task, or an empty one.

    >>> predict_text("out/reviews", ["A fine room."])["prediction"]  # doctest: +SKIP
    'positive'
    """
    model, texts = _model(folder, base), [texts] if isinstance(texts, str) else texts
    task = model.task
    _check_text(task, texts, choices)
    stripped = [choice.strip() for choice in choices]
    split = Split([_of_chat(task, texts)], [stripped] if choices else None, unlabelled(task, 1))
    (logits,) = within(model.logits(split, seed=seed), model.range(seed=seed))
    names = stripped or list(task.labels)
    scores = _scores(task, logits)
    return {"prediction": _decision(task, logits), "scores": scores[: len(names)] if names else scores, "names": names}


def _of_chat(task: Task, texts: Sequence[str]) -> tuple[str, ...]:
    """A row's texts; a chat's is the user's message, unless it is the JSON text of several."""
    stripped = [text.strip() for text in texts]
    return tuple(as_chat(text) if task.chat and not holds_messages(text) else text for text in stripped)


def _check_text(task: Task, texts: Sequence[str], choices: Sequence[str]) -> None:
    if len(texts) != len(task.text):
        options = " ".join(f'--text "<{part}>"' for part in task.text)
        raise UserError(
            f"task '{task.name}' takes {'a pair of texts' if len(task.text) == 2 else 'one text'}, given {len(texts)}: {options}"
        )
    if choices and task.kind != "multiple_choice":
        raise UserError(f"--choice is for multiple choice; task '{task.name}' is {task.kind.replace('_', ' ')}")
    if task.kind == "multiple_choice" and not 2 <= len(choices) <= task.outputs:
        raise UserError(
            f"task '{task.name}' is multiple choice: give 2 to {task.outputs} choices (--choice, once each); given {len(choices)}"
        )
    for what, values in (("text", texts), ("choice", choices)):
        if not all(value.strip() for value in values):
            raise UserError(f"an empty --{what}; give it a word")


def prediction_lines(predicted: dict[str, Any]) -> list[str]:
    """A prediction of `predict_text` for the terminal: the prediction, then each name with its probability, best first.

    >>> prediction_lines({"prediction": "no", "scores": [0.25, 0.75], "names": ["yes", "no"]})[0]
    'no'
    """
    names, prediction = predicted["names"], predicted["prediction"]
    if not names:
        return [prediction if isinstance(prediction, str) else f"{prediction:.4f}"]
    if isinstance(prediction, int):
        prediction = names[prediction]
    elif isinstance(prediction, list):
        prediction = ", ".join(prediction) or "none of the labels (no probability is above one half)"
    names = [" ".join(name.split()) for name in names]  # each stays on its line
    width = max(map(len, names))
    ordered = sorted(zip(names, predicted["scores"], strict=True), key=lambda pair: -pair[1])
    return [prediction, *(f"  {name:<{width}}  {p:.4f}  {'█' * round(20 * p)}".rstrip() for name, p in ordered)]


def _model(folder: str | Path, base: str | Base | None) -> Export | TransferResult:
    folder = user_path(folder)
    if not (folder / EXPORT_FILE).is_file() and not (folder / "run.json").is_file():
        whole = ""
        if (folder / "model.onnx").is_file():
            whole = "; it holds an ONNX export: its README.md shows how onnxruntime predicts"
        elif (folder / "model.safetensors").is_file() and (folder / "config.json").is_file():
            whole = "; it holds a whole model: a merged export's README.md shows how transformers predicts"
        raise UserError(
            f"{folder}: neither a transfer result (result.json) nor an export of one ({EXPORT_FILE}){whole}"
        )
    return (Export if (folder / EXPORT_FILE).is_file() else TransferResult).load(folder, base=base)


def _decision(task: Task, logits: Any) -> Any:
    if task.kind == GENERATION:
        return str(logits)
    if task.kind == "regression":
        return float(logits[0])
    if task.kind == "multi_label":
        return [name for name, logit in zip(task.labels, logits, strict=True) if logit > 0]
    return task.labels[int(logits.argmax())] if task.labels else int(logits.argmax())


def _scores(task: Task, logits: Any) -> list[float]:
    if task.kind == GENERATION:
        return []
    if task.kind == "regression":
        return [float(logits[0])]
    if task.kind == "multi_label":
        return [round(float(p), 6) for p in 1 / (1 + np.exp(-logits))]
    weights = np.exp(logits - logits.max())
    return [round(float(p), 6) for p in weights / weights.sum()]
