"""A transfer method of your own: the element-wise median of the sources' weights, as one adapter.

    python examples/add_a_transfer_method.py

A longer one, TIES merging, is in docs/guides/add_a_transfer_method.md.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

import scalearn as sl
import tasksel as ts
from scalearn.methods.base import HEAD_RECIPE
from scalearn.methods.merged import MergedAdapter
from tasksel.adapters.bottleneck import Bottlenecks


@dataclass(frozen=True, kw_only=True)
class MedianSoup(MergedAdapter):
    """One adapter, each number of which is the median over the sources: one odd source does not move it."""

    def merge(self, stacked, similarities):
        names = ("down", "down_bias", "up", "up_bias")
        return Bottlenecks(*(getattr(stacked, name).median(dim=0, keepdim=True).values for name in names))


sl.register_method(MedianSoup(name="soup-median", recipe=HEAD_RECIPE))


def main(base: str = "minilm", rows: int = 600, epochs: int = 5, out: Path = Path("out/median")):
    """Trains three sources and merges them for a target."""
    pool = sl.AdapterPool(out / "pool", base=base)
    recipe = sl.Recipe(lr=1e-3, batch=8, epochs=epochs, max_length=64)
    for name in ("sentiment_films", "sentiment_restaurants", "entail_travel"):
        sl.train_source(ts.get_task(name), pool, rows=rows, recipe=recipe)
    target, few = ts.get_task("sentiment_phones"), recipe.model_copy(update={"lr": 3e-3})
    for method in ("soup", "soup-median"):
        print(sl.transfer(target, list(pool), method=method, rows=100, recipe=few, out=out / method))


if __name__ == "__main__":
    tyro.cli(main)
