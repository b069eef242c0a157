"""Several adapters' weights averaged into one (AdapterSoup, Chronopoulou et al., Findings of EACL 2023).

    down = sum_s w_s * down_s,   up = sum_s w_s * up_s,   biases alike        sum_s w_s = 1

    equal           w_s = 1/n
    by similarity   w_s = similarity_s / sum of similarities

It is an average of weights, not of outputs: with the activation between the two projections these are different things. AdapterSoup averages
equally the adapters that it chose by similarity. Weights by similarity are how arXiv:2310.01217's runs use it; that a weight is the similarity's
share of the sum is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.errors import UserError


def shares(similarities: Sequence[float]) -> list[float]:
    """Weights w [n] in proportion to similarities.

    Raises:
        UserError: a similarity that is negative or not a number; all are 0.
    """
    wrong = next((value for value in similarities if not (math.isfinite(value) and value >= 0)), None)
    if wrong is not None or not sum(similarities) > 0:
        given = ", ".join(f"{value:g}" for value in similarities)
        raise UserError(
            f"similarities {given}: a soup's weights are 0 or more, and not all 0; "
            "give others, rank by another method, or use 'soup', which weighs all alike"
        )
    whole = sum(similarities)
    return [value / whole for value in similarities]


def merge(layers: dict[str, Bottlenecks], weights: Sequence[float]) -> dict[str, Bottlenecks]:
    """The weighted sum of n stacked sources' projections, as one source (n = 1), by slot path.

    Args:
        weights: w [n], as many as there are sources.
    """

    def summed(stacked: Tensor) -> Tensor:
        parts = [weight * tensor for weight, tensor in zip(weights, stacked, strict=True)]
        return sum(parts[1:], parts[0])[None]

    return {
        path: Bottlenecks(summed(part.down), summed(part.down_bias), summed(part.up), summed(part.up_bias))
        for path, part in layers.items()
    }
