"""What a transfer comes to, from its stored result: its score, what it gains over no sources, where it errs, which sources it draws on.

    score          the task's metric on the public validation set, with its interval (`tasksel.tasks.bootstrap`)
    without        the closed form on the bare base: the same training rows, length, pooling and validation rows, no source; of generation what
                   the bare base writes
    gain           score - score without, on the same draws of rows
    constant       the best constant guess on the training rows

It is computed after the transfer, by two passes over the rows, and kept beside the result (`answer.json`) for as long as the seeds are the same.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np

from scalearn.methods.closed_form import ClosedFormBase, Majority, best_constant
from scalearn.methods.registry import get_method
from scalearn.results.answer_table import answer_tables
from scalearn.results.explain import capped
from scalearn.results.mistakes import Mistakes, mistakes
from scalearn.results.result import TransferResult
from scalearn.results.trained_data import trained_data
from tasksel.display.progress import bar, say
from tasksel.display.streams import as_text
from tasksel.errors import UserError
from tasksel.model.encoding import encode_split
from tasksel.model.names import module_name
from tasksel.processes import accelerator, main_writes
from tasksel.storage.atomic import value_hash
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_record, write_hashed
from tasksel.tasks.bootstrap import interval, resampled
from tasksel.tasks.examples import Split
from tasksel.tasks.load import Data
from tasksel.tasks.metrics import label_range, score, within
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import FileSource, Task
from tasksel.training.predict import predict
from tasksel.training.solved_start import solve_head

FILE, VERSION = "answer.json", 1
MOST_ROWS = 5000  # of the validation set, ours: the interval is +- 1.4 % at most
FEW = 50  # validation rows, below which the intervals are said to be wide
WITHOUT = "closed-form-base"
Interval = tuple[float, float]


class Gain(Frozen):
    """What the result gains over a simpler prediction: that one's score, and the difference, with an interval where it has one."""

    score: Score
    gain: float
    interval: Interval | None = None

    @property
    def verdict(self) -> str:
        """ "better", "worse", or "no difference" if the interval, in tenths of a percent, contains 0 or there is none.

        >>> Gain(score=0.5, gain=0.1, interval=(0.02, 0.2)).verdict
        'better'
        """
        low, high = (round(value, 3) for value in self.interval or (0.0, 0.0))
        if low <= 0 <= high:
            return "no difference"
        return "better" if low > 0 else "worse"


class Answer(Frozen):
    """What a transfer comes to, as `answer` computes it; `print` shows it as tables.

    Attributes:
        key: of the seeds' trained states and of how this is computed.
        seed: the best one by its dev score; all below is of that one. seed_scores: the score of each, by seed.
        score, interval: by `metric` on `rows` rows of the `validation_rows` of the public validation set.
        train_rows: train and dev together.
        without: the gain over the closed form on the bare base, of generation over the base as it is; None for a method that is one itself, or reads no text.
        constant: the gain over the best constant guess.
        mistakes: where it errs: a `Confusion`, `Labels`, `Residuals`, `Places` or `WrittenTexts` by the task's kind.
        sources: mean weight by source, best first; None without an omega.
        parts: what may be done with it: "explain", "export". seconds: of training, all seeds together.

    >>> answer(TransferResult.load("out/reviews")).without.gain  # doctest: +SKIP
    0.075
    """

    key: str
    target: str
    kind: str
    method: str
    metric: str
    seed: int
    seed_scores: dict[int, Score]
    score: Score
    interval: Interval | None
    rows: int
    validation_rows: int
    train_rows: int
    without: Gain | None
    constant: Gain
    mistakes: Mistakes
    sources: dict[str, float | None]
    parts: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return as_text(answer_tables(self))

    def __repr__(self) -> str:
        gain = f", {100 * self.without.gain:+.1f} over no sources" if self.without else ""
        return f"Answer({self.target} by {self.method}, seed {self.seed}: {self.metric} {self.score:.4f}{gain})"


def answer(result: TransferResult, *, rows: int | None = None) -> Answer:
    """What a stored result comes to, for its best seed: computed, or read where it is stored beside the result.

    Args:
        rows: at most so many rows of the validation set are scored (a stratified draw, the same for every result); by default 5,000.

    Raises:
        UserError: data that is missing or has changed; less than 1 row.

    >>> print(answer(TransferResult.load("out/reviews")))  # doctest: +SKIP
    """
    if rows is not None and rows < 1:
        raise UserError(f"rows is {rows}; give 1 or more")
    most = MOST_ROWS if rows is None else rows
    states = {seed: record.state_file for seed, record in result.seeds.items()}
    key = value_hash([VERSION, result.run.key, states, most])
    stored = _stored(result.folder / FILE)
    if stored is not None and stored.key == key:
        return stored
    computed = _computed(result, key, most)
    main_writes(_store, result.folder / FILE, computed)
    return computed


def _stored(path: Path) -> Answer | None:
    """The stored answer; None where there is none, or none that can be read, which is said: it is computed again."""
    if not path.is_file():
        return None
    try:
        return read_record(path, Answer, "an answer that this version reads")
    except UserError as error:
        say(f"{error}; it is computed again")
        return None


def _store(path: Path, computed: Answer) -> None:
    """Stores an answer beside its result; where that may not be written to, it is shown all the same."""
    try:
        write_hashed(path, computed.model_dump(mode="json"))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _computed(result: TransferResult, key: str, most: int) -> Answer:
    seed, task = result.best_seed, result.task
    data = trained_data(result, seed)
    test = capped(data.test, most)
    with bar(f"{task.name}: score and gain", 2) as advance:
        logits, without = within(result.logits(test, seed=seed), result.range(seed=seed)), None
        advance("")
        if not isinstance(result.method, ClosedFormBase | Majority):
            without = _without_sources(result, data, test, seed)
        advance("")
    labels = np.concatenate([data.train.labels, data.dev.labels])
    guess = np.tile(best_constant(task, labels)[0], (len(test), 1))
    constant = float(guess[0, 0]) if task.kind == "regression" else 0.0
    guess = guess[:, 0] if task.kind == GENERATION else guess
    models = [logits, guess, *([] if without is None else [without])]
    draws = resampled(task.metric, models, test.labels)
    gains = [_gain(task.metric, models, number, draws, test.labels) for number in range(1, len(models))]
    value = score(task.metric, logits, test.labels)
    certain = interval(draws[:, 0]) if len(test) > 1 else None
    return Answer(
        key=key,
        target=task.name,
        kind=task.kind,
        method=result.run.method,
        metric=task.metric,
        seed=seed,
        seed_scores=result.scores,
        score=value,
        interval=certain,
        rows=len(test),
        validation_rows=len(data.test),
        train_rows=len(labels),
        constant=gains[0],
        without=gains[1] if len(gains) > 1 else None,
        mistakes=mistakes(task, logits, test, constant=constant),
        sources=_sources(result, seed),
        parts=tuple(_parts(result)),
        seconds=sum(record.seconds for record in result.seeds.values()),
        notes=tuple(_notes(task, test, certain)),
    )


def _without_sources(result: TransferResult, data: Data, test: Split, seed: int) -> np.ndarray:
    """Logits [rows, outputs] of the closed form on the bare base, which reads the rows as the result's model does; or what that base writes."""
    task, base, length = result.task, result.base, result.run.recipe.max_length
    if task.kind == GENERATION:
        untrained = base.model().to(accelerator().device)
        return predict(untrained, encode_split(test, task, base.tokenizer, max_length=length))
    model = result.model(seed=seed)
    pooling = model.heads[model.active_head].pooling
    bare = get_method(WITHOUT).build(base, task, {}, {}, seed=seed, pooling=pooling)
    train, dev, scored = (
        encode_split(split, task, base.tokenizer, max_length=length) for split in (data.train, data.dev, test)
    )
    rows = train.joined(dev)
    solve_head(bare, task, rows, seed=seed)
    return within(predict(bare, scored), label_range(task.kind, rows.labels))


def _gain(metric: str, models: list[np.ndarray], number: int, draws: np.ndarray, labels: np.ndarray) -> Gain:
    """The first model's gain over another."""
    value = score(metric, models[number], labels)
    certain = interval(draws[:, 0] - draws[:, number]) if len(labels) > 1 else None
    return Gain(score=value, gain=score(metric, models[0], labels) - value, interval=certain)


def _sources(result: TransferResult, seed: int) -> dict[str, float | None]:
    """The sources, the largest mean weight first; without weights in the order in which they were passed, best first."""
    names = tuple(result.run.sources)
    weights = result.method.source_weights(result.model(seed=seed), module_name(result.task.name))
    if not weights or len(weights) != len(names):
        return dict.fromkeys(names)
    used = [number for number in range(len(names)) if weights[number]]  # `auto` may leave one out, or all
    order = sorted(used, key=lambda number: -abs(weights[number]))
    return {names[number]: weights[number] for number in order}


def _parts(result: TransferResult) -> list[str]:
    able: dict[str, Any] = {"explain": result.method.mixes, "export": not result.method.export_reason}
    return [name for name, can in able.items() if can]


def _notes(task: Task, test: Split, certain: Interval | None) -> list[str]:
    """What limits the score, in words."""
    more = " (--validation names a file)" if isinstance(task.source, FileSource) else ""
    if len(test) == 1:
        return [f"one validation row says next to nothing, and gives no interval: label more rows{more}"]
    notes = []
    if len(test) < FEW:
        notes.append(f"{len(test)} validation rows are few, so the intervals are wide: more rows narrow them{more}")
    if len(np.unique(test.labels, axis=0)) == 1:
        notes.append(f"all validation rows have the same label, of which {task.metric} says little")
    elif certain is None:
        notes.append("no interval of the score: it is the same on every draw of these rows, or has no meaning on most")
    return notes
