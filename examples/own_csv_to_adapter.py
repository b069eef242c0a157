"""From your own CSV to one adapter, with which scalearn predicts, and which plain `adapters` loads too.

python examples/own_csv_to_adapter.py --csv reviews.csv --text body --label stars
python examples/own_csv_to_adapter.py                   # writes a small CSV first
"""

from pathlib import Path

import tyro

import scalearn as sl
import tasksel as ts

SOURCES = ("sentiment_films", "sentiment_restaurants", "entail_travel")
WORDS = {"good": ("works well", "would buy again"), "bad": ("broke after a day", "not worth the money")}


def example_csv(path: Path) -> Path:
    """A CSV as a shop may have it."""
    rows = [f'"order {n}: {text}",{label}' for n in range(30) for label, texts in WORDS.items() for text in texts]
    path.write_text("body,stars\n" + "\n".join(rows) + "\n")
    return path


def load_with_plain_adapters(base: str, adapter: Path) -> None:
    """Shows that the library `adapters`, where it is installed, needs nothing of this project to use the adapter."""
    try:
        from adapters import AutoAdapterModel
    except ImportError:
        print(f"{adapter}: plain adapters loads it too, with the code in its README.md, once it is installed")
        return
    model = AutoAdapterModel.from_pretrained(base)
    model.load_adapter(str(adapter), use_safetensors=True, set_active=True)
    print(f"{adapter}: in plain adapters, {sum(p.numel() for p in model.parameters()):,} parameters with base and head")


def main(
    csv: Path | None = None, text: str = "body", label: str = "stars", base: str = "minilm",
    epochs: int = 5, rows: int = 600, out: Path = Path("out/own_csv"),
):  # fmt: skip
    """Trains sources, ranks them for the CSV, lets cross-validation choose how to use the best two, and exports."""
    recipe = sl.Recipe(lr=1e-3, batch=8, epochs=epochs, max_length=64)
    pool = sl.AdapterPool(out / "pool", base=base)
    for name in SOURCES:
        sl.train_source(ts.get_task(name), pool, rows=rows, recipe=recipe)
    out.mkdir(parents=True, exist_ok=True)
    target = ts.Task.from_csv(csv or example_csv(out / "reviews.csv"), text=text, label=label)
    ranking = ts.rank(target, pool)
    print(ranking)
    # "first": on the first token, as the heads of plain adapters are; by default as the base was trained
    portable = sl.METHODS["auto"].recipe.model_copy(update={"pooling": "first", "max_length": 64})
    result = sl.transfer(target, pool.select(ranking.top(2)), recipe=portable, out=out / "result")
    print(result)
    adapter = result.export(out / "adapter")
    for row in ("would buy again", "not worth the money"):
        print(f"{row}: {sl.predict_text(adapter, row)['prediction']}")
    load_with_plain_adapters(pool.base.path, adapter)


if __name__ == "__main__":
    tyro.cli(main)
