"""The trainable parameters of a model, taken out and written back by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trainable parameters, by name."""
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def load_trained(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Writes parameters back by name.

    Raises:
        KeyError: a name that the model does not have.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            parameters[name].copy_(tensor)
