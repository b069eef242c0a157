"""Tests of connectivity patterns on decoders: c scales heads of the queries and neurons of gated FFNs, with the gradient of finite differences."""

import numpy as np
import pytest
import torch
from decoders import KINDS, save_decoder
from torch.nn import functional as F

from tasksel import Task, get_task, load_data
from tasksel.embeddings.connectivity import Connectivity, coefficients
from tasksel.model.base import Base

QUICK = Connectivity(max_steps=3, batch=8, max_length=32)
STEP = 1e-3
IDS = torch.arange(20, 44).view(2, 12)
NEURONS = {"gpt2": 4 * 32}


@pytest.fixture(scope="module", params=KINDS)
def base(request, tmp_path_factory):
    return Base(save_decoder(tmp_path_factory.mktemp(request.param), request.param))


def last_hidden(model):
    return model.base_model(input_ids=IDS).last_hidden_state


def test_every_head_and_neuron_has_a_coefficient_that_reaches_the_output_and_leaves_no_trace(base):
    model, width = base.model(), NEURONS.get(base.config.model_type, 48)
    names, plain = list(model.state_dict()), last_hidden(model).detach()
    with coefficients(model) as (heads, neurons):
        assert [len(c) for c in heads] == [4, 4]  # of the queries, of which several share keys and values
        assert [len(c) for c in neurons] == [width, width]
        torch.testing.assert_close(last_hidden(model), plain)
        last_hidden(model).square().sum().backward()
        for c in (*heads, *neurons):
            assert (c.grad != 0).sum() > 0.9 * c.numel()
    assert list(model.state_dict()) == names
    torch.testing.assert_close(last_hidden(model), plain)


def test_their_gradient_is_that_of_finite_differences_in_float64(base):
    """The norms of these models compute in float32 whatever the model's type, which bounds how small a step may be."""
    model = base.model().double()
    weight = torch.randn(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value():
        return (last_hidden(model) @ weight).sin().sum()

    with coefficients(model) as (heads, neurons):
        for c in (*heads, *neurons):
            c.data = c.data.double()
        value().backward()
        for c, place in ((heads[0], 1), (heads[1], 3), (neurons[0], 5), (neurons[1], 40)):
            with torch.no_grad():
                c[place] += STEP
                above = value()
                c[place] -= 2 * STEP
                below = value()
                c[place] += STEP
            slope = float(above - below) / (2 * STEP)
            assert abs(slope) > 1e-2
            assert float(c.grad[place]) == pytest.approx(slope, rel=2e-3, abs=5e-3)


def test_a_neuron_of_a_gated_ffn_is_its_gate_times_its_up_projection(tmp_path):
    model = Base(save_decoder(tmp_path / "llama")).model()
    scale = torch.rand(48, generator=torch.Generator().manual_seed(1)) + 0.5
    mlp = model.model.layers[1].mlp
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2))
    wanted = mlp.down_proj(scale * F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    with coefficients(model) as (_, neurons):
        neurons[1].data = scale
        torch.testing.assert_close(mlp(x), wanted)


def test_a_head_of_the_queries_is_scaled_where_several_share_their_keys(tmp_path):
    """Written out: attention whose context is scaled head by head, before the output projection."""
    model = Base(save_decoder(tmp_path / "llama")).model()
    attention, scale = model.model.layers[0].self_attn, torch.tensor([0.5, 2.0, 1.5, 0.0])
    x = model.model.layers[0].input_layernorm(model.get_input_embeddings()(IDS)).detach()
    positions = model.model.rotary_emb(x, torch.arange(12)[None])
    seen = []
    hook = attention.o_proj.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    attention(x, position_embeddings=positions, attention_mask=None)
    hook.remove()
    context = seen[0].view(2, 12, 4, 8) * scale.view(1, 1, 4, 1)
    wanted = attention.o_proj(context.reshape(2, 12, 32))
    with coefficients(model) as (heads, _):
        heads[0].data = scale
        found, *_ = attention(x, position_embeddings=positions, attention_mask=None)
    torch.testing.assert_close(found, wanted)


def test_a_task_is_embedded_with_a_bit_a_head_and_a_neuron(base):
    task = get_task("sentiment_films")
    found = QUICK.embed(task, load_data(task, rows=24), base)
    width = NEURONS.get(base.config.model_type, 48)
    assert found.provenance["bits"] == {"heads": 8, "neurons": 2 * width}
    neurons = np.unpackbits(found.arrays["neurons"])
    assert neurons.sum() == 2 * width - round(0.4 * 2 * width)


def test_a_generation_task_is_embedded_by_the_loss_of_its_answers(base, tmp_path):
    rows = [{"q": f"{i}?", "a": ("yes", "no")[i % 2]} for i in range(12)]
    task = Task.from_dicts(rows, name="odd", text="q", label="a", kind="generation", max_new_tokens=8, folder=tmp_path)
    first, again = (QUICK.embed(task, load_data(task), base) for _ in range(2))
    assert QUICK.similarity(first, again) == 1.0
