"""A base whose layers do not compute the slot's formula is named before it gives a number; a sound one is left as it was."""

import pytest
import torch
import transformers
from encoders import IDS, KINDS, tiny_encoder
from refusals import refused_line
from torch import nn

from tasksel.model import slot
from tasksel.model.base import Base
from tasksel.model.slot_probe import check_slots


def last_layer(encoder):
    return encoder.encoder.layer[1]


@pytest.mark.parametrize("family", KINDS)
def test_a_sound_base_passes_and_stays_as_it_was(family):
    encoder = tiny_encoder(family)
    state, modules = encoder.state_dict(), [(name, type(module)) for name, module in encoder.named_modules()]
    draws = torch.get_rng_state()
    check_slots(encoder)
    assert torch.equal(torch.get_rng_state(), draws), "seeds would give other numbers than before"
    assert list(encoder.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
    assert [(name, type(module)) for name, module in encoder.named_modules()] == modules
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_a_sound_base_passes_in_every_precision(family, dtype):
    encoder = tiny_encoder(family).to(dtype)
    check_slots(encoder)
    assert encoder.dtype == dtype


def rename_norm(encoder):
    output = last_layer(encoder).output
    output.layer_norm = output.LayerNorm
    del output.LayerNorm
    output.forward = lambda x, a: output.layer_norm(output.dropout(output.dense(x)) + a)


def rename_branch(encoder):
    output = last_layer(encoder).output
    output.drop = output.dropout
    del output.dropout
    output.forward = lambda x, a: output.LayerNorm(output.drop(output.dense(x)) + a)


def move_layers(encoder):
    encoder.encoder.layers = encoder.encoder.layer
    del encoder.encoder.layer
    encoder.encoder.forward = lambda *arguments, **named: None


def add_after(encoder):
    output, plain = last_layer(encoder).output, type(last_layer(encoder).output).forward
    output.forward = lambda x, a: plain(output, x, a) + 1e-3


def norm_first(encoder):
    """A pre-LN layer: the LayerNorm is there, and used, but the residual comes after it."""
    output = last_layer(encoder).output
    output.forward = lambda x, a: output.LayerNorm(output.dropout(output.dense(x))) + a


def scale_branch(encoder):
    output = last_layer(encoder).output
    output.forward = lambda x, a: output.LayerNorm(0.5 * output.dropout(output.dense(x)) + a)


def norm_by_weights(encoder):
    """A fused kernel, which reads the LayerNorm's weights and never calls it."""
    output = last_layer(encoder).output
    output.forward = lambda x, a: nn.functional.layer_norm(output.dropout(output.dense(x)) + a, (16,), output.LayerNorm.weight, output.LayerNorm.bias)  # fmt: skip


def norm_of_two(encoder):
    """A LayerNorm that adds the residual itself."""
    output = last_layer(encoder).output

    class Norm(nn.LayerNorm):
        def forward(self, x, a):
            return super().forward(x + a)

    output.LayerNorm = Norm(16)
    output.forward = lambda x, a: output.LayerNorm(output.dropout(output.dense(x)), a)


def attention_adds_after(encoder):
    output = last_layer(encoder).attention.output
    plain = type(output).forward
    output.forward = lambda x, a: 1.001 * plain(output, x, a)


CHANGES = {
    rename_norm: "encoder.layer.1.output.LayerNorm",
    rename_branch: "encoder.layer.1.output.dropout",
    move_layers: r"layers encoder\.layer\.\d+",
    add_after: "encoder.layer.1.output.LayerNorm",
    norm_first: "encoder.layer.1.output.LayerNorm",
    scale_branch: "encoder.layer.1.output.LayerNorm",
    norm_by_weights: "encoder.layer.1.output.LayerNorm",
    norm_of_two: "layers that take a slot",
    attention_adds_after: "encoder.layer.1",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_base_that_computes_otherwise_is_named(change):
    encoder = tiny_encoder("bert")
    change(encoder)
    modules = [(name, type(module)) for name, module in encoder.named_modules()]
    said = refused_line(check_slots, encoder)
    assert said.startswith(f"transformers {transformers.__version__} has no ")
    assert CHANGES[change] in said
    assert said.endswith("in a bert: its modules moved; a row of tasksel/model/slot.py must follow")
    assert [(name, type(module)) for name, module in encoder.named_modules()] == modules


def test_it_is_found_when_a_base_is_first_loaded(tiny, monkeypatch):
    moved = slot.Family(output_adapter=slot.Place("output.norm", "output", "output.dropout"))
    monkeypatch.setitem(slot.FAMILIES, "bert", moved)
    assert "has no encoder.layer.0.output.norm in a bert" in refused_line(Base(tiny).model)


def test_it_is_looked_for_once_per_base(tiny, monkeypatch):
    checked = []
    monkeypatch.setattr("tasksel.model.base.check_slots", checked.append)
    base = Base(tiny)
    for _ in range(3):
        base.model()
    assert len(checked) == 1


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_base_of_few_positions_or_tokens_passes(family):
    encoder = tiny_encoder(family, max_position_embeddings=5, vocab_size=3)
    check_slots(encoder)
    assert encoder.embeddings.word_embeddings.num_embeddings == 3


def test_a_base_that_takes_its_feed_forward_in_pieces_gives_the_same(make_base):
    whole, pieces = (Base(make_base(chunk_size_feed_forward=size)).model() for size in (0, 2))
    ids = IDS + 100
    with torch.no_grad():
        torch.testing.assert_close(pieces(ids).last_hidden_state, whole(ids).last_hidden_state)
