"""A merged model is an ordinary one of transformers: a pipeline loads it, and its logits and texts are the result's."""

import json

import numpy as np
import pytest
from decoders import save_decoder

import scalearn.cli.main as cli
from scalearn import Recipe, train_source, transfer
from scalearn.results.export_merged import write_merged
from tasksel import Task, UserError, get_task

QUICK = {"lr": 3e-3, "epochs": 1, "max_length": 32, "max_steps": 2, "pooling": "first"}
TEXTS = [("Two cooks peel carrots", "Nobody cooks"), ("A child sleeps", "A child is awake")]
CLASSIFY = """
import json, sys
from transformers import pipeline
folder, texts = json.load(sys.stdin)
model = pipeline("text-classification", model=folder, function_to_apply="none", top_k=None)
rows = model([{"text": first, "text_pair": second} for first, second in texts])
print(json.dumps([{row["label"]: row["score"] for row in scores} for scores in rows]))
"""
WRITE = """
import json, sys
from transformers import pipeline
folder, texts, new = json.load(sys.stdin)
model = pipeline("text-generation", model=folder)
print(json.dumps([model(text, max_new_tokens=new, do_sample=False, return_full_text=False)[0]["generated_text"] for text in texts]))
"""


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("method", ["scalearn", "full"])
def test_a_pipeline_classifies_as_the_result_does(make_base, architecture, method, fresh_process, tmp_path):
    from scalearn import AdapterPool

    base, task, sources = make_base(architecture), get_task("entail_kitchen"), []
    if method == "scalearn":
        pool = AdapterPool(tmp_path / "pool", base=base)
        for name, lora in {"one": {"r": 2}, "two": {"r": 3, "lora_alpha": 9, "target_modules": "all-linear"}}.items():
            sources.append(train_source(task, pool, name=name, rows=24, recipe=Recipe(**QUICK), lora=lora))
    result = transfer(task, sources, method=method, rows=24, recipe=Recipe(**QUICK), base=base, out=tmp_path / "out")
    assert cli.main(["export", str(result.folder), "--out", str(tmp_path / "model"), "--merged"]) == 0
    wanted = result.predict(TEXTS)
    for given, row in zip(json.loads(fresh_process(CLASSIFY, json.dumps([str(tmp_path / "model"), TEXTS]))), wanted, strict=True):  # fmt: skip
        assert set(given) == set(task.labels)
        assert np.abs(np.array([given[label] for label in task.labels]) - row).max() < 1e-5
    card = (tmp_path / "model" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    assert task.labels[0] in fresh_process(code, cwd=tmp_path)
    assert "library_name: transformers" in card


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_a_pipeline_writes_what_the_result_writes(kind, fresh_process, tmp_path):
    from scalearn import AdapterPool

    base = save_decoder(tmp_path / "base", kind)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"q": f"Say {i}:", "a": str(i)}) + "\n" for i in range(24)))
    task = Task.from_file(tmp_path / "rows.jsonl", text="q", label="a", kind="generation", max_new_tokens=5)
    recipe = Recipe(lr=1e-2, epochs=1, batch=8, max_length=32)
    pool, prompts = AdapterPool(tmp_path / "pool", base=base), ["Say 3:", "Say 11:"]
    sources = [train_source(task, pool, rows=16, recipe=recipe, lora={"r": 2, "target_modules": "all-linear"})]
    for method in ("average", "head-only"):  # of the one nothing trains, of the other an lm_head of its own
        used = sources if method == "average" else []
        result = transfer(task, used, method=method, rows=16, recipe=recipe, base=base, out=tmp_path / method)
        folder = write_merged(result, tmp_path / f"{method}-model")
        written = json.loads(fresh_process(WRITE, json.dumps([str(folder), prompts, 5])))
        assert [text.strip() for text in written] == [text.strip() for text in result.predict(prompts)]


def test_what_cannot_be_merged_is_said(pool, lora_pool, tmp_path):
    task, kept = get_task("entail_kitchen"), Recipe(**{**QUICK, "pooling": "mean"})
    bottleneck = transfer(task, list(pool), method="average", rows=24, recipe=Recipe(**QUICK), out=tmp_path / "a")
    with pytest.raises(UserError, match="'average' has a bottleneck in its layers, which cannot be merged"):
        bottleneck.export_merged(tmp_path / "model")
    mean = transfer(task, list(lora_pool), method="average", rows=24, recipe=kept, out=tmp_path / "b")
    with pytest.raises(
        UserError,
        match=r"reads the mean of the tokens .* own classifier of a bert is another: transfer again with --portable",
    ):
        mean.export_merged(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    first = transfer(task, list(lora_pool), method="average", rows=24, recipe=Recipe(**QUICK), out=tmp_path / "c")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="exists and holds no merged model"):
        first.export_merged(tmp_path / "other")
