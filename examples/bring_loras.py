"""From two PEFT folders to one LoRA that stock PEFT loads.

    python examples/bring_loras.py
    python examples/bring_loras.py --base path/to/base --loras path/to/lora-a path/to/lora-b

The base must be the one that the LoRAs were trained on. Without --loras two are trained first, briefly. Needs: pip install "scalearn[minilm,lora]"
"""

from pathlib import Path

import numpy as np
import torch
import tyro

import scalearn as sl
import tasksel as ts

TEXTS = ["a phone that lasts for days", "the screen broke at once"]


def two_loras(base, out, recipe, rows):
    """Stands for your own: PEFT folders of two LoRAs that differ in rank and targets."""
    scratch = sl.AdapterPool(out / "scratch", base=base)
    settings = {
        "sentiment_films": {"r": 8, "lora_alpha": 16},
        "entail_travel": {"r": 4, "target_modules": "all-linear"},
    }
    return [
        sl.train_source(ts.get_task(name), scratch, rows=rows, recipe=recipe, lora=lora).folder
        for name, lora in settings.items()
    ]


def in_stock_peft(base, folder, texts):
    """The logits of an export by PEFT and transformers alone, attached and merged."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = ts.load_base(base).path
    inputs = AutoTokenizer.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=2)
    model = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        return model(**inputs).logits.numpy(), model.merge_and_unload()(**inputs).logits.numpy()


def main(
    base: str = "minilm",
    loras: tuple[Path, ...] = (),
    rows: int = 600,
    epochs: int = 5,
    out: Path = Path("out/bring-loras"),
):
    """Adds the LoRAs to a pool, learns a weight for each on 100 rows, exports one LoRA and loads it in PEFT."""
    recipe = sl.Recipe(lr=1e-3, batch=8, epochs=epochs, max_length=64)
    pool = sl.AdapterPool(out / "pool", base=base)
    for folder in loras or two_loras(base, out, recipe, rows):
        if folder.name not in pool:
            pool.add(folder, same_base=True)
    target = ts.get_task("sentiment_phones")
    few = recipe.model_copy(
        update={"lr": 6e-3, "start": "solved"}
    )  # a head on the first token, as in BERT's own classifier
    result = sl.transfer(target, list(pool), method="scalearn-uniform", rows=100, recipe=few, out=out / "result")
    print(result)
    folder = result.export(out / "adapter")
    attached, merged = in_stock_peft(base, folder, TEXTS)
    ours = result.predict(TEXTS)
    print(
        f"stock PEFT: largest difference {np.abs(attached - ours).max():.1e} attached, {np.abs(merged - ours).max():.1e} merged"
    )
    assert np.abs(attached - ours).max() < 1e-4


if __name__ == "__main__":
    tyro.cli(main)
