"""Adapters that you trained with plain `adapters`, as sources for a new task.

python examples/pool_of_my_adapters.py
"""

from pathlib import Path

import tyro

import scalearn as sl
import tasksel as ts
from tasksel.adapters.folder import save_adapter

MINE = ("sentiment_films", "entail_travel")


def with_plain_adapters(base: str, folder: Path) -> None:
    """Stands for your own training: an adapter on a base, saved by the library `adapters` (here untrained)."""
    try:
        from adapters import AutoAdapterModel
    except ImportError:
        write_same_files(base, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoAdapterModel.from_pretrained(base)
    model.add_adapter("mine", config="seq_bn")
    model.save_adapter(str(folder), "mine", use_safetensors=True)


def write_same_files(base: str, folder: Path) -> None:
    """Writes what the library would, so that this example runs without it."""
    model = ts.load_base(base).model()
    model.add_adapter("mine", "seq_bn")
    save_adapter(model, folder, "mine")


def main(base: str = "minilm", epochs: int = 5, out: Path = Path("out/my_adapters")):
    """Puts two adapters into a pool and combines them for a target."""
    pool = sl.AdapterPool(out / "pool", base=base)
    for name in MINE:
        with_plain_adapters(pool.base.path, out / name)
        if name not in pool:
            pool.add(out / name, name=name, task=ts.get_task(name), rows=100, same_base=True)
    print(pool)
    target = ts.get_task("sentiment_phones")
    print(ts.rank(target, pool, by="text", rows=50))
    recipe = sl.METHODS["scalearn"].recipe.model_copy(update={"epochs": epochs, "batch": 8, "max_length": 64})
    print(sl.transfer(target, list(pool), method="scalearn", rows=50, recipe=recipe, out=out / "result"))


if __name__ == "__main__":
    tyro.cli(main)
