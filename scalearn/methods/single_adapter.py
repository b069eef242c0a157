"""One new adapter per target, no sources (Houlsby et al. 2019, arXiv:1902.00751; `seq_bn` of Pfeiffer et al. 2021, arXiv:2005.00247).

    h <- h + up f(down h)        in every layer; down [r, d], up [d, r] and the head train: L (2 d r + r + d)
    W x <- W x + scale B A x     or a new LoRA (Hu et al. 2022, arXiv:2106.09685); A [r, in], B [out, r] of each target and the head train

The reference that a gain is measured from; the target adapter is the same training (`tasksel.adapters.train`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from scalearn.layers.kinds import Layers
from scalearn.methods.base import TransferMethod
from tasksel.adapters.kind import Kind
from tasksel.adapters.train import LORA_RECIPE, VERSION, add_new_adapter
from tasksel.model.lora_config import is_lora, lora_config
from tasksel.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class SingleAdapter(TransferMethod):
    """Trains a new `seq_bn` adapter (reduction factor 16), or a new LoRA.

    >>> transfer(task, [], method="single-adapter", base="minilm")  # doctest: +SKIP
    """

    version: ClassVar[int] = VERSION
    adds_new: ClassVar[bool] = True

    def recipe_for(self, kind: Kind) -> Recipe:
        """Its own settings; a LoRA's at the rate that LoRAs are trained at."""
        return self.recipe.model_copy(update={"lr": LORA_RECIPE.lr}) if kind == "lora" else self.recipe

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """A new adapter."""
        add_new_adapter(model, name, lora_config(adapter_config) if is_lora(adapter_config) else None)
