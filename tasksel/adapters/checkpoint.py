"""A task's trained adapter and head, in the format of the `adapters` library or of PEFT: what some selectors compare or run.

    <folder>/adapter_config.json, adapter.safetensors or adapter_model.safetensors, head_config.json, model_head.safetensors

A source's comes from its pool; a target's is trained on the target's own rows (`tasksel.adapters.train`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tasksel.adapters.folder import HEAD, load_adapter, weights_file
from tasksel.adapters.lora_folder import PREFIX
from tasksel.adapters.lora_folder import WEIGHTS as LORA_WEIGHTS
from tasksel.errors import UserError, one_line
from tasksel.model.base import Base
from tasksel.model.names import module_name
from tasksel.storage.atomic import file_hash
from tasksel.storage.frozen import Frozen, Score
from tasksel.storage.hashed import read_record

RECORD = "trained.json"


class TrainingRecord(Frozen):
    """`trained.json`, written last beside a target adapter.

    Attributes:
        task: its name. dev: the score of the checkpoint that was kept. seconds: of training.
        files: sha256 by file name; None in one of version 0.1.
    """

    task: str
    dev: Score | None
    seconds: float = Field(ge=0)
    files: dict[str, str] | None = None


@dataclass(frozen=True)
class AdapterCheckpoint:
    """An adapter's folder, and the adapter's name inside its files.

    >>> AdapterCheckpoint(Path("pools/mine/rte"), "rte").model(load_base("minilm"))  # doctest: +SKIP
    """

    folder: Path
    adapter: str

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the adapter's weights."""
        return file_hash(weights_file(self.folder))[:16]

    @property
    def nbytes(self) -> int:
        """Bytes of its files of weights, head included."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    @property
    def seconds(self) -> float:
        """The seconds that its training here took; 0 for one that was not trained here."""
        return self.record.seconds if (self.folder / RECORD).is_file() else 0.0

    @property
    def record(self) -> TrainingRecord:
        """What is recorded of its training here.

        Raises:
            UserError: it was not trained here; a record that is broken or altered.
        """
        return read_record(self.folder / RECORD, TrainingRecord, "the record of a trained adapter")

    def verify(self) -> None:
        """Compares the files of one that was trained here with their hashes.

        Raises:
            UserError: the first that is missing, cut short or altered.
        """
        for name, expected in (self.record.files or {}).items():
            if not (self.folder / name).is_file() or file_hash(self.folder / name) != expected:
                raise UserError(
                    f"{self.folder / name} is missing, cut short or altered: delete {self.folder} and run again"
                )

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The adapter's weights by module path and name, layer by layer, without the adapter's own name.

        Raises:
            UserError: a file that is missing or cut short.
        """
        file = weights_file(self.folder)
        try:
            weights = load_file(file)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file} cannot be read ({one_line(error)}); train it again") from error
        own = f".adapters.{self.adapter}."
        return {name.removeprefix(PREFIX).replace(own, "."): weights[name] for name in sorted(weights, key=_by_layer)}

    @property
    def is_lora(self) -> bool:
        """Whether it is a LoRA."""
        return weights_file(self.folder).name == LORA_WEIGHTS

    @property
    def has_head(self) -> bool:
        """Whether a head lies beside the adapter."""
        return (self.folder / HEAD).is_file()

    def model(self, base: Base, *, head: bool = True) -> Any:
        """The base with this adapter and its head active, everything frozen, in eval mode.

        Args:
            head: whether the head is loaded too; without it no head is active.

        Raises:
            UserError: no head beside the adapter where one is asked for, or files that do not fit the base.
        """
        if head and not self.has_head:
            raise UserError(
                f"{self.folder} has no head ({HEAD}): this selector needs one; train the adapter with its task"
            )
        model = base.model()
        load_adapter(model, self.folder, name=module_name(self.adapter), with_head=head)
        return model.requires_grad_(False).eval()


def _by_layer(name: str) -> list[int | str]:
    """Sorts layer 10 behind layer 9."""
    return [int(part) if part.isdigit() else part for part in name.split(".") if part]
