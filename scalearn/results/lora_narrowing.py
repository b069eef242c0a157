"""An exported LoRA in the rank that is asked for, or that a server accepts, with what less rank loses: energy, and points of the metric.

scalearn export out/rte --out out/rte-lora --rank 8             the best of rank 8 in each module (`scalearn.results.narrow`)
scalearn export out/rte --out out/rte-lora --for vllm           filled up to a rank that vLLM accepts, without modules_to_save
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from scalearn.layers.lora_mix import folded_pairs
from scalearn.results.lora_export import plain_config, uniform
from scalearn.results.narrow import LowRank, narrow, pad, vllm_rank
from tasksel.adapters.lora_folder import add_pairs
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.model.base import Base
from tasksel.model.heads import add_head
from tasksel.storage.frozen import Frozen, Score
from tasksel.tasks.task import Task

SERVERS: dict[str, Callable[[int], int]] = {"vllm": vllm_rank}
"""The rank that a server accepts for one that is needed, by its name."""


class Narrowing(Frozen):
    """What less rank lost.

    Attributes:
        rank: what was kept in each module. folded: the rank of the whole. lost: share of the energy, all modules together.
        worst, worst_lost: the module that lost the largest share of its own, and that share.
        scores: of the whole on the validation set, by metric; those of the narrowed LoRA are the export's.
    """

    rank: int
    folded: int
    lost: float
    worst: str
    worst_lost: float
    scores: dict[str, Score] = Field(default_factory=dict)

    def compared(self, scores: Mapping[str, float]) -> str:
        """The scores of the narrowed LoRA beside those of the whole.

        >>> Narrowing(rank=2, folded=4, lost=0, worst="q", worst_lost=0, scores={"accuracy": 0.5}).compared({"accuracy": 0.25})
        'accuracy 0.2500, of the whole 0.5000'
        """
        return "; ".join(f"{name} {scores[name]:.4f}, of the whole {value:.4f}" for name, value in self.scores.items())

    def __str__(self) -> str:
        return (
            f"narrowed from rank {self.folded} to {self.rank}: {self.lost:.2%} of the update's energy is lost "
            f"(most in {self.worst}: {self.worst_lost:.2%})"
        )


@dataclass(frozen=True)
class LoraForm:
    """The form in which a LoRA is asked for; by default as it is.

    Attributes:
        rank: the most that each module keeps. server: the one that will serve it.
    """

    rank: int | None = None
    server: str | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be, before work begins.

        Raises:
            UserError: a rank below 1, or beyond what the server accepts; an unknown server.
        """
        if self.rank is not None and self.rank < 1:
            raise UserError(f"--rank {self.rank}: give a whole number from 1 on")
        if self.server is not None and self.server not in SERVERS:
            raise UserError(f"--for {self.server}: known servers are {', '.join(SERVERS)}")
        if self.server and self.rank:
            SERVERS[self.server](self.rank)

    @property
    def changes(self) -> bool:
        """Whether it is another form than the plain one."""
        return self.rank is not None or self.server is not None

    @property
    def keeps_head(self) -> bool:
        """Whether the head may lie in the LoRA's own file, which a server refuses."""
        return self.server is None


def in_form(model: Any, base: Base, task: Task, name: str, form: LoraForm) -> tuple[Any, Narrowing | None]:
    """A new model with the LoRA `name` of another in a form, and its head; what that lost, or None where nothing could be lost.

    The model itself where nothing is asked for.

    Raises:
        UserError: a rank that the server does not accept.
    """
    if not form.changes:
        return model, None
    modules = {path: LowRank(a, b) for path, (a, b) in uniform(folded_pairs(model, name)).items()}
    folded, lost = max(module.rank for module in modules.values()), None
    rank = min(form.rank or folded, folded)
    if form.rank is not None and form.rank > folded:
        say(f"--rank {form.rank}: the sources' sum has rank {folded}, nothing is narrowed")
    if rank < folded:
        narrowed = narrow(modules, rank)
        modules, (worst, worst_lost) = narrowed.modules, narrowed.worst()
        lost = Narrowing(rank=rank, folded=folded, lost=narrowed.lost_overall, worst=worst, worst_lost=worst_lost)
    if form.server is not None:
        modules = pad(modules, SERVERS[form.server](rank))
    plain = base.model()
    add_head(plain, task, name=name, pooling=model.heads[name].pooling)
    plain.heads[name].load_state_dict(model.heads[name].state_dict())
    add_pairs(plain, name, modules, plain_config(modules, plain))
    plain.set_active_adapters(name)
    return plain.eval().to(model.device), lost
