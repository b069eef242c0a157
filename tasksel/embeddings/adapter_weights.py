"""Adapters compared by their weights: those of tasks that help each other point in the same direction (TuPaTE's observation on tuned parameters).

    flat    e = [every number of down_l and up_l, l = 1 ... L]                                   [2 L r d]
    mean    e = [mean over units of down_l; mean over units of up_l, l = 1 ... L]                [2 L d]
    similarity = cosine

    L layers   r bottleneck units   d hidden size   down_l [r, d]   up_l [d, r], one column per unit; of a LoRA A and B, module by module

`flat` is the parameters of TuPaTE's released code, flattened: adapters here, LoRA and prefixes there. `mean` carries its mean over prompt tokens over to
bottleneck units, which is ours: it is r times smaller, does not depend on the order of the units, and compares adapters of unequal width.
LoRAs must target the same modules, for `flat` with the same ranks. Only projections count, no biases (ours). Two adapters' units have a comparable order only if both were trained from one initialisation: `flat` needs that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.embeddings.adapter_units import units
from tasksel.embeddings.alike import check_alike
from tasksel.embeddings.base import Embedder, Needs, TaskEmbedding, TaskInput, must_match
from tasksel.embeddings.similarity import cosine
from tasksel.errors import UserError, unknown

Form = Literal["flat", "mean"]


@dataclass(frozen=True)
class AdapterWeights(Embedder):
    """Embeds a task as the weights of its trained adapter.

    Use it to compare adapters of one base at no cost but reading them; "flat" only where they were trained from one initialisation.

    Attributes:
        form: "flat", all numbers; "mean", the mean unit of each projection.
    """

    name: ClassVar[str] = "weights"
    needs: ClassVar[Needs] = "adapter"
    form: Form = "flat"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in get_args(Form):
            raise unknown("form of weights", self.form, get_args(Form))

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Array `vector`, float32.

        Raises:
            UserError: an adapter without bottleneck projections.
        """
        parts = [unit.ravel() if self.form == "flat" else unit.mean(0) for unit in units(task_input.trained)]
        return {"vector": np.concatenate(parts)}

    def check_adapters(self, adapters: Mapping[str, AdapterCheckpoint]) -> None:
        """Refuses LoRAs that differ in targets, or, for "flat", in ranks.

        Raises:
            UserError: the first two that do.
        """
        check_alike(self.name, adapters, ranks=self.form == "flat")

    def similarity(self, a: TaskEmbedding, b: TaskEmbedding) -> float:
        """The cosine of both; 0 with a zero vector.

        Raises:
            UserError: embeddings of different bases, forms or lengths.
        """
        must_match(a, b)
        x, y = a.arrays["vector"], b.arrays["vector"]
        if x.shape != y.shape:
            hint = " (form 'mean' compares adapters of any width)" if self.form == "flat" else ""
            raise UserError(
                f"the adapters of '{a.provenance['task']}' and '{b.provenance['task']}' have {x.size} and {y.size} numbers: train both alike{hint}"
            )
        return cosine(x, y)
