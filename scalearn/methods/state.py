"""The trained part of a seed's model, without base and sources: how many trainable parameters, and their state.

state = trained parameters + omegas that no gradient learned (buffers: set, or searched)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scalearn.layers.folded import FoldedMix, omega_buffers
from scalearn.layers.scaling import Omega
from tasksel.adapters.train import trainable_parameters
from tasksel.training.state import load_trained, trained_state


def learned_parameters(model: Any) -> dict[str, int]:
    """The number of trainable parameters: of the "transfer" (an omega that is searched counts too), and of the "head".

    >>> learned_parameters(result.model())  # doctest: +SKIP
    """
    omegas = [module for module in model.modules() if isinstance(module, Omega)]
    searched = sum(omega.weight.numel() for omega in omegas if omega.scaling.learned_by == "search")
    counted = trainable_parameters(model)
    return {**counted, "transfer": counted["transfer"] + searched}


def learned_state(model: Any) -> dict[str, Tensor]:
    """Copies of the trained parameters and of an omega that was set, by their names in the model.

    >>> save_file(learned_state(model), "state.safetensors")  # doctest: +SKIP
    """
    return trained_state(model) | {name: omega.detach().cpu().clone() for name, omega in omega_buffers(model).items()}


def load_learned(model: Any, state: dict[str, Tensor]) -> None:
    """Writes a state of `learned_state` into a model.

    Raises:
        KeyError: a name that is not in the model, or an omega that is not in the state.
        AttributeError: a module that is not in the model.

    >>> load_learned(model, load_file("state.safetensors"))  # doctest: +SKIP
    """
    for name in state:
        module = model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, FoldedMix) and name.endswith(".up"):
            module.thaw()
    omegas = omega_buffers(model)
    with torch.no_grad():
        for name, omega in omegas.items():
            omega.copy_(state[name])
    load_trained(model, {name: tensor for name, tensor in state.items() if name not in omegas})
