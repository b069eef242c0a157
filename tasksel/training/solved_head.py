"""A head that is set instead of trained: its first layers standardise the features, its last is the closed form's solution.

    first layer         z = (x - mu) / sigma,  h = f(a z + c)         mu, sigma of the training rows' features x
    layers between      h' = f(a u + c) of u = (h - f(c)) / a         so each gives nearly what it gets
    last layer          logits = u W^T + b                            W, b solved on u (`tasksel.training.cross_validation`)

    f         tanh     relu, gelu, …    none (one layer)
    a, c      0.3, 0   1, 3             1, 0

a keeps tanh near its slope and flattens outliers; c keeps a rectifier on its straight side. The logits are the closed form's own up to rounding, and
training goes on from there. Ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from tasksel.model.head import Head
from tasksel.training.closed_form import LastLayer

BOUNDED = ("tanh", "sigmoid")
CONSTANT = 1e-4  # a feature with less than this share of the usual spread is constant: it says nothing
ROUNDING = 1e-6  # and one that spreads by less than this share of its mean: float32's noise


def standardise(head: Head, features: np.ndarray) -> None:
    """Sets all layers but the last, so that they standardise features like these.

    Args:
        features: [n, d] or [n, choices, d].

    >>> standardise(model.heads["rte"], features)  # doctest: +SKIP
    """
    slope, shift, centre = _form(head)
    rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
    mean, scale = rows.mean(0), rows.std(0)
    varied = scale > ROUNDING * abs(mean)
    usual = float(np.median(scale[varied])) if varied.any() else 0.0
    scale = np.where(varied & (scale > CONSTANT * usual), scale, np.inf)
    with torch.no_grad():
        for number, linear in enumerate(_linears(head)[:-1]):
            if number == 0:
                linear.weight.copy_(torch.from_numpy(np.diag(slope / scale)))
                linear.bias.copy_(torch.from_numpy(shift - slope * mean / scale))
            else:
                linear.weight.copy_(torch.eye(len(linear.bias)))
                linear.bias.fill_(shift - centre)


@torch.no_grad()
def last_inputs(head: Head, features: np.ndarray) -> np.ndarray:
    """What the last layer is solved on, u of the features' shape, of a head that `standardise` has set; float64.

    >>> last_inputs(model.heads["rte"], features).shape  # doctest: +SKIP
    (200, 384)
    """
    slope, centre = _of_last(head)
    device = next(head.parameters()).device
    hidden = torch.as_tensor(features, dtype=torch.float32, device=device)
    last = _linears(head)[-1]
    training = head.training
    head.eval()
    for module in list(head.children())[: list(head.children()).index(last)]:
        hidden = module(hidden)
    head.train(training)
    values: np.ndarray = (hidden.double().cpu().numpy() - centre) / slope
    return values


@torch.no_grad()
def set_last(head: Head, layer: LastLayer) -> None:
    """Sets the last layer to a solution on `last_inputs`.

    >>> set_last(model.heads["rte"], cross_validated(inputs, labels, task).layer)  # doctest: +SKIP
    """
    slope, centre = _of_last(head)
    last = _linears(head)[-1]
    weight = layer.weight / slope
    last.weight.copy_(torch.from_numpy(weight))
    if last.bias is not None:
        last.bias.copy_(torch.from_numpy(layer.bias - weight.sum(1) * centre))


def has_bias(head: Head) -> bool:
    """Whether the last layer has a bias, and so is solved with an intercept.

    >>> has_bias(model.heads["rte"])  # doctest: +SKIP
    True
    """
    return _linears(head)[-1].bias is not None


def _of_last(head: Head) -> tuple[float, float]:
    """What the last layer's inputs are divided by, and what is taken off them before; nothing is where no bias can give it back."""
    slope, _, centre = _form(head)
    return slope, centre if has_bias(head) else 0.0


def _linears(head: Head) -> list[Any]:
    return [module for module in head.children() if isinstance(module, nn.Linear)]


def _form(head: Head) -> tuple[float, float, float]:
    """a, c and f(c) of the head's activation."""
    name = head.config.get("activation_function")
    if len(_linears(head)) == 1 or not name:
        return 1.0, 0.0, 0.0
    if name.lower() in BOUNDED:
        return 0.3, 0.0, 0.5 if name.lower() == "sigmoid" else 0.0
    activation = next(module for module in head.children() if not isinstance(module, nn.Linear | nn.Dropout))
    return 1.0, 3.0, float(activation(torch.tensor(3.0)))
