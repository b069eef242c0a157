"""The one training loop: every stage, and every embedder that trains, goes through `fit`, or `fit_parts` for several tasks at once.

AdamW, linear warm-up and decay, clipping, batches of like length with dynamic padding, early stopping, the best checkpoint by the
task's metric on dev. It runs on accelerate: any device, bf16/fp16 and several processes as `accelerate launch` says.

    p_i = n_i^(1/T) / sum_j n_j^(1/T)      which of several tasks a step trains: n_i its training rows, T a temperature

A batch's gradient is the sum over its rows divided by their number, however many processes share it. A process takes its part in
micro-batches, each with its own random stream (seed, step, number), so that dropout too is the same for any number of processes.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

from tasksel.display.progress import bar, say
from tasksel.errors import UserError
from tasksel.model.encoding import Encoded, length_batches
from tasksel.model.heads import loss_sum
from tasksel.processes import accelerator, main_writes
from tasksel.tasks.task import Task
from tasksel.training.predict import checked, logits_of
from tasksel.training.recipe import Recipe
from tasksel.training.state import load_trained, trained_state

TEMPERATURE = 10.0  # HyperFormer's joint runs (Mahabadi et al. 2021, arXiv:2106.04489)


class Diverged(UserError):
    """The loss stopped being a number."""


@dataclass(frozen=True)
class Part:
    """One task of a training run: its rows, and those that checkpoints are compared on, if there are any.

    The model has a head of the task's name, where a run has several parts.
    """

    task: Task
    train: Encoded
    dev: Encoded | None


@dataclass
class FitResult:
    """What a training run gave: the best dev score and its epoch (None without dev), steps, seconds, and a row an epoch.

    `scores` are the parts' own dev scores at that epoch, by task; `score` is their mean.
    """

    score: float | None
    epoch: int | None
    steps: int
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)


def fit(
    model: Any,
    task: Task,
    train: Encoded,
    dev: Encoded | None,
    recipe: Recipe,
    *,
    seed: int,
    label: str = "",
    groups: list[dict[str, Any]] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    on_step: Callable[[int], bool] | None = None,
    rescue: Path | None = None,
) -> FitResult:
    """Trains every parameter that requires a gradient, and leaves the model with its best dev checkpoint, in eval mode.

    Args:
        dev: where checkpoints are compared; None keeps the last.
        groups: AdamW parameter groups; by default all trainable parameters with the recipe's lr.
        penalty: added to the mean loss of each step (an L1 term).
        on_step: called after each step with its number; True ends training.
        rescue: where the last finite state is written if the loss becomes NaN.

    Raises:
        Diverged: a loss or gradient that is not finite, with the step and its lr.
    """
    options: dict[str, Any] = {"groups": groups, "penalty": penalty, "on_step": on_step, "rescue": rescue}
    return fit_parts(model, [Part(task, train, dev)], recipe, seed=seed, label=label, **options)


def fit_parts(
    model: Any,
    parts: Sequence[Part],
    recipe: Recipe,
    *,
    seed: int,
    temperature: float = TEMPERATURE,
    label: str = "",
    groups: list[dict[str, Any]] | None = None,
    penalty: Callable[[], Tensor] | None = None,
    on_step: Callable[[int], bool] | None = None,
    rescue: Path | None = None,
) -> FitResult:
    """`fit` on several tasks at once: each step draws one task, and takes the next batch of that task's own shuffled rows.

    Several parts need a head each, under their tasks' names; the last one used stays active. One part trains the active head, whatever
    its name. After HyperFormer: the shares by temperature. Ours: an epoch has as many steps as the parts' rows fill batches; a task's
    rows go round, shuffled anew each time, and go on where they were in the next epoch; checkpoints are compared by the mean over the
    parts that have dev rows of their metric, of their loss, or of both (`Recipe.select`).

    Args:
        temperature: 1 draws tasks in proportion to their rows; the larger, the more alike.

    Raises:
        Diverged: a loss or gradient that is not finite, with the task, the step and its lr.
        ValueError: no part, two parts of one name, or a temperature that is not above 0.
    """
    begun = time.perf_counter()
    recipe.check()
    loop = _Loop(model, parts, recipe, seed, temperature, label, groups, penalty, rescue)
    history: list[dict[str, float]] = []
    best: _Checkpoint | None = None
    with torch.random.fork_rng(), bar(label or loop.name, loop.total) as advance:
        stopped = False
        for epoch in range(1, recipe.epochs + 1):
            for done in loop.epoch(epoch):
                advance(f"loss {loop.loss:.3f}" + (f", dev {best.score:.3f}" if best else ""))
                stopped = (on_step is not None and on_step(done)) or done >= loop.total
                if stopped:
                    break
            checkpoint = loop.check(epoch)
            if checkpoint is not None:
                history.append({"epoch": epoch, "step": loop.step, "loss": loop.loss, "dev": checkpoint.score})
                if best is None or checkpoint.rank > best.rank:
                    best, checkpoint.state = checkpoint, trained_state(loop.bare)
            if stopped or (best and recipe.patience is not None and epoch - best.epoch >= recipe.patience):
                break
    if best:
        load_trained(loop.bare, best.state)
    loop.close()
    return _result(best, loop.step, time.perf_counter() - begun, history)


def _result(best: _Checkpoint | None, steps: int, seconds: float, history: list[dict[str, float]]) -> FitResult:
    """What a training gives; without dev rows there is no best checkpoint, and the last one is kept."""
    if best is None:
        return FitResult(None, None, steps, seconds, history)
    return FitResult(best.score, best.epoch, steps, seconds, history, best.scores)


def sampling_shares(rows: Sequence[int], temperature: float) -> list[float]:
    """The share of the steps that each of several tasks has, by its training rows: p_i proportional to n_i^(1/T).

    >>> sampling_shares([100, 400], 1.0), sampling_shares([100, 400], 2.0), sampling_shares([100, 400], math.inf)
    ([0.2, 0.8], [0.3333333333333333, 0.6666666666666666], [0.5, 0.5])

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}: give a number above 0 (1 for shares in proportion to rows)")
    largest = max(rows)
    weights = [(n / largest) ** (1 / temperature) for n in rows]
    return [weight / sum(weights) for weight in weights]


@dataclass
class _Checkpoint:
    """An epoch's dev scores by task, their mean, what it is compared by, and the weights of one that is kept."""

    epoch: int
    scores: dict[str, float]
    score: float
    rank: tuple[float, ...]
    state: dict[str, Tensor] = field(default_factory=dict)


class _Loop:
    """The state of one run: the wrapped model, its optimizer and schedule, and the step it is at."""

    def __init__(
        self,
        model: Any,
        parts: Sequence[Part],
        recipe: Recipe,
        seed: int,
        temperature: float,
        label: str,
        groups: Any,
        penalty: Any,
        rescue: Path | None,
    ) -> None:
        names = [part.task.name for part in parts]
        if not parts or len(set(names)) < len(names):
            raise ValueError(f"parts {names}: give one or more, none of them twice")
        self.bare, self.parts, self.recipe, self.seed, self.penalty, self.rescue = (
            model,
            tuple(parts),
            recipe,
            seed,
            penalty,
            rescue,
        )
        self.name, self.task, rows = ", ".join(names), parts[0].task, [len(part.train) for part in parts]
        self.shares, self.streams = sampling_shares(rows, temperature), [self._stream(part) for part in parts]
        self.steps, self.total, self.step, self.loss, self.bad = (
            recipe.epoch_steps(*rows),
            recipe.steps(*rows),
            0,
            math.nan,
            0,
        )
        self.world = accelerator(recipe.log_with, unused=len(parts) > 1)  # a step uses one of the heads
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(groups or self.trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.schedule = get_linear_schedule_with_warmup(optimizer, round(recipe.warmup * self.total), self.total)
        self.model, self.optimizer = self.world.prepare(model, optimizer)
        fed = math.ceil(recipe.batch / recipe.micro_batch)
        if fed < self.world.num_processes:
            say(
                f"{label}: micro-batches of {recipe.micro_batch} feed {fed} of {self.world.num_processes} processes: lower micro_batch or raise batch"
            )
        if recipe.log_with:
            self.world.init_trackers("scalearn", config={"run": label, **recipe.model_dump(mode="json")})

    def log(self, values: dict[str, float]) -> None:
        if self.recipe.log_with:
            self.world.log(values, step=self.step)

    def close(self) -> None:
        for tracker in self.world.trackers:
            tracker.finish()
        self.world.unwrap_model(self.model, keep_fp32_wrapper=False)  # also undoes autocast on the bare model
        self.bare._is_accelerate_prepared = (
            False  # or a second fit of it would be skipped by `prepare`, and run without autocast
        )
        self.bare.eval()
        self.world.free_memory()

    def epoch(self, number: int) -> Iterator[int]:
        """One pass over train, or as many steps of tasks drawn by their shares; yields the number of steps done after each.

        The draws are this epoch's own, the same for every process.
        """
        draw = random.Random(f"{self.seed}, epoch {number}")
        for i in draw.choices(range(len(self.parts)), weights=self.shares, k=self.steps):
            self._turn_to(self.parts[i])
            self.model.train()
            self._backward(self.parts[i].train, next(self.streams[i]))
            self._update()
            yield self.step

    def _stream(self, part: Part) -> Iterator[list[int]]:
        """A part's batches without end, shuffled anew for each pass over its rows."""
        for number in count(1):
            yield from length_batches(part.train.lengths, self.recipe.batch, seed=self.seed * 10_007 + number)

    def _turn_to(self, part: Part) -> None:
        """Makes a part the one that is trained or scored; where there is one part alone, its head is active already."""
        self.task = part.task
        if len(self.parts) > 1:
            self.bare.active_head = part.task.name

    def check(self, epoch: int) -> _Checkpoint | None:
        """The dev scores and their means over parts, logged; None where no part has dev rows."""
        scores, ranks = {}, []
        for part in self.parts:
            if part.dev is not None:
                self._turn_to(part)
                scores[part.task.name], rank = checked(self.bare, part.task, part.dev, self.recipe.select)
                ranks.append(rank)
        if not scores:
            return None
        mean = float(np.mean(list(scores.values())))
        self.log({"dev": mean})
        return _Checkpoint(epoch, scores, mean, tuple(map(float, np.mean(ranks, axis=0))))

    def _backward(self, train: Encoded, batch: list[int]) -> None:
        """Gradients of a batch's mean loss: this process's micro-batches, the last of which meets the other processes'."""
        size = self.recipe.micro_batch
        micros = [batch[i : i + size] for i in range(0, len(batch), size)]
        own_micros = list(enumerate(micros))[self.world.process_index :: self.world.num_processes]
        weight = self.world.num_processes / len(batch)  # processes average their gradients; rows shall add up
        if not own_micros:  # a small last batch: this process has no rows but must meet the others all the same
            own_micros, weight = [(0, micros[0])], 0.0
        total = 0.0
        for i, (number, rows) in enumerate(own_micros):
            torch.manual_seed(((self.seed * 1_000_003 + self.step) * 1_009 + number) % 2**63)
            tensors = {name: tensor.to(self.world.device) for name, tensor in train.batch(rows).items()}
            if i < len(own_micros) - 1:
                with self.world.no_sync(self.model):
                    loss = loss_sum(self.task.kind, logits_of(self.model, tensors), tensors["labels"]) * weight
                    self.world.backward(loss)
            else:
                loss = loss_sum(self.task.kind, logits_of(self.model, tensors), tensors["labels"]) * weight
                self.world.backward(loss + self.penalty() if self.penalty else loss)
            total += float(loss.detach())
        self.loss = total

    def _update(self) -> None:
        """A step of the optimizer; a gradient that is not finite ends the run before it touches a parameter."""
        norm = self.world.clip_grad_norm_(self.trained, self.recipe.clip)
        finite = bool(torch.isfinite(norm)) if isinstance(norm, Tensor) else math.isfinite(norm)
        finite = finite and (self.world.num_processes > 1 or math.isfinite(self.loss))  # a loss is one process's own
        self.bad = 0 if finite else self.bad + 1
        if self.bad > (
            20 if self.world.mixed_precision == "fp16" else 0
        ):  # fp16's scaler overflows a few times while it settles
            self._give_up()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.log({"loss": self.loss, "lr": self.schedule.get_last_lr()[0]})

    def _give_up(self) -> None:
        lr = self.schedule.get_last_lr()[0]
        kept = ""
        if self.rescue is not None:
            self.rescue.parent.mkdir(parents=True, exist_ok=True)
            main_writes(save_file, trained_state(self.bare), self.rescue)
            kept = f"; the last good state is in {self.rescue}"
        self.close()
        raise Diverged(
            f"the loss of '{self.task.name}' became NaN at step {self.step + 1} (lr {lr:.3g}); use a smaller lr than {self.recipe.lr:g}{kept}"
        )
