"""What each source adds to a trained mix, seen through hooks on its slots; the model itself is never changed.

    c_s     = omega_s * o_s                                 what source s adds, [b, t, d]; omega as it scales in eval mode
    share_s = mean_tokens |c_s| / sum_s mean_tokens |c_s|    L2 norms; a layer's shares sum to one
    y - c_s                                                 the slot's output with omega_s = 0, all else as it was

    n sources   r bottleneck width   d hidden size   b batch   t tokens   L slots

Shares and leaving out by norms and zeros are ours. For a normalised omega (mean, softmax) the others are not normalised anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalearn.layers.folded import FoldedMix, mixes
from tasksel.model.encoding import Encoded
from tasksel.training.predict import logits_of

Hook = Callable[[FoldedMix, tuple[Tensor, ...], Tensor], Any]


def mix_slots(model: Any, adapter: str) -> dict[str, FoldedMix]:
    """The mixes of this adapter by module path, from the first layer to the last.

    >>> list(mix_slots(result.model(), "rte"))  # doctest: +SKIP
    """
    return dict(mixes(model, adapter))


def effective_omega(model: Any, adapter: str) -> list[np.ndarray]:
    """The weights [n, d or 1] that scale in eval mode, by slot: after the normalisation, where the scaling has one.

    >>> effective_omega(result.model(), "rte")[0].shape  # doctest: +SKIP
    """
    with torch.no_grad():
        return [slot.eval().weights().cpu().numpy() for slot in mix_slots(model, adapter).values()]


@torch.no_grad()
def shares(model: Any, adapter: str, encoded: Encoded, *, batch: int = 64) -> np.ndarray:
    """Each source's share of the mix [L, n] over the real tokens of all rows; zeros in a layer whose mix is silent.

    >>> shares(result.model(), "rte", encoded).mean(axis=0)  # doctest: +SKIP
    """
    slots = list(mix_slots(model.eval(), adapter).values())
    sizes = np.zeros((len(slots), len(slots[0].weights())))
    device, real = next(model.parameters()).device, torch.empty(0)

    def measure(layer: int) -> Hook:
        """A hook that adds a layer's contributions to `sizes`."""

        def hook(slot: FoldedMix, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            hidden = slot.hidden(inputs[0])
            for source in range(sizes.shape[1]):  # one at a time: the n outputs are never stored
                sizes[layer, source] += float((slot.contribution(hidden, source).norm(dim=-1) * real).sum())

        return hook

    with _hooked(slots, measure):
        order = sorted(range(len(encoded)), key=lambda row: encoded.lengths[row])
        for start in range(0, len(order), batch):
            tensors = {name: tensor.to(device) for name, tensor in encoded.batch(order[start : start + batch]).items()}
            real = tensors["attention_mask"]
            if "choice_mask" in tensors:  # a choice that a row lacks is one token, and not a real one
                real = real * tensors["choice_mask"].flatten()[:, None]
            logits_of(model, tensors)
    total = sizes.sum(axis=1, keepdims=True)
    return sizes / np.where(total > 0, total, 1)


@contextmanager
def without(model: Any, adapter: str, source: int) -> Iterator[None]:
    """While it lasts, the model answers as if omega_s were 0 in every layer.

    >>> with without(model, "rte", 0):  # doctest: +SKIP
    ...     logits = predict(model, encoded)
    """

    def leave_out(_layer: int) -> Hook:
        """A hook that subtracts the source's contribution."""

        def hook(slot: FoldedMix, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output - slot.contribution(slot.hidden(inputs[0]), source)

        return hook

    with _hooked(list(mix_slots(model, adapter).values()), leave_out):
        yield


@contextmanager
def _hooked(slots: list[FoldedMix], make: Callable[[int], Hook]) -> Iterator[None]:
    """Forward hooks that are gone afterwards, also after an error."""
    with ExitStack() as stack:
        for layer, slot in enumerate(slots):
            stack.callback(slot.register_forward_hook(make(layer)).remove)
        yield
