"""Conformance checks for embedders and selectors of your own, as scikit-learn's `check_estimator` (docs/guides/add_a_selector.md).

from tasksel.testing import check_embedder, check_selector
check_embedder(MyEmbedder(), folder=tmp_path)       # in a test: passes, or fails with a sentence
check_selector(MySelector(), folder=tmp_path)
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.train import train_adapter
from tasksel.embeddings.base import Embedder, Inputs, Needs, TaskEmbedding
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.selection.base import ScoreName, SelectionCost, Selector
from tasksel.selection.candidate import TaskCandidate, TaskOnBase
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.registry import get_task
from tasksel.tasks.task import Task
from tasksel.training.recipe import Recipe

TASKS = ("sentiment_films", "entail_travel", "rating_hotels")  # one text, a pair, a number
ROWS, SEED = 40, 1  # not seed 0: an embedder that ignores its seed must not pass by chance
QUICK = Recipe(epochs=1, max_length=32)
WORD = re.compile(r"\w[\w.+-]*")  # allowed in a file's name
ROUNDING = 1e-5


def check_embedder(embedder: Embedder, base: str | Base = "minilm", *, folder: Path) -> None:
    """Runs an embedder on three small built-in tasks and checks it against the contract of `tasksel.embeddings.base.Embedder`.

    Args:
        embedder: with the settings to be checked; choose few rows and steps.
        base: the base model or its name.
        folder: where embeddings, and adapters if the embedder needs them, are written.

    Raises:
        AssertionError: the first violation, as a sentence.

    Example: an embedder of your own, checked, then used to rank sources.

    >>> from dataclasses import dataclass
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import tasksel as ts
    >>> from tasksel.embeddings.base import Embedder, must_match
    >>> from tasksel.testing import check_embedder
    >>> @dataclass(frozen=True)
    ... class TextLengths(Embedder):
    ...     name = "text-lengths"
    ...     longest: int = 30  # a setting
    ...
    ...     def arrays(self, task_input):
    ...         lengths = [min(len(" ".join(texts).split()), self.longest) for texts in task_input.data.train.texts]
    ...         return {"shares": np.bincount(lengths, minlength=self.longest + 1) / len(lengths)}
    ...
    ...     def similarity(self, a, b):
    ...         must_match(a, b)
    ...         return 1 - float(abs(a.arrays["shares"] - b.arrays["shares"]).sum()) / 2
    >>> check_embedder(TextLengths(), folder=Path("checked"))
    >>> sources = [ts.get_task(name) for name in ("entail_travel", "sentiment_phones")]
    >>> ts.rank(ts.get_task("sentiment_films"), sources, by=TextLengths()).top(1)
    ['sentiment_phones']
    """
    _declares_an_embedder(embedder)
    model = load_base(base) if isinstance(base, str) else base
    examples = [_example(name, embedder.needs, model, folder) for name in TASKS]
    embeddings = _checked_embeddings(embedder, examples, folder)
    _is_reproducible(embedder, examples[0], embeddings[0])
    _ranks_itself_first(embedder, embeddings)
    _refuses_other_bases_and_settings(embedder, embeddings[0])


def check_selector(selector: Selector, base: str | Base = "minilm", *, folder: Path) -> None:
    """Lets a selector rank small built-in tasks and checks it against the contract of `tasksel.selection.base.Selector`.

    Args:
        selector: with the settings to be checked; choose few rows and steps. An order drawn by position (`Random`) fails: the sources are reversed.
        base: the base model or its name.
        folder: keeps what is computed of the tasks, adapters if the selector needs them.

    Raises:
        AssertionError: the first violation, as a sentence.

    Example: a selector of your own, checked, then used to rank sources.

    >>> from dataclasses import dataclass
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import tasksel as ts
    >>> from tasksel.testing import check_selector
    >>> @dataclass(frozen=True)
    ... class SameLength(ts.Selector):
    ...     name = "same-length"
    ...     rows: int = 100  # a setting
    ...
    ...     @property
    ...     def key(self):
    ...         return f"same-length-{self.rows}"
    ...
    ...     def scores(self, target, sources):
    ...         def mean_length(task):
    ...             return float(np.mean([len(" ".join(texts).split()) for texts in task.data.train.texts[: self.rows]]))
    ...         return [-abs(mean_length(source) - mean_length(target)) for source in sources]
    >>> check_selector(SameLength(), folder=Path("checked"))
    >>> sources = [ts.get_task(name) for name in ("entail_travel", "sentiment_phones")]
    >>> ts.rank(ts.get_task("sentiment_films"), sources, by=SameLength()).top(1)
    ['sentiment_phones']
    """
    _declares_a_selector(selector)
    model = load_base(base) if isinstance(base, str) else base
    target = _WatchedTask(TASKS[0], model, folder, declared="target_needs", needs=selector.target_needs)
    sources = [_WatchedTask(name, model, folder, declared="needs", needs=selector.needs) for name in TASKS[1:]]
    scores, cost = selector.scores_with_cost(target, sources)
    _are_scores(scores, len(sources), "scores")
    _is_a_cost(cost)
    _scores_do_not_depend_on_order(selector, target, sources, scores)
    for task in (target, *sources):
        _is_unchanged(task.example, "scores")


@dataclass(frozen=True)
class _Example:
    """A task with everything that an embedder reads."""

    task: Task
    data: Data
    fingerprint: str  # of the data before any embedder read it
    base: Base
    trained: AdapterCheckpoint | None


def _example(name: str, needs: Needs, base: Base, folder: Path, *, seed: int = 0) -> _Example:
    """A built-in task with few rows, and a briefly trained adapter where one is needed."""
    task = get_task(name)
    data = load_data(task, rows=ROWS, seed=seed)
    trained = None
    if needs == "adapter":
        trained = train_adapter(task, data, base, folder / name, recipe=QUICK)
    return _Example(task, data, data.fingerprint, base, trained)


class _WatchedTask(TaskOnBase):
    """A task that refuses to give its adapter to a selector that has not declared that it needs one."""

    def __init__(self, name: str, base: Base, folder: Path, *, declared: str, needs: Needs) -> None:
        self.example, self.declared = _example(name, needs, base, folder, seed=SEED), declared
        candidate = TaskCandidate(
            self.example.task, ROWS, SEED, folder=folder / name / "kept", trained=self.example.trained
        )
        super().__init__(candidate, base)

    @cached_property
    def data(self) -> Data:
        """The rows, which are compared afterwards with what they were."""
        return self.example.data

    @cached_property
    def trained(self) -> AdapterCheckpoint:
        """The adapter, where it is declared."""
        undeclared = (
            f"`{self.declared}` is 'data', but the trained adapter of '{self.name}' is asked for; declare 'adapter'"
        )
        if self.example.trained is None:
            raise AssertionError(undeclared)
        return self.example.trained


def _embed(embedder: Embedder, example: _Example, rows: _Example) -> TaskEmbedding:
    """The example's embedding, computed from the rows of another, or its own."""
    return embedder.embed(rows.task, rows.data, example.base, seed=SEED, trained=example.trained)


def _require(fulfilled: bool, complaint: str) -> None:
    if not fulfilled:
        raise AssertionError(complaint)


def _declares_an_embedder(embedder: Embedder) -> None:
    """Base class, names and declared attributes."""
    _is_instance(Embedder, embedder)
    final = type(embedder).embed is Embedder.embed
    _require(final, "`embed` is overridden; write `arrays`: the clock, the provenance and the key are the base class's")
    _has_names(embedder)
    _has_one_of(embedder, "needs", get_args(Needs))
    _has_one_of(embedder, "inputs", get_args(Inputs))


def _declares_a_selector(selector: Selector) -> None:
    """Base class, names and declared attributes."""
    _is_instance(Selector, selector)
    _has_names(selector)
    _has_one_of(selector, "needs", get_args(Needs))
    _has_one_of(selector, "target_needs", get_args(Needs))
    _has_one_of(selector, "score_name", get_args(ScoreName))


def _checked_embeddings(embedder: Embedder, examples: Sequence[_Example], folder: Path) -> list[TaskEmbedding]:
    """The examples' embeddings, from the first one's rows where the embedder declares inputs = "target"; each is checked."""
    rows_of = [examples[0] if embedder.inputs == "target" else example for example in examples]
    embeddings = [_embed(embedder, example, rows) for example, rows in zip(examples, rows_of, strict=True)]
    for embedding, example, rows in zip(embeddings, examples, rows_of, strict=True):
        _is_whole(embedding)
        _keeps_its_provenance(embedding, embedder, example, rows)
        _survives_saving(embedding, folder / "embeddings" / f"{embedder.key}.safetensors")
        _is_unchanged(example, "arrays")
    return embeddings


def _is_instance(base_class: type, extension: Any) -> None:
    name = f"tasksel.{base_class.__name__}"
    _require(
        isinstance(extension, base_class), f"{type(extension).__name__} is not a {name}; write `class … ({name}):`"
    )


def _has_names(extension: Embedder | Selector) -> None:
    for what, word in (("name", extension.name), ("key", extension.key)):
        fits = isinstance(word, str) and WORD.fullmatch(word) is not None
        _require(fits, f"`{what}` is {word!r}; files are named by it: letters, digits, '_', '.', '+' and '-' only")


def _has_one_of(extension: Embedder | Selector, declared: str, allowed: Sequence[str]) -> None:
    value = getattr(extension, declared)
    _require(value in allowed, f"`{declared}` is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def _is_whole(embedding: TaskEmbedding) -> None:
    _require(
        isinstance(embedding.arrays, dict), f"`arrays` returns a {type(embedding.arrays).__name__}, not a dict by name"
    )
    _require(bool(embedding.arrays), "the embedding has no arrays")
    for name, array in embedding.arrays.items():
        _require(isinstance(array, np.ndarray), f"array '{name}' is a {type(array).__name__}, not a numpy array")
        finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        _require(finite, f"array '{name}' holds numbers that are NaN or infinite")


def _keeps_its_provenance(embedding: TaskEmbedding, embedder: Embedder, example: _Example, rows: _Example) -> None:
    """What `Embedder.embed` writes into the provenance is still there."""
    expected: dict[str, Any] = {"task": rows.task.name, "data": rows.fingerprint}
    expected |= {"base": example.base.name, "base_fingerprint": example.base.fingerprint}
    expected |= {"method": embedder.name, "key": embedder.key, "seed": SEED}
    expected |= {"adapter": example.trained.fingerprint if example.trained else None}
    for field, value in expected.items():
        stated = embedding.provenance[field]
        _require(
            stated == value,
            f"the provenance says {field} {stated!r}, but it was {value!r}; `record` under another name",
        )


def _survives_saving(embedding: TaskEmbedding, path: Path) -> None:
    try:
        embedding.save(path)
        loaded = TaskEmbedding.load(path)
        same = json.dumps(loaded.provenance) == json.dumps(embedding.provenance)
    except Exception as error:
        raise AssertionError(
            f"the embedding cannot be saved and loaded ({type(error).__name__}: {error}); arrays of numbers and JSON can"
        ) from error
    _require(same, "the provenance is another after saving and loading; `record` what JSON can say")
    _require(
        _equal(embedding, loaded, 0.0), "the arrays are others after saving and loading; store plain numbers in C order"
    )


def _is_unchanged(example: _Example, method: str) -> None:
    unchanged = replace(example.data).fingerprint == example.fingerprint  # a copy computes its fingerprint again
    _require(unchanged, f"`{method}` changes the data that it is given (of '{example.task.name}')")
    if example.trained:
        stored = replace(example.trained).tensors
        unchanged = all(torch.equal(tensor, example.trained.tensors[name]) for name, tensor in stored.items())
        _require(unchanged, f"`{method}` changes the adapter that it is given (of '{example.task.name}')")


def _is_reproducible(embedder: Embedder, example: _Example, embedding: TaskEmbedding) -> None:
    with _other_random_states():
        again = _embed(embedder, example, example)
    _require(
        _equal(embedding, again, ROUNDING),
        "the same task, data and seed give another embedding the second time; draw only from generators that `seed` starts",
    )


@contextmanager
def _other_random_states() -> Iterator[None]:
    """Other states of the global random generators, for as long as the block lasts."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(20_011)
        np.random.seed(20_011)
        random.seed(20_011)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def _equal(a: TaskEmbedding, b: TaskEmbedding, rounding: float) -> bool:
    """Whether names, shapes and numbers are equal, the last within a share of the largest."""
    return a.arrays.keys() == b.arrays.keys() and all(
        x.shape == b.arrays[name].shape
        and np.allclose(x, b.arrays[name], rtol=rounding, atol=rounding * float(np.abs(x).max(initial=0)))
        for name, x in a.arrays.items()
    )


def _ranks_itself_first(embedder: Embedder, embeddings: Sequence[TaskEmbedding]) -> None:
    for source in embeddings:
        for target in embeddings:
            _is_a_score(embedder.similarity(source, target), "similarity")
    for number, target in enumerate(embeddings):
        scores = embedder.similarities(embeddings, target)
        _are_scores(scores, len(embeddings), "similarities")
        nearest = max(range(len(scores)), key=lambda i: scores[i])
        _require(
            scores[number] >= scores[nearest] - ROUNDING,
            f"'{TASKS[nearest]}' is more similar to '{TASKS[number]}' ({scores[nearest]:.4g}) than that task to itself ({scores[number]:.4g}); larger must mean more similar",
        )


def _are_scores(scores: Sequence[Any], count: int, method: str) -> None:
    _require(len(scores) == count, f"`{method}` gives {len(scores)} scores for {count} sources")
    for score in scores:
        _is_a_score(score, method)


def _is_a_score(score: Any, method: str) -> None:
    finite = isinstance(score, float) and math.isfinite(score)
    _require(finite, f"`{method}` gives {score!r} ({type(score).__name__}), not a finite float")


def _is_a_cost(cost: SelectionCost) -> None:
    for what, value in (("seconds", cost.seconds), ("source_seconds", cost.source_seconds), ("bytes", cost.bytes)):
        _require(math.isfinite(value) and value >= 0, f"`cost` gives {value!r} {what}, not a number from 0 on")


def _scores_do_not_depend_on_order(
    selector: Selector, target: TaskOnBase, sources: Sequence[TaskOnBase], scores: Sequence[float]
) -> None:
    with _other_random_states():
        reversed_scores = selector.scores(target, sources[::-1])
    _require(
        np.allclose(reversed_scores[::-1], scores, rtol=ROUNDING, atol=ROUNDING),
        "the same sources in another order get other scores; a score must go with its source, and draw only from generators that the target's `seed` starts",
    )


def _refuses_other_bases_and_settings(embedder: Embedder, embedding: TaskEmbedding) -> None:
    for field, what in (("base_fingerprint", "on another base"), ("key", "with other settings")):
        other = TaskEmbedding(embedding.arrays, {**embedding.provenance, field: "0" * 16})
        try:
            embedder.similarity(embedding, other)
        except UserError:
            continue
        raise AssertionError(
            f"`similarity` compares an embedding with one that was computed {what}; call `tasksel.embeddings.base.must_match` first"
        )
