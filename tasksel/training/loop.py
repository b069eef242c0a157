"""The one training loop: every stage, and every embedder that trains, goes through `fit`, or `fit_parts` for several tasks at once.

AdamW, linear warm-up and decay, clipping, batches of like length with dynamic padding, early stopping, the best checkpoint by the
task's metric on dev. It runs on accelerate: any device, bf16/fp16 and several processes as `accelerate launch` says.

A batch's gradient is the sum over its rows (of generation its answers' tokens) divided by their number, however many processes share it. A process takes its part in
micro-batches, each with its own random stream (seed, step, number), so that dropout too is the same for any number of processes.
What a run has reached is kept now and then (`tasksel.training.autosave`), and a run that was killed goes on from there to the same numbers.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

from tasksel.display.progress import bar, say
from tasksel.model.encoding import Encoded, length_batches
from tasksel.model.heads import loss_sum
from tasksel.model.names import module_name
from tasksel.processes import accelerator, main_writes
from tasksel.storage.atomic import write_bytes
from tasksel.storage.disk import need_space
from tasksel.tasks.prompts import GENERATION
from tasksel.tasks.task import Task
from tasksel.training.autosave import Autosave
from tasksel.training.batches import ahead, on_device
from tasksel.training.checkpoints import Evaluation
from tasksel.training.divergence import fused, watch
from tasksel.training.frozen_vectors import FrozenVectors, heads_alone_train
from tasksel.training.loop_state import captured, identity, restore
from tasksel.training.predict import dev_score, logits_of
from tasksel.training.recipe import Recipe
from tasksel.training.run import TEMPERATURE, Diverged, FitOptions, FitResult, Part, sampling_shares
from tasksel.training.solved_start import solve_head
from tasksel.training.state import load_trained, trained_state


def fit(
    model: Any,
    task: Task,
    train: Encoded,
    dev: Encoded | None,
    recipe: Recipe,
    *,
    seed: int,
    **options: Unpack[FitOptions],
) -> FitResult:
    """Trains every parameter that requires a gradient, and leaves the model with its best dev checkpoint, in eval mode.

    Args:
        dev: where checkpoints are compared; None keeps the last.
        **options: see `FitOptions`.

    Raises:
        Diverged: a loss or gradient that is not finite, with the step and its lr.

    >>> result = fit(model, task, train, dev, Recipe(lr=1e-3, epochs=3), seed=0)  # doctest: +SKIP
    >>> result.score, result.epoch  # doctest: +SKIP
    (0.84, 2)
    """
    return fit_parts(model, [Part(task, train, dev)], recipe, seed=seed, **options)


def fit_parts(
    model: Any,
    parts: Sequence[Part],
    recipe: Recipe,
    *,
    seed: int,
    temperature: float = TEMPERATURE,
    **options: Unpack[FitOptions],
) -> FitResult:
    """`fit` on several tasks at once: each step draws one task, and takes the next batch of that task's own shuffled rows.

    Several parts need a head each, under their tasks' names; the last one used stays active. One part trains the active head, whatever
    its name. After HyperFormer: the shares by temperature. Ours: an epoch has as many steps as the parts' rows fill batches; a task's
    rows go round, shuffled anew each time, and go on where they were in the next epoch; checkpoints are compared by the mean over the
    parts that have dev rows of their metric, of their loss, or of both (`Recipe.select`).

    Args:
        temperature: 1 draws tasks in proportion to their rows; the larger, the more alike.
        **options: see `FitOptions`.

    Raises:
        UserError: a recipe out of range; no space for the outcome where `rescue` lies.
        Diverged: a loss or gradient that is not finite, with the task, the step and its lr.
        ValueError: no part, two parts of one name, or a temperature that is not above 0.

    >>> fit_parts(model, [Part(rte, train, dev), Part(mrpc, train2, dev2)], Recipe(), seed=0)  # doctest: +SKIP
    """
    begun = time.perf_counter()
    recipe.check()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return _untrained(model, parts, recipe, begun)
    if rescue := options.get("rescue"):  # where it lies the outcome will be written
        need_space(rescue.parent, sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad))
    loop = _Loop(model, parts, recipe, seed, temperature, options, begun)
    with torch.random.fork_rng(), loop.autosave.signals_wait():
        if not loop.finished:
            with bar(loop.label, loop.total - loop.step) as advance:
                loop.run(advance)
            loop.finish()
    loop.close()
    best = loop.best
    if best is None:
        return FitResult(None, None, loop.step, loop.seconds, loop.history)
    return FitResult(best.score, best.epoch, loop.step, loop.seconds, loop.history, best.scores)


def _untrained(model: Any, parts: Sequence[Part], recipe: Recipe, begun: float) -> FitResult:
    """The scores of a model in which nothing trains: a mix whose weights are set, under a generation's head."""
    model.to(accelerator().device)
    scores: dict[str, float] = {}
    for part in parts:
        model.active_head = module_name(part.task.name) if len(parts) > 1 else model.active_head
        scores |= {} if part.dev is None else {part.task.name: dev_score(model, part.task, part.dev, recipe.select)[0]}
    score = float(np.mean(list(scores.values()))) if scores else None
    return FitResult(score, 0 if scores else None, 0, time.perf_counter() - begun, scores=scores)


class _Loop:
    """The state of one run: the wrapped model, its optimizer and schedule, the step it is at, and the best checkpoint so far."""

    def __init__(
        self,
        model: Any,
        parts: Sequence[Part],
        recipe: Recipe,
        seed: int,
        temperature: float,
        options: FitOptions,
        begun: float,
    ) -> None:
        names = [part.task.name for part in parts]
        if not parts or len(set(names)) < len(names):
            raise ValueError(f"parts {names}: must be a non-empty list without duplicates")
        self.bare, self.parts, self.recipe, self.seed, self.options = model, tuple(parts), recipe, seed, options
        self.task, rows = parts[0].task, [len(part.train) for part in parts]
        self.label, self.begun, self.earlier = options.get("label") or ", ".join(names), begun, 0.0
        self.shares, self.drawn = sampling_shares(rows, temperature), [0] * len(parts)
        self.epoch_steps, self.total = recipe.epoch_steps(*rows), recipe.steps(*rows)
        self.step, self.epochs, self.loss = 0, 0, math.nan
        self.stopped, self.finished = False, False
        self.history: list[dict[str, float]] = []
        self.best: Evaluation | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.world = accelerator(recipe.log_with, unused=len(parts) > 1, mixed=recipe.mixed)  # a step uses one head
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = options.get("groups") or self._groups()
        exact = self.world.mixed_precision == "no"  # `prepare` puts autocast around the whole model alone
        self.kept = FrozenVectors() if exact and heads_alone_train(model, groups) else None
        checkpoints = options.get("checkpoints")
        checkpoint = checkpoints.next(identity(self, groups, temperature)) if checkpoints else None
        state = checkpoint.read(self.world.num_processes) if checkpoint else None
        if recipe.start == "solved" and state is None:
            self._solve(seed)
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, **fused(self.world))
        self.watch = watch(self.world, optimizer)
        self.schedule = self.scheduled(optimizer)
        self.model, self.optimizer = self.world.prepare(model.eval(), optimizer)
        if state is not None:
            restore(self, state, optimizer)
        self.streams = [self._stream(part, done) for part, done in zip(parts, self.drawn, strict=True)]
        self.autosave = Autosave(checkpoint, self.world, partial(captured, self), self.label, look=self._look)
        if not self.finished:
            self._announce(options.get("label", ""))

    def scheduled(self, optimizer: Any, step: int = 0) -> Any:
        """The learning rate's schedule, after so many steps."""
        warmup = round(self.recipe.warmup * self.total)
        return get_linear_schedule_with_warmup(optimizer, warmup, self.total, last_epoch=step - 1)

    def _solve(self, seed: int) -> None:
        """Sets each part's head to the closed form on its training rows; a generation's head is the base's own, and starts as it is."""
        for part in self.parts:
            if part.task.kind != GENERATION:
                self.turn_to(part)
                solve_head(self.bare, part.task, part.train, seed=seed)

    def _groups(self) -> list[dict[str, Any]]:
        """Heads, and what else trains, each with its own rate."""
        heads = {id(parameter) for parameter in self.bare.heads.parameters()} if self.recipe.head_lr else set()
        rest = [parameter for parameter in self.trained if id(parameter) not in heads]
        own = [parameter for parameter in self.trained if id(parameter) in heads]
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": own, "lr": self.recipe.head_lr}]
        return [group for group in groups if group["params"]]

    def _announce(self, label: str) -> None:
        """Says when some processes have no work, and begins a tracker's record."""
        busy = math.ceil(self.recipe.batch / self.recipe.micro_batch)
        if busy < self.world.num_processes:
            say(
                f"{label}: micro-batches of {self.recipe.micro_batch} feed {busy} of {self.world.num_processes} processes: lower micro_batch or raise batch"
            )
        if self.recipe.log_with:
            self.world.init_trackers("scalearn", config={"run": label, **self.recipe.model_dump(mode="json")})

    def log(self, values: dict[str, float]) -> None:
        """Passes values of this step to the tracker, where there is one."""
        if self.recipe.log_with:
            self.world.log({name: float(value) for name, value in values.items()}, step=self.step)

    def close(self) -> None:
        """Unwraps the model, in eval mode, and ends the trackers."""
        for tracker in self.world.trackers:
            tracker.finish()
        self.world.unwrap_model(self.model, keep_fp32_wrapper=False)  # also undoes autocast on the bare model
        self.bare._is_accelerate_prepared = False  # or `prepare` would skip a second fit, which ran without autocast
        self.bare.eval()
        self.streams.clear()  # these two hold this loop, and what it holds would wait for the garbage collector
        del self.autosave

    def run(self, advance: Callable[[str], None]) -> None:
        """Epochs until the recipe's last; its steps, `on_step` or its patience may end them earlier. A solved start is the first checkpoint."""
        if self.recipe.start == "solved" and not self.step:
            self._compare(0)
        while self.step > self.epochs * self.epoch_steps or not self._is_over():
            self._train_epoch(self.epochs + 1, advance)
            self._compare(self.epochs + 1)

    def _is_over(self) -> bool:
        """Whether no other epoch begins."""
        patience, waited = self.recipe.patience, self.epochs - self.best.epoch if self.best else 0
        impatient = patience is not None and self.best is not None and self.epochs > 0 and waited >= patience
        return self.stopped or self.step >= self.total or impatient

    def _train_epoch(self, epoch: int, advance: Callable[[str], None]) -> None:
        """The steps of an epoch, or those that are left of it; `on_step` or the recipe's steps may end them."""
        on_step = self.options.get("on_step")
        for steps in self.epoch(epoch):
            advance(f"loss {self.watch.shown(self.loss):.3f}" + (f", dev {self.best.score:.3f}" if self.best else ""))
            self.stopped = on_step is not None and bool(on_step(steps))
            self.autosave.after_step(steps)

    def _compare(self, epoch: int) -> None:
        """Scores the checkpoint on dev, where there are dev rows, and keeps it if it is the best."""
        self._look()
        checkpoint = self.autosave.undisturbed(partial(self.check, epoch))
        self.epochs = epoch
        if checkpoint is None:
            return
        self.history.append({"epoch": epoch, "step": self.step, "loss": float(self.loss), "dev": checkpoint.score})
        self.log({"dev": checkpoint.score})
        if self.best is None or checkpoint.rank > self.best.rank:
            self.best, self.best_weights = checkpoint, trained_state(self.bare)

    def finish(self) -> None:
        """Gives the model the best checkpoint's weights."""
        if self.best:
            load_trained(self.bare, self.best_weights)
        self.finished = True
        self.autosave.finish()

    @property
    def seconds(self) -> float:
        """What the run took so far, with what it took before it was killed."""
        return self.earlier + time.perf_counter() - self.begun

    def epoch(self, number: int) -> Iterator[int]:
        """One pass over train, or as many steps of tasks drawn by their shares; yields the number of steps done after each.

        The draws are this epoch's own, the same for every process.
        """
        draw = random.Random(f"{self.seed}, epoch {number}")
        draws = draw.choices(range(len(self.parts)), weights=self.shares, k=self.epoch_steps)
        for i in draws[self.step - (number - 1) * self.epoch_steps :]:
            if self.stopped or self.step >= self.total:
                return
            self.turn_to(self.parts[i])
            if not self.bare.training:  # an evaluation has been; to walk through all modules takes a millisecond
                self.model.train()
            self._backward(self.parts[i].train, next(self.streams[i]))
            self._update()
            self.drawn[i] += 1
            yield self.step

    def _stream(self, part: Part, done: int) -> Iterator[list[int]]:
        """A part's batches without end, shuffled anew for each pass over its rows; those that are done are left out."""
        passes, done = divmod(done, self.recipe.epoch_steps(len(part.train)))
        for number in count(passes + 1):
            batches = length_batches(part.train.lengths, self.recipe.batch, seed=self.seed * 10_007 + number)
            yield from ahead(part.train, batches[done:], world=self.world, micro_batch=self.recipe.micro_batch)
            done = 0

    def turn_to(self, part: Part) -> None:
        """Makes a part the one that is trained or scored; where there is one part alone, its head is active already."""
        self.task = part.task
        if len(self.parts) > 1:
            self.bare.active_head = module_name(part.task.name)

    def check(self, epoch: int) -> Evaluation | None:
        """The dev scores and their means over parts; None where no part has dev rows."""
        scores, ranks = {}, []
        for part in self.parts:
            if part.dev is not None:
                self.turn_to(part)
                scores[part.task.name], rank = dev_score(
                    self.bare, part.task, part.dev, self.recipe.select, kept=self.kept
                )
                ranks.append(rank)
        if not scores:
            return None
        score, rank = float(np.mean(list(scores.values()))), tuple(map(float, np.mean(ranks, axis=0)))
        return Evaluation(epoch=epoch, scores=scores, score=score, rank=rank)

    def _backward(self, train: Encoded, batch: list[int]) -> None:
        """Gradients of a batch's mean loss: this process's micro-batches, the last of which is averaged with the other processes'."""
        size = self.recipe.micro_batch
        micros = [batch[i : i + size] for i in range(0, len(batch), size)]
        share = list(enumerate(micros))[self.world.process_index :: self.world.num_processes]
        # processes average their gradients; rows shall add up
        weight = self.world.num_processes / max(1, train.loss_terms(batch))
        if not share:  # a small last batch: this process has no rows but must meet the others all the same
            share, weight = [(0, micros[0])], 0.0
        penalty = self.options.get("penalty")
        total = 0.0
        for i, (number, rows) in enumerate(share):
            torch.manual_seed(((self.seed * 1_000_003 + self.step) * 1_009 + number) % 2**63)
            tensors = on_device(train, rows, self.world.device)
            if i < len(share) - 1:
                with self.world.no_sync(self.model):
                    loss = loss_sum(self.task.kind, logits_of(self.model, tensors), tensors["labels"]) * weight
                    self.world.backward(loss)
            else:
                loss = loss_sum(self.task.kind, logits_of(self.model, tensors), tensors["labels"]) * weight
                self.world.backward(loss + penalty() if penalty else loss)
            total += self.watch.value(loss.detach())
        self.loss = total

    def _update(self) -> None:
        """A step of the optimizer; a gradient that is not finite ends the run before it touches a parameter."""
        norm = self.world.clip_grad_norm_(self.trained, self.recipe.clip)
        if self.watch.diverged(norm, self.loss):
            self._give_up()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.log({"loss": self.loss, "lr": self.schedule.get_last_lr()[0]})
        self._look(self.step)

    def _look(self, step: int | None = None) -> None:
        """Ends the run if steps were not made because of a loss or gradient that is not finite: always, or where it is that step's turn to look."""
        if late := self.watch.late(step):
            self._give_up(late)

    def _give_up(self, late: int = 0) -> None:
        self.step -= late
        lr = self.schedule.base_lrs[0] * self.schedule.lr_lambdas[0](self.step)
        rescue, kept = self.options.get("rescue"), ""
        self.autosave.discard()
        if rescue is not None:
            main_writes(self._store_state, rescue)
            kept = f"; the last good state is in {rescue}"
        self.close()
        raise Diverged(
            f"the loss of '{self.task.name}' became NaN at step {self.step + 1} (lr {lr:.3g}); use a smaller lr than {self.recipe.lr:g}{kept}"
        )

    def _store_state(self, path: Path) -> None:
        write_bytes(path, save(trained_state(self.bare)))
