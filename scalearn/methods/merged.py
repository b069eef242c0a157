"""A base for methods that merge the sources' weights into ONE ordinary adapter, on which a head is trained.

    down = merge(down_1 … down_n),   up = merge(up_1 … up_n),   biases alike        the merged adapter is frozen

It is a merge of weights, not of outputs: with the activation between the two projections these are different things.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from scalearn.layers.kinds import Layers, add_only_copy
from scalearn.layers.stacking import check_equal_widths
from scalearn.methods.base import TransferMethod
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.adapters.pool import Source


@dataclass(frozen=True, kw_only=True)
class MergedAdapter(TransferMethod, ABC):
    """Merges the sources' weights, and trains the head alone. A subclass implements `merge`.

    >>> transfer(task, sources, method="soup")  # doctest: +SKIP
    """

    least: int = 1
    most: int | None = None
    merges: ClassVar[bool] = True
    lora_reason: ClassVar[str | None] = (
        "merges bottlenecks unit by unit, and averages of A and of B apart are not the average of updates ('average' is)"
    )
    trained_parts: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def merge(self, stacked: Bottlenecks, similarities: Sequence[float] | None) -> Bottlenecks:
        """Merges one layer's n stacked sources into one (n = 1).

        Args:
            similarities: each source's similarity to the target; None if the method does not need them.
        """

    def prepare(
        self, sources: Sequence[Source], similarities: Sequence[float] | None = None
    ) -> tuple[Layers, dict[str, Any]]:
        """The sources merged into one (n = 1) by slot path, and their adapter configuration.

        Raises:
            UserError: sources of different widths, whose units cannot be paired; else see `TransferMethod.prepare`.
        """
        check_equal_widths(sources, f"method '{self.name}' merges weights unit by unit")
        layers, adapter_config = super().prepare(sources, similarities)
        return {path: self.merge(part, similarities) for path, part in layers.items()}, adapter_config

    def check_stacked(self, count: int) -> None:
        """Refuses an empty stack; the single source in it is the merge of all of them."""
        self.check_count(self.least if count else 0)

    def fill_slot(self, model: Any, name: str, layers: Layers, adapter_config: dict[str, Any]) -> None:
        """The merged adapter."""
        add_only_copy(model, name, layers, adapter_config)
