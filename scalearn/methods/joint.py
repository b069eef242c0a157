"""Joint multi-task training: one new adapter learns the target and the tasks of its sources together, each with a head of its own.

    p_i = n_i^(1/T) / sum_j n_j^(1/T)      how often a step trains task i

    n_i training rows of task i   T temperature, 10

After the joint baselines of HyperFormer (Mahabadi et al. 2021, arXiv:2106.04489), which draw tasks so; the sources' own adapters are not
used. Ours: an epoch and a checkpoint are `tasksel.training.loop.fit_parts`'; heads are drawn in the order of their tasks' names, so that one
training is that of every target of the same tasks and rows. In a store it is kept for the others,

    store/<key>/trained.safetensors, joint.json      the adapter and every head; dev scores, costs, what made it

whole or not there, and whoever asks for one that is being made waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasksel.adapters.pool import Source
from tasksel.adapters.train import add_fresh, freeze_base
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.heads import add_head
from tasksel.processes import accelerator
from tasksel.storage.atomic import file_hash, read_json, value_hash, whole_folder, write_json
from tasksel.storage.frozen import Frozen
from tasksel.tasks.load import Data, load
from tasksel.tasks.task import Task
from tasksel.training.loop import TEMPERATURE, Fit, Part, fit_parts
from tasksel.training.memory import Peak
from tasksel.training.predict import encode_split
from tasksel.training.recipe import Recipe
from tasksel.training.state import trained_state

SHARED = "joint"  # the adapter's name while it trains; a target's result has it under the target's
WEIGHTS, TOLD = "trained.safetensors", "joint.json"

Lesson = tuple[Task, Data]  # a task and its rows


class Told(Frozen):
    """What a joint training says of itself.

    Attributes:
        made_of: all that decided it. weights: the hash of the file of its tensors, where it is kept.
        scores: each task's dev score at the checkpoint that was kept.
        seconds, peak_memory: of the one training, all tasks together (bytes, `tasksel.training.memory`).
    """

    made_of: dict[str, Any]
    scores: dict[str, float]
    epoch: int | None
    steps: int
    seconds: float
    peak_memory: int | None
    weights: str = ""


@dataclass(frozen=True)
class Joint:
    """A joint training: what it says of itself, and every trained tensor by its name in the model."""

    told: Told
    state: dict[str, Tensor]

    def of(self, task: str) -> dict[str, Tensor]:
        """The adapter and one task's head, as the model of that task alone names them."""
        shared = {
            name.replace(f".adapters.{SHARED}.", f".adapters.{task}."): tensor
            for name, tensor in self.state.items()
            if f".adapters.{SHARED}." in name
        }
        return shared | {name: tensor for name, tensor in self.state.items() if name.startswith(f"heads.{task}.")}

    def fit(self, task: str) -> Fit:
        """How it went for one task: that task's own dev score, and the steps and seconds of all together."""
        return Fit(self.told.scores[task], self.told.epoch, self.told.steps, self.told.seconds)


def partners(target: Task, sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources whose tasks are learned beside the target: all but the target's own, whose rows are the target's.

    Raises:
        UserError: a source whose task is not known, two of one task, or no source but the target's own.
    """
    others = [source for source in sources if (source.task.name if source.task else source.name) != target.name]
    if not others:
        raise UserError(
            f"method 'joint' needs at least one source beside that of '{target.name}' itself; select some from a pool"
        )
    held: dict[str, Source] = {}
    for source in others:
        if source.task is None:
            raise UserError(
                f"source '{source.name}' names no task, and 'joint' trains on the tasks of its sources: add it to the pool with its task "
                "(scalearn pool add … --task), leave it out, or choose another method"
            )
        first = held.setdefault(source.task.name, source)
        if first is not source:
            raise UserError(
                f"sources '{first.name}' and '{source.name}' are both of the task '{source.task.name}': 'joint' takes one of them"
            )
    return tuple(others)


def lesson(source: Source) -> Lesson:
    """A source's task, and the rows that its adapter was trained on.

    Raises:
        UserError: a task that is not known; bad data (see `tasksel.tasks.load.load`).
    """
    if source.task is None:
        raise UserError(f"source '{source.name}' names no task")
    return source.task, load(source.task, rows=source.rows, seed=source.seed)


def identity(task: Task, data: Data) -> list[Any]:
    """What of a task and its rows decides a training."""
    return [task.name, task.kind, list(task.labels), task.metric, task.outputs, data.fingerprint]


def train_joint(
    lessons: Sequence[Lesson],
    base: Base,
    recipe: Recipe,
    *,
    seed: int,
    store: Path | None = None,
    label: str = "",
    rescue: Path | None = None,
) -> Joint:
    """Trains one adapter and a head a task on all of them, or reads the same training from a store.

    Args:
        store: where it is kept for whoever asks for the same tasks, rows and settings; None keeps nothing.
        rescue: where the last finite state is written if the loss becomes NaN.

    Raises:
        Diverged: the loss became NaN.
        UserError: a kept training that is damaged or of another version.
    """
    taught = sorted(lessons, key=lambda pair: pair[0].name)
    made_of = {
        "tasks": [identity(task, data) for task, data in taught],
        "base": base.fingerprint,
        "recipe": recipe.model_dump(mode="json", exclude={"log_with"}),
        "seed": seed,
        "temperature": TEMPERATURE,
    }
    if store is None:
        return _train(taught, base, recipe, made_of, label, rescue)
    place = store / value_hash(made_of)
    with _alone(place):
        if (place / TOLD).is_file():
            return _read(place)
        made = _train(taught, base, recipe, made_of, label, rescue)
        if accelerator().is_main_process:
            _write(place, made)
        accelerator().wait_for_everyone()
    return made


def _train(
    lessons: Sequence[Lesson], base: Base, recipe: Recipe, made_of: dict[str, Any], label: str, rescue: Path | None
) -> Joint:
    """Builds the model and trains it; `lessons` come in the order of their names."""
    peak, seed = Peak(accelerator().device), made_of["seed"]
    torch.manual_seed(seed)
    model = base.model()
    for task, _ in lessons:
        add_head(model, task, name=task.name)
    add_fresh(model, SHARED)
    freeze_base(model)
    parts = []
    for task, data in lessons:
        train, dev = (
            encode_split(split, task, base.tokenizer, max_length=recipe.max_length) for split in (data.train, data.dev)
        )
        parts.append(Part(task, train, dev))
    run = fit_parts(model, parts, recipe, seed=seed, temperature=made_of["temperature"], label=label, rescue=rescue)
    told = Told(
        made_of=made_of,
        scores=run.scores,
        epoch=run.epoch,
        steps=run.steps,
        seconds=run.seconds,
        peak_memory=peak.bytes(),
    )
    return Joint(told, trained_state(model))


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keeps other runs out of a place of a store; the processes of this launch enter together, when its main process may."""
    world = accelerator()
    lock = FileLock(place.with_name(f".{place.name}.lock"))  # the kernel lets go of a killed run's
    if world.is_main_process:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        world.wait_for_everyone()
        yield
    finally:
        if world.is_main_process:
            lock.release()


def _write(place: Path, made: Joint) -> None:
    with whole_folder(place) as fresh:
        save_file(made.state, fresh / WEIGHTS)
        told = made.told.model_copy(update={"weights": file_hash(fresh / WEIGHTS)})
        write_json(fresh / TOLD, told.model_dump(mode="json"))


def _read(place: Path) -> Joint:
    """A training that is kept.

    Raises:
        UserError: files that are missing, cut short or altered, or of another version.
    """
    try:
        told = Told.model_validate(read_json(place / TOLD))
    except ValidationError as error:
        raise UserError(
            f"{place / TOLD}: not a joint training that this version reads; delete {place} and run again"
        ) from error
    path = place / WEIGHTS
    if not path.is_file() or file_hash(path) != told.weights:
        raise UserError(f"{path}: missing, cut short or altered; delete {place} and run again")
    return Joint(told, load_file(path))
