"""A decoder stored in 16 bits is held so, and gives the very numbers of its float32 twin: logits, gradients, texts, trained weights."""

import json
from pathlib import Path

import pytest
import torch
from decoders import KINDS, byte_tokenizer, tiny_decoder
from safetensors.torch import load_file, save_file
from torch import nn

from tasksel import get_task
from tasksel.model.base import Base
from tasksel.model.half_weights import HalfLinear, computed_type, hold_half, stored_half, widen
from tasksel.model.heads import add_head
from tasksel.model.linear_slot import linears_of
from tasksel.model.lora_config import LoraConfig

PAIR = get_task("entail_travel")
IDS = torch.tensor([[5, 9, 33, 7, 120, 64], [77, 8, 2, 19, 3, 4]])
LORA = LoraConfig(r=2, lora_alpha=2, target_modules="all-linear")


def saved(folder, kind, dtype, *, widened=False, **options):
    """A tiny decoder whose weights are numbers of 16 bits, stored so or in float32."""
    model = tiny_decoder(kind).to(dtype)
    (model.float() if widened else model).save_pretrained(folder, **options)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=KINDS)
def twins(request, tmp_path_factory):
    """A base that is stored in bf16, and the same in float32."""
    folder = tmp_path_factory.mktemp(request.param)
    half = saved(folder / "half", request.param, torch.bfloat16)
    return Base(half), Base(saved(folder / "whole", request.param, torch.bfloat16, widened=True))


def types_of(model):
    return {tensor.dtype for tensor in model.parameters()}


def with_lora(base):
    """A model with a head and a LoRA whose B is not zero."""
    model = base.model()
    torch.manual_seed(0)
    add_head(model, PAIR, name="head")
    model.add_adapter("lora", LORA)
    model.set_active_adapters("lora")
    for name, parameter in model.named_parameters():
        if ".adapters." in name:
            nn.init.normal_(parameter.requires_grad_(), std=0.1)
    return model


def test_its_linears_alone_are_in_16_bits(twins):
    half, whole = (base.model() for base in twins)
    assert types_of(whole) == {torch.float32}
    narrow = {path for path, linear in linears_of(half.base_model) if linear.weight.dtype == torch.bfloat16}
    plain = {path for path, linear in linears_of(half.base_model) if isinstance(linear, nn.Linear)}
    assert narrow == plain
    assert bool(narrow) == (half.config.model_type != "gpt2"), "GPT-2's are Conv1Ds"
    others = {parameter.dtype for name, parameter in half.base_model.named_parameters() if "proj" not in name}
    assert others == {torch.float32}
    assert twins[0].fingerprint == twins[1].fingerprint


def test_logits_gradients_and_texts_are_the_twins_to_the_last_bit(twins):
    half, whole = (with_lora(base) for base in twins)
    gradients = []
    for model in (half, whole):
        logits = model(IDS).logits
        logits.square().sum().backward()
        gradients.append([logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(gradients[0]) > 4
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert torch.equal(gradients[0][0], gradients[1][0])
    mask = torch.ones_like(IDS)
    texts = [base.model().language_model.generate(IDS, mask, max_new_tokens=6, eos=0, pad=0).tolist() for base in twins]
    assert texts[0] == texts[1]


def test_autocast_computes_as_over_float32(twins):
    half, whole = (with_lora(base) for base in twins)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(half(IDS).logits, whole(IDS).logits)


def test_float16_and_several_files_are_read_as_they_are(tmp_path):
    folder = saved(tmp_path / "half", "llama", torch.float16, max_shard_size="20KB")
    assert len(list(Path(folder).glob("*.safetensors"))) > 1
    assert stored_half(folder, None) == torch.float16
    assert types_of(Base(folder).model()) == {torch.float16, torch.float32}
    whole = saved(tmp_path / "whole", "llama", torch.float16, widened=True)
    assert torch.equal(with_lora(Base(folder))(IDS).logits, with_lora(Base(whole))(IDS).logits)


def test_one_weight_of_another_type_and_all_are_held_in_float32(tmp_path):
    folder = saved(tmp_path / "half", "llama", torch.bfloat16)
    file = Path(folder) / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"] = weights["model.norm.weight"].float() + 1e-5  # bf16 could not hold it
    save_file(weights, file, metadata={"format": "pt"})
    assert stored_half(folder, None) is None
    model = Base(folder).model()
    assert types_of(model) == {torch.float32}
    assert torch.equal(model.base_model.norm.weight, weights["model.norm.weight"])


def test_frequencies_that_older_checkpoints_store_beside_it_in_float32_do_not_count(tmp_path):
    folder = saved(tmp_path / "half", "llama", torch.bfloat16)
    file = Path(folder) / "model.safetensors"
    weights = load_file(file) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file(weights, file, metadata={"format": "pt"})
    assert types_of(Base(folder).model()) == {torch.bfloat16, torch.float32}


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"[]"])
def test_files_that_cannot_be_read_are_left_to_the_library(tmp_path, damage):
    (tmp_path / "model.safetensors").write_bytes(damage)
    assert stored_half(str(tmp_path), None) is None
    (tmp_path / "model.safetensors").rename(tmp_path / "model.safetensors.index.json")
    assert stored_half(str(tmp_path), None) is None
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert stored_half(str(tmp_path), None) is None


def test_a_weight_that_is_to_train_is_widened_first(tmp_path):
    base = Base(saved(tmp_path / "half", "llama", torch.bfloat16))
    model = with_lora(base)  # its Linears are in slots
    path, linear = next(iter(linears_of(model.base_model)))
    assert (linear.weight.dtype, computed_type(linear)) == (torch.bfloat16, torch.float32)
    linear.weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match="is frozen: `widen` it"):
        model(IDS)
    before = linear.weight.detach().float()
    widen(model, lambda name: name.endswith(f"{path}.weight"))
    assert linear.weight.requires_grad
    assert torch.equal(linear.weight, before)
    assert types_of(model) == {torch.bfloat16, torch.float32}
    model(IDS).logits.sum().backward()
    assert linear.weight.grad.abs().sum() > 0


def test_a_buffer_that_is_stored_is_widened_as_it_is():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].running_mean += 0.1
    model.bfloat16()
    hold_half(model)
    assert (model[0].weight.dtype, model[1].running_mean.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(model[1].running_mean, torch.full((3,), 0.1).bfloat16().float())


def test_a_bias_is_added():
    torch.manual_seed(0)
    linear = nn.Linear(3, 5).requires_grad_(False)
    half = HalfLinear(nn.Linear(3, 5))
    half.weight, half.bias = nn.Parameter(linear.weight.bfloat16(), requires_grad=False), linear.bias
    linear.weight.data = half.weight.float()
    x = torch.randn(2, 4, 3)
    assert torch.equal(half(x), linear(x))
