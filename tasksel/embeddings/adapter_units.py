"""Adapters compared unit by unit: the token similarities of Lin et al. (ACL SRW 2024) on adapters in place of soft prompts.

    tokens = [down_1; up_1^T; down_2; up_2^T; ...]     [2 L r, d]        of a bottleneck
    tokens = [A_1; B_1^T; A_2; B_2^T; ...]             those of width d  of a LoRA, module by module

    L layers   r bottleneck units, or a LoRA's rank   d hidden size   down_l [r, d]   up_l [d, r]   A [r, in]   B [out, r]

A unit reads the hidden state along its row of `down` and writes along its column of `up`: both lie in the base's hidden space, so that those of any
two adapters on one base can be compared. MAX and `feature` do not depend on the order of the units, and compare adapters of unequal width;
`flatten`, `unigram` and `bigram` go by position, which two adapters share only where both were trained from one initialisation.

A unit of a LoRA reads along its row of A and writes along its column of B; those that lie in an inner space of another width (of a feed-forward block,
of grouped keys) are left out.

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
        """Array `tokens` [2 L r, d], float32; of a LoRA as many as its modules have of width d.

        Raises:
            UserError: an adapter without projections, or without one of width d.
        """
        hidden, trained = task_input.base.config.hidden_size, task_input.trained
        tokens = [part for part in units(trained) if part.shape[1] == hidden or not trained.is_lora]
        if not tokens:
            raise UserError(
                f"{trained.folder}: no projection of its LoRA is {hidden} wide, which the units that are compared must be"
            )
        return {"tokens": np.concatenate(tokens)}


def units(trained: AdapterCheckpoint) -> list[np.ndarray]:
    """An adapter's projections, layer by layer, `down` or A before `up` or B, one row per unit: each float32 [r, d], of a LoRA [r, in] or [r, out].

    LoRAs on the base's pooler are left out: no head here reads it, so they are not trained.

    Raises:
        UserError: an adapter that has no such projections (prefix tuning, Compacter).
    """
    projections = []
    for name, tensor in trained.tensors.items():
        if name.startswith("pooler."):
            continue
        if name.endswith(".lora_A.weight") or (name.endswith("weight") and ".adapter_down." in name):
            projections.append(tensor.float().numpy())
        elif name.endswith((".adapter_up.weight", ".lora_B.weight")):
            projections.append(np.ascontiguousarray(tensor.float().numpy().T))
    if not projections:
        raise UserError(
            f"{trained.folder} has no projections (adapter_down, adapter_up; lora_A, lora_B): only bottleneck adapters (seq_bn and the like) "
            "and LoRAs can be compared"
        )
    return projections
