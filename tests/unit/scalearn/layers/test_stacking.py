"""Sources that differ in activation, width, position or base are refused with both names; others stack in order."""

import shutil

import pytest
import torch
from adapters import DoubleSeqBnConfig, SeqBnConfig

from scalearn import AdapterPool
from scalearn.layers.stacking import stack
from tasksel import UserError

PLAIN = SeqBnConfig(reduction_factor=16)


@pytest.fixture
def pair(fill, tiny, tmp_path):
    """A plain source and another, of the given configuration, on the same base."""

    def make(config):
        fill(tmp_path / "pool", tiny, "plain", config=PLAIN)
        fill(tmp_path / "pool", tiny, "other", config=config, seed=1)
        return AdapterPool(tmp_path / "pool").select(["plain", "other"])

    return make


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (SeqBnConfig(reduction_factor=16, non_linearity="gelu"), r"activation \(relu, gelu\)"),
        (SeqBnConfig(reduction_factor=8), r"width \(bottleneck x hidden: \(2, 32\), \(4, 32\)\)"),
        (SeqBnConfig(reduction_factor=16, mh_adapter=True, output_adapter=False), "mh_adapter"),
        (DoubleSeqBnConfig(reduction_factor=16, non_linearity="relu"), "mh_adapter"),
        (SeqBnConfig(reduction_factor=16, leave_out=[0]), "the layers that they sit in"),
        (SeqBnConfig(reduction_factor=16, original_ln_before=False), "original_ln_before"),
        (SeqBnConfig(reduction_factor=16, residual_before_ln=False), "residual_before_ln"),
    ],
)
def test_sources_that_differ_are_refused_with_both_names(pair, config, what):
    with pytest.raises(UserError, match=f"sources 'plain' and 'other' differ in {what}"):
        stack(pair(config))


def test_sources_of_different_bases_are_refused_with_both_names(fill, tiny, make_base, tmp_path):
    (mine,) = fill(tmp_path / "mine", tiny, "mine")
    (theirs,) = fill(tmp_path / "theirs", make_base(seed=1), "theirs")
    with pytest.raises(UserError, match="sources 'mine' and 'theirs' differ in base"):
        stack([mine, theirs])


def test_sources_alike_are_stacked_in_the_order_given(fill, tiny, tmp_path):
    one, two = fill(tmp_path / "pool", tiny, "one", "two")
    forth, back = (stack(order)[0] for order in ([one, two], [two, one]))
    for path, part in forth.items():
        assert part.up.shape == (2, 2, 32)
        assert torch.equal(part.up, back[path].up.flip(0))
        assert not torch.equal(part.up[0], part.up[1])


def test_an_adapter_before_and_one_after_attention_fill_two_slots_a_layer(fill, tiny, tmp_path):
    config = DoubleSeqBnConfig(reduction_factor=16)
    layers, shared = stack(fill(tmp_path / "pool", tiny, "one", "two", config=config))
    assert len(layers) == 4
    assert shared["mh_adapter"]


def test_no_sources_make_nothing():
    assert stack([]) == ({}, {})


def test_a_source_that_was_altered_is_not_stacked(fill, tiny, tmp_path):
    shutil.rmtree(tmp_path / "pool", ignore_errors=True)
    sources = fill(tmp_path / "pool", tiny, "one", "two")
    weights = sources[1].folder / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(UserError, match=r"source 'two': .*adapter\.safetensors is not the file that was stored"):
        stack(sources)
