"""AdapterFusion: attention over the frozen sources, anew for every token (Pfeiffer et al., EACL 2021, arXiv:2005.00247).

    a_s = softmax over s of (Q x . K o_s),   y = residual + sum_s a_s * V o_s        Q, K, V and the head train: L (3 d^2 + 2 d)

The layer, its exact equation and its penalty on V are `scalearn.layers.fusion`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from scalearn.layers.fusion import LAYER, add_fusion, penalty
from scalearn.layers.kinds import Layers
from scalearn.methods.base import TransferMethod
from scalearn.methods.training import SeedTraining, TrainedModel


@dataclass(frozen=True, kw_only=True)
class Fusion(TransferMethod):
    """Learns which source to attend to at each token. For many rows: hundreds of times as many trainable parameters as ScaLearn.

    >>> transfer(task, sources, method="fusion")  # doctest: +SKIP
    """

    least: int = 2
    most: int | None = None
    trained_parts: ClassVar[tuple[str, ...]] = (LAYER,)
    lora_reason: ClassVar[str | None] = "attends to the outputs of bottlenecks in a layer's slot"
    export_reason: ClassVar[str | None] = "weighs its sources anew for every token"

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """The sources as ordinary adapters, and a fusion over them."""
        add_fusion(model, name, layers, adapter_config)

    def train(self, training: SeedTraining) -> TrainedModel:
        """Trains once, with the penalty on V added to the loss of every step."""
        model = self.new_model(training)
        return training.finished(model, training.fit(model, penalty=partial(penalty, model)))
