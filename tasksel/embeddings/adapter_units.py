"""Adapters compared bottleneck unit by bottleneck unit: the token similarities of Lin et al. (ACL SRW 2024) on adapters in place of soft prompts.

    tokens = [down_1; up_1^T; down_2; up_2^T; ...]     [2 L r, d]

    L layers   r bottleneck units   d hidden size   down_l [r, d]   up_l [d, r]

A unit reads the hidden state along its row of `down` and writes along its column of `up`: both lie in the base's hidden space, so that those of any
two adapters on one base can be compared. MAX and `feature` do not mind in what order the units stand, and compare adapters of unequal width;
`flatten`, `unigram` and `bigram` go by position, which two adapters share only where both were trained from one initialisation.

Lin et al. compare prompt tokens; taking an adapter's units for them is ours. Biases are left out.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from tasksel.adapters.checkpoint import Trained
from tasksel.embeddings.base import Needs, TaskEmbedding, adapter_of, made_of
from tasksel.embeddings.token_similarity import Index, check_token_settings
from tasksel.embeddings.tokenwise import Tokenwise
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.tasks.load import Data
from tasksel.tasks.task import Task


@dataclass(frozen=True)
class Rows(Tokenwise):
    """Embeds a task as the units of its trained adapter.

    Attributes:
        similarity_by: how two sets of units are compared, a name of `tasksel.embeddings.token_similarity.TOKEN_SIMILARITIES`.
        index: what finds MAX in a pool, one product ("exact") or "faiss"; both are exact.
    """

    name: ClassVar[str] = "rows"
    needs: ClassVar[Needs] = "adapter"
    similarity_by: str = "feature"
    index: Index = "exact"

    def __post_init__(self) -> None:
        check_token_settings(self.similarity_by, self.index)

    @property
    def key(self) -> str:
        """See `Embedder.key`; `similarity_by` and `index` change similarity, not the embedding."""
        return self.name

    def embed(
        self, task: Task, data: Data, base: Base, *, seed: int = 0, trained: Trained | None = None
    ) -> TaskEmbedding:
        """Array `tokens` [2 L r, d], float32.

        Raises:
            UserError: no trained adapter is given, or one without bottleneck projections.
        """
        begun = time.perf_counter()
        trained = adapter_of(self, task, trained)
        tokens = np.concatenate(units(trained))
        spent = time.perf_counter() - begun
        made = made_of(self, task, data, base, settings=asdict(self), seed=seed, seconds=spent, trained=trained)
        return TaskEmbedding({"tokens": tokens}, made)


def units(trained: Trained) -> list[np.ndarray]:
    """An adapter's projections, layer by layer, `down` before `up`, a bottleneck unit a row: each float32 [r, d].

    Raises:
        UserError: an adapter that has no such projections (prefix tuning, LoRA, Compacter).
    """
    found = []
    for name, tensor in trained.tensors.items():
        if name.endswith("weight") and ".adapter_down." in name:
            found.append(tensor.float().numpy())
        elif name.endswith(".adapter_up.weight"):
            found.append(np.ascontiguousarray(tensor.float().numpy().T))
    if not found:
        raise UserError(
            f"{trained.folder} has no bottleneck projections (adapter_down, adapter_up): only bottleneck adapters (seq_bn and kin) can be compared"
        )
    return found
