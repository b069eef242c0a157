"""Sequential transfer: a copy of one source adapter is trained further on the target (STILTs, Phang et al. 2018, arXiv:1811.01088, with adapters).

    down, up <- those of the best source; then trained as a single adapter is, with a new head

Adapters in place of a whole model: as the baseline of arXiv:2310.01217's kind; a copy trains, so that the source stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scalearn.layers.kinds import Layers, add_only_copy
from scalearn.methods.base import TransferMethod
from tasksel.adapters.kind import Kind
from tasksel.adapters.train import LORA_RECIPE
from tasksel.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Sequential(TransferMethod):
    """Continues to train a copy of the first source. For one source that is very similar to the target.

    >>> transfer(task, sources, method="sequential")  # doctest: +SKIP
    """

    least: int = 1
    most: int | None = 1

    def recipe_for(self, kind: Kind) -> Recipe:
        """Its own settings; a LoRA's at the rate that LoRAs are trained at."""
        return self.recipe.model_copy(update={"lr": LORA_RECIPE.lr}) if kind == "lora" else self.recipe

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """A copy of the source."""
        add_only_copy(model, name, layers, adapter_config)
