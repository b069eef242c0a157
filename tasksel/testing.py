"""What every embedder and every selector promises, checked: for those who write one (docs/methods.md).

from tasksel.testing import check_embedder, check_selector
check_embedder(MyEmbedder(), folder=tmp_path)       # a test that fails with a sentence, or passes
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
from tasksel.selection.base import ScoreName, Selector
from tasksel.selection.candidate import TaskCandidate, TaskOnBase
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.registry import get_task
from tasksel.tasks.task import Task
from tasksel.training.recipe import Recipe

TASKS = ("sentiment_films", "entail_travel", "rating_hotels")  # one text, a pair, a number
ROWS, SEED = 40, 1  # not seed 0: an embedder that takes no notice of its seed shall not pass by chance
QUICK = Recipe(epochs=1, max_length=32)
WORD = re.compile(r"\w[\w.+-]*")  # what may stand in a file's name
ROUNDING = 1e-5


def check_embedder(embedder: Embedder, base: str | Base = "minilm", *, folder: Path) -> None:
    """Runs an embedder on three small built-in tasks and holds it to what `tasksel.embeddings.base.Embedder` promises.

    Args:
        embedder: with the settings to be checked; choose few rows and steps.
        base: the base model or its name.
        folder: where embeddings, and adapters if the embedder needs them, are written.

    Raises:
        AssertionError: the first promise that is broken, as a sentence.

    An embedder of your own, checked, and ranking sources:

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
    ...     def arrays(self, shown):
    ...         lengths = [min(len(" ".join(texts).split()), self.longest) for texts in shown.data.train.texts]
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
    _is_an(Embedder, embedder)
    final = type(embedder).embed is Embedder.embed
    _promise(final, "`embed` is overridden; write `arrays`: the clock, the provenance and the key are the base class's")
    _has_names(embedder)
    _has_one_of(embedder, "needs", get_args(Needs))
    _has_one_of(embedder, "inputs", get_args(Inputs))
    model = load_base(base) if isinstance(base, str) else base
    examples = [_example(name, embedder.needs, model, folder) for name in TASKS]
    target = examples[0]
    rows_of = [target if embedder.inputs == "target" else example for example in examples]
    embeddings = [_embed(embedder, example, rows) for example, rows in zip(examples, rows_of, strict=True)]
    for embedding, example, rows in zip(embeddings, examples, rows_of, strict=True):
        _is_whole(embedding)
        _says_what_made_it(embedding, embedder, example, rows)
        _comes_back(embedding, folder / "embeddings" / f"{embedder.key}.safetensors")
        _left_alone(example, "arrays")
    _is_computed_alike_again(embedder, target, embeddings[0])
    _ranks_itself_first(embedder, embeddings)
    _refuses_what_is_unlike(embedder, embeddings[0])


def check_selector(selector: Selector, base: str | Base = "minilm", *, folder: Path) -> None:
    """Lets a selector rank small built-in tasks and holds it to what `tasksel.selection.base.Selector` promises.

    Args:
        selector: with the settings to be checked; choose few rows and steps. An order that is drawn by place (`Random`) fails: sources are turned round.
        base: the base model or its name.
        folder: where what is computed of the tasks is kept, adapters if the selector needs them.

    Raises:
        AssertionError: the first promise that is broken, as a sentence.

    A selector of your own, checked, and ranking sources:

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
    ...         def mean_length(one):
    ...             return float(np.mean([len(" ".join(texts).split()) for texts in one.data.train.texts[: self.rows]]))
    ...         return [-abs(mean_length(source) - mean_length(target)) for source in sources]
    >>> check_selector(SameLength(), folder=Path("checked"))
    >>> sources = [ts.get_task(name) for name in ("entail_travel", "sentiment_phones")]
    >>> ts.rank(ts.get_task("sentiment_films"), sources, by=SameLength()).top(1)
    ['sentiment_phones']
    """
    _is_an(Selector, selector)
    _has_names(selector)
    _has_one_of(selector, "needs", get_args(Needs))
    _has_one_of(selector, "target_needs", get_args(Needs))
    _has_one_of(selector, "score_name", get_args(ScoreName))
    model = load_base(base) if isinstance(base, str) else base
    target = _Watched(TASKS[0], model, folder, declared="target_needs", needs=selector.target_needs)
    sources = [_Watched(name, model, folder, declared="needs", needs=selector.needs) for name in TASKS[1:]]
    scores, cost = selector.scores_with_cost(target, sources)
    _are_scores(scores, len(sources), "scores")
    for what, value in (("seconds", cost.seconds), ("source_seconds", cost.source_seconds), ("bytes", cost.bytes)):
        _promise(math.isfinite(value) and value >= 0, f"`cost` gives {value!r} {what}, not a number from 0 on")
    with _other_luck():
        turned = selector.scores(target, sources[::-1])
    _promise(
        np.allclose(turned[::-1], scores, rtol=ROUNDING, atol=ROUNDING),
        "the same sources in another order get other scores; a score must go with its source, and draw only from generators that the target's `seed` starts",
    )
    for one in (target, *sources):
        _left_alone(one.example, "scores")


@dataclass(frozen=True)
class _Example:
    """A task with all that an embedder is shown."""

    task: Task
    data: Data
    fingerprint: str  # of the data as it was before anybody saw it
    base: Base
    trained: AdapterCheckpoint | None


def _example(name: str, needs: Needs, base: Base, folder: Path, *, seed: int = 0) -> _Example:
    task = get_task(name)
    data = load_data(task, rows=ROWS, seed=seed)
    trained = None
    if needs == "adapter":
        trained = train_adapter(task, data, base, folder / name, recipe=QUICK)
    return _Example(task, data, data.fingerprint, base, trained)


class _Watched(TaskOnBase):
    """A task whose adapter may be asked for only where that is declared."""

    def __init__(self, name: str, base: Base, folder: Path, *, declared: str, needs: Needs) -> None:
        self.example, self.declared = _example(name, needs, base, folder, seed=SEED), declared
        kept = folder / name / "kept"
        super().__init__(TaskCandidate(self.example.task, ROWS, SEED, folder=kept, trained=self.example.trained), base)

    @cached_property
    def data(self) -> Data:
        """The rows that are looked at again afterwards."""
        return self.example.data

    @cached_property
    def trained(self) -> AdapterCheckpoint:
        """The adapter, where it may be asked for."""
        asked = f"`{self.declared}` is 'data', but the trained adapter of '{self.name}' is asked for; declare 'adapter'"
        if self.example.trained is None:
            raise AssertionError(asked)
        return self.example.trained


def _embed(embedder: Embedder, example: _Example, rows: _Example) -> TaskEmbedding:
    """The example's embedding, computed from the rows of another, or its own."""
    return embedder.embed(rows.task, rows.data, example.base, seed=SEED, trained=example.trained)


def _promise(kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(broken)


def _is_an(base_class: type, extension: Any) -> None:
    name = f"tasksel.{base_class.__name__}"
    _promise(
        isinstance(extension, base_class), f"{type(extension).__name__} is not a {name}; write `class … ({name}):`"
    )


def _has_names(extension: Embedder | Selector) -> None:
    for what, word in (("name", extension.name), ("key", extension.key)):
        fits = isinstance(word, str) and WORD.fullmatch(word) is not None
        _promise(fits, f"`{what}` is {word!r}; files are named by it: letters, digits, '_', '.', '+' and '-' only")


def _has_one_of(extension: Embedder | Selector, declared: str, allowed: Sequence[str]) -> None:
    value = getattr(extension, declared)
    _promise(value in allowed, f"`{declared}` is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def _is_whole(embedding: TaskEmbedding) -> None:
    _promise(
        isinstance(embedding.arrays, dict), f"`arrays` returns a {type(embedding.arrays).__name__}, not a dict by name"
    )
    _promise(bool(embedding.arrays), "the embedding has no arrays")
    for name, array in embedding.arrays.items():
        _promise(isinstance(array, np.ndarray), f"array '{name}' is a {type(array).__name__}, not a numpy array")
        finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        _promise(finite, f"array '{name}' holds numbers that are NaN or infinite")


def _says_what_made_it(embedding: TaskEmbedding, embedder: Embedder, example: _Example, rows: _Example) -> None:
    """What `Embedder.embed` writes into the provenance is still there."""
    expected: dict[str, Any] = {"task": rows.task.name, "data": rows.fingerprint}
    expected |= {"base": example.base.name, "base_fingerprint": example.base.fingerprint}
    expected |= {"method": embedder.name, "key": embedder.key, "seed": SEED}
    expected |= {"adapter": example.trained.fingerprint if example.trained else None}
    for field, value in expected.items():
        stated = embedding.provenance[field]
        _promise(
            stated == value,
            f"the provenance says {field} {stated!r}, but it was {value!r}; `record` under another name",
        )


def _comes_back(embedding: TaskEmbedding, path: Path) -> None:
    try:
        embedding.save(path)
        back = TaskEmbedding.load(path)
        same = json.dumps(back.provenance) == json.dumps(embedding.provenance)
    except Exception as error:
        raise AssertionError(
            f"the embedding cannot be saved and loaded ({type(error).__name__}: {error}); arrays of numbers and JSON can"
        ) from error
    _promise(same, "the provenance is another after saving and loading; `record` what JSON can say")
    _promise(
        _equal(embedding, back, 0.0), "the arrays are others after saving and loading; store plain numbers in C order"
    )


def _left_alone(example: _Example, method: str) -> None:
    kept = replace(example.data).fingerprint == example.fingerprint  # a copy computes its fingerprint anew
    _promise(kept, f"`{method}` changes the data that it is shown (of '{example.task.name}')")
    if example.trained:
        stored = replace(example.trained).tensors
        kept = all(torch.equal(tensor, example.trained.tensors[name]) for name, tensor in stored.items())
        _promise(kept, f"`{method}` changes the adapter that it is shown (of '{example.task.name}')")


def _is_computed_alike_again(embedder: Embedder, example: _Example, embedding: TaskEmbedding) -> None:
    with _other_luck():
        again = _embed(embedder, example, example)
    _promise(
        _equal(embedding, again, ROUNDING),
        "the same task, data and seed give another embedding the second time; draw only from generators that `seed` starts",
    )


@contextmanager
def _other_luck() -> Iterator[None]:
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
        _promise(
            scores[number] >= scores[nearest] - ROUNDING,
            f"'{TASKS[nearest]}' lies nearer to '{TASKS[number]}' ({scores[nearest]:.4g}) than that task to itself ({scores[number]:.4g}); larger must mean nearer",
        )


def _are_scores(scores: Sequence[Any], count: int, giver: str) -> None:
    _promise(len(scores) == count, f"`{giver}` gives {len(scores)} scores for {count} sources")
    for score in scores:
        _is_a_score(score, giver)


def _is_a_score(score: Any, giver: str) -> None:
    finite = isinstance(score, float) and math.isfinite(score)
    _promise(finite, f"`{giver}` gives {score!r} ({type(score).__name__}), not a finite float")


def _refuses_what_is_unlike(embedder: Embedder, embedding: TaskEmbedding) -> None:
    for field, what in (("base_fingerprint", "on another base"), ("key", "with other settings")):
        unlike = TaskEmbedding(embedding.arrays, {**embedding.provenance, field: "0" * 16})
        try:
            embedder.similarity(embedding, unlike)
        except UserError:
            continue
        raise AssertionError(
            f"`similarity` compares an embedding with one that was made {what}; call `tasksel.embeddings.base.must_match` first"
        )
