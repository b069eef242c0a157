"""Joint multi-task training: one new adapter learns the target and the tasks of its auxiliary sources together, each with a head.

    p_i = n_i^(1/T) / sum_j n_j^(1/T)      how often a step trains task i

    n_i training rows of task i   T temperature, 10

After the joint baselines of HyperFormer (Mahabadi et al. 2021, arXiv:2106.04489), which draw tasks so; the sources' own adapters are not
used. Ours: an epoch and a checkpoint are `tasksel.training.loop.fit_parts`'; heads are drawn in the order of their tasks' names, so that one
training is that of every target of the same tasks and rows. In a store it is kept for the others,

    store/<key>/trained.safetensors, joint.json      the adapter and every head; dev scores, costs, what decided it

whole or not there, and whoever asks for one that is being trained waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import load_file, save_file
from torch import Tensor

from scalearn.methods.single_adapter import SingleAdapter
from scalearn.methods.training import SeedTraining, TrainedModel
from tasksel.adapters.pool import Source
from tasksel.adapters.train import adapter_model
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.decoders import readable
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.names import module_name
from tasksel.model.pooling import Pooling
from tasksel.processes import accelerator, main_writes
from tasksel.selection.own import own_names
from tasksel.storage.atomic import file_hash, value_hash, whole_folder
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_record, write_hashed
from tasksel.tasks.load import Data, load_data
from tasksel.tasks.task import Task
from tasksel.training.checkpoints import Checkpoints, resumable
from tasksel.training.exclusive import exclusive
from tasksel.training.loop import fit_parts
from tasksel.training.memory import PeakMemory
from tasksel.training.recipe import Recipe
from tasksel.training.run import TEMPERATURE, FitOptions, FitResult, Part
from tasksel.training.state import load_trained, trained_state

SHARED = "joint"  # the adapter's name while it trains; a target's result has it under the target's
WEIGHTS, RECORD = "trained.safetensors", "joint.json"

JointTask = tuple[Task, Data]  # a task that is trained together with others, and its rows


@dataclass(frozen=True, kw_only=True)
class Joint(SingleAdapter):
    """Trains one adapter on the target and on the sources' tasks. When the sources' training rows are available.

    >>> transfer(task, sources, method="joint", store="store")  # doctest: +SKIP
    """

    least: int = 1
    most: int | None = None
    needs_tasks: ClassVar[bool] = True
    adds_new: ClassVar[bool] = False
    lora_reason: ClassVar[str | None] = "trains one bottleneck adapter on its sources' tasks"
    sources_note: ClassVar[str] = (
        "The sources whose tasks it was trained on, together with its own; their adapters are not in it"
    )

    def choose(self, target: Task, sources: Sequence[Source]) -> tuple[Source, ...]:
        """The auxiliary sources: all but the target adapter."""
        return auxiliary_sources(target, sources)

    def identity(self, sources: Sequence[Source]) -> list[Any]:
        """Temperature, tasks and rows: the adapters' weights and the order of the sources decide nothing."""
        tasks = sorted((joint_task(source) for source in sources), key=lambda pair: pair[0].name)
        return [TEMPERATURE, [task_identity(task, data) for task, data in tasks]]

    def train(self, training: SeedTraining) -> TrainedModel:
        """All tasks together; the target's model keeps the adapter and its own head."""
        target, tasks = training.target, [joint_task(source) for source in training.sources]
        names = ", ".join(sorted(task.name for task, _ in tasks))
        done = train_joint(
            [(target, training.data), *tasks],
            training.base,
            training.recipe,
            seed=training.seed,
            store=training.store,
            label=f"{target.name} with {names}, seed {training.seed}",
            rescue=training.rescue,
            checkpoints=training.checkpoints,
        )
        model = self.new_model(training)
        load_trained(model, done.of(target.name))
        model.eval().to(accelerator().device)
        return TrainedModel(model, done.fit(target.name), done.record.peak_memory)


class JointRecord(Frozen):
    """What is stored of a joint training beside its tensors.

    Attributes:
        made_of: all that decides it. weights: the hash of the file of its tensors, if it is kept.
        scores: each task's dev score at the checkpoint that was kept.
        seconds, peak_memory: of the training of all tasks together; bytes (`tasksel.training.memory`).
    """

    made_of: dict[str, Any]
    scores: dict[str, Score]
    epoch: int | None
    steps: int
    seconds: float
    peak_memory: int | None
    weights: str = ""


@dataclass(frozen=True)
class JointTraining:
    """A finished joint training: its record, and every trained tensor by its name in the model.

    >>> train_joint(tasks, base, recipe, seed=0).of("rte")  # doctest: +SKIP
    """

    record: JointRecord
    state: dict[str, Tensor]

    def of(self, task: str) -> dict[str, Tensor]:
        """The adapter and one task's head, as the model of that task alone names them."""
        own = module_name(task)
        shared = {
            name.replace(f".adapters.{SHARED}.", f".adapters.{own}."): tensor
            for name, tensor in self.state.items()
            if f".adapters.{SHARED}." in name
        }
        return shared | {name: tensor for name, tensor in self.state.items() if name.startswith(f"heads.{own}.")}

    def fit(self, task: str) -> FitResult:
        """The outcome for one task: its own dev score, and the steps and seconds of all tasks together."""
        record = self.record
        return FitResult(record.scores[task], record.epoch, record.steps, record.seconds)


def auxiliary_sources(target: Task, sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources whose tasks are trained on beside the target: all but the target adapter, whose rows are the target's.

    >>> auxiliary_sources(get_task("rte"), list(pool))  # doctest: +SKIP

    Raises:
        UserError: a source without a task, two sources of one task, a source of another data set that is called as the target is, or no
            source but the target adapter.
    """
    named = [source for source in sources if source.task and source.task.name == target.name]
    if alike := [source.name for source in named if source.name not in own_names(target, named)]:
        raise UserError(
            f"source '{alike[0]}' was trained on other rows that are called '{target.name}' too, and 'joint' tells tasks apart by their names: "
            "give the target another name, or leave the source out"
        )
    others = [source for source in sources if (source.task.name if source.task else source.name) != target.name]
    if not others:
        raise UserError(
            f"method 'joint' needs at least one source beside that of '{target.name}' itself; select some from a pool"
        )
    first_of: dict[str, Source] = {}
    for source in others:
        if source.task is None:
            raise UserError(
                f"source '{source.name}' names no task, and 'joint' trains on the tasks of its sources: add it to the pool with its task "
                "(scalearn pool add … --task), leave it out, or choose another method"
            )
        first = first_of.setdefault(source.task.name, source)
        if first is not source:
            raise UserError(
                f"sources '{first.name}' and '{source.name}' are both of the task '{source.task.name}': 'joint' takes one of them"
            )
    return tuple(others)


def joint_task(source: Source) -> JointTask:
    """A source's task, and the rows that its adapter was trained on.

    >>> task, data = joint_task(pool["mnli"])  # doctest: +SKIP

    Raises:
        UserError: a source without a task; bad data (see `tasksel.tasks.load.load_data`).
    """
    if source.task is None:
        raise UserError(f"source '{source.name}' names no task")
    return source.task, load_data(source.task, rows=source.rows, seed=source.seed)


def task_identity(task: Task, data: Data) -> list[Any]:
    """What of a task and its rows decides a training; part of its key."""
    return [task.name, task.kind, list(task.labels), task.metric, task.outputs, data.fingerprint]


def train_joint(
    tasks: Sequence[JointTask],
    base: Base,
    recipe: Recipe,
    *,
    seed: int,
    store: Path | None = None,
    label: str = "",
    rescue: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> JointTraining:
    """Trains one adapter, and one head per task, on all of them, or reads the same training from a store.

    Args:
        store: where it is kept for whoever asks for the same tasks, rows and settings; None keeps nothing.
        rescue: where the last finite state is written if the loss becomes NaN.
        checkpoints: what it goes on from if it is killed; in a store, what lies there.

    >>> train_joint([(rte, load_data(rte)), joint_task(pool["mnli"])], base, SOURCE_RECIPE, seed=0)  # doctest: +SKIP

    Raises:
        Diverged: the loss became NaN.
        UserError: a kept training that is damaged or of another version.
    """
    ordered = sorted(tasks, key=lambda pair: pair[0].name)
    decisive = {
        "tasks": [task_identity(task, data) for task, data in ordered],
        "base": base.fingerprint,
        "recipe": recipe.identity(),
        "seed": seed,
        "temperature": TEMPERATURE,
        **({"version": Joint.version} if Joint.version > 1 else {}),
    }
    options: FitOptions = {"label": label, "rescue": rescue, "checkpoints": checkpoints}
    if store is None:
        return _train(ordered, base, recipe, decisive, options)
    folder = store / value_hash(decisive)
    with exclusive(folder), resumable(folder, folder.name) as options["checkpoints"]:
        if (folder / RECORD).is_file():
            return _read(folder)
        training = _train(ordered, base, recipe, decisive, options)
        main_writes(_write, folder, training)
    return training


def _train(
    tasks: Sequence[JointTask], base: Base, recipe: Recipe, decisive: dict[str, Any], options: FitOptions
) -> JointTraining:
    """Builds the model and trains it; `tasks` come in the order of their names."""
    peak, seed = PeakMemory(accelerator().device), decisive["seed"]
    model = adapter_model(base, [task for task, _ in tasks], SHARED, seed=seed, pooling=_pooling(recipe, base))
    parts = []
    for task, data in tasks:
        train, dev = (
            encode_split(split, task, base.tokenizer, max_length=recipe.max_length) for split in (data.train, data.dev)
        )
        say_cut(train, task.name, recipe.max_length)
        parts.append(Part(task, train, dev))
    done = fit_parts(model, parts, recipe, seed=seed, temperature=decisive["temperature"], **options)
    record = JointRecord(
        made_of=decisive,
        scores=done.scores,
        epoch=done.epoch,
        steps=done.steps,
        seconds=done.seconds,
        peak_memory=peak.bytes(),
    )
    return JointTraining(record, trained_state(model))


def _pooling(recipe: Recipe, base: Base) -> Pooling:
    """The one pooling of all tasks' heads: a base that does not say how it was trained gives the first token."""
    return readable(recipe.pooling if recipe.pooling != "base" else base.pooling or "first", base.config)


def _write(folder: Path, training: JointTraining) -> None:
    with whole_folder(folder) as partial:
        save_file(training.state, partial / WEIGHTS)
        record = training.record.model_copy(update={"weights": file_hash(partial / WEIGHTS)})
        write_hashed(partial / RECORD, record.model_dump(mode="json"))


def _read(folder: Path) -> JointTraining:
    """A stored training.

    Raises:
        UserError: files that are missing, cut short or altered, or of another version.
    """
    record = read_record(
        folder / RECORD, JointRecord, f"a joint training that this version reads; delete {folder} and run again"
    )
    path = folder / WEIGHTS
    if not path.is_file() or file_hash(path) != record.weights:
        raise UserError(f"{path}: missing, cut short or altered; delete {folder} and run again")
    return JointTraining(record, load_file(path))
