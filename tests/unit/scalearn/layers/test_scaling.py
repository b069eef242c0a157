"""The fused mix equals the naive loop in outputs and gradients; omega starts, drops and normalises as the authors'."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scalearn.layers.scaling import INIT_STD, SCALINGS, Omega, Scaling, fold, hidden_state, loop, mix

ACTIVATIONS = {"relu": torch.relu, "gelu": torch.nn.functional.gelu, "tanh": torch.tanh}


def draw_sources(n, r, d, seed, *, batch=2, tokens=3):
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape, size=1.0):
        return size * torch.randn(*shape, generator=draw)

    sources = {
        "down": normal(n, r, d, size=d**-0.5),
        "down_bias": normal(n, r),
        "up": normal(n, r, d, size=r**-0.5),
        "up_bias": normal(n, d),
    }
    return normal(batch, tokens, d), sources


def fused(x, sources, omega, f):
    weight, bias = fold(sources["up"], sources["up_bias"], omega)
    return mix(x, sources["down"].flatten(0, 1), sources["down_bias"].flatten(), weight, bias, f)


def omega_of(scaling, n, d, seed):
    torch.manual_seed(seed)
    return Omega(scaling, sources=n, width=d).eval()


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(sorted(SCALINGS)),
    f=st.sampled_from(sorted(ACTIVATIONS)),
    n=st.integers(1, 9),
    r=st.integers(1, 7),
    d=st.integers(1, 24),
    seed=st.integers(0, 10**6),
)
def test_the_fused_layer_equals_the_loop_in_output_and_gradients(variant, f, n, r, d, seed):
    x, sources = draw_sources(n, r, d, seed)
    found = []
    for form in (
        lambda x, omega: fused(x, sources, omega, ACTIVATIONS[f]),
        lambda x, omega: loop(x, omega=omega, f=ACTIVATIONS[f], **sources),
    ):
        omega, own = omega_of(SCALINGS[variant], n, d, seed), x.clone().requires_grad_()
        y = form(own, omega())
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        found.append((y.detach(), omega.weight.grad, own.grad))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_the_hidden_state_holds_every_sources_own():
    x, sources = draw_sources(3, 4, 8, seed=1)
    hidden = hidden_state(x, sources["down"].flatten(0, 1), sources["down_bias"].flatten(), torch.relu)
    assert hidden.shape == (2, 3, 12)
    first = torch.relu(x @ sources["down"][0].t() + sources["down_bias"][0])
    torch.testing.assert_close(hidden[..., :4], first)


def test_a_zero_omega_adds_nothing():
    x, sources = draw_sources(4, 3, 8, seed=2)
    assert not fused(x, sources, torch.zeros(4, 8), torch.relu).any()


@pytest.mark.parametrize("n", [1, 4, 8])
def test_omega_starts_normal_around_two_over_n(n):
    weight = omega_of(SCALINGS["scalearn"], n, 20_000, seed=0).weight
    assert float(weight.detach().mean()) == pytest.approx(2 / n, abs=5e-5)
    assert float(weight.detach().std()) == pytest.approx(INIT_STD, rel=0.03)
    assert INIT_STD == 0.001


@pytest.mark.parametrize(
    ("variant", "shape"),
    [("scalearn", (5, 32)), ("scalearn-uniform", (5, 1)), ("scalearn++", (5, 32)), ("scalearn-uniform++", (5, 1))],
)
def test_omega_is_a_vector_or_a_scalar_a_source(variant, shape):
    assert omega_of(SCALINGS[variant], 5, 32, seed=0).weight.shape == shape


def test_the_published_variants_have_the_authors_dropout():
    published = ("scalearn", "scalearn-uniform", "scalearn++", "scalearn-uniform++")
    assert [SCALINGS[name].dropout for name in published] == [0.3, 0.3, 0.3, 0.0]


def test_the_ablations_drop_nothing_and_would_drop_before_they_normalise():
    assert [SCALINGS[name].dropout for name in ("scalearn-mean", "scalearn-softmax")] == [0.0, 0.0]
    for normalise in ("mean", "softmax"):
        omega = omega_of(Scaling("vector", False, 0.5, normalise), 40, 8, seed=9).train()
        torch.testing.assert_close(omega().sum(0), torch.ones(8))


def test_dropout_drops_entries_of_omega_and_rescales_the_rest():
    omega = omega_of(Scaling("vector", False, 0.3), 4, 5_000, seed=3).train()
    dropped = omega()
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], omega.weight[kept] / 0.7)
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=0.02)
    assert not torch.equal(kept, omega() != 0), "each step drops anew"


def test_a_dropped_entry_is_dropped_for_the_whole_batch():
    x, sources = draw_sources(1, 4, 64, seed=4, batch=6, tokens=5)
    omega = omega_of(Scaling("vector", False, 0.5), 1, 64, seed=4).train()
    y = fused(x, sources, omega(), torch.tanh)
    silent = (y == 0).flatten(0, 1)
    assert torch.equal(silent.all(0), silent.any(0))
    assert 0 < int(silent.all(0).sum()) < 64


def test_nothing_is_dropped_in_eval():
    omega = omega_of(Scaling("vector", False, 0.9), 3, 100, seed=5)
    assert torch.equal(omega(), omega.weight)


def test_the_mean_ablation_divides_by_the_sum_over_sources():
    omega = omega_of(SCALINGS["scalearn-mean"], 4, 16, seed=6)
    with torch.no_grad():
        omega.weight.copy_(torch.rand(4, 16) + 0.5)
    torch.testing.assert_close(omega().sum(0), torch.ones(16))
    torch.testing.assert_close(omega()[1] / omega()[0], omega.weight[1] / omega.weight[0])


def test_the_softmax_ablation_is_a_softmax_over_sources():
    omega = omega_of(SCALINGS["scalearn-softmax"], 4, 16, seed=7)
    with torch.no_grad():
        omega.weight.copy_(3 * torch.randn(4, 16))
    expected = omega.weight.exp() / omega.weight.exp().sum(0)
    torch.testing.assert_close(omega(), expected)


def test_nothing_is_normalised_in_the_published_variants():
    omega = omega_of(SCALINGS["scalearn"], 4, 16, seed=8)
    assert float(omega().detach().sum(0).mean()) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    ("variant", "count"),
    [("scalearn", 73_728), ("scalearn-uniform", 96), ("scalearn++", 6_144), ("scalearn-uniform++", 8)],
)
def test_the_counts_are_those_of_the_paper(variant, count):
    assert SCALINGS[variant].parameters(sources=8, layers=12, width=768) == count
