"""An export is one ordinary adapter: plain `adapters` loads it, with neither package there, to the same logits."""

import json
import textwrap

import numpy as np
import pytest
from library import library_model
from safetensors.torch import load_file

from scalearn import METHODS as ALL
from tasksel import UserError, get_task, load_data
from tasksel.model.adapter_config import SEQ_BN

REFUSED = {
    "head-only": "learns no adapter",
    "closed-form-base": "learns no adapter",
    "majority": "reads no text",
    "full": "changes the base itself",
    "fusion": "weighs its sources anew for every token",
}
ROUNDED = {
    "closed-form": 2e-4
}  # the first tokens of a random base hardly differ: standardising them magnifies rounding
METHODS = tuple(name for name in ALL if name not in REFUSED)
TEXTS = [
    ("The pan is hot and clean", "The pan is clean"),
    ("Two cooks peel carrots", "Nobody peels anything"),
    ("a", "b"),
]

BLOCKED = """
    import json, sys
    from pathlib import Path

    try:
        import {package}
    except ImportError:
        pass
    else:
        raise SystemExit("the block does not hold")

    import torch
"""
READER = (
    BLOCKED.format(package="scalearn")
    + """
    from adapters import AutoAdapterModel
    from transformers import AutoTokenizer

    base, texts, folders = json.load(sys.stdin)
    torch.load = None  # whoever reads a pickle fails
    tokenizer, found = AutoTokenizer.from_pretrained(base), {}
    for method, folder in folders.items():
        model = AutoAdapterModel.from_pretrained(base)
        model.set_active_adapters(model.load_adapter(folder, use_safetensors=True))
        inputs = tokenizer([a for a, _ in texts], [b for _, b in texts], padding=True, return_tensors="pt")
        with torch.no_grad():
            found[method] = model.eval()(**inputs).logits.tolist()
    assert sys.modules["scalearn"] is sys.modules["tasksel"] is None
    assert not any(name.startswith(("scalearn.", "tasksel.")) for name in sys.modules)
    print(json.dumps(found))
"""
)


OUR_READER = (
    BLOCKED.format(package="adapters")
    + """
    from tasksel.adapters.folder import load_adapter
    from tasksel.model.base import load_base

    path, texts, folders = json.load(sys.stdin)
    base, logits = load_base(path), {}
    for method, folder in folders.items():
        model = base.model()
        load_adapter(model, Path(folder))
        inputs = base.tokenizer([a for a, _ in texts], [b for _, b in texts], padding=True, return_tensors="pt")
        with torch.no_grad():
            logits[method] = model.eval()(**inputs).logits.tolist()
    assert sys.modules["adapters"] is None
    print(json.dumps(logits))
"""
)


@pytest.fixture(scope="module")
def exported(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return {method: results[method].export(folder / method) for method in METHODS}


def test_plain_adapters_in_another_process_gives_the_same_logits(results, exported, fresh_process, library):
    asked = json.dumps([results["scalearn"].base.path, TEXTS, {m: str(f) for m, f in exported.items()}])
    found = json.loads(fresh_process(textwrap.dedent(READER), asked))
    for method in METHODS:
        np.testing.assert_allclose(
            found[method], results[method].predict(TEXTS), atol=ROUNDED.get(method, 1e-5), rtol=0
        )
    assert np.abs(np.subtract(found["scalearn"], found["single-adapter"])).max() > 1e-3


def test_scalearn_without_adapters_in_another_process_gives_the_same_logits(results, exported, fresh_process):
    asked = json.dumps([results["scalearn"].base.path, TEXTS, {m: str(f) for m, f in exported.items()}])
    logits = json.loads(fresh_process(textwrap.dedent(OUR_READER), asked, ours=True))
    for method in METHODS:
        np.testing.assert_allclose(logits[method], results[method].predict(TEXTS), atol=1e-5, rtol=0)


def test_no_pickle_is_in_an_export(exported):
    expected = {
        "adapter_config.json",
        "adapter.safetensors",
        "head_config.json",
        "model_head.safetensors",
        "scalearn.json",
        "README.md",
    }
    for folder in exported.values():
        assert {path.name for path in folder.iterdir()} == expected


def test_an_export_says_what_it_is_and_names_no_folder_of_this_process(results, exported):
    card = json.loads((exported["scalearn"] / "scalearn.json").read_text())
    assert card["method"] == "scalearn"
    assert card["sources"] == list(results["scalearn"].run.sources)
    assert card["task"]["name"] == "entail_kitchen"
    assert card["scores"] == results["scalearn"].seeds[card["seed"]].scores
    config = json.loads((exported["scalearn"] / "adapter_config.json").read_text())
    assert config["model_name"] == results["scalearn"].run.base["name"]


def test_the_slot_is_as_wide_as_the_sources_together(exported):
    weights = load_file(exported["scalearn"] / "adapter.safetensors")
    assert {tensor.shape for key, tensor in weights.items() if "adapter_down.0.weight" in key} == {(6, 32)}


def test_each_seed_can_be_exported(results, tmp_path):
    one, two = (results["scalearn"].export(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert (one / "adapter.safetensors").read_bytes() != (two / "adapter.safetensors").read_bytes()
    assert json.loads((two / "scalearn.json").read_text())["seed"] == 1


def test_the_best_seed_is_exported_where_none_is_named(results, exported):
    assert json.loads((exported["scalearn"] / "scalearn.json").read_text())["seed"] == results["scalearn"].best_seed


@pytest.mark.parametrize("method", REFUSED)
def test_a_method_that_makes_no_ordinary_adapter_says_why_and_what_to_do(results, tmp_path, method):
    with pytest.raises(UserError, match=f"'{method}' {REFUSED[method]}, .*predict from the result's folder") as caught:
        results[method].export(tmp_path / "none")
    assert "\n" not in str(caught.value)
    assert "single-adapter" in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_a_mix_of_set_weights_and_a_soup_are_as_wide_as_their_sources(exported):
    for method, width in (("average", 6), ("search", 6), ("fixed-grid", 4), ("soup", 2), ("soup-similarity", 2)):
        tensors = load_file(exported[method] / "adapter.safetensors")
        assert {t.shape[0] for name, t in tensors.items() if name.endswith("adapter_down.0.weight")} == {width}, method


def test_a_folder_of_something_else_is_left_alone(results, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds no export: choose another folder"):
        results["scalearn"].export(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_place_of_the_folder_is_left_alone(results, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="choose another folder"):
        results["scalearn"].export(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_export_replaces_an_export(results, tmp_path):
    results["scalearn"].export(tmp_path / "out")
    results["single-adapter"].export(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "scalearn.json").read_text())["method"] == "single-adapter"


def test_sources_with_a_scale_of_their_own_are_exported_with_it(fill, tiny, target, recipe, tmp_path):
    from scalearn import transfer
    from scalearn.results.predict import predict_file

    config = {**SEQ_BN, "reduction_factor": 16, "scaling": 3.0}
    sources = fill(tmp_path / "pool", tiny, "one", "two", config=config)
    result = transfer(target, sources, method="scalearn", rows=16, recipe=recipe, out=tmp_path / "result")
    result.export(tmp_path / "out")
    rows = [dict(zip(target.text, texts, strict=True)) for texts in TEXTS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, two = (predict_file(tmp_path / name, tmp_path / "rows.jsonl")[0] for name in ("result", "out"))
    assert [row["scores"] for row in one] == [pytest.approx(row["scores"], abs=2e-6) for row in two]


def test_the_head_of_every_kind_goes_with_the_export(kinds, library, tmp_path):
    for kind, result in kinds.items():
        split = load_data(result.task, rows=10).test.take(range(6))
        model = library_model(result.base)
        folder = result.export(tmp_path / kind.replace(" ", "-"))
        model.set_active_adapters(model.load_adapter(str(folder), use_safetensors=True))
        from tasksel.model.encoding import encode_split
        from tasksel.training.predict import predict

        plain = predict(
            model.eval(), encode_split(split, get_task(result.task.name), result.base.tokenizer, max_length=32)
        )
        np.testing.assert_allclose(plain, result.logits(split), atol=1e-5)


def test_the_printed_call_runs_and_a_pipeline_shows_the_names_of_labels(kinds, library, tmp_path, capsys):
    from transformers import pipeline

    from scalearn.cli.main import main

    for kind in ("single", "pair", "several labels", "number"):
        result, folder = kinds[kind], tmp_path / kind
        assert main(["export", str(result.folder), "--out", str(folder)]) == 0
        said, _, code = capsys.readouterr().out.partition("\n\n")
        assert said == (
            f"exported to {folder}, for `scalearn predict`; this loads it in plain `adapters`, with nothing of scalearn:"
        )
        names: dict = {}
        exec(code, names)
        assert capsys.readouterr().out
        classify = pipeline("text-classification", model=names["model"], tokenizer=names["tokenizer"], top_k=None)
        texts = {"text": "A text", **({"text_pair": "Another"} if kind == "pair" else {})}
        expected = set(result.task.labels) or {"LABEL_0"}
        assert {row["label"] for row in classify(texts, function_to_apply="none")} == expected
        call = "use_safetensors=True, set_active=True"
        assert call in code
        assert call in (folder / "README.md").read_text()
