"""The average of the sources' outputs: ScaLearn's sum with equal, fixed weights. Ours, as the baseline of learned scaling.

y = residual + 1/n sum_s o_s        n sources; the head alone trains
"""

from __future__ import annotations

from dataclasses import dataclass

from scalearn.layers.scaling import SET, Scaling
from scalearn.methods.scalearn import ScaledSources


@dataclass(frozen=True, kw_only=True)
class Average(ScaledSources):
    """Weighs all sources equally. To measure what learning the weights adds.

    >>> transfer(task, sources, method="average")  # doctest: +SKIP
    """

    scaling: Scaling = SET
