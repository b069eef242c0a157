"""An adapter's or head's tensors from safetensors, or from a file that torch reads as tensors alone; those from outside must be finite floats.

pytorch_adapter.bin, pytorch_model_head.bin, adapter_model.bin     read by `torch.load(weights_only=True)`, which builds tensors and runs no code
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tasksel.errors import UserError, one_line


def read_tensors(path: Path, *, origin: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a `.bin` that holds tensors alone.

    Raises:
        UserError: a file that is cut short, of another format, or that holds anything but tensors by name.

    >>> read_tensors(Path("mine/adapter.safetensors"), origin="mine")  # doctest: +SKIP
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of a pickle's protocol: what it cannot read it refuses
            tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, SafetensorError, ValueError, LookupError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        said = one_line(error)[:200]
        if isinstance(error, pickle.UnpicklingError):
            said = "it holds more than tensors, which is never read"
        raise UserError(f"{origin}: the adapter cannot be loaded ({path.name}: {said})") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in tensors.items()
    ):
        raise UserError(
            f"{origin}: the adapter cannot be loaded ({path.name} holds something else than tensors by name)"
        )
    for key, tensor in tensors.items():
        if tensor.is_meta or tensor.layout != torch.strided or tensor.untyped_storage().nbytes() < tensor.nbytes:
            raise UserError(
                f"{origin}: the adapter cannot be loaded ('{key}' in {path.name} does not hold its numbers)"
            )
    return tensors


def finite_weights(path: Path, *, origin: str) -> dict[str, Tensor]:
    """The tensors of a file as float32.

    Raises:
        UserError: see `read_tensors`; a tensor that is not of floats, or not finite (named).

    >>> finite_weights(Path("mine/adapter.safetensors"), origin="mine")  # doctest: +SKIP
    """
    tensors = dict(read_tensors(path, origin=origin))
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise UserError(
                f"{origin}: its weight '{key}' is of {str(tensor.dtype).removeprefix('torch.')}, not of floats"
            )
        tensors[key] = tensor.float()
        broken = int((~torch.isfinite(tensors[key])).sum())
        if broken:
            raise UserError(f"{origin}: {broken} of {tensor.numel()} numbers of its weight '{key}' are NaN or infinite")
    return tensors
