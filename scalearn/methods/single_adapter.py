"""One new adapter per target, no sources (Houlsby et al. 2019, arXiv:1902.00751; `seq_bn` of Pfeiffer et al. 2021, arXiv:2005.00247).

    h <- h + up f(down h)        in every layer; down [r, d], up [d, r] and the head train: L (2 d r + r + d)

The reference that a gain is measured from; the target adapter is the same training (`tasksel.adapters.train`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from scalearn.methods.base import TransferMethod
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.adapters.train import VERSION, add_new_adapter


@dataclass(frozen=True, kw_only=True)
class SingleAdapter(TransferMethod):
    """Trains a new `seq_bn` adapter (reduction factor 16).

    >>> transfer(task, [], method="single-adapter", base="minilm")  # doctest: +SKIP
    """

    version: ClassVar[int] = VERSION

    def fill_slot(self, model: Any, name: str, layers: dict[str, Bottlenecks], adapter_config: dict[str, Any]) -> None:
        """A new adapter."""
        add_new_adapter(model, name)
