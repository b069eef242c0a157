"""The ways to use sources for a target, each a row of values: what sits in the adapter slot, what trains, and how.

    slot "none"     nothing: the head alone, or with the whole base
    slot "fresh"    one new adapter of the library's, no sources in it (`scalearn.methods.joint` trains it on their tasks too)
    slot "copy"     one source as an ordinary adapter, or several averaged into one (`scalearn.methods.soup`)
    slot "mix"      frozen sources under an omega (`scalearn.layers.scaling`), which training learns, a grid sets or a search finds
    slot "fusion"   frozen sources under attention (`scalearn.layers.fusion`)

docs/transfer.md has the table. The learning rates are the authors' (arXiv:2310.01217, their scripts): 6e-3 for omega, 3e-4 for an adapter, 5e-5
for AdapterFusion; 3e-3 is Compacter's (arXiv:2106.04647), 2e-5 the usual one for a whole encoder. Ours: 3e-3 where only the head trains, and
one patience for all methods, so that none is stopped earlier than another (the authors give ScaLearn none, adapters and AdapterFusion 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from adapters import CompacterPlusPlusConfig
from torch import Tensor

from scalearn.layers.fusion import LAYER, add_fusion
from scalearn.layers.mix import add_copy, add_mix, given_omegas
from scalearn.layers.scaling import SCALINGS, SEARCHED, SET, Omega, Scaling
from tasksel.adapters.bottleneck import Bottlenecks, reduction_factor
from tasksel.adapters.train import add_fresh
from tasksel.errors import UserError, unknown
from tasksel.model.base import Base, quiet
from tasksel.model.heads import add_head
from tasksel.tasks.task import Task
from tasksel.training.recipe import Recipe
from tasksel.training.state import load_trained, trained_state

PATIENCE = 5
SOURCE_RECIPE = Recipe(lr=3e-4, patience=PATIENCE)
HEAD_RECIPE = Recipe(lr=3e-3, patience=PATIENCE)
OMEGA_RECIPE = Recipe(lr=6e-3, patience=PATIENCE)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to use sources.

    Attributes:
        recipe: how what trains is trained.
        least, most: how many sources it takes; what it is given beyond the most is left out, None takes them all.
        trains: beside the head: nothing ("head"), what is learned in the slot, or the whole base.
        scaling: of the slot "mix". fresh: the kind of a new adapter.
        merge: how several sources become the one that the slot "copy" holds: alike, or by their similarity to the target.
        course: trained once, for every cell of a grid (`scalearn.methods.grid`), around a search (`scalearn.methods.search`), or together with the
            sources' tasks (`scalearn.methods.joint`).
    """

    name: str
    slot: Literal["none", "fresh", "copy", "mix", "fusion"]
    recipe: Recipe
    least: int = 0
    most: int | None = 0
    trains: Literal["head", "slot", "base"] = "slot"
    scaling: Scaling | None = None
    fresh: Literal["seq_bn", "compacter++"] = "seq_bn"
    merge: Literal["equal", "similarity"] | None = None
    course: Literal["once", "grid", "search", "joint"] = "once"


def _scaled(name: str, scaling: Scaling) -> Method:
    return Method(name=name, slot="mix", recipe=OMEGA_RECIPE, scaling=scaling, least=1, most=None)


ROWS = (
    Method(name="head-only", slot="none", recipe=HEAD_RECIPE, trains="head"),
    Method(name="full", slot="none", recipe=Recipe(lr=2e-5, patience=PATIENCE), trains="base"),
    Method(name="single-adapter", slot="fresh", recipe=SOURCE_RECIPE),
    Method(name="joint", slot="fresh", recipe=SOURCE_RECIPE, least=1, most=None, course="joint"),
    Method(name="compacter++", slot="fresh", recipe=Recipe(lr=3e-3, patience=PATIENCE), fresh="compacter++"),
    Method(name="sequential", slot="copy", recipe=SOURCE_RECIPE, least=1, most=1),
    *(_scaled(name, scaling) for name, scaling in SCALINGS.items()),
    Method(name="average", slot="mix", recipe=HEAD_RECIPE, scaling=SET, least=1, most=None),
    Method(name="fixed-grid", slot="mix", recipe=HEAD_RECIPE, scaling=SET, least=2, most=2, course="grid"),
    Method(name="search", slot="mix", recipe=HEAD_RECIPE, scaling=SEARCHED, least=2, most=None, course="search"),
    Method(name="soup", slot="copy", recipe=HEAD_RECIPE, least=1, most=None, trains="head", merge="equal"),
    Method(
        name="soup-similarity", slot="copy", recipe=HEAD_RECIPE, least=1, most=None, trains="head", merge="similarity"
    ),
    Method(name="fusion", slot="fusion", recipe=Recipe(lr=5e-5, patience=PATIENCE), least=2, most=None),
)
METHODS = {method.name: method for method in ROWS}


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UserError: unknown name (with the nearest one).
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def check_count(method: Method, count: int) -> None:
    """Refuses too few sources.

    Raises:
        UserError: fewer than the method needs.
    """
    if count < method.least:
        needed = "one source" if method.least == 1 else f"{method.least} sources"
        given = f", given {count}" if count else ""
        raise UserError(f"method '{method.name}' needs at least {needed}{given}; select some from a pool")


def build(
    base: Base, task: Task, method: Method, sources: dict[str, Bottlenecks], config: dict[str, Any], *, seed: int
) -> Any:
    """A model for the target: base, a head, and the method's slot, all under the task's name; only what learns is trainable.

    The head is drawn first, so that at one seed every method starts from the same head.

    Args:
        sources: the stacked projections by slot path; merged into one (n = 1) for soups, empty where none sits in the slot.
        config: the sources' adapter configuration.

    Raises:
        UserError: fewer sources than the method needs.
    """
    count = len(next(iter(sources.values())).down) if sources else 0
    if method.slot not in ("none", "fresh"):
        check_count(method, count)
    if method.slot == "copy" and count > 1:
        raise ValueError(f"{count} sources for the one copy of '{method.name}': merge them first")
    torch.manual_seed(seed)
    model = base.model()
    add_head(model, task, name=task.name)
    with quiet():
        if method.slot == "fresh":
            _add_fresh(model, task.name, method.fresh)
        elif method.slot == "copy":
            add_copy(model, task.name, sources, config)
            model.set_active_adapters(task.name)
        elif method.slot == "fusion":
            add_fusion(model, task.name, sources, config)
        elif method.scaling is not None:
            add_mix(model, task.name, sources, method.scaling, config)
    model.active_head = task.name
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_learns(name, method))
    return model


def _add_fresh(model: Any, name: str, kind: str) -> None:
    """Adds and activates a new adapter.

    Ours: where Compacter's width, hidden / 32, is no multiple of its PHM dimension (4), the next one is taken.
    """
    if kind == "seq_bn":
        add_fresh(model, name)
        return
    config, hidden = CompacterPlusPlusConfig(), model.config.hidden_size
    width = -(-int(hidden // config.reduction_factor) // config.phm_dim) * config.phm_dim
    model.add_adapter(name, config=config.replace(reduction_factor=reduction_factor(width, hidden)))
    model.set_active_adapters(name)


def _learns(parameter: str, method: Method) -> bool:
    """Whether a parameter of this name is trainable. The pooler is not in use, and has no gradient."""
    if parameter.startswith("heads."):
        return True
    if method.trains == "slot":
        slot = (LAYER,) if method.slot == "fusion" else (".adapters.", ".shared_parameters.")
        return any(part in parameter for part in slot)
    return method.trains == "base" and "pooler" not in parameter


def learned_parameters(model: Any) -> dict[str, int]:
    """Learned numbers: those of the transfer (trainable, or of an omega that is searched), and those of the head beside it."""
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(size for name, size in sizes.items() if name.startswith("heads."))
    omegas = [module for module in model.modules() if isinstance(module, Omega)]
    searched = sum(omega.weight.numel() for omega in omegas if omega.scaling.learned_by == "search")
    return {"transfer": sum(sizes.values()) - head + searched, "head": head}


def learned_state(model: Any) -> dict[str, Tensor]:
    """Copies of all that a seed's model has beside its base and sources, by name: what was trained, and an omega that was set."""
    return trained_state(model) | {name: omega.detach().cpu().clone() for name, omega in given_omegas(model).items()}


def load_learned(model: Any, state: dict[str, Tensor]) -> None:
    """Writes such a state back.

    Raises:
        KeyError: a name that the model does not have, or an omega that the state lacks.
    """
    given = given_omegas(model)
    with torch.no_grad():
        for name, omega in given.items():
            omega.copy_(state[name])
    load_trained(model, {name: tensor for name, tensor in state.items() if name not in given})
