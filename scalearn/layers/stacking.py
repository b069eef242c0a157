"""Stacks several sources' projections for one slot; only sources that agree in all but their weights can be stacked.

down = [down_1; …; down_n]   [n, r, d]        and so on, by the module path of the slot

n sources   r bottleneck width   d hidden size
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.adapters.pool import Source
from tasksel.errors import UserError

# what must be equal: the activation, the positions, and where residuals and layer norms go
EQUAL_KEYS = (
    "non_linearity",
    "mh_adapter",
    "output_adapter",
    "residual_before_ln",
    "original_ln_before",
    "original_ln_after",
)


def stack(sources: Sequence[Source]) -> tuple[dict[str, Bottlenecks], dict[str, Any]]:
    """The projections of several sources by slot path, and the adapter configuration that they share.

    >>> layers, adapter_config = stack(pool.select(["mnli", "qnli"]))  # doctest: +SKIP

    Raises:
        UserError: sources of different bases, activations, positions or widths, by name; a file that was altered or lost.
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
        first_shape, shape = (tuple(next(iter(p.values())).down.shape[1:]) for p in (parts[0], part))
        if first_shape != shape:
            raise _different(first, source, f"width (bottleneck x hidden: {first_shape}, {shape})")
    return {path: Bottlenecks.stack([part[path] for part in parts]) for path in parts[0]}, dict(first.config)


def _different(a: Source, b: Source, what: str) -> UserError:
    return UserError(f"sources '{a.name}' and '{b.name}' differ in {what}: they cannot be mixed; choose sources alike")
