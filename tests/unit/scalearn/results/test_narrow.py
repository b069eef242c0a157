"""Narrowing a LoRA: nothing of that rank is nearer, and what it says is lost is what is lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scalearn.results.narrow import VLLM_RANKS, LowRank, narrow, pad, vllm_rank
from tasksel.errors import UserError

SIZES = st.integers(1, 12)


def draw(out, r, inside, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return LowRank(
        torch.randn(r, inside, generator=generator, dtype=dtype), torch.randn(out, r, generator=generator, dtype=dtype)
    )


def delta(module):
    return module.b.double() @ module.a.double()


@settings(deadline=None, max_examples=60)
@given(out=SIZES, r=SIZES, inside=SIZES, rank=SIZES, seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e4]))
def test_it_is_the_dense_singular_value_decomposition_cut_off(out, r, inside, rank, seed, scale):
    module = draw(out, r, inside, seed=seed)
    module = LowRank(module.a * scale, module.b)
    narrowed = narrow({"m": module}, rank)
    best = narrowed.modules["m"]
    left, values, right = torch.linalg.svd(delta(module), full_matrices=False)
    dense = (left[:, :rank] * values[:rank]) @ right[:rank]
    assert best.a.shape == (rank, inside)
    assert best.b.shape == (out, rank)
    torch.testing.assert_close(delta(best), dense, atol=1e-9 * scale * (1 + float(values[0])), rtol=0)
    lost = float((delta(module) - delta(best)).square().sum() / delta(module).square().sum())
    assert narrowed.lost["m"] == pytest.approx(lost, abs=1e-12)
    assert narrowed.lost_overall == narrowed.lost["m"]


@settings(deadline=None, max_examples=30)
@given(out=SIZES, r=SIZES, inside=SIZES, more=st.integers(0, 5))
def test_a_rank_that_is_large_enough_loses_nothing(out, r, inside, more):
    module = draw(out, r, inside, dtype=torch.float32)
    narrowed = narrow({"m": module}, min(out, r, inside) + more)
    torch.testing.assert_close(delta(narrowed.modules["m"]), delta(module), atol=1e-5, rtol=1e-5)
    assert narrowed.lost["m"] < 1e-12


def test_what_is_lost_overall_weighs_modules_by_their_energy():
    small, large = draw(6, 4, 5, seed=1), draw(9, 4, 7, seed=2)
    large = LowRank(large.a * 100, large.b)
    narrowed = narrow({"small": small, "large": large}, 2)
    before = {name: delta(module).square().sum() for name, module in {"small": small, "large": large}.items()}
    lost = sum(float(narrowed.lost[name] * before[name]) for name in before)
    assert narrowed.lost_overall == pytest.approx(lost / float(sum(before.values())))
    assert narrowed.lost_overall == pytest.approx(narrowed.lost["large"], rel=1e-2)
    assert narrowed.worst() == max(narrowed.lost.items(), key=lambda item: item[1])


def test_two_sources_of_one_direction_are_one():
    module = draw(5, 2, 6)
    twice = LowRank(torch.cat([module.a, module.a]), torch.cat([module.b, 3 * module.b], 1))
    narrowed = narrow({"m": twice}, 2)
    torch.testing.assert_close(delta(narrowed.modules["m"]), 4 * delta(module))
    assert narrowed.lost["m"] < 1e-12


def test_an_update_of_zero_loses_nothing():
    narrowed = narrow({"m": LowRank(torch.randn(4, 5), torch.zeros(3, 4))}, 2)
    assert (narrowed.lost, narrowed.lost_overall) == ({"m": 0.0}, 0.0)
    assert float(delta(narrowed.modules["m"]).abs().max()) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_type_of_the_weights_stays(dtype):
    module = LowRank(*(tensor.to(dtype) for tensor in draw(6, 3, 6)))
    for each in (*narrow({"m": module}, 2).modules.values(), *pad({"m": module}, 8).values()):
        assert (each.a.dtype, each.b.dtype) == (dtype, dtype)
        assert each.a.is_contiguous()
        assert each.b.is_contiguous()


def test_no_product_of_the_size_of_the_module_is_made():
    module = draw(500_000, 3, 400_000, dtype=torch.float32)  # dense: 800 GB
    assert 0 < narrow({"m": module}, 2).lost_overall < 0.5


def test_padding_changes_no_number():
    modules = {"a": draw(4, 2, 5), "b": draw(3, 4, 6)}
    padded = pad(modules)
    assert {name: module.rank for name, module in padded.items()} == {"a": 4, "b": 4}
    assert all(torch.equal(delta(padded[name]), delta(module)) for name, module in modules.items())
    assert {module.rank for module in pad(modules, 8).values()} == {8}


@pytest.mark.parametrize(("rank", "accepted"), [(1, 1), (2, 8), (8, 8), (9, 16), (64, 64), (257, 320), (512, 512)])
def test_vllm_takes_the_next_of_its_ranks(rank, accepted):
    assert vllm_rank(rank) == accepted
    assert accepted in VLLM_RANKS


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: vllm_rank(513), "rank 513 is beyond what vLLM accepts (1, 8, "),
        (lambda: narrow({"q": draw(3, 2, 3)}, 0), "rank 0: give a whole number from 1 on"),
        (lambda: narrow({}, 2), "there is no module to narrow"),
        (lambda: pad({"q": draw(3, 2, 3), "v": draw(3, 4, 3)}, 3), "rank 3 is below the 4 of 'v': narrow to it with --rank 3"),
        (lambda: narrow({"q": LowRank(torch.ones(2, 3), torch.ones(3, 4))}, 2), "'q': A [2, 3] and B [3, 4] do not fit"),
        (lambda: narrow({"q": LowRank(torch.ones(2, 3), torch.full((3, 2), torch.nan))}, 2), "'q': a weight is NaN"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(act, said):
    with pytest.raises(UserError) as refused:
        act()
    assert str(refused.value).startswith(said)
