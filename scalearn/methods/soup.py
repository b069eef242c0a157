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
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scalearn.methods.merged import MergedAdapter
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Soup(MergedAdapter):
    """Averages the sources' weights equally. For many sources that are similar to the target: it costs what one adapter costs.

    >>> transfer(task, sources, method="soup")  # doctest: +SKIP
    """

    def merge(self, stacked: Bottlenecks, similarities: Sequence[float] | None) -> Bottlenecks:
        """The mean."""
        return weighted_sum(stacked, shares([1.0] * len(stacked.down)))


@dataclass(frozen=True, kw_only=True)
class SimilaritySoup(MergedAdapter):
    """Averages the sources' weights in proportion to their similarity to the target.

    >>> transfer(task, sources, method="soup-similarity", similarities=[0.5, 0.2])  # doctest: +SKIP
    """

    needs_similarities: ClassVar[bool] = True

    def check_similarities(self, similarities: Sequence[float]) -> None:
        """They must be 0 or more, and not all 0."""
        shares(similarities)

    def merge(self, stacked: Bottlenecks, similarities: Sequence[float] | None) -> Bottlenecks:
        """The weighted mean."""
        return weighted_sum(stacked, shares(similarities or [1.0] * len(stacked.down)))


def shares(similarities: Sequence[float]) -> list[float]:
    """Weights w [n] in proportion to similarities.

    >>> shares([0.5, 0.25, 0.25])
    [0.5, 0.25, 0.25]

    Raises:
        UserError: a similarity that is negative or not a number; only zeros.
    """
    wrong = next((value for value in similarities if not (math.isfinite(value) and value >= 0)), None)
    if wrong is not None or not sum(similarities) > 0:
        listed = ", ".join(f"{value:g}" for value in similarities)
        raise UserError(
            f"similarities {listed}: a soup's weights are 0 or more, and not all 0; "
            "pass others, rank by another selector, or use 'soup', which weighs all alike"
        )
    total = sum(similarities)
    return [value / total for value in similarities]


def weighted_sum(stacked: Bottlenecks, weights: Sequence[float]) -> Bottlenecks:
    """The weighted sum of one layer's n stacked projections, as one source (n = 1).

    Args:
        weights: w [n], as many as there are sources.

    >>> weighted_sum(stacked, [0.5, 0.5])  # doctest: +SKIP
    """

    def summed(tensor: Tensor) -> Tensor:
        """sum_s w_s * tensor_s, as [1, …]."""
        terms = [weight * part for weight, part in zip(weights, tensor, strict=True)]
        return sum(terms[1:], terms[0])[None]

    return Bottlenecks(summed(stacked.down), summed(stacked.down_bias), summed(stacked.up), summed(stacked.up_bias))
