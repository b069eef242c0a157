"""Whether a base's slots lie where the table says: what its layers give is compared with the slot's formula, once per base.

    s = branch + a        a   a layer's input, or what its attention gives
    y = LN( s + o(x) )    o   the features of x turned by one place        x   LN(s), or the branch

A version of transformers in which a module moved, or in which a layer computes otherwise, is named before it gives a wrong number.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from tasksel.errors import UserError, one_line
from tasksel.model.compatibility import most_tokens
from tasksel.model.slot import Place, Slot, close_slot, family_of, first_of, input_of, layers_of, open_slot

NAME = "probe"
TOKENS = 8
ROUNDING = 1e-5  # of the largest number; 100 units in the last place of narrower formats


class Turned(nn.Module):
    """A content of slots that draws no random numbers, which are for what is trained."""

    def __init__(self, *, reads_branch: bool) -> None:
        super().__init__()
        self.reads_branch = reads_branch

    def forward(self, x: Tensor) -> Tensor:
        """Features [b, t, d] turned by one place."""
        return x.roll(1, -1)


def check_slots(encoder: Any) -> None:
    """Compares what each layer of an encoder in eval mode gives with the slot's formula, on one row of tokens.

    Raises:
        UserError: a module that is not where the table says, or another number than the formula's.
    """
    family, kind = family_of(encoder.config), encoder.config.model_type
    layers = list(layers_of(encoder))
    if not layers:
        raise UserError(_moved(kind, f"layers {family.layers}"))
    places = (family.mh_adapter, family.output_adapter)
    for path, layer in layers:
        for module in (module for place in places for module in (place.norm, place.branch)):
            try:
                layer.get_submodule(module)
            except AttributeError as error:
                raise UserError(_moved(kind, f"{path}.{module}")) from error
    tokens = min(TOKENS, most_tokens(encoder.config) or TOKENS)
    ids = torch.arange(4, 4 + tokens).remainder(encoder.config.vocab_size)[None]
    with ExitStack() as stack, torch.no_grad():
        try:
            probes = [_Probe(path, layer, places, stack) for path, layer in layers]
            encoder(input_ids=ids.to(next(encoder.parameters()).device))
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(_moved(kind, f"layers that take a slot ({one_line(error)[:200]})")) from error
        for probe in probes:
            probe.check(kind)


class _Probe:
    """The open slots of one layer, and what passes through them; the first reads the branch, the other its LayerNorm."""

    def __init__(self, path: str, layer: nn.Module, places: tuple[Place, Place], stack: ExitStack) -> None:
        self.path, self.places = path, places
        self.seen: dict[str, Tensor] = {}
        self.slots: list[Slot] = []
        for place in places:
            slot, branch = open_slot(layer, place), layer.get_submodule(place.branch)
            if slot not in self.slots:  # a wrong row may name one LayerNorm twice
                stack.callback(close_slot, layer, place, slot)
            slot.adapters[NAME], slot.active = Turned(reads_branch=place is places[0]), NAME
            slot.follow(layer, place)
            self.slots.append(slot)
            for key, module in ((f"branch {place.branch}", branch), (f"output {place.norm}", slot)):
                stack.callback(module.register_forward_hook(self._keep(key)).remove)
        stack.callback(layer.register_forward_pre_hook(self._keep_input, with_kwargs=True).remove)
        stack.callback(layer.register_forward_hook(self._keep("layer")).remove)

    def _keep(self, key: str) -> Any:
        return lambda module, inputs, output: self.seen.__setitem__(key, first_of(output))

    def _keep_input(self, module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        self.seen["input"] = input_of(inputs, named)

    def check(self, kind: str) -> None:
        """Refuses a layer in which another number than the formula's was seen."""
        for place, slot in zip(self.places, self.slots, strict=True):
            output, where = f"output {place.norm}", f"{self.path}.{place.norm}"
            missing = {output, f"branch {place.branch}"} - self.seen.keys()
            if missing:
                raise UserError(_moved(kind, f"use of {where} and {place.branch}"))
            first = place is self.places[0]
            a = self.seen["input" if first else f"output {self.places[0].norm}"]
            branch = self.seen[f"branch {place.branch}"]
            expected = formula(slot, branch + a, a if place.reads_a else branch) if branch.shape == a.shape else None
            difference = _difference(self.seen[output if first else "layer"], expected)
            if difference is not None:
                raise UserError(_moved(kind, f"layer that ends in {where} as its slot's formula says ({difference})"))


def formula(slot: Slot, s: Tensor, branch: Tensor) -> Tensor:
    """What the slot must give [b, t, d], by the base's own LayerNorm."""
    content, norm = slot.adapters[NAME], slot.norm
    x = branch if content.reads_branch else norm(s)
    output: Tensor = norm(s + content(x))
    return output


def _difference(output: Tensor, expected: Tensor | None) -> str | None:
    """Why two tensors are not equal but for rounding."""
    if expected is None or output.shape != expected.shape:
        return "the shapes differ"
    allowed = max(ROUNDING, 100 * torch.finfo(output.dtype).eps) * max(1.0, expected.abs().max().item())
    if torch.allclose(output, expected, rtol=0, atol=allowed, equal_nan=True):
        return None
    return f"they differ by {(output - expected).abs().max().item():.2g}"


def _moved(kind: str, what: str) -> str:
    import transformers

    return f"transformers {transformers.__version__} has no {what} in a {kind}: its modules moved; a row of tasksel/model/slot.py must follow"
