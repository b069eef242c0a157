"""Stacks several sources' projections for one slot; only sources that agree in all but their weights and width can be stacked.

down = [down_1; …; down_n]   [n, r, d]        and so on, by the module path of the slot

n sources   r bottleneck width, the largest   d hidden size

A narrower source is filled up with units whose weights are zero: whatever the activation gives for them, up multiplies it by zero, so what the
source computes stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn import functional as F

from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.adapters.pool import Source
from tasksel.errors import UserError

# what must be equal: the activation, the positions, and what is read (the layer norm's output, or the branch)
EQUAL_KEYS = ("non_linearity", "mh_adapter", "output_adapter", "original_ln_before")


def stack(sources: Sequence[Source]) -> tuple[dict[str, Bottlenecks], dict[str, Any]]:
    """The projections of several sources by slot path, and the adapter configuration that they share.

    >>> layers, adapter_config = stack(pool.select(["mnli", "qnli"]))  # doctest: +SKIP

    Raises:
        UserError: sources of different bases, activations or positions, by name; a file that was altered or lost.
    """
    if not sources:
        return {}, {}
    first = sources[0]
    for other in sources[1:]:
        pairs: dict[str, tuple[Any, Any]] = {"base": (first.card.base["fingerprint"], other.card.base["fingerprint"])}
        pairs |= {key: (first.config.get(key), other.config.get(key)) for key in EQUAL_KEYS}
        for what, (a, b) in pairs.items():
            if a != b:
                named = "activation" if what == "non_linearity" else what
                raise _different(first, other, f"{named} ({a}, {b})")
    parts = [source.bottlenecks() for source in sources]
    for source, part in zip(sources, parts, strict=True):
        if part.keys() != parts[0].keys():
            raise _different(first, source, "the layers that they sit in")
    width = max(slot.down.shape[1] for part in parts for slot in part.values())
    stacked = {path: Bottlenecks.stack([widened(part[path], width) for part in parts]) for path in parts[0]}
    return stacked, dict(first.config)


def widened(source: Bottlenecks, width: int) -> Bottlenecks:
    """Sources [n, r, d] filled up with zero units to a width of at least r.

    >>> widened(Bottlenecks(torch.ones(1, 2, 8), torch.ones(1, 2), torch.ones(1, 2, 8), torch.ones(1, 8)), 3).down.shape
    torch.Size([1, 3, 8])
    """
    more = width - source.down.shape[1]
    return Bottlenecks(
        F.pad(source.down, (0, 0, 0, more)),
        F.pad(source.down_bias, (0, more)),
        F.pad(source.up, (0, 0, 0, more)),
        source.up_bias,
    )


def check_equal_widths(sources: Sequence[Source], what: str) -> None:
    """Refuses sources of different widths where a method needs one width.

    Args:
        what: the method, and why it needs one.

    Raises:
        UserError: with both sources and their widths.

    >>> check_equal_widths(pool.select(["mnli", "qnli"]), "'soup' averages unit by unit")  # doctest: +SKIP
    """
    widths = [next(iter(source.bottlenecks().values())).down.shape[1] for source in sources]
    for source, width in zip(sources, widths, strict=True):
        if width != widths[0]:
            raise UserError(
                f"{what}: sources '{sources[0].name}' and '{source.name}' differ in width ({widths[0]}, {width} units); choose sources of "
                "one width, or a method that mixes outputs (scalearn, average, fusion, …)"
            )


def _different(a: Source, b: Source, what: str) -> UserError:
    return UserError(f"sources '{a.name}' and '{b.name}' differ in {what}: they cannot be mixed; choose sources alike")
