"""Adapters compared bottleneck unit by bottleneck unit: the token similarities of Lin et al. (ACL SRW 2024) on adapters in place of soft prompts.

    tokens = [down_1; up_1^T; down_2; up_2^T; ...]     [2 L r, d]

    L layers   r bottleneck units   d hidden size   down_l [r, d]   up_l [d, r]

A unit reads the hidden state along its row of `down` and writes along its column of `up`: both lie in the base's hidden space, so that those of any
two adapters on one base can be compared. MAX and `feature` do not depend on the order of the units, and compare adapters of unequal width;
`flatten`, `unigram` and `bigram` go by position, which two adapters share only where both were trained from one initialisation.

Lin et al. compare prompt tokens; taking an adapter's units for them is ours. Biases are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.embeddings.base import Needs, TaskInput
from tasksel.embeddings.token_embedder import TokenEmbedder
from tasksel.embeddings.token_similarity import Index
from tasksel.errors import UserError


@dataclass(frozen=True)
class AdapterUnits(TokenEmbedder):
    """Embeds a task as the units of its trained adapter.

    Use it to compare adapters of one base at no cost but reading them.

    Attributes:
        similarity_by: how two sets of units are compared, a name of `tasksel.embeddings.token_similarity.TOKEN_SIMILARITIES`.
        index: what computes MAX over a pool, one product ("exact") or "faiss"; both are exact.
    """

    name: ClassVar[str] = "rows"
    needs: ClassVar[Needs] = "adapter"
    similarity_by: str = "feature"
    index: Index = "exact"

    def arrays(self, task_input: TaskInput) -> dict[str, np.ndarray]:
        """Array `tokens` [2 L r, d], float32.

        Raises:
            UserError: an adapter without bottleneck projections.
        """
        return {"tokens": np.concatenate(units(task_input.trained))}


def units(trained: AdapterCheckpoint) -> list[np.ndarray]:
    """An adapter's projections, layer by layer, `down` before `up`, one row per bottleneck unit: each float32 [r, d].

    Raises:
        UserError: an adapter that has no such projections (prefix tuning, LoRA, Compacter).
    """
    projections = []
    for name, tensor in trained.tensors.items():
        if name.endswith("weight") and ".adapter_down." in name:
            projections.append(tensor.float().numpy())
        elif name.endswith(".adapter_up.weight"):
            projections.append(np.ascontiguousarray(tensor.float().numpy().T))
    if not projections:
        raise UserError(
            f"{trained.folder} has no bottleneck projections (adapter_down, adapter_up): only bottleneck adapters (seq_bn and the like) can be compared"
        )
    return projections
