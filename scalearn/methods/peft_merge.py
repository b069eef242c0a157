"""Several LoRAs merged into one by PEFT (`add_weighted_adapter`), as people merge them today; a head is trained on the merge.

    linear               A = sum_s sqrt(w_s) A_s, B = sum_s sqrt(w_s) B_s: products of one source's A with another's B come in
    cat                  A = [w_s A_s], B = [B_s]: the sum of the updates, exactly
    svd                  the best rank r of sum_s w_s B_s A_s, r the sources' largest
    magnitude_prune      as linear, of each source's largest entries alone
    dare_linear          as linear, of random entries, scaled up (DARE, Yu et al. 2024, arXiv:2311.03099)
    ties                 the largest entries, the sign that most of their weight has, the mean of those that agree (TIES, Yadav et al. 2023, arXiv:2306.01708)
    dare_ties            the same of random entries
    …_svd                the same on the updates B_s A_s instead of on A and B apart, cut to rank r

w_s = 1/n where sources are added, 1 where the mean of those that agree is taken. The density, 0.2, is TIES' (its authors keep 20 %) and that of PEFT's
guide. A source's scale is in its B, so that neither patterns nor rsLoRA, which PEFT's merges take for alpha / r, matter. Numbers are PEFT's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from scalearn.layers.kinds import Layers
from scalearn.layers.lora_stacking import LoraStack
from scalearn.methods.base import TransferMethod
from scalearn.methods.merged import MergedAdapter
from tasksel.adapters.pool import Source
from tasksel.errors import UserError

MODES = ("linear", "cat", "svd", "magnitude_prune", "magnitude_prune_svd", "dare_linear", "dare_linear_svd", "ties", "ties_svd", "dare_ties", "dare_ties_svd")  # fmt: skip
DENSITY = 0.2
MODULE, MERGED = "module", "merged"


@dataclass(frozen=True, kw_only=True)
class PeftMerge(MergedAdapter):
    """Merges LoRAs as PEFT does, and trains the head alone.

    Attributes:
        mode: PEFT's `combination_type`. density: the share of entries that are kept, where some are pruned.

    >>> transfer(task, sources, method="peft-ties")  # doctest: +SKIP
    """

    mode: str
    density: float = DENSITY

    lora_reason: ClassVar[str | None] = None
    bottleneck_reason: ClassVar[str | None] = "is a merge of PEFT's"
    sources_note: ClassVar[str] = "The LoRAs that PEFT merged"

    @property
    def weighs_alike(self) -> bool:
        """Whether a mean is taken anyway, so that each source weighs 1."""
        return "ties" in self.mode

    @property
    def needs_equal_ranks(self) -> bool:
        """Whether A's and B's are added entry by entry."""
        return self.mode != "cat" and not self.mode.endswith("svd")

    def check_installed(self) -> None:
        """Needs the package peft."""
        need_peft(self.name)

    def prepare(
        self, sources: Sequence[Source], similarities: Sequence[float] | None = None
    ) -> tuple[Layers, dict[str, Any]]:
        """The sources merged into one (n = 1) by slot path, and their adapter configuration.

        Raises:
            UserError: PEFT is not installed; sources that differ in rank, where entries are added; else see `TransferMethod.prepare`.
        """
        self.check_installed()
        layers, adapter_config = TransferMethod.prepare(self, sources, similarities)
        if self.needs_equal_ranks:
            self._check_ranks(layers, sources)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of DARE's draws: one merge for all seeds
            return {path: self.merge(part, similarities) for path, part in layers.items()}, adapter_config

    def _check_ranks(self, layers: Layers, sources: Sequence[Source]) -> None:
        for path, stack in layers.items():
            ranks = {source.name: int(rank) for source, rank in zip(sources, stack.ranks, strict=True) if rank}
            if len(set(ranks.values())) > 1:
                said = ", ".join(f"'{name}' {rank}" for name, rank in ranks.items())
                raise UserError(
                    f"method '{self.name}' adds A's and B's of one rank, and the sources differ at '{path}' ({said}): "
                    "choose sources alike, or peft-cat, or one of peft-…-svd"
                )

    def merge(self, stacked: LoraStack, similarities: Sequence[float] | None) -> LoraStack:  # type: ignore[override]
        """One module's sources merged by PEFT on a Linear of its size.

        Args:
            similarities: not used.
        """
        from peft import LoraConfig, LoraModel

        present = [number for number, rank in enumerate(stacked.ranks.tolist()) if rank]
        names = [f"source{number}" for number in present]
        weight = 1.0 if self.weighs_alike else 1 / stacked.count
        linear = torch.nn.Linear(stacked.down.shape[1], stacked.up.shape[1], bias=False)
        holder = torch.nn.ModuleDict({MODULE: linear})
        configs = {name: _plain(LoraConfig, int(stacked.ranks[i])) for i, name in zip(present, names, strict=True)}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that there are several
            model = LoraModel(holder, configs[names[0]], names[0])
            for name in names[1:]:
                model.peft_config[name] = configs[name]
                model.inject_adapter(holder, name)
            layer: Any = holder[MODULE]
            for i, name in zip(present, names, strict=True):
                a, b = stacked.pair(i)
                layer.lora_A[name].weight.copy_(a)
                layer.lora_B[name].weight.copy_(b)
            options: dict[str, Any] = {
                "combination_type": self.mode,
                "density": self.density,
                "svd_full_matrices": False,
            }
            model.add_weighted_adapter(names, [weight] * len(names), MERGED, **options)
        a, b = layer.lora_A[MERGED].weight.detach(), layer.lora_B[MERGED].weight.detach()
        return LoraStack(a.clone(), (layer.scaling[MERGED] * b).t().contiguous(), torch.tensor([len(a)]))


def _plain(kind: Any, rank: int) -> Any:
    """PEFT's configuration of a LoRA on the one module, of scale 1."""
    return kind(r=rank, lora_alpha=rank, target_modules=[MODULE])


def need_peft(method: str) -> None:
    """Refuses where PEFT is not installed.

    Raises:
        UserError: how it is installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UserError(f"method '{method}' needs the package peft: pip install 'scalearn[lora]'") from error
