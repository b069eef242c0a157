"""Predictions for a file or for one text, from a stored result or an exported adapter."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from scalearn.results.export import EXPORT_FILE
from scalearn.results.result import TransferResult
from tasksel.errors import UserError
from tasksel.model.base import load_base, quiet
from tasksel.model.encoding import encode_split
from tasksel.processes import accelerator
from tasksel.storage.atomic import file_hash, read_json, write_text
from tasksel.storage.locks import shared
from tasksel.tasks.examples import Split, to_split
from tasksel.tasks.files import read_rows
from tasksel.tasks.metrics import score
from tasksel.tasks.task import FileSource, Task
from tasksel.training.predict import predict


@dataclass(frozen=True)
class Export:
    """An exported adapter, loaded by plain `adapters`.

    >>> Export.load(Path("out/rte-adapter")).task.name  # doctest: +SKIP
    """

    folder: Path
    task: Task
    base: dict[str, str]
    max_length: int
    only_seed: int

    @classmethod
    def load(cls, folder: Path) -> Export:
        """Reads `scalearn.json`, and compares the export's weights with their hashes.

        Raises:
            UserError: another version's export; weights that are missing (the library would look for a pickle) or altered.
        """
        with shared(folder.parent):  # nobody replaces it meanwhile
            return cls._load(folder)

    @classmethod
    def _load(cls, folder: Path) -> Export:
        description = read_json(folder / EXPORT_FILE)
        try:
            task, files = Task.model_validate(description["task"]), dict(description["files"])
            base, length, seed = dict(description["base"]), description["max_length"], description["seed"]
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise UserError(
                f"{folder / EXPORT_FILE}: not an export that this version reads; export the result again"
            ) from error
        for name, digest in files.items():
            if not (folder / name).is_file() or file_hash(folder / name) != digest:
                raise UserError(f"{folder / name}: missing, cut short or altered; export the result again")
        return cls(folder, task, base, length, seed)

    def logits(self, split: Split, *, seed: int | None = None) -> np.ndarray:
        """Logits [rows, outputs] of a split's rows.

        Raises:
            UserError: another seed than the exported one; other base weights here.
        """
        if seed not in (None, self.only_seed):
            raise UserError(f"{self.folder}: an export holds one seed, {self.only_seed}; not {seed}")
        base = load_base(self.base["name"])
        if base.fingerprint != self.base["fingerprint"]:
            expected = self.base["fingerprint"]
            raise UserError(
                f"{self.folder}: exported for base '{base.name}' with weights {expected}; the one here has {base.fingerprint}"
            )
        model = base.model()
        with quiet():
            model.set_active_adapters(model.load_adapter(str(self.folder), use_safetensors=True))
        encoded = encode_split(split, self.task, base.tokenizer, max_length=self.max_length)
        return predict(model.eval().to(accelerator().device), encoded)


def predict_file(folder: Path, file: Path, *, seed: int | None = None) -> tuple[list[dict[str, Any]], float | None]:
    """Predictions for each row of a file, and the task's metric where every row has a label.

    Args:
        folder: a transfer result, or an export of one.

    Returns:
        Rows with `prediction` (a label name, a list of names, a number, or a choice's index) and `scores` (probabilities,
        or the number).

    Raises:
        UserError: a folder that is neither; a seed that it does not hold; a file without the task's columns.

    >>> predictions, accuracy = predict_file(Path("out/reviews"), Path("new.csv"))  # doctest: +SKIP
    """
    model = _model(folder)
    # one prediction per row of this file, whatever the task's own source
    source = FileSource(files={"predict": str(file)})
    task = model.task.model_copy(update={"source": source, "explode": None})
    rows = read_rows(file)
    blank = () if task.kind == "multi_label" else (None, "")  # a multi-label row may have no label
    labelled = all(task.label in row.values and row.values[task.label] not in blank for row in rows)
    split = to_split(task, rows, labelled=labelled)
    logits = model.logits(split, seed=seed)
    predictions = [{"prediction": _decision(task, row), "scores": _scores(task, row)} for row in logits]
    return predictions, score(task.metric, logits, split.labels) if labelled else None


def predict_text(
    folder: Path, texts: Sequence[str], *, choices: Sequence[str] = (), seed: int | None = None
) -> dict[str, Any]:
    """The prediction for one text (two for a pair; with the choices of a multiple-choice task), in the form of `predict_file`.

    Beside `prediction` and `scores` it has `names`: what each score belongs to (a label, a choice; empty for a number).

    Raises:
        UserError: see `predict_file`; too few or too many texts or choices for the task, or an empty one.

    >>> predict_text(Path("out/reviews"), ["A fine room."])["prediction"]  # doctest: +SKIP
    'positive'
    """
    model = _model(folder)
    task = model.task
    _check_text(task, texts, choices)
    stripped = [choice.strip() for choice in choices]
    split = Split([tuple(text.strip() for text in texts)], [stripped] if choices else None, np.zeros(1, dtype=np.int64))
    (logits,) = model.logits(split, seed=seed)
    names = stripped or list(task.labels)
    scores = _scores(task, logits)
    return {"prediction": _decision(task, logits), "scores": scores[: len(names)] if names else scores, "names": names}


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
        return [f"{prediction:.4f}"]
    if isinstance(prediction, int):
        prediction = names[prediction]
    elif isinstance(prediction, list):
        prediction = ", ".join(prediction) or "none of the labels (no probability is above one half)"
    width = max(map(len, names))
    ordered = sorted(zip(names, predicted["scores"], strict=True), key=lambda pair: -pair[1])
    return [prediction, *(f"  {name:<{width}}  {p:.4f}  {'█' * round(20 * p)}".rstrip() for name, p in ordered)]


def _model(folder: Path) -> Export | TransferResult:
    if not (folder / EXPORT_FILE).is_file() and not (folder / "run.json").is_file():
        raise UserError(f"{folder}: neither a transfer result (result.json) nor an export of one ({EXPORT_FILE})")
    return Export.load(folder) if (folder / EXPORT_FILE).is_file() else TransferResult.load(folder)


def _decision(task: Task, logits: np.ndarray) -> Any:
    if task.kind == "regression":
        return float(logits[0])
    if task.kind == "multi_label":
        return [name for name, logit in zip(task.labels, logits, strict=True) if logit > 0]
    return task.labels[int(logits.argmax())] if task.labels else int(logits.argmax())


def _scores(task: Task, logits: np.ndarray) -> list[float]:
    if task.kind == "regression":
        return [float(logits[0])]
    if task.kind == "multi_label":
        return [round(float(p), 6) for p in 1 / (1 + np.exp(-logits))]
    weights = np.exp(logits - logits.max())
    return [round(float(p), 6) for p in weights / weights.sum()]


def write_predictions(predictions: list[dict[str, Any]], out: Path) -> None:
    """Writes predictions as JSONL or CSV, by the file's ending, atomically.

    Raises:
        UserError: another ending.
    """
    if out.suffix == ".jsonl":
        write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in predictions))
    elif out.suffix == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["prediction", "scores"])
        writer.writerows([_plain(row["prediction"]), json.dumps(row["scores"])] for row in predictions)
        write_text(out, text.getvalue())
    else:
        raise UserError(f"{out}: cannot write '{out.suffix}'; allowed: .jsonl, .csv")


def _plain(value: Any) -> Any:
    return "|".join(value) if isinstance(value, list) else value
