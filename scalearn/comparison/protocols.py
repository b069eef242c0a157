"""Two protocols that methods are compared by: the authors' own, and a sound one, the default. Each is a row of values.

                        paper (arXiv:2310.01217, its scripts)           sound (ours)
    source adapters     seed 0 for every seed of a target               the target's seed: the spread counts stage 1
    checkpoint, full    by dev loss                                     by dev metric
    patience, full      5; ScaLearn's own layers none, 30 epochs        5 for every method
    rows drawn          the same for every seed (42)                    anew for each seed, stratified
    few-shot dev rows   up to 5,000                                     as many as it trains on
    head                random, on the first token                      the method's own: solved, pooled as the base was
    few-shot            at most 1,000 steps, patience 20                the same; of equal dev metrics the one with less dev loss

Learning rates, batch and length are the methods' own (`scalearn.methods`) in both. Unknown of the authors' few-shot runs: how a checkpoint is
chosen; here by the metric. Ours: no epoch count ends a few-shot run before its steps and its patience do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasksel.errors import unknown
from tasksel.tasks.task import Subsample, Task
from tasksel.training.recipe import Recipe

if TYPE_CHECKING:
    from scalearn.methods.registry import TransferMethod
    from tasksel.adapters.kind import Kind

FEW = {"epochs": 1000, "max_steps": 1000, "patience": 20}
AUTHORS_HEAD = {"start": "random", "pooling": "first"}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a comparison keeps fixed.

    Attributes:
        source_seed: of stage 1; None trains sources with each seed of the targets.
        draw_seed: draws the rows for every seed alike; None draws with each seed.
        dev: at most so many dev rows beside few-shot training rows; None as many as there are of those.
        full, few: what changes in a method's recipe. mix: what else changes where an omega is learned by gradient, on full data.

    >>> get_protocol("paper").source_seed
    0
    """

    name: str
    source_seed: int | None = None
    draw_seed: int | None = None
    dev: int | None = None
    full: Mapping[str, Any] = field(default_factory=dict)
    few: Mapping[str, Any] = field(default_factory=dict)
    mix: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, method: TransferMethod, *, few: bool, kind: Kind = "bottleneck") -> Recipe:
        """A method's recipe on full data or a few rows, over adapters of a kind."""
        changed = self.few if few else {**self.full, **(self.mix if method.learns_omega else {})}
        return method.recipe_for(kind).model_copy(update=dict(changed))

    def source_recipe(self, kind: Kind = "bottleneck") -> Recipe:
        """The recipe of stage 1, which trains the sources, of a kind, on full data."""
        from tasksel.adapters.train import LORA_RECIPE, SOURCE_RECIPE

        return (LORA_RECIPE if kind == "lora" else SOURCE_RECIPE).model_copy(update=dict(self.full))

    def drawn(self, task: Task, *, shots: int | None, test_rows: int | None) -> Task:
        """The task with the rows that this protocol draws from it; `shots` None is full data."""
        dev = None if shots is None else self.dev
        return task.model_copy(
            update={"draw": Subsample(shots=shots, dev=dev, seed=self.draw_seed, test_rows=test_rows)}
        )


_PROTOCOLS = (
    Protocol(name="sound", full={"patience": 5, "select": "metric"}, few={**FEW, "select": "metric-loss"}),
    Protocol(
        name="paper",
        source_seed=0,
        draw_seed=42,
        dev=5000,
        full={"patience": 5, "select": "loss", **AUTHORS_HEAD},
        few={**FEW, "select": "metric", **AUTHORS_HEAD},
        mix={"patience": None},
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _PROTOCOLS}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: unknown name (with the nearest one).

    >>> get_protocol("sound").few["max_steps"]
    1000
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
