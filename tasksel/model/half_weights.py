"""A decoder whose weights are stored in 16 bits holds those of its Linears so in memory, and computes with them as with float32. Ours.

    y = x float32(W)^T + b        W [out, in] as it is stored; under autocast W as autocast takes it

Widening is exact, so every number is that of a base held in float32, at half of its memory (8 billion parameters: 17 GB in place of 32). A widened W
lives as long as one product does: backward widens it again in place of keeping it. All other weights, a few, are held in float32.
Stacked LoRAs are held so too where it loses nothing (`narrowed`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from tasksel.model.linear_slot import LinearSlot
from tasksel.model.optional_file import optional_file

HALVES = {"BF16": torch.bfloat16, "F16": torch.float16}  # as safetensors calls them
COMPUTED = "rotary_emb.inv_freq"  # in float32 in older LLaMAs and Mistrals; no model reads it


class HalfLinear(nn.Linear):
    """A Linear whose frozen weight may be narrower than what it multiplies.

    Args:
        linear: whose weight and bias it takes.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.training = linear.training

    def forward(self, input: Tensor) -> Tensor:
        """The Linear's output [..., out] from x [..., in], in the type of x."""
        return half_linear(input, self.weight, self.bias)


def half_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b [..., out] in the type of x [..., in], for a frozen W [out, in] that may be narrower.

    Raises:
        RuntimeError: a weight of another type than x that is to be trained.

    >>> half_linear(torch.ones(2), torch.tensor([[1.5, 2.0]]).bfloat16())
    tensor([3.5000])
    """
    if weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
        return F.linear(x, weight, bias)
    if weight.requires_grad:
        raise RuntimeError("a weight in 16 bits is frozen: `widen` it, then train it")
    product: Tensor = _Widened.apply(x, weight, bias)
    return product


def narrowed(tensor: Tensor) -> Tensor:
    """A tensor of float32 in 16 bits where that loses nothing; as it is where it does.

    >>> narrowed(torch.tensor([0.5])).dtype, narrowed(torch.tensor([0.1])).dtype
    (torch.bfloat16, torch.float32)
    """
    for kind in HALVES.values():
        half = tensor.to(kind)
        if torch.equal(half.to(tensor.dtype), tensor):
            return half
    return tensor


class _Widened(torch.autograd.Function):
    """x W^T + b with W widened to the type of x; a gradient for x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight.to(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient @ weight.to(gradient.dtype), None, None


def stored_half(path: str, revision: str | None) -> torch.dtype | None:
    """The 16-bit type in which every float that a model reads is stored; None where some are of another, or where its files cannot be read.

    Args:
        path: a folder or a hub id. revision: of the hub id.

    >>> stored_half("models/llama-8b", None)  # doctest: +SKIP
    torch.bfloat16
    """
    types: set[str] = set()
    try:
        for file in _weight_files(path, revision):
            with safe_open(file, "pt") as stored:
                keys = [key for key in stored.keys() if not key.endswith(COMPUTED)]  # noqa: SIM118
                types |= {stored.get_slice(key).get_dtype() for key in keys}
    except (OSError, SafetensorError):  # a damaged file: reading the model itself says what is wrong with it
        return None
    floats = [kind for kind in types if "F" in kind]
    return HALVES.get(floats[0]) if len(floats) == 1 else None


def _weight_files(path: str, revision: str | None) -> list[Path]:
    """The safetensors of a model, in one part or several; none where there are none."""
    if whole := optional_file(path, SAFE_WEIGHTS_NAME, revision):
        return [whole]
    index = optional_file(path, SAFE_WEIGHTS_INDEX_NAME, revision)
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index else set()
    except (ValueError, KeyError, AttributeError, TypeError):
        return []
    return [file for name in sorted(names) if (file := optional_file(path, str(name), revision))]


@torch.no_grad()
def hold_half(model: nn.Module) -> None:
    """Keeps the weights of a model's Linears as they were read, in 16 bits, and widens all others to float32; a tied lm_head goes with the embeddings.

    Args:
        model: read in the type that it is stored in.
    """
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            model.set_submodule(path, HalfLinear(module))
    narrow = {id(module.weight) for module in model.modules() if isinstance(module, HalfLinear)}
    narrow -= {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for tensor in model.state_dict(keep_vars=True).values():
        if id(tensor) not in narrow and tensor.is_floating_point():
            tensor.data = tensor.data.float()
    _compute_buffers_again(model)


def _compute_buffers_again(model: Any) -> None:
    """Numbers that a model computes for itself, such as the factor of Gemma's embeddings, were rounded with the weights: in float32 they are not."""
    rounded = [path for path, buffer in model.named_buffers() if buffer.dtype in HALVES.values()]
    if not rounded:
        return
    with init_empty_weights(include_buffers=False):
        fresh = type(model)(model.config)
    for path in rounded:
        holder, _, name = path.rpartition(".")
        model.get_submodule(holder)._buffers[name] = fresh.get_buffer(path)


@torch.no_grad()
def widen(model: nn.Module, trains: Callable[[str], bool]) -> None:
    """Widens to float32 the weights that are to be trained.

    Args:
        trains: whether the parameter at a path is.
    """
    for path, module in model.named_modules():
        linear = _own(module)
        if isinstance(linear, HalfLinear) and trains(f"{path}.weight"):
            linear.weight.data = linear.weight.data.float()


def computed_type(linear: nn.Module) -> torch.dtype:
    """The type in which a Linear, or the slot of one, multiplies outside autocast."""
    weight: Any = linear.weight
    kind: torch.dtype = weight.dtype
    return torch.float32 if isinstance(_own(linear), HalfLinear) and kind in HALVES.values() else kind


def _own(module: nn.Module) -> nn.Module:
    """The Linear of a slot; any other module as it is."""
    return module.linear if isinstance(module, LinearSlot) else module
