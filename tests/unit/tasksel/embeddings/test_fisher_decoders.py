"""Fisher information and layer conductance of LoRAs on decoders: a loop of single backward passes, and the change of the logit."""

import numpy as np
import pytest
import torch
from decoders import save_decoder
from encoders import loud
from refusals import refused_line
from torch.nn import functional as F

from tasksel import Task, get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import save_adapter
from tasksel.embeddings.conductance import Conductance, baseline_ids, layer_conductance
from tasksel.embeddings.fisher import Fisher
from tasksel.model.base import Base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.model.slot import layers_of
from tasksel.training.predict import logits_of

KINDS = ("llama", "gpt2")
EVERY = Fisher(rows=None, max_length=32, batch=5)


@pytest.fixture(scope="module", params=KINDS)
def base(request, tmp_path_factory):
    return Base(save_decoder(tmp_path_factory.mktemp(request.param), request.param, bos=True))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    rows = [{"q": f"{i} is odd", "a": ("yes", "no, even")[i % 2]} for i in range(12)]
    folder = tmp_path_factory.mktemp("rows")
    return Task.from_dicts(
        rows, name="odd", text="{q}?", label="a", kind="generation", max_new_tokens=12, folder=folder
    )


def example(base, task, folder):
    """A task with rows, and a stored LoRA and head far from zero."""
    model = base.model()
    add_head(model, task, name=task.name)
    model.add_adapter(task.name, {"architecture": "lora", "r": 2, "lora_alpha": 4})
    loud(model, [".adapters.", "heads."], size=0.4)
    save_adapter(model, folder, task.name)
    return load_data(task, rows=12), AdapterCheckpoint(folder, task.name)


def looped(base, task, data, trained):
    """One backward pass a row, by torch's own functions and hooks on the layers."""
    model = trained.model(base).eval()
    lora = {n: p.requires_grad_(True) for n, p in model.named_parameters() if f".adapters.{trained.adapter}." in n}
    encoded, sums, outputs = encode_split(data.train, task, base.tokenizer, max_length=32), {}, []
    for _, layer in layers_of(model.base_model):
        layer.register_forward_hook(
            lambda module, inputs, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    for row in range(len(encoded)):
        outputs.clear()
        model.zero_grad()
        batch = encoded.batch([row])
        logits = logits_of(model, batch)
        for output in outputs:
            output.retain_grad()
        F.cross_entropy(logits, batch["labels"], reduction="sum").backward()
        tokens = int(batch["attention_mask"].sum())
        found = {n.replace(f".adapters.{trained.adapter}.", "."): p.grad**2 for n, p in lora.items()}
        for number, output in enumerate(outputs):
            found[f"layer.{number}.output"] = output.grad[0].sum(0) ** 2 / tokens
        read = batch["answer_mask"][0] if "answer_mask" in batch else torch.arange(tokens) == tokens - 1
        found["cls"] = outputs[-1].grad[0][read].sum(0) ** 2 / tokens
        for name, value in found.items():
            sums[name] = sums.get(name, 0) + value.detach() / len(encoded)
    return sums


@pytest.mark.parametrize("kind", ["classes", "generation"])
def test_fisher_is_that_of_a_backward_pass_for_each_row(base, odd, tmp_path, kind):
    task = odd if kind == "generation" else get_task("sentiment_films")
    data, trained = example(base, task, tmp_path / "lora")
    found, wanted = EVERY.embed(task, data, base, trained=trained).arrays, looped(base, task, data, trained)
    assert found.keys() == wanted.keys()
    assert any("lora_B.weight" in name for name in found)
    for name, array in wanted.items():
        assert array.max() > 1e-12, name
        np.testing.assert_allclose(found[name], array.numpy(), rtol=1e-3, atol=1e-5 * float(array.max()), err_msg=name)


def test_a_layers_conductances_add_up_to_the_change_of_the_logit(base, tmp_path):
    task = get_task("sentiment_films")
    data, trained = example(base, task, tmp_path / "lora")
    model = trained.model(base).requires_grad_(False).eval()
    batch = encode_split(data.train, task, base.tokenizer, max_length=24).batch(range(4))
    ids = batch["input_ids"]
    reference = baseline_ids(ids, base.tokenizer)
    assert (reference[:, 0] == base.tokenizer.bos_token_id).all()
    with torch.no_grad():
        change = logits_of(model, batch) - logits_of(model, {**batch, "input_ids": reference})
    change = change[torch.arange(4), batch["labels"]]
    errors = []
    for steps in (8, 96):
        found = layer_conductance(model, batch, base.tokenizer, steps=steps)
        assert found.shape == (2, *ids.shape, 32)
        errors.append(float((found.sum((2, 3)) - change).abs().max() / change.abs().max()))
    assert errors[1] < 0.02
    assert errors[1] < errors[0]


def test_conductance_of_a_generation_is_refused(base, odd, tmp_path):
    data, trained = example(base, odd, tmp_path / "lora")
    said = refused_line(Conductance(rows=4, steps=2).embed, odd, data, base, trained=trained)
    assert "'odd' or its adapter is generation, which decides token by token" in said
