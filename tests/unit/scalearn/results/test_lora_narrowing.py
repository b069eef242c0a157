"""An export over LoRAs in less rank, or for a server: the best of its rank, its losses said, and stock PEFT loads it."""

import json

import numpy as np
import pytest
import torch
from decoders import save_decoder
from safetensors.torch import load_file

from scalearn import AdapterPool, Recipe, predict_file, predict_text, train_source, transfer
from scalearn.cli.main import main
from scalearn.layers.lora_mix import folded_pairs
from scalearn.results.export import how_to_serve, read_export
from tasksel import UserError, get_task
from tasksel.adapters.lora_folder import PREFIX

TEXTS = [("Two cooks peel carrots", "Nobody cooks"), ("A child sleeps", "A child is awake")]
QUICK = Recipe(lr=3e-3, epochs=1, max_length=32, max_steps=2)


@pytest.fixture(scope="module")
def result(lora_pool_folder, tmp_path_factory):
    """Three LoRAs whose updates are far from zero under omegas of 1: rank 8 where all are."""
    pool = AdapterPool(lora_pool_folder)
    out = tmp_path_factory.mktemp("narrowed") / "result"
    return transfer(get_task("entail_kitchen"), list(pool), method="average", rows=24, recipe=QUICK, out=out)


def tensors(folder):
    return load_file(folder / "adapter_model.safetensors")


def config(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def deltas(folder):
    """B A of each module that an export's file holds, by path."""
    held = tensors(folder)
    keys = [key for key in held if key.endswith(".lora_A.weight")]
    pairs = {key: held[key.replace("lora_A", "lora_B")] @ held[key] for key in keys}
    return {
        key.removeprefix(PREFIX).removeprefix("bert.").removesuffix(".lora_A.weight"): d for key, d in pairs.items()
    }


def test_the_command_narrows_says_what_is_lost_and_scores_again(result, tmp_path, capsys):
    out = tmp_path / "narrow"
    main(["export", str(result.folder), "--out", str(out), "--rank", "2"])
    said = capsys.readouterr().out
    record = read_export(out)
    whole = result.scores[0]
    assert f"narrowed from rank 9 to 2: {record.narrowed.lost:.2%} of the update's energy is lost" in said
    assert f"accuracy {record.scores['accuracy']:.4f}, of the whole {whole:.4f}" in said
    assert record.narrowed.scores == {"accuracy": whole}
    assert (config(out)["r"], config(out)["lora_alpha"], config(out)["rank_pattern"]) == (2, 2, {})
    assert {len(tensor) for key, tensor in tensors(out).items() if "lora_A" in key} == {2}
    pairs, shares = folded_pairs(result.model(), "entail_kitchen"), {}
    for path, narrowed in deltas(out).items():
        a, b = pairs[path]
        left, values, right = torch.linalg.svd(b @ a, full_matrices=False)
        torch.testing.assert_close(narrowed, (left[:, :2] * values[:2]) @ right[:2], atol=1e-5, rtol=1e-4)
        shares[path] = float(values[2:].square().sum() / values.square().sum())
    assert record.narrowed.worst == max(shares, key=shares.get)
    assert record.narrowed.worst_lost == pytest.approx(max(shares.values()), rel=1e-3)
    card = (out / "README.md").read_text()
    assert f"{record.narrowed.lost:.2%} is lost, most in `{record.narrowed.worst}`" in card
    assert f"| accuracy | {whole:.4f} | {record.scores['accuracy']:.4f} |" in card


def test_the_scores_of_an_export_are_those_of_its_files(result, tmp_path):
    """A file of the validation rows gives them again."""
    out = result.export(tmp_path / "narrow", rank=1)
    from tasksel import load_data

    rows = load_data(result.task, rows=24).test
    lines = [json.dumps({"premise": a, "hypothesis": b, "label": int(label)}) for (a, b), label in zip(rows.texts, rows.labels, strict=True)]  # fmt: skip
    columns = dict(zip(("premise", "hypothesis"), result.task.text, strict=True))
    lines = [json.dumps({columns.get(key, key): value for key, value in json.loads(line).items()}) for line in lines]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert predict_file(out, tmp_path / "rows.jsonl")[1] == pytest.approx(read_export(out).scores["accuracy"])


def test_what_is_scored_is_the_narrowed_model_and_the_result_stays_as_it_is(result, tmp_path, monkeypatch):
    scored, before = [], result.predict(TEXTS)
    monkeypatch.setattr("scalearn.results.result.evaluate_all", lambda model, *_, **__: scored.append(model) or {"accuracy": 0.125})  # fmt: skip
    record = read_export(result.export(tmp_path / "narrow", rank=1))
    assert (record.scores, record.narrowed.scores) == ({"accuracy": 0.125}, {"accuracy": result.scores[0]})
    ranks = {torch.linalg.matrix_rank(b @ a, rtol=1e-5).item() for a, b in folded_pairs(scored[0], "entail_kitchen").values()}  # fmt: skip
    assert ranks == {1}
    assert np.array_equal(result.predict(TEXTS), before)


def test_a_rank_that_is_large_enough_changes_no_logit_and_pads_nothing(result, tmp_path, capsys):
    main(["export", str(result.folder), "--out", str(tmp_path / "out"), "--rank", "12"])
    said = capsys.readouterr()
    assert "narrowed from" not in said.out
    assert "--rank 12: the sources' sum has rank 9, nothing is narrowed\n" in said.err
    assert read_export(tmp_path / "out").narrowed is None
    assert config(tmp_path / "out")["r"] == 9
    wanted = torch.tensor(result.predict(TEXTS)).softmax(-1).numpy()
    for texts, scores in zip(TEXTS, wanted, strict=True):
        assert np.abs(np.array(predict_text(tmp_path / "out", texts)["scores"]) - scores).max() < 1e-5


@pytest.mark.parametrize(("options", "rank"), [([], 16), (["--rank", "8"], 8), (["--rank", "3"], 8)])
def test_for_vllm_the_rank_is_one_that_it_accepts_and_the_file_holds_nothing_else(
    result, tmp_path, capsys, options, rank
):
    out = tmp_path / "served"
    main(["export", str(result.folder), "--out", str(out), "--for", "vllm", *options])
    assert f" --enable-lora --max-lora-rank {rank} --lora-modules served={out}" in capsys.readouterr().out
    assert (config(out)["r"], config(out)["modules_to_save"]) == (rank, None)
    assert all(".lora_" in key for key in tensors(out))
    assert "head, on the first of the tokens, beside it" in (out / "README.md").read_text()
    kept = int(options[1]) if options else 9
    assert all(torch.linalg.matrix_rank(delta, rtol=1e-4) <= kept for delta in deltas(out).values())
    if not options:
        wanted = torch.tensor(result.predict(TEXTS)).softmax(-1).numpy()[0]
        assert np.abs(np.array(predict_text(out, TEXTS[0])["scores"]) - wanted).max() < 1e-5


READ = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer
base, folder, texts = json.load(sys.stdin)
inputs = AutoTokenizer.from_pretrained(base)(*map(list, zip(*texts)), padding=True, return_tensors="pt")
model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder).eval()
with torch.no_grad():
    print(json.dumps(model(**inputs).last_hidden_state[:, 0].tolist()))
"""


def test_stock_peft_loads_what_is_for_vllm_to_the_same_hidden_states(peft, result, tiny, fresh_process, tmp_path):
    out = result.export(tmp_path / "served", server="vllm")
    found = json.loads(fresh_process(READ, json.dumps([tiny, str(out), TEXTS])))
    inputs = result.base.tokenizer(*map(list, zip(*TEXTS, strict=True)), padding=True, return_tensors="pt")
    model = result.model()
    with torch.no_grad():
        wanted = model.base_model(**inputs).last_hidden_state[:, 0]
    torch.testing.assert_close(torch.tensor(found), wanted, atol=1e-5, rtol=0)


def test_a_classifier_on_a_decoder_has_the_names_that_a_server_knows_and_the_cards_code_applies_its_head(
    peft, fresh_process, tmp_path
):
    decoder, task = save_decoder(tmp_path / "llama"), get_task("sentiment_phones")
    pool = AdapterPool(tmp_path / "pool", base=decoder)
    train_source(get_task("sentiment_films"), pool, rows=24, recipe=QUICK, lora={"r": 3})
    result = transfer(task, list(pool), method="average", rows=24, recipe=QUICK, out=tmp_path / "result")
    out = result.export(tmp_path / "served", server="vllm")
    assert how_to_serve(out).startswith(f"vllm serve {decoder} --enable-lora --max-lora-rank 8 ")
    assert config(out)["task_type"] == "CAUSAL_LM"
    assert all(key.startswith("base_model.model.model.layers.") for key in tensors(out))
    wanted = result.predict(["A text"])[0]
    code = (out / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    base_line = next(line for line in code.splitlines() if line.startswith("base ="))
    said = fresh_process(f"{code.replace(base_line, f'base = {decoder!r}')}print(logits.tolist())", cwd=tmp_path)
    assert np.abs(np.array(json.loads(said.splitlines()[-1])) - wanted).max() < 1e-5
    scores = predict_text(out, "A text")["scores"]
    assert np.abs(np.array(scores) - torch.tensor(wanted).softmax(0).numpy()).max() < 1e-5


def test_what_cannot_be_is_said_before_anything_is_written(result, pool, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for options, said in {
        (0, None): "--rank 0: give a whole number from 1 on",
        (513, "vllm"): "rank 513 is beyond what vLLM accepts",
        (None, "tgi"): "--for tgi: known servers are vllm",
    }.items():
        with pytest.raises(UserError, match=f"^{said}"):
            result.export(out, rank=options[0], server=options[1])
    monkeypatch.setattr("scalearn.results.narrow.VLLM_RANKS", (1, 8))
    with pytest.raises(
        UserError, match=r"^rank 9 is beyond what vLLM accepts \(1, 8\): narrow it with --rank 8 or less"
    ):
        result.export(out, server="vllm")
    bottlenecks = transfer(
        result.task, list(pool), method="average", rows=24, recipe=QUICK, out=tmp_path / "bottlenecks"
    )
    with pytest.raises(
        UserError, match=r"^'entail_kitchen' is a bottleneck adapter: --rank and --for are for results over LoRAs"
    ):
        bottlenecks.export(out, rank=2)
    assert not out.exists()
