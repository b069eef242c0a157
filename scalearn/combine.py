"""The ways to use sources for a target, each a row of values: what sits in the adapter slot, and how it is trained.

    slot "none"     the head alone
    slot "fresh"    one ordinary new adapter, no sources
    slot "mix"      frozen sources under a learned omega (`scalearn.scaling`)
    slot "continued"    the first source's adapter, trained on (sequential transfer)

The learning rates are the authors' (arXiv:2310.01217, their scripts): 6e-3 for omega, 3e-4 for an adapter. Ours: the head alone at 3e-3, and one
patience for all methods, so that none is stopped earlier than another (the authors give ScaLearn none and adapters 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from scalearn.scaling import SCALINGS, Scaling
from scalearn.slot import Bottlenecks, add_copy, add_mix
from tasksel.encoder import Base, add_head, quiet
from tasksel.errors import unknown
from tasksel.task import Task
from tasksel.trained import add_fresh, freeze_base
from tasksel.training import Recipe

PATIENCE = 5
SOURCE_RECIPE = Recipe(lr=3e-4, patience=PATIENCE)


@dataclass(frozen=True)
class Method:
    """What sits in the slot, and the recipe that trains it."""

    name: str
    slot: Literal["none", "fresh", "mix", "continued"]
    recipe: Recipe
    scaling: Scaling | None = None

    @property
    def takes(self) -> str:
        """How many sources it takes: "none", "one" (the first it is given) or "some"."""
        return {"mix": "some", "continued": "one"}.get(self.slot, "none")


METHODS = {
    "head-only": Method("head-only", "none", Recipe(lr=3e-3, patience=PATIENCE)),
    "single-adapter": Method("single-adapter", "fresh", SOURCE_RECIPE),
    "sequential": Method("sequential", "continued", SOURCE_RECIPE),
    **{name: Method(name, "mix", Recipe(lr=6e-3, patience=PATIENCE), scaling) for name, scaling in SCALINGS.items()},
}


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: unknown name (with the nearest one).
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def build(
    base: Base, task: Task, method: Method, sources: dict[str, Bottlenecks], config: dict[str, Any], *, seed: int
) -> Any:
    """A model for the target: frozen base, a head, and the method's slot, all under the task's name.

    The head is drawn first, so that at one seed every method starts from the same head.

    Args:
        sources: the stacked projections by slot path; empty for methods without sources.
        config: the sources' adapter configuration.
    """
    torch.manual_seed(seed)
    model = base.model()
    add_head(model, task, name=task.name)
    with quiet():
        if method.slot == "fresh":
            add_fresh(model, task.name)
        elif method.slot == "continued":
            add_copy(model, task.name, sources, config)
        elif method.scaling is not None:
            add_mix(model, task.name, sources, method.scaling, config)
    model.active_head = task.name
    freeze_base(model)
    return model


def learned_parameters(model: Any) -> dict[str, int]:
    """Trainable numbers: those of the transfer, and those of the head beside it."""
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(size for name, size in sizes.items() if name.startswith("heads."))
    return {"transfer": sum(sizes.values()) - head, "head": head}
