"""The trainable parameters of a model, taken out and written back by name; and an optimizer's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trainable parameters, by name."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def load_trained(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Writes parameters back by name.

    Raises:
        KeyError: a name that the model does not have.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            parameters[name].copy_(tensor)


def optimizer_state(optimizer: Any) -> dict[str, Tensor]:
    """What an optimizer remembers of each parameter, `<number>/<name>`: AdamW's moments and steps. Learning rates are the schedule's."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value
        for number, kept in state.items()
        for name, value in kept.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    """Gives an optimizer of the same parameters what `optimizer_state` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, _, name = path.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
