"""What every card of a whole model says of the result it was written from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasksel.model.base import describe
from tasksel.model.names import module_name

if TYPE_CHECKING:
    from scalearn.results.result import TransferResult


def known_fields(result: TransferResult, seed: int, trained: Any, folder: Path) -> dict[str, Any]:
    """What every card of a result says of it, as fields of a `ModelCard`.

    Args:
        trained: the seed's model. folder: the export's.

    >>> known_fields(result, 0, result.model(), Path("out/reviews"))["seed"]  # doctest: +SKIP
    0
    """
    sources: dict[str, float | None] = dict.fromkeys(result.run.sources)
    if means := result.method.source_weights(trained, module_name(result.task.name)):
        sources = dict(zip(sources, means, strict=True))
    return {
        "folder": folder.resolve().name,
        "task": result.task,
        "method": result.run.method,
        "base": describe(result.base)["name"],
        "seed": seed,
        "scores": result.seeds[seed].scores,
        "max_length": result.run.recipe.max_length,
        "model_type": result.base.config.model_type,
        "seed_scores": result.scores,
        "sources": sources,
        "sources_note": result.method.sources_note,
        "versions": result.run.versions,
        "pooling": result.pooling(seed),
        "range": result.range(seed=seed),
    }
