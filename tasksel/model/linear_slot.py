"""The slot of a LoRA: one Linear of the base (or GPT-2's Conv1D), wrapped; what is active in it is added to the Linear's output.

    y = W x + b + o(x)        x [..., in]   y [..., out]        o a LoRA, or a mix of several

The wrapper keeps the Linear's parameters under their names, and what sits in the slot is registered beside them (`…query.adapters.NAME.…`): weights of
the base have the base's names. Taking it out restores the base exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tasksel.errors import UserError

ADDED = ("adapters", "adapter_fusion_layer", "shared_parameters")  # the modules that hold what is added to a base


class LinearSlot(nn.Module):
    """A Linear with room for LoRAs by name; without an active one it is that Linear.

    Args:
        linear: the Linear or Conv1D, whose parameters are the slot's.
    """

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self._parameters = linear._parameters  # the same mapping: what is loaded or moved here is so there
        self._buffers = linear._buffers
        self.training = linear.training
        self._linear = (linear,)  # in a tuple, so that it is not registered twice
        self.adapters = nn.ModuleDict()
        self.active: str | None = None

    @property
    def linear(self) -> nn.Module:
        """The base's own Linear."""
        return self._linear[0]

    def content(self) -> nn.Module | None:
        """What is active in this slot."""
        name = self.active
        return self.adapters[name] if name is not None and name in self.adapters else None

    def forward(self, x: Tensor) -> Tensor:
        """The Linear's output plus what is active [..., out] from x [..., in]."""
        output: Tensor = self.linear(x)
        content = self.content()
        return output if content is None else output + content(x)

    def plain(self) -> nn.Module:
        """The base's own Linear, in the slot's mode."""
        return self.linear.train(self.training)


def sizes(linear: nn.Module) -> tuple[int, int]:
    """The inputs and outputs of a Linear, a Conv1D, or the slot of one."""
    linear = linear.linear if isinstance(linear, LinearSlot) else linear
    if isinstance(linear, Conv1D):
        return linear.nx, linear.nf
    return int(linear.in_features), int(linear.out_features)  # type: ignore[arg-type]


def is_transposed(linear: nn.Module) -> bool:
    """Whether a Linear's weight lies as [in, out] (GPT-2's Conv1D) instead of [out, in]."""
    return isinstance(linear.linear if isinstance(linear, LinearSlot) else linear, Conv1D)


def linears_of(encoder: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The encoder's own Linears and Conv1Ds, or the slots that wrap them, with their paths; what was added to the base is none of it."""
    if isinstance(encoder, nn.Linear | Conv1D | LinearSlot):
        yield path, encoder
        return
    for name, child in encoder.named_children():
        if name not in ADDED:
            yield from linears_of(child, f"{path}.{name}" if path else name)


def linear_slots_of(encoder: nn.Module) -> Iterator[tuple[str, LinearSlot]]:
    """The slots in use, with the paths of their Linears, in the order of the encoder's modules."""
    return ((path, module) for path, module in linears_of(encoder) if isinstance(module, LinearSlot))


def open_linear_slot(encoder: nn.Module, path: str) -> LinearSlot:
    """The slot of the Linear at a path, made where there is none.

    Raises:
        UserError: the module at that path is no Linear.
    """
    module = encoder.get_submodule(path)
    if isinstance(module, LinearSlot):
        return module
    if not isinstance(module, nn.Linear | Conv1D):
        raise UserError(f"'{path}' is a {type(module).__name__}, and a LoRA sits on a Linear or a Conv1D")
    slot = LinearSlot(module)
    encoder.set_submodule(path, slot)
    return slot


def close_linear_slot(encoder: nn.Module, path: str, slot: LinearSlot) -> None:
    """Puts the base's Linear back."""
    encoder.set_submodule(path, slot.plain())
