"""The average of the sources' outputs: ScaLearn's sum with one weight that nobody learns. Ours, as the baseline of learned scaling.

y = residual + 1/n sum_s o_s        n sources; the head alone trains
"""

from __future__ import annotations

from dataclasses import dataclass

from scalearn.layers.scaling import SET, Scaling
from scalearn.methods.scaled import ScaledSources


@dataclass(frozen=True, kw_only=True)
class Average(ScaledSources):
    """Weighs all sources alike. To ask what learning the weights is worth.

    >>> transfer(task, sources, method="average")  # doctest: +SKIP
    """

    scaling: Scaling = SET
