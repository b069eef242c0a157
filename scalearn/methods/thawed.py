"""A mix at set weights whose projections train too: the model, and the rates of its three parts. What `auto` takes gradient steps on. Ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from scalearn.layers.folded import mixes, thaw_mix
from tasksel.training.recipe import Recipe

if TYPE_CHECKING:
    from scalearn.methods.scalearn import ScaledSources
    from scalearn.methods.training import SeedTraining

OMEGA_LR = 3e-2  # a single number per layer and source wants a larger step than a matrix: 6e-3 does not move it within 50 steps
FEWEST_STEPS = 6  # fewer move nothing


def set_weights(model: Any, values: Sequence[float]) -> None:
    """Sets the omega of every layer of the active mix, one number per source.

    >>> set_weights(model, [1.0, 0.0])  # doctest: +SKIP
    """
    with torch.no_grad():
        for _, mix in mixes(model, model.active_adapter):
            weight = mix.omega.weight
            weight.copy_(torch.tensor(values, dtype=weight.dtype)[:, None].expand_as(weight))


def thawed(method: ScaledSources, training: SeedTraining, values: Sequence[float]) -> Any:
    """A new model at these weights, one per source, whose copies of the sources' projections train.

    >>> model = thawed(method, training, (1.0, 0.0))  # doctest: +SKIP
    """
    model = method.new_model(training)
    set_weights(model, values)
    thaw_mix(model, model.active_adapter)
    return model


def rates(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups: the projections at the recipe's rate, omega at its own, and the head, where it trains, at `head_lr`.

    >>> [group.get("lr") for group in rates(model, recipe)]  # doctest: +SKIP
    [None, 0.03, 0.0003]
    """
    parts: dict[str, list[Any]] = {"rest": [], "omega": [], "head": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "head" if name.startswith("heads.") else "omega" if name.endswith(".omega.weight") else "rest"
            parts[part].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parts["rest"]},
        {"params": parts["omega"], "lr": OMEGA_LR},
        {"params": parts["head"], "lr": recipe.head_lr or recipe.lr},
    ]
    return [group for group in groups if group["params"]]
