"""LoRAs on decoders: trained, added, mixed, exported; stock PEFT gives the same logits and the same texts, attached and merged."""

import json

import numpy as np
import pytest
import torch
from decoders import save_decoder
from encoders import loud
from golden import change_json
from safetensors.torch import load_file, save_file

from scalearn import AdapterPool, Recipe, predict_text, train_source, transfer
from tasksel import Task, UserError, get_task, rank
from tasksel.model.base import load_base

QUICK = {"lr": 1e-2, "epochs": 2, "batch": 8, "max_length": 48, "patience": None}
LORAS = {"one": {"r": 2, "lora_alpha": 6}, "two": {"r": 3, "target_modules": "all-linear", "use_rslora": True}}
TEXTS = ["a film that was good", "nobody came"]
WORDS = ("red", "blue", "green")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def decoder(request, tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A generation task of one word."""
    rows = [{"prompt": f"Say {WORDS[i % 3]} {i}:", "completion": WORDS[i % 3]} for i in range(30)]
    path = tmp_path_factory.mktemp("rows") / "colours.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task.from_file(path, text="prompt", label="completion", kind="generation", max_new_tokens=6)


def pool_of(decoder, folder, task, rows=24):
    pool = AdapterPool(folder, base=decoder)
    for name, lora in LORAS.items():
        train_source(task, pool, name=name, rows=rows, recipe=Recipe(**QUICK), lora=lora)
    return pool


CLASSIFY = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer
base, folder, texts = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(base)
tokenizer.pad_token = tokenizer.eos_token
inputs = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder).eval()
def last(model):
    with torch.no_grad():
        tokens = model(**inputs).last_hidden_state
    return tokens[torch.arange(len(tokens)), inputs["attention_mask"].sum(1) - 1].tolist()
print(json.dumps([last(model), last(model.merge_and_unload())]))
"""


def test_a_classifier_over_loras_is_one_lora_in_stock_peft(decoder, fresh_process, tmp_path, peft):
    pool = pool_of(decoder, tmp_path / "pool", get_task("sentiment_films"))
    ranking = rank(get_task("sentiment_phones"), pool, by="logme", rows=24)
    recipe = Recipe(**QUICK, start="solved")
    result = transfer(get_task("sentiment_phones"), pool.select(ranking.top(2)), method="scalearn", rows=24, recipe=recipe, out=tmp_path / "out")  # fmt: skip
    folder = result.export(tmp_path / "adapter")
    model, base = result.model(), load_base(decoder)
    inputs = base.tokenizer(TEXTS, padding=True, return_tensors="pt")
    attached, merged = json.loads(fresh_process(CLASSIFY, json.dumps([decoder, str(folder), TEXTS])))
    for vectors in (attached, merged):
        with torch.no_grad():
            logits = model.heads[model.active_head](torch.tensor(vectors))
            assert (logits - model(**inputs).logits).abs().max() < 1e-5
    assert np.isfinite(predict_text(folder, TEXTS[0])["scores"]).all()
    card = (folder / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    base_line = next(line for line in code.splitlines() if line.startswith("base ="))
    said = fresh_process(f"{code.replace(base_line, f'base = {decoder!r}')}print(logits.tolist())", cwd=tmp_path)
    assert np.abs(np.array(json.loads(said.splitlines()[-1])) - result.predict(["A text"])[0]).max() < 1e-5


WRITE = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, folder, texts = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
def write(model, text):
    inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**inputs, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return tokenizer.decode(written[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
def logits(model):
    with torch.no_grad():
        return model(**tokenizer(texts[0], return_tensors="pt", return_token_type_ids=False)).logits[0].tolist()
first = [write(model, text) for text in texts], logits(model)
model = model.merge_and_unload()
print(json.dumps([first, ([write(model, text) for text in texts], logits(model))]))
"""


def test_a_generation_over_loras_is_one_lora_in_stock_peft(decoder, colours, fresh_process, tmp_path, peft):
    pool = pool_of(decoder, tmp_path / "pool", colours)
    result = transfer(
        colours, list(pool), method="scalearn-uniform", rows=24, recipe=Recipe(**QUICK), out=tmp_path / "out"
    )
    folder = result.export(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"], config["lora_alpha"]) == ("CAUSAL_LM", None, config["r"])
    prompts = ["Say red 1: ", "Say green 5: "]
    wanted = result.predict(prompts).tolist()
    model, base = result.model(), load_base(decoder)
    with torch.no_grad():
        logits = model(**base.tokenizer(prompts[:1], return_tensors="pt")).logits[0]
    for texts, theirs in json.loads(fresh_process(WRITE, json.dumps([decoder, str(folder), prompts]))):
        assert (torch.tensor(theirs) - logits).abs().max() < 1e-4
        assert [text.strip() for text in texts] == [text.strip() for text in wanted]
    assert predict_text(folder, prompts[0])["prediction"] == predict_text(result.folder, prompts[0])["prediction"]
    card = (folder / "README.md").read_text()
    assert "text-generation" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    base_line = next(line for line in code.splitlines() if line.startswith("base ="))
    code = code.replace(base_line, f"base = {decoder!r}").replace('prompt = "A text"', f"prompt = {prompts[0]!r}")
    assert fresh_process(code, cwd=tmp_path).strip() == wanted[0].strip()


def test_the_card_of_a_chat_writes_what_the_result_writes(fresh_process, tmp_path, peft):
    decoder = save_decoder(tmp_path / "qwen", "qwen2", bos=True, chat=True)  # a tokenizer that gives token_type_ids too
    chats = [{"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "yes"}]} for i in range(12)]  # fmt: skip
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    task = Task.from_file(tmp_path / "chat.jsonl", text="messages", label="messages", kind="generation", max_new_tokens=6)  # fmt: skip
    result = transfer(task, [], method="single-adapter", base=decoder, rows=8, recipe=Recipe(**QUICK), out=tmp_path / "out", lora={"r": 2})  # fmt: skip
    folder = result.export(tmp_path / "adapter")
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    base_line = next(line for line in code.splitlines() if line.startswith("base ="))
    code = code.replace(base_line, f"base = {decoder!r}").replace('"content": "A text"', '"content": "3?"')
    wanted = predict_text(folder, ["3?"])["prediction"]
    assert fresh_process(code, cwd=tmp_path).strip() == wanted
    result.export_merged(tmp_path / "merged")
    code = (tmp_path / "merged" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    code = code.replace('"content": "A text"', '"content": "3?"').replace("print(", "written = (")
    said = fresh_process(f"{code}print(written[0]['generated_text'][-1]['content'])", cwd=tmp_path)
    assert said.strip() == wanted
    with pytest.raises(UserError, match=r"it holds a whole model: a merged export's README\.md shows how"):
        predict_text(tmp_path / "merged", ["3?"])


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("entail_travel", ("A text", "The other text")),
        ("endings_daily", ("A text", ["choice 1", "choice 2", "choice 3", "choice 4"])),
    ],
)
def test_the_cards_code_joins_two_texts_as_the_base_does(fresh_process, tmp_path, peft, name, row):
    decoder, task = save_decoder(tmp_path / "llama", "llama"), get_task(name)
    row = row if task.kind != "multiple_choice" else (row[0], row[1][: task.outputs])
    result = transfer(task, [], method="single-adapter", base=decoder, rows=16, recipe=Recipe(**QUICK), out=tmp_path / "out", lora={"r": 2})  # fmt: skip
    folder, wanted = result.export(tmp_path / "adapter"), result.predict([row])[0]
    code = (folder / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    base_line = next(line for line in code.splitlines() if line.startswith("base ="))
    said = fresh_process(f"{code.replace(base_line, f'base = {decoder!r}')}print(logits.tolist())", cwd=tmp_path)
    assert np.abs(np.array(json.loads(said.splitlines()[-1])) - wanted).max() < 1e-5
    if task.kind == "multiple_choice":
        return
    result.export_onnx(tmp_path / "onnx")
    code = (tmp_path / "onnx" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    said = fresh_process(f"{code}print(logits.tolist())", cwd=tmp_path)
    assert np.abs(np.array(json.loads(said.splitlines()[-1])) - wanted).max() < 1e-4


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_that_peft_saves_beside_a_lora_are_the_bases_or_refused(tied, tmp_path, peft, capsys):
    from transformers import AutoModelForCausalLM

    decoder = save_decoder(tmp_path / "llama", "llama", tie_word_embeddings=tied)
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(decoder), peft.LoraConfig(r=2, task_type="CAUSAL_LM"))  # fmt: skip
    loud(theirs.eval(), ["lora_"], seed=3, size=0.2).save_pretrained(tmp_path / "mine", save_embedding_layers=True)
    pool = AdapterPool(tmp_path / "pool", base=decoder)
    assert pool.add(tmp_path / "mine").kind == "lora"
    assert "the embeddings that are saved beside it are the base's own: left out" in capsys.readouterr().err
    weights = load_file(tmp_path / "mine" / "adapter_model.safetensors")
    embeddings = [key for key in weights if "lora" not in key]
    assert len(embeddings) == 2
    for key in embeddings:
        for changed in (weights[key] + 0.01, torch.cat([weights[key], weights[key][:3]])):
            save_file(weights | {key: changed}, tmp_path / "mine" / "adapter_model.safetensors")
            with pytest.raises(UserError, match=r"its embeddings are not the base's, they were trained or resized"):
                pool.add(tmp_path / "mine", name="other")
    assert pool.names == ["mine"]


def test_loras_of_causal_and_classifying_models_are_sources(decoder, tmp_path, peft):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    base, pool = load_base(decoder), AdapterPool(tmp_path / "pool", base=decoder)
    for name, kind, task_type in (("writes", AutoModelForCausalLM, "CAUSAL_LM"), ("classifies", AutoModelForSequenceClassification, "SEQ_CLS")):  # fmt: skip
        options = {"num_labels": 3} if task_type == "SEQ_CLS" else {}
        theirs = kind.from_pretrained(decoder, **options)
        theirs.config.pad_token_id = base.tokenizer.pad_token_id
        theirs = peft.get_peft_model(theirs, peft.LoraConfig(r=2, target_modules="all-linear", task_type=task_type))
        loud(theirs.eval(), ["lora_", "modules_to_save"], seed=3, size=0.2).save_pretrained(tmp_path / name)
        source = pool.add(tmp_path / name)
        inputs = base.tokenizer(TEXTS, padding=True, return_tensors="pt")
        ours = source.trained.model(base, head=source.trained.has_head)
        with torch.no_grad():
            wanted = theirs(**inputs, output_hidden_states=True)
            given = ours(**inputs, output_hidden_states=True)
        real = inputs["attention_mask"].bool()
        assert (wanted.hidden_states[-1] - given.hidden_states[-1])[real].abs().max() < 1e-4, name
        assert source.trained.has_head == (name == "classifies")
        if name == "classifies":
            assert (wanted.logits - given.logits).abs().max() < 1e-4
            assert source.pooling == "last"


def test_a_lora_on_the_lm_head_is_refused_as_one(decoder, tmp_path, peft):
    from transformers import AutoModelForCausalLM

    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(decoder), peft.LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM"))  # fmt: skip
    theirs.save_pretrained(tmp_path / "head")
    change_json(tmp_path / "head" / "adapter_config.json", base_model_name_or_path=decoder)
    with pytest.raises(UserError, match="it targets the lm_head"):
        AdapterPool(tmp_path / "pool", base=decoder).add(tmp_path / "head")


def test_weights_of_writing_loras_are_searched_by_the_loss_of_the_answers_and_averaged_without_training(
    colours, tmp_path
):
    decoder = save_decoder(tmp_path / "base", "llama")
    pool, recipe = pool_of(decoder, tmp_path / "pool", colours), Recipe(**QUICK)
    average, search = (transfer(colours, list(pool), method=method, rows=24, recipe=recipe, out=tmp_path / method) for method in ("average", "search"))  # fmt: skip
    assert (average.seeds[0].steps, average.seeds[0].parameters) == (0, {"transfer": 0, "head": 0})
    assert average.omega().ravel().tolist() == [0.5, 0.5]
    assert search.seeds[0].parameters == {"transfer": 2, "head": 0}
    with pytest.raises(UserError, match="solves a head in closed form, and the head of 'colours'"):
        transfer(colours, list(pool), method="closed-form", rows=24, out=tmp_path / "refused")
