"""The state of a run of the loop: taken between two steps, and taken up again by a run of the same.

Between two steps a run is its weights, the optimizer's tensors, and numbers: the learning rate, the batches and the dropout masks that come next
are functions of the seed, the step and the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tasksel.display.progress import say
from tasksel.training.checkpoints import Progress, TrainingState
from tasksel.training.state import load_optimizer, load_trained, optimizer_state


def identity(loop: Any, groups: Sequence[dict[str, Any]], temperature: float) -> list[Any]:
    """What a state must agree with to be taken up, beside what its key says: recipe, seed, rows, and what trains at which rate."""
    trained = [
        [[*parameter.shape] for parameter in group["params"]] + [group.get("lr"), group.get("weight_decay")]
        for group in groups
    ]
    parts = [part.identity() for part in loop.parts]
    return [loop.label, loop.recipe.identity(), loop.seed, temperature, parts, trained]


def captured(loop: Any) -> TrainingState:
    """The state between two steps; after the last, the outcome's weights alone."""
    scaler, stateful = loop.world.scaler, loop.options.get("stateful")
    progress = Progress(
        finished=loop.finished,
        step=loop.step,
        epochs=loop.epochs,
        drawn=tuple(loop.drawn),
        stopped=loop.stopped,
        loss=float(loop.loss),
        overflows=loop.watch.overflows,
        task=loop.task.name,
        seconds=loop.seconds,
        history=tuple(loop.history),
        best=loop.best,
        scaler=scaler.state_dict() if scaler else None,
    )
    weights = {name: p for name, p in loop.bare.named_parameters() if p.requires_grad}
    others = stateful.state_dict() if stateful else {}
    if loop.finished:
        return TrainingState(progress, weights, others=others)
    return TrainingState(progress, weights, optimizer_state(loop.optimizer), loop.best_weights, others)


def restore(loop: Any, state: TrainingState, optimizer: torch.optim.Optimizer) -> None:
    """Takes up a state of the same run."""
    progress = state.progress
    for name in ("finished", "step", "epochs", "stopped", "loss", "best"):
        setattr(loop, name, getattr(progress, name))
    loop.drawn, loop.history, loop.earlier = [*progress.drawn], [*progress.history], progress.seconds
    loop.watch.overflows = progress.overflows
    load_trained(loop.bare, state.weights)
    if stateful := loop.options.get("stateful"):
        stateful.load_state_dict(state.others)
    loop.turn_to(next(part for part in loop.parts if part.task.name == progress.task))
    if not progress.finished:
        loop.best_weights = dict(state.best)
        load_optimizer(optimizer, state.optimizer)
        loop.schedule = loop.scheduled(optimizer, loop.step)
        if loop.world.scaler and progress.scaler:
            loop.world.scaler.load_state_dict(progress.scaler)
        say(f"{loop.label}: goes on from step {loop.step:,} of {loop.total:,}")
