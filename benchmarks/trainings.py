"""The contenders of `benchmarks.throughput`: one adapter and one head trained for an epoch, by whom, and what no loop can go below.

    forward           the frozen forward pass without gradients, batch after batch, from tensors that lie on the device
    floor             forward and backward, from the same tensors
    step              the same, with clipping and AdamW: the shortest loop that trains
    fit               ours (`tasksel.training.loop.fit`), a micro-batch as large as the batch
    fit-16            ours with the recipe's default micro-batch of 16 rows
    trainer           transformers' Trainer over the same model
    trainer-2         the same with two processes that load (`dataloader_num_workers=2`)
    adapter-trainer   the `adapters` library's AdapterTrainer over its own model of the same weights, where it is installed

All train the same parameters on the very same batches of rows of like length, each padded by the same function to its longest row: a Trainer
loads and collates them itself, but in the order of rows that our loop takes (its own `group_by_length` would make batches of other lengths).
The Trainers keep their own defaults of what does not change a result: AdamW fused where it can be, pinned memory.
"""

from __future__ import annotations

import copy
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments, get_linear_schedule_with_warmup

from benchmarks.contenders import HAS_LIBRARY, TASK, autocast, by_method
from benchmarks.contenders import Setting as StepSetting
from benchmarks.library import library_single
from tasksel.model.base import load_base, quiet
from tasksel.model.encoding import Encoded, length_batches
from tasksel.model.heads import loss_sum
from tasksel.training.loop import fit
from tasksel.training.predict import logits_of
from tasksel.training.recipe import Recipe
from tasksel.training.state import load_trained, trained_state

SHORTEST = 8  # tokens of a row
LR = 3e-4
Train = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common: rows of an epoch and of a batch, tokens of the longest row, the base, the device, the precision."""

    rows: int = 256
    batch: int = 32
    length: int = 64
    base: str = "minilm"
    device: str = "cpu"
    precision: str = "float32"


class Rig:
    """A model on its device, its first weights, and the rows of an epoch: what every contender of ours takes in turn."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.model: Any = by_method("single-adapter", StepSetting(base=setting.base)).to(setting.device)
        self.model.register_forward_pre_hook(self._count, with_kwargs=True)
        self.first = trained_state(self.model)
        self.rows = draw_rows(setting, load_base(setting.base).config.vocab_size)
        self.tokens = 0
        self.order = length_batches(self.rows.lengths, setting.batch, seed=1)  # of the first epoch of `fit`, seed 0
        self.batches = [
            {name: tensor.to(setting.device) for name, tensor in self.rows.batch(rows).items()} for rows in self.order
        ]

    def beginning(self) -> Rig:
        """The same with the first batch alone."""
        first = copy.copy(self)
        first.rows, first.batches = self.rows.take(self.order[0]), self.batches[:1]
        first.order = [list(range(len(first.rows)))]
        return first

    def _count(self, _module: nn.Module, _args: object, inputs: dict[str, Tensor]) -> None:
        self.tokens += inputs["input_ids"].numel()

    def prepare(self, name: str) -> Train:
        """A contender from the first weights, ready to be timed."""
        AcceleratorState._reset_state(reset_partial_state=True)  # which a Trainer leaves behind as it was set up
        load_trained(self.model, self.first)
        self.model.train()
        self.tokens = 0
        return TRAININGS[name](self)

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """The model's, in the precision that is measured."""
        with autocast(self.setting.device, self.setting.precision):
            return logits_of(self.model, batch)


@contextmanager
def launched(setting: Setting) -> Iterator[None]:
    """The environment that `accelerate launch` would set for this device and precision, which our loop reads."""
    launch = {
        "ACCELERATE_MIXED_PRECISION": "bf16" if setting.precision == "bf16" else "no",
        "ACCELERATE_USE_CPU": str(setting.device == "cpu").lower(),
    }
    before = {name: os.environ.get(name) for name in launch}
    os.environ.update(launch)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        AcceleratorState._reset_state(reset_partial_state=True)


def draw_rows(setting: Setting, words: int) -> Encoded:
    """Random rows of 8 tokens to the longest, all lengths alike, with random labels."""
    draw = random.Random(0)
    shortest = min(SHORTEST, setting.length)
    lengths = [draw.randint(shortest, setting.length) for _ in range(setting.rows)]
    ids = [[[draw.randrange(words // 10, words) for _ in range(length)]] for length in lengths]  # no special tokens
    labels = np.array([draw.randrange(2) for _ in lengths])
    return Encoded(ids, [[[0] * len(row[0])] for row in ids], labels, pad_id=0, width=1)


def forward(rig: Rig) -> Train:
    """The frozen forward pass alone."""

    @torch.no_grad()
    def run() -> None:
        for batch in rig.batches:
            rig.logits(batch)

    return run


def _backward(rig: Rig, batch: dict[str, Tensor]) -> None:
    logits = rig.logits(batch)
    (loss_sum(TASK.kind, logits, batch["labels"]) / len(logits)).backward()


def floor(rig: Rig) -> Train:
    """Forward and backward."""

    def run() -> None:
        for batch in rig.batches:
            rig.model.zero_grad()
            _backward(rig, batch)

    return run


def step(rig: Rig) -> Train:
    """Forward, backward, clipping, AdamW and its schedule."""
    trained = [parameter for parameter in rig.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, len(rig.batches))

    def run() -> None:
        for batch in rig.batches:
            _backward(rig, batch)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    return run


def ours(rig: Rig, micro_batch: int | None = None) -> Train:
    """Our loop, for one epoch without dev rows."""
    size = rig.setting.batch
    recipe = Recipe(lr=LR, epochs=1, batch=size, micro_batch=micro_batch or size, max_length=rig.setting.length)
    return partial(fit, rig.model, TASK, rig.rows, None, recipe, seed=0)


class Rows(torch.utils.data.Dataset):
    """A split for a Trainer: an item is a row's number, which `collate` makes a batch of, and its token ids, whose length is read."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"row": row, "input_ids": self.encoded.ids[row][0]}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The batch that our loop would make of these rows."""
        return self.encoded.batch([item["row"] for item in items])


class WithLoss(nn.Module):
    """A model of ours that gives its loss beside its logits, as a Trainer wants it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The batch's mean loss, and its logits."""
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        logits = logits_of(self.model, batch)
        return {"loss": loss_sum(TASK.kind, logits, labels) / len(labels), "logits": logits}


def arguments(setting: Setting, folder: str, workers: int) -> TrainingArguments:
    """The Trainer's settings: an epoch, nothing written, evaluated or logged."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=setting.batch,
        learning_rate=LR,
        max_grad_norm=1.0,
        bf16=setting.precision == "bf16",
        use_cpu=setting.device == "cpu",
        dataloader_num_workers=workers,
        remove_unused_columns=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


def trainer(rig: Rig, workers: int = 0, *, library: bool = False) -> Train:
    """A Trainer over our model; of the library over its own model, which has our weights."""
    rows = Rows(rig.rows)
    model, kind = WithLoss(rig.model), Trainer
    if library:
        from adapters import AdapterTrainer

        model, kind = library_single(rig.model, load_base(rig.setting.base).path), AdapterTrainer
        model.train_adapter(TASK.name)  # or its Trainer refuses the model
        model.register_forward_pre_hook(rig._count, with_kwargs=True)
    folder = tempfile.TemporaryDirectory()
    settings = arguments(rig.setting, folder.name, workers)
    settings._n_gpu = min(1, settings.n_gpu)  # one card, as the others
    made = kind(model=model, args=settings, train_dataset=rows, data_collator=rows.collate)
    made._get_train_sampler = lambda *_: [row for batch in rig.order for row in batch]
    made.remove_callback(PrinterCallback)

    def run() -> None:
        with quiet():
            made.train()
        folder.cleanup()

    return run


TRAININGS: dict[str, Callable[[Rig], Train]] = {
    "forward": forward,
    "floor": floor,
    "step": step,
    "fit": ours,
    "fit-16": partial(ours, micro_batch=Recipe().micro_batch),
    "trainer": trainer,
    "trainer-2": partial(trainer, workers=2),
    "adapter-trainer": partial(trainer, library=True),
}
AVAILABLE = tuple(name for name in TRAININGS if HAS_LIBRARY or name != "adapter-trainer")
