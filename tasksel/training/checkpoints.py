"""What a killed training goes on from: its state, beside the place of its outcome until that is stored.

    PARENT/.training-NAME/<n>/state.safetensors      of the n-th run of the loop for the outcome PARENT/NAME
        weights/<parameter>      best/<parameter>     optimizer/<number>/<name>      others/<name>
    PARENT/.training-NAME/<n>/state.json             step, epoch, history, …; what it is a state of; the tensors' hash

Nothing of the frozen base is in it, no pickle, and no random state: batches are drawn by seed and epoch, and each micro-batch has a random
stream of its own, so that the step says where every draw is. accelerate's own `save_state` would write the whole model, and pickles.
A state of other settings, rows or parameters, or one that is damaged, is never used: that is said, and the training begins anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.processes import is_main
from tasksel.storage.atomic import file_hash, value_hash, whole_folder
from tasksel.storage.frozen import Frozen
from tasksel.storage.hashed import altered, read_record, write_hashed
from tasksel.storage.locks import TRAINING, short_name

TENSORS, RECORD = "state.safetensors", "state.json"
VERSION = 1  # of what a state means: raised when an older one cannot be gone on from


class Evaluation(Frozen):
    """An epoch's dev scores by task, their mean, and the rank by which it is compared with other epochs'."""

    epoch: int
    scores: dict[str, float]
    score: float
    rank: tuple[float, ...]


class Progress(Frozen):
    """How far a training is.

    Attributes:
        key: a hash of all that decides the training. weights: sha256 of the file of tensors.
        finished: whether it is over; its tensors are then the outcome's weights.
        step: steps done. epochs: epochs whose end was evaluated. drawn: batches that each part has given.
        stopped: whether `on_step` has ended it. overflows, scaler: of fp16. task: the part that was trained or scored last.
        seconds: that it took, without those between a kill and the next start.
    """

    key: str = ""
    weights: str = ""
    finished: bool = False
    step: int
    epochs: int
    drawn: tuple[int, ...]
    stopped: bool
    loss: float
    overflows: int
    task: str
    seconds: float
    history: tuple[dict[str, int | float], ...]  # an epoch stays a whole number
    best: Evaluation | None
    scaler: dict[str, float] | None = None


@dataclass
class TrainingState:
    """A training's progress and its tensors: of the model's trained parameters, the optimizer, the best evaluation, and what `stateful` gave."""

    progress: Progress
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    best: Mapping[str, Tensor] = field(default_factory=dict)
    others: Mapping[str, Tensor] = field(default_factory=dict)

    GROUPS = ("weights", "optimizer", "best", "others")

    def tensors(self) -> dict[str, Tensor]:
        """All of them by the name that each has in the file."""
        named = {f"{group}/{name}": tensor for group in self.GROUPS for name, tensor in getattr(self, group).items()}
        return {name: tensor.detach().contiguous() for name, tensor in named.items()}

    @classmethod
    def of(cls, progress: Progress, tensors: Mapping[str, Tensor]) -> TrainingState:
        """A state from what `tensors` gave."""
        groups: dict[str, dict[str, Tensor]] = {group: {} for group in cls.GROUPS}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        return cls(progress, **groups)


@dataclass(frozen=True)
class Checkpoint:
    """Where one run of the loop keeps its state, under the key of what it trains."""

    folder: Path
    key: str

    def write(self, state: TrainingState) -> None:
        """Stores a state in place of the one before, whole or not at all; on the disk when this returns.

        Raises:
            OSError: no space, no permission, …, with the path.
        """
        with whole_folder(self.folder) as partial:
            save_file(state.tensors(), partial / TENSORS)
            _sync(partial / TENSORS)
            signed = {"key": self.key, "weights": file_hash(partial / TENSORS)}
            write_hashed(partial / RECORD, state.progress.model_copy(update=signed).model_dump(mode="json"))

    def read(self, processes: int = 1) -> TrainingState | None:
        """The state that is stored, the same for all processes of a launch; None where there is none that can be used.

        Raises:
            UserError: a process that does not see the main one's files.
        """
        state = self._read()
        if processes > 1:
            wanted = broadcast_object_list([state is not None])[0]
            if wanted and state is None:
                raise UserError(f"{self.folder}: not seen by every process; use a folder that all machines share")
            state = state if wanted else None
        return state

    def _read(self) -> TrainingState | None:
        if not (self.folder / RECORD).is_file():
            return None
        try:
            progress = read_record(self.folder / RECORD, Progress, "the state of a training")
            if progress.key != self.key:
                say(
                    f"{self.folder} is of a training with other settings or rows, and is not used: this one begins anew"
                )
                return None
            path = self.folder / TENSORS
            if not path.is_file() or file_hash(path) != progress.weights:
                raise altered(str(path))
        except UserError as error:
            say(f"{error}: not used, the training begins anew")
            return None
        return TrainingState.of(progress, load_file(path))

    def discard(self) -> None:
        """Removes what is stored."""
        if is_main():
            shutil.rmtree(self.folder, ignore_errors=True)


class Checkpoints:
    """Where the training of one outcome keeps its state; a method that runs the loop several times has one for each, by number.

    >>> fit(model, task, train, dev, recipe, seed=0, checkpoints=Checkpoints(Path("state"), key="rte"))  # doctest: +SKIP
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key, self._count = folder, key, 0

    def next(self, identity: Any) -> Checkpoint:
        """The place of the next run of the loop, which is told apart from others by this."""
        self._count += 1
        return Checkpoint(self.folder / str(self._count), value_hash([VERSION, self.key, identity]))

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.folder)!r})"


@contextmanager
def resumable(place: Path | None, key: str) -> Iterator[Checkpoints | None]:
    """Lets the training in the block be killed: the same block then goes on from its last state. Store the outcome before the block ends.

    Args:
        place: of the outcome, beside which the state lies; None keeps none. key: of all that decides the outcome.

    >>> with resumable(Path("pool/rte"), "9128f6500813dc56") as checkpoints:
    ...     checkpoints
    Checkpoints('pool/.training-rte')
    """
    if place is None:
        yield None
        return
    folder = place.with_name(short_name(TRAINING, place.name))
    yield Checkpoints(folder, key)
    if is_main() and folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # where nothing else lies


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
