"""A soup is the weighted average of the sources' weights, as one ordinary adapter."""

import json
import math

import pytest
import torch
from library import library_model
from safetensors.torch import load_file

from scalearn import METHODS, transfer
from scalearn.layers.stacking import stack
from scalearn.methods.soup import shares, weighted_sum
from tasksel import UserError
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.model.base import load_base

FIELDS = ("down", "down_bias", "up", "up_bias")


def test_shares_are_each_similaritys_part_of_the_sum():
    assert shares([3, 1, 0]) == [0.75, 0.25, 0.0]
    assert shares([0.5]) == [1.0]
    assert sum(shares([0.3, 0.2, 0.7])) == pytest.approx(1)


def merge(layers, weights):
    """Every layer's weighted sum."""
    return {path: weighted_sum(part, weights) for path, part in layers.items()}


@pytest.mark.parametrize("wrong", [[0.5, -0.1], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_similarities_that_cannot_be_weights_are_refused_with_what_was_given(wrong):
    given = ", ".join(f"{value:g}" for value in wrong)
    with pytest.raises(UserError, match=f"similarities {given}: a soup's weights are 0 or more, and not all 0"):
        shares(wrong)


def test_a_merge_by_hand():
    two = Bottlenecks(
        *(torch.tensor(value) for value in ([[[1.0]], [[3.0]]], [[4.0], [0.0]], [[[0.0]], [[8.0]]], [[2.0], [6.0]]))
    )
    merged = merge({"slot": two}, [0.75, 0.25])["slot"]
    assert [getattr(merged, name).flatten().tolist() for name in FIELDS] == [[1.5], [3.0], [2.0], [3.0]]
    assert merged.down.shape == (1, 1, 1)
    assert merged.up_bias.shape == (1, 1)


def test_a_merge_equals_the_loop_over_every_number(tiny, fill, tmp_path):
    layers, _ = stack(fill(tmp_path / "pool", tiny, "one", "two", "three"))
    weights = [0.2, 0.7, 0.1]
    for path, merged in merge(layers, weights).items():
        for name in FIELDS:
            stacked, found = getattr(layers[path], name), getattr(merged, name)
            assert found.shape == (1, *stacked.shape[1:])
            expected = torch.zeros_like(found)
            for s, weight in enumerate(weights):
                expected[0] += weight * stacked[s]
            torch.testing.assert_close(found, expected)


def test_a_soup_is_the_librarys_adapter_with_the_averaged_weights(tiny, fill, target, library, tmp_path):
    sources = fill(tmp_path / "pool", tiny, "one", "two")
    layers, config = stack(sources)
    model = METHODS["soup"].build(load_base(tiny), target, merge(layers, [0.5, 0.5]), config, seed=0).eval()
    plain = library_model(tiny)
    for source in sources:
        plain.load_adapter(str(source.folder), use_safetensors=True)
    plain.average_adapter("soup", ["one", "two"], weights=[0.5, 0.5])  # the library's own
    plain.set_active_adapters("soup")
    plain.add_classification_head("same", num_labels=2)
    plain.heads["same"].load_state_dict(model.heads[target.name].state_dict())
    plain.active_head = "same"
    ids = torch.tensor([[101, 2023, 2003, 102]])
    with torch.no_grad():
        mixed = METHODS["average"].build(load_base(tiny), target, layers, config, seed=0).eval()(ids).logits
        torch.testing.assert_close(model(ids).logits, plain.eval()(ids).logits, atol=1e-5, rtol=1e-5)
        assert (model(ids).logits - mixed).abs().max() > 1e-3, "an average of weights is not one of outputs"


def test_the_similarities_make_the_stored_adapter(results, pool):
    layers, _ = stack(list(pool))
    for method, weights in (("soup", [1 / 3] * 3), ("soup-similarity", [0.625, 0.25, 0.125])):
        stored = load_file(results[method].folder / "sources.safetensors")
        for path, part in merge(layers, weights).items():
            for name in FIELDS:
                torch.testing.assert_close(stored[f"{path}/{name}"], getattr(part, name))
    told = json.loads((results["soup-similarity"].folder / "run.json").read_text())
    assert told["similarities"] == [0.5, 0.2, 0.1]
    assert results["soup"].run.similarities is None


@pytest.fixture
def go(pool, target, recipe, tmp_path):
    def run(method="soup-similarity", **options):
        return transfer(target, list(pool), method=method, rows=32, recipe=recipe, out=tmp_path / "out", **options)

    return run


def test_without_similarities_it_is_refused_before_anything_is_written(go, no_training, tmp_path):
    with pytest.raises(UserError, match="weighs the sources by their similarity to the target, and none is given"):
        go()
    with pytest.raises(UserError, match="2 similarities for 3 sources: give one per source"):
        go(similarities=[0.5, 0.5])
    with pytest.raises(UserError, match=r"similarities 0\.5, -1, 0\.5: a soup's weights are 0 or more"):
        go(similarities=[0.5, -1, 0.5])
    assert not (tmp_path / "out").exists()


def test_other_similarities_are_another_run_for_the_method_that_reads_them(go, results, no_training, tmp_path):
    results["soup-similarity"].save(tmp_path / "out")
    assert go(similarities=(0.5, 0.2, 0.1)).scores == results["soup-similarity"].scores
    with pytest.raises(UserError, match=r"holds a different run \(similarities \(0\.5, 0\.2, 0\.1\), asked \(1\.0, "):
        go(similarities=(1, 0.2, 0.1))


def test_a_method_that_does_not_read_them_is_named_alike_with_any(go, results, no_training, tmp_path):
    results["soup"].save(tmp_path / "out")
    assert go("soup", similarities=(-1, 0, 3)).run.key == results["soup"].run.key
    assert go("soup").run.key == results["soup"].run.key
