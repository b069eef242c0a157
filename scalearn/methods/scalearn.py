"""ScaLearn and its forms: frozen sources side by side under an omega that training learns (Frohmann et al. 2024, arXiv:2310.01217).

    y = residual + sum_s omega_s * o_s        o_s a source's output without its residual

The forms are rows of values, `scalearn.layers.scaling.SCALINGS`: a vector or a scalar per source, per layer or shared by all (the ++ forms).
Also the base of the methods that set omega (`average`, `grid`) or search it (`search`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from scalearn.layers.folded import mixes
from scalearn.layers.kinds import Layers, kind_of
from scalearn.layers.scaling import Scaling, normalised
from scalearn.methods.base import SOLVED, TransferMethod
from tasksel.model.base import Base
from tasksel.model.heads import add_head
from tasksel.model.names import module_name
from tasksel.tasks.task import Task
from tasksel.training.recipe import Recipe

# 6e-3: the authors' scripts; ours: the patience of all methods, 5, where they give ScaLearn none
OMEGA_RECIPE = Recipe(lr=6e-3, **SOLVED)


@dataclass(frozen=True, kw_only=True)
class ScaledSources(TransferMethod):
    """Mixes frozen sources in one slot under an omega; the head trains, and omega if its scaling is learned by "gradient".

    Attributes:
        scaling: whether omega_s is a vector or a scalar, shared by the layers or not, with what dropout, and what learns it.

    >>> transfer(task, sources, method="scalearn")  # doctest: +SKIP
    """

    scaling: Scaling
    least: int = 1
    most: int | None = None
    mixes: ClassVar[bool] = True

    @property
    def learns_omega(self) -> bool:
        """Whether omega is learned by gradient."""
        return self.scaling.learned_by == "gradient"

    @property
    def shares_omega(self) -> bool:
        """Whether omega is the same in all layers."""
        return self.scaling.shared

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """The stacked sources under an omega."""
        kind_of(adapter_config).add_mix(model, name, layers, self.scaling, adapter_config)

    def export(self, trained: Any, base: Base, task: Task, adapter_config: dict[str, Any]) -> Any:
        """A new model with the mix folded into one adapter of the summed width, and the head."""
        model, name = base.model(), module_name(task.name)
        add_head(model, task, name=name, pooling=trained.heads[name].pooling)
        kind_of(adapter_config).add_folded(model, name, trained, name, adapter_config)
        model.heads[name].load_state_dict(trained.heads[name].state_dict())
        return model

    def omega_weights(self, omega: Tensor) -> Tensor:
        """The mean over the hidden size of omega, normalised as the scaling says."""
        return normalised(omega, self.scaling.normalise).mean(-1)

    def source_weights(self, trained: Any, name: str) -> list[float]:
        """The mean over layers and hidden size of omega in eval mode; of a LoRA, over the modules that it has."""
        slots = [mix.eval() for _, mix in mixes(trained, name)]
        with torch.no_grad():
            weights = torch.stack([slot.weights().mean(-1) for slot in slots])
        there = torch.stack([slot.has() for slot in slots]).to(weights.dtype)
        means: list[float] = ((weights * there).sum(0) / there.sum(0)).tolist()
        return means
