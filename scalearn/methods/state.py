"""What a seed's model has beside its base and its sources: how many numbers were learned, and their state.

state = trained parameters + omegas that no gradient learned (buffers: set, or searched)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scalearn.layers.mix import omega_buffers
from scalearn.layers.scaling import Omega
from tasksel.adapters.train import trainable_parameters
from tasksel.training.state import load_trained, trained_state


def learned_parameters(model: Any) -> dict[str, int]:
    """How many numbers are learned: those of the transfer (trainable, or of an omega that is searched), and those of the head.

    >>> learned_parameters(result.model())  # doctest: +SKIP
    """
    omegas = [module for module in model.modules() if isinstance(module, Omega)]
    searched = sum(omega.weight.numel() for omega in omegas if omega.scaling.learned_by == "search")
    counted = trainable_parameters(model)
    return {**counted, "transfer": counted["transfer"] + searched}


def learned_state(model: Any) -> dict[str, Tensor]:
    """Copies of all that a seed's model has beside its base and sources, by name: what was trained, and an omega that was set.

    >>> save_file(learned_state(model), "state.safetensors")  # doctest: +SKIP
    """
    return trained_state(model) | {name: omega.detach().cpu().clone() for name, omega in omega_buffers(model).items()}


def load_learned(model: Any, state: dict[str, Tensor]) -> None:
    """Writes such a state back.

    Raises:
        KeyError: a name that the model does not have, or an omega that the state lacks.

    >>> load_learned(model, load_file("state.safetensors"))  # doctest: +SKIP
    """
    omegas = omega_buffers(model)
    with torch.no_grad():
        for name, omega in omegas.items():
            omega.copy_(state[name])
    load_trained(model, {name: tensor for name, tensor in state.items() if name not in omegas})
