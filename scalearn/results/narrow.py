"""A LoRA of less rank: for each module the best there is, and what of its update is lost.

    Qb Rb = qr(B)      Qa Ra = qr(A^T)      U S V^T = svd(Rb Ra^T)      B' = Qb U_k S_k      A' = V_k^T Qa^T

    A [r, in]   B [out, r], its scale folded in   k the new rank   S the singular values of B A, without a product of out x in numbers
    energy      ||B A||^2 = sum_i S_i^2;  lost    sum_(i > k) S_i^2 / energy, the least that rank k can lose (Eckart and Young 1936)

A rank that a module does not reach is filled with zeros, which change nothing: servers want one rank for all modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tasksel.errors import UserError

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what its --max-lora-rank takes (LoRAConfig)


class LowRank(NamedTuple):
    """One module's update, B A: A [r, in], B [out, r]."""

    a: Tensor
    b: Tensor

    @property
    def rank(self) -> int:
        """Its r, which what it computes may not need."""
        return len(self.a)


@dataclass(frozen=True)
class Narrowed:
    """A LoRA of one rank in all modules.

    Attributes:
        modules: by path. lost: the share of each module's energy that is not in them, 0 to 1. lost_overall: that of all modules together.
    """

    modules: dict[str, LowRank]
    lost: dict[str, float]
    lost_overall: float

    def worst(self) -> tuple[str, float]:
        """The module that loses the largest share, and that share."""
        return max(self.lost.items(), key=lambda item: item[1])


def narrow(modules: Mapping[str, LowRank], rank: int) -> Narrowed:
    """The best LoRA of this rank, module by module; modules of less rank are padded.

    Computed in float64, given in the tensors' own type.

    Args:
        modules: by path, with their scale folded into B.

    Raises:
        UserError: a rank below 1, no module, or a module whose factors are not finite or do not fit together.

    >>> exact = {"query": LowRank(torch.eye(3, 5), torch.diag(torch.tensor([2.0, 1.0, 0.5])))}
    >>> narrowed = narrow(exact, 2)
    >>> narrowed.modules["query"].b.shape, round(narrowed.lost["query"], 4)  # 0.5^2 / (2^2 + 1^2 + 0.5^2)
    (torch.Size([3, 2]), 0.0476)
    """
    _check(modules, rank)
    best, energy, lost = {}, {}, {}
    for path, module in modules.items():
        best[path], squares = _best(module, rank)
        energy[path], lost[path] = float(squares.sum()), float(squares[rank:].sum())
    return Narrowed(
        modules={path: _filled(module, rank) for path, module in best.items()},
        lost={path: lost[path] / energy[path] if energy[path] else 0.0 for path in modules},
        lost_overall=sum(lost.values()) / sum(energy.values()) if any(energy.values()) else 0.0,
    )


def pad(modules: Mapping[str, LowRank], rank: int | None = None) -> dict[str, LowRank]:
    """The same updates with one rank in all modules, by default the largest: rows of A and columns of B that are zero are added.

    Raises:
        UserError: a rank below that of a module, or as for `narrow`.

    >>> padded = pad({"query": LowRank(torch.ones(2, 5), torch.ones(3, 2))}, 8)
    >>> padded["query"].a.shape, bool((padded["query"].b @ padded["query"].a == 2).all())
    (torch.Size([8, 5]), True)
    """
    largest = max((module.rank for module in modules.values()), default=0)
    rank = largest if rank is None else rank
    _check(modules, rank)
    if rank < largest:
        path = next(path for path, module in modules.items() if module.rank == largest)
        raise UserError(f"rank {rank} is below the {largest} of '{path}': narrow to it with --rank {rank}")
    return {path: _filled(module, rank) for path, module in modules.items()}


def vllm_rank(rank: int) -> int:
    """The least rank that vLLM accepts and that holds this one: what its `--max-lora-rank` must be.

    Raises:
        UserError: a rank beyond the largest.

    >>> vllm_rank(12), vllm_rank(300)
    (16, 320)
    """
    for accepted in VLLM_RANKS:
        if rank <= accepted:
            return accepted
    ranks = ", ".join(map(str, VLLM_RANKS))
    raise UserError(
        f"rank {rank} is beyond what vLLM accepts ({ranks}): narrow it with --rank {VLLM_RANKS[-1]} or less, or take fewer sources"
    )


def _best(module: LowRank, rank: int) -> tuple[LowRank, Tensor]:
    """A module's best update of at most this rank, and the squares of all singular values, from the largest."""
    out_basis, out_part = torch.linalg.qr(module.b.double())
    in_basis, in_part = torch.linalg.qr(module.a.double().mT)
    left, values, right = torch.linalg.svd(out_part @ in_part.mT, full_matrices=False)
    b = out_basis @ (left[:, :rank] * values[:rank])
    a = right[:rank] @ in_basis.mT
    return LowRank(a.to(module.a.dtype), b.to(module.b.dtype)), values.square()


def _filled(module: LowRank, rank: int) -> LowRank:
    more = rank - module.rank
    a = torch.nn.functional.pad(module.a, (0, 0, 0, more))
    return LowRank(a.contiguous(), torch.nn.functional.pad(module.b, (0, more)).contiguous())


def _check(modules: Mapping[str, LowRank], rank: int) -> None:
    if not modules:
        raise UserError("there is no module to narrow: the LoRA is empty")
    if rank < 1:
        raise UserError(f"rank {rank}: give a whole number from 1 on")
    for path, (a, b) in modules.items():
        if a.dim() != 2 or b.dim() != 2 or len(a) != b.shape[1]:
            raise UserError(
                f"'{path}': A {list(a.shape)} and B {list(b.shape)} do not fit together; A is [r, in] and B [out, r]"
            )
        if not (a.isfinite().all() and b.isfinite().all()):
            raise UserError(f"'{path}': a weight is NaN or infinite")
