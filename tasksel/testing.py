"""What every embedder promises, checked: for those who write one (docs/methods.md).

from tasksel.testing import check_embedder
check_embedder(MyEmbedder(), folder=tmp_path)       # a test that fails with a sentence, or passes
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from tasksel.adapters.checkpoint import Trained
from tasksel.adapters.train import train_adapter
from tasksel.embeddings.base import Embedder, Needs, TaskEmbedding
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.tasks.load import Data, load
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
    """
    _has_names(embedder)
    model = load_base(base) if isinstance(base, str) else base
    subjects = [_subject(name, embedder, model, folder) for name in TASKS]
    target = subjects[0]
    if embedder.needs == "adapter":
        _asks_for_an_adapter(embedder, target)
    shown = [target if getattr(embedder, "inputs", "own") == "target" else subject for subject in subjects]
    made = [_embed(embedder, subject, rows) for subject, rows in zip(subjects, shown, strict=True)]
    for embedding, subject, rows in zip(made, subjects, shown, strict=True):
        _is_whole(embedding)
        _says_what_made_it(embedding, embedder, subject, rows)
        _comes_back(embedding, folder / "embeddings" / f"{embedder.key}.safetensors")
        _left_alone(subject)
    _is_made_again(embedder, target, made[0])
    _ranks_itself_first(embedder, made)
    _refuses_what_is_unlike(embedder, made[0])


@dataclass(frozen=True)
class _Subject:
    """A task with all that an embedder is given."""

    task: Task
    data: Data
    fingerprint: str  # of the data as it was before anybody saw it
    base: Base
    trained: Trained | None


def _subject(name: str, embedder: Embedder, base: Base, folder: Path) -> _Subject:
    task = get_task(name)
    data = load(task, rows=ROWS)
    trained = None
    if embedder.needs == "adapter":
        trained = train_adapter(task, data, base, folder / name, recipe=QUICK)
    return _Subject(task, data, data.fingerprint, base, trained)


def _embed(embedder: Embedder, subject: _Subject, shown: _Subject) -> TaskEmbedding:
    """The subject's embedding, made on the rows that are shown."""
    return embedder.embed(shown.task, shown.data, subject.base, seed=SEED, trained=subject.trained)


def _promise(kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(broken)


def _has_names(embedder: Embedder) -> None:
    for what in ("name", "key"):
        word = getattr(embedder, what, None)
        fits = isinstance(word, str) and WORD.fullmatch(word) is not None
        _promise(fits, f"`{what}` is {word!r}; files are named by it: letters, digits, '_', '.', '+' and '-' only")
    allowed = get_args(Needs)
    needs = getattr(embedder, "needs", None)
    _promise(needs in allowed, f"`needs` is {needs!r}; it must be one of {', '.join(map(repr, allowed))}")


def _asks_for_an_adapter(embedder: Embedder, subject: _Subject) -> None:
    broken = "`needs` is 'adapter', but without one (trained=None) `embed` {}; it must raise UserError"
    try:
        embedder.embed(subject.task, subject.data, subject.base, seed=SEED)
    except UserError:
        return
    except Exception as error:
        raise AssertionError(broken.format(f"raises {type(error).__name__}")) from error
    raise AssertionError(broken.format("goes on"))


def _is_whole(embedding: Any) -> None:
    _promise(isinstance(embedding, TaskEmbedding), f"`embed` returns a {type(embedding).__name__}, not a TaskEmbedding")
    _promise(bool(embedding.arrays), "the embedding has no arrays")
    for name, array in embedding.arrays.items():
        _promise(isinstance(array, np.ndarray), f"array '{name}' is a {type(array).__name__}, not a numpy array")
        finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        _promise(finite, f"array '{name}' holds numbers that are NaN or infinite")


def _says_what_made_it(embedding: TaskEmbedding, embedder: Embedder, subject: _Subject, shown: _Subject) -> None:
    """Every field of provenance that `made_of` gives, and the right one."""
    wanted: dict[str, Any] = {"task": shown.task.name, "data": shown.fingerprint}
    wanted |= {"base": subject.base.name, "base_fingerprint": subject.base.fingerprint}
    wanted |= {"method": embedder.name, "key": embedder.key, "seed": SEED}
    wanted |= {"adapter": subject.trained.fingerprint if subject.trained else None}
    hint = "give it what `tasksel.embeddings.base.made_of` returns"
    for field in (*wanted, "settings", "version", "seconds"):
        _promise(field in embedding.made, f"`made` does not say '{field}'; {hint}")
    for field, value in wanted.items():
        given = embedding.made[field]
        _promise(given == value, f"`made` says {field} {given!r}, but it was {value!r}; {hint}")


def _comes_back(embedding: TaskEmbedding, path: Path) -> None:
    try:
        embedding.save(path)
        back = TaskEmbedding.load(path)
        same = json.dumps(back.made) == json.dumps(embedding.made)
    except Exception as error:
        raise AssertionError(
            f"the embedding cannot be saved and loaded ({type(error).__name__}: {error}); arrays of numbers and JSON can"
        ) from error
    _promise(same, "`made` is another after saving and loading; keep to what JSON can say")
    _promise(
        _equal(embedding, back, 0.0), "the arrays are others after saving and loading; store plain numbers in C order"
    )


def _left_alone(subject: _Subject) -> None:
    kept = replace(subject.data).fingerprint == subject.fingerprint  # a copy reckons its fingerprint anew
    _promise(kept, f"`embed` changes the data that it is given (of '{subject.task.name}')")
    if subject.trained:
        fresh = replace(subject.trained).tensors
        kept = all(torch.equal(tensor, subject.trained.tensors[name]) for name, tensor in fresh.items())
        _promise(kept, f"`embed` changes the adapter that it is given (of '{subject.task.name}')")


def _is_made_again(embedder: Embedder, subject: _Subject, embedding: TaskEmbedding) -> None:
    with _other_luck():
        again = _embed(embedder, subject, subject)
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


def _ranks_itself_first(embedder: Embedder, made: Sequence[TaskEmbedding]) -> None:
    for source in made:
        for target in made:
            _is_a_score(embedder.similarity(source, target), "similarity")
    for number, target in enumerate(made):
        scores = _scores(embedder, made, target)
        nearest = max(range(len(made)), key=lambda i: scores[i])
        _promise(
            scores[number] >= scores[nearest] - ROUNDING,
            f"'{TASKS[nearest]}' lies nearer to '{TASKS[number]}' ({scores[nearest]:.4g}) than that task to itself ({scores[number]:.4g}); larger must mean nearer",
        )


def _scores(embedder: Embedder, sources: Sequence[TaskEmbedding], target: TaskEmbedding) -> list[float]:
    """A score a source, by `similarities` where the embedder has it, as a ranking asks for them."""
    if not hasattr(embedder, "similarities"):
        return [embedder.similarity(source, target) for source in sources]
    scores = embedder.similarities(sources, target)
    _promise(len(scores) == len(sources), f"`similarities` gives {len(scores)} scores for {len(sources)} sources")
    for score in scores:
        _is_a_score(score, "similarities")
    return scores


def _is_a_score(score: Any, giver: str) -> None:
    finite = isinstance(score, float) and math.isfinite(score)
    _promise(finite, f"`{giver}` gives {score!r} ({type(score).__name__}), not a finite float")


def _refuses_what_is_unlike(embedder: Embedder, embedding: TaskEmbedding) -> None:
    for field, what in (("base_fingerprint", "on another base"), ("key", "with other settings")):
        unlike = TaskEmbedding(embedding.arrays, {**embedding.made, field: "0" * 16})
        try:
            embedder.similarity(embedding, unlike)
        except UserError:
            continue
        raise AssertionError(
            f"`similarity` compares an embedding with one that was made {what}; call `tasksel.embeddings.base.must_match` first"
        )
