"""Whether LoRAs can be compared number by number: they target the same modules, with the same ranks."""

from __future__ import annotations

from collections.abc import Mapping

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.errors import UserError


def check_alike(what: str, adapters: Mapping[str, AdapterCheckpoint], *, ranks: bool) -> None:
    """Refuses LoRAs that differ, where what compares them pairs their numbers; bottlenecks pass.

    Args:
        what: the embedder, for the message. adapters: by source. ranks: whether ranks must agree too.

    Raises:
        UserError: the first source that differs from the first of all, in what, and what compares any LoRAs.

    >>> check_alike("fisher", {}, ranks=True)
    """
    shapes = {name: lora_shapes(trained) for name, trained in adapters.items() if trained.is_lora}
    for name, own in shapes.items():
        first_name, first = next(iter(shapes.items()))
        differ = "targets" if own.keys() != first.keys() else "ranks" if ranks and own != first else None
        if differ:
            raise UserError(
                f"'{what}' compares LoRAs number by number, and '{first_name}' and '{name}' differ in {differ}; use rows-max, or a selector that "
                "runs the sources (logme, knn, closed-form, …)"
            )


def lora_shapes(trained: AdapterCheckpoint) -> dict[str, tuple[int, ...]]:
    """The shape of each of a LoRA's weights by name, without those of the base's pooler."""
    return {name: tuple(tensor.shape) for name, tensor in trained.tensors.items() if not name.startswith("pooler.")}
