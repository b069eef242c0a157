"""Tests of embedding space maps: a known map is found, no change is the identity, and a target costs one pass of the base."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from task_candidates import Untrained, candidate

from tasksel import TaskEmbedding, get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import HEAD, WEIGHTS
from tasksel.adapters.train import train_adapter
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base
from tasksel.model.encoding import encode_split
from tasksel.selection import esm
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.esm import Esm, fit_map
from tasksel.selection.source_features import training_rows
from tasksel.selection.transferability import logme
from tasksel.training.features import pooled
from tasksel.training.recipe import Recipe

SOURCE, TARGET, CHOICES = "sentiment_films", "entail_travel", "endings_daily"
RECIPE = Recipe(lr=1e-2, epochs=1, max_length=32)
draw = np.random.default_rng(0)


@pytest.fixture(scope="module")
def base(tiny):
    return load_base(tiny)


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    tasks = {name: get_task(name) for name in (SOURCE, CHOICES)}
    return {
        name: train_adapter(task, load_data(task, rows=40), base, folder / name, recipe=RECIPE)
        for name, task in tasks.items()
    }


@pytest.fixture
def source(base, adapters, tmp_path):
    return lambda name=SOURCE: TaskOnBase(candidate(name, adapters[name], tmp_path / name), base)


@pytest.fixture
def target(base):
    return lambda name=TARGET: Untrained(candidate(name), base)


@pytest.fixture
def changed(base, adapters, tmp_path):
    """The source with every weight of its adapter changed."""

    def copy(change):
        (tmp_path / "copy").mkdir()
        for path in adapters[SOURCE].folder.iterdir():
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
        tensors = {key: change(tensor) for key, tensor in load_file(adapters[SOURCE].folder / WEIGHTS).items()}
        save_file(tensors, tmp_path / "copy" / WEIGHTS, metadata={"format": "pt"})
        return TaskOnBase(candidate(SOURCE, AdapterCheckpoint(tmp_path / "copy", SOURCE), tmp_path / "store"), base)

    return copy


def both(subject, pool="first", length=64, rows=None):
    """The base's and the adapter's embeddings of a subject's rows, from two models."""
    encoded = encode_split(
        training_rows(subject.data, rows=rows), subject.task, subject.base.tokenizer, max_length=length
    )
    return [
        pooled(model, encoded, pooling=pool)[0] for model in (subject.base.model(), subject.trained.model(subject.base))
    ]


class TestMap:
    def test_finds_the_linear_map_behind_the_rows(self):
        x = draw.normal(size=(200, 6)) * draw.uniform(0.5, 2, 6) + 3
        weight, bias = draw.normal(size=(6, 6)), draw.normal(size=6)
        found = fit_map(x, x @ weight + bias, ridge=1e-10)
        np.testing.assert_allclose(found[0], weight, atol=1e-6)
        np.testing.assert_allclose(found[1], bias, atol=1e-5)

    @pytest.mark.parametrize("rows", [1, 3, 50])
    def test_is_the_identity_where_nothing_changed(self, rows):
        x = draw.normal(size=(rows, 6))
        weight, bias = fit_map(x, x, ridge=1.0)
        np.testing.assert_allclose(weight, np.eye(6), atol=1e-12)
        np.testing.assert_allclose(bias, 0, atol=1e-12)

    def test_by_hand(self):
        """x is 1, 3 and t is 4, 10: X^T X = 2, lambda = 2, the change of 2 a unit is halved; b = 7 - 2 * 2."""
        weight, bias = fit_map(np.array([[1.0], [3.0]]), np.array([[4.0], [10.0]]), ridge=1.0)
        assert (weight.item(), bias.item()) == pytest.approx((2.0, 3.0))

    def test_is_the_minimum_of_its_loss(self):
        x, t, ridge = draw.normal(size=(9, 4)) + 1, draw.normal(size=(9, 4)), 0.3
        strength = ridge * ((x - x.mean(0)) ** 2).sum() / 4

        def loss(weight, bias):
            return ((x @ weight + bias - t) ** 2).sum() + strength * ((weight - np.eye(4)) ** 2).sum()

        weight, bias = fit_map(x, t, ridge=ridge)
        least = loss(weight, bias)
        for _ in range(50):
            assert loss(weight + 1e-3 * draw.normal(size=(4, 4)), bias + 1e-3 * draw.normal(size=4)) > least

    def test_stays_the_identity_in_directions_without_rows(self):
        x = np.hstack([draw.normal(size=(50, 2)), np.zeros((50, 2))])
        weight, _ = fit_map(x, 3 * x, ridge=1e-9)
        np.testing.assert_allclose(weight, np.diag([3, 3, 1, 1]), atol=1e-6)

    def test_does_not_depend_on_the_scale_of_the_embeddings(self):
        x, t = draw.normal(size=(20, 4)), draw.normal(size=(20, 4))
        np.testing.assert_allclose(fit_map(100 * x, 100 * t, ridge=0.5)[0], fit_map(x, t, ridge=0.5)[0])

    def test_of_rows_that_are_all_alike_moves_only_the_mean(self):
        weight, bias = fit_map(np.ones((3, 2)), np.array([[1.0, 2], [3, 2], [5, 2]]), ridge=1.0)
        assert weight.tolist() == np.eye(2).tolist()
        np.testing.assert_allclose(bias, [2, 1])


class TestSource:
    @pytest.mark.parametrize("pool", ["first", "mean"])
    def test_is_mapped_from_the_base_to_its_own_model(self, source, pool):
        found = source().embedding(Esm(pool=pool, ridge=0.1))
        weight, bias = fit_map(*both(source(), pool), ridge=0.1)
        np.testing.assert_allclose(found.arrays["weight"], weight, atol=1e-3)
        np.testing.assert_allclose(found.arrays["bias"], bias, atol=1e-3)
        assert found.arrays["weight"].dtype == np.float32

    def test_whose_adapter_changes_nothing_maps_by_the_identity_and_scores_as_the_base(self, changed, target):
        still = changed(torch.zeros_like)
        arrays = still.embedding(Esm()).arrays
        np.testing.assert_allclose(arrays["weight"], np.eye(32), atol=1e-5)
        np.testing.assert_allclose(arrays["bias"], 0, atol=1e-5)
        seen = Esm().observe(target()).arrays
        assert Esm().scores(target(), [still]) == pytest.approx([logme(seen["features"], seen["labels"])], abs=1e-4)

    def test_is_made_without_a_word(self, source, caplog, monkeypatch):
        monkeypatch.setattr(logging.getLogger("adapters"), "propagate", True)
        source().embedding(Esm(rows=8))
        assert caplog.messages == []

    def test_is_stored_with_its_bytes_and_seconds_and_read_again(self, source, monkeypatch):
        first = source().embedding(Esm())
        monkeypatch.setattr(AdapterCheckpoint, "model", lambda *_, **__: pytest.fail("the map was made again"))
        again = source().embedding(Esm())
        assert again.nbytes == 4 * (32 * 32 + 32)
        assert again.provenance == first.provenance
        assert again.provenance["seconds"] > 0
        assert (again.provenance["method"], again.provenance["rows"], again.provenance["task"]) == ("esm", 40, SOURCE)
        with pytest.raises(pytest.fail.Exception):
            source().embedding(Esm(ridge=2.0))

    def test_of_multiple_choice_is_mapped_over_all_its_choices(self, source):
        subject = source(CHOICES)
        found = subject.embedding(Esm())
        assert found.provenance["rows"] == sum(map(len, training_rows(subject.data).choices)) == 120
        assert np.abs(found.arrays["weight"] - np.eye(32)).max() > 1e-3

    def test_with_fewer_rows_is_another_map(self, source):
        found = source().embedding(Esm(rows=20, max_length=12))
        weight, _ = fit_map(*both(source(), length=12, rows=20), ridge=Esm().ridge)
        np.testing.assert_allclose(found.arrays["weight"], weight, atol=1e-4)
        assert found.provenance["rows"] == 20


class TestScores:
    @pytest.mark.parametrize("pool", ["first", "mean"])
    @pytest.mark.parametrize(
        ("name", "kind", "shape"),
        [(TARGET, "i", (40,)), ("similarity_market", "f", (40,)), ("complaints_orders", "i", (40, 4))],
    )
    def test_are_logme_of_the_mapped_base_embeddings(self, source, target, monkeypatch, pool, name, kind, shape):
        """LogME's arguments: a random tiny model explains nothing, so its scores hardly differ."""
        calls = []
        monkeypatch.setattr(esm, "logme", lambda *args, **options: calls.append((*args, options)) or 0.5)
        split = training_rows(target(name).data)
        encoded = encode_split(split, target(name).task, target().base.tokenizer, max_length=64)
        features, _ = pooled(target().base.model(), encoded, pooling=pool)
        weight, bias = fit_map(*both(source(), pool), ridge=0.1)
        assert Esm(pool=pool, ridge=0.1).scores(target(name), [source()]) == [0.5]
        ((mapped, labels, options),) = calls
        np.testing.assert_allclose(mapped, features @ weight + bias, atol=1e-3)
        assert np.abs(mapped - features).max() > 0.01
        np.testing.assert_array_equal(labels, split.labels)
        assert (labels.dtype.kind, labels.shape, options) == (kind, shape, {"regression": kind == "f"})

    def test_cost_one_load_of_the_base_for_all_sources(self, source, target, monkeypatch):
        sources = [source(), source(CHOICES)]
        first = Esm().scores(target(), sources)
        loads, passes, model, run = [], [], Base.model, esm.pooled
        monkeypatch.setattr(Base, "model", lambda self: loads.append(1) or model(self))
        monkeypatch.setattr(esm, "pooled", lambda *args, **options: passes.append(1) or run(*args, **options))
        assert Esm().scores(target(), sources) == first
        assert (len(loads), len(passes)) == (1, 1)
        assert first[0] != first[1]
        assert Esm().scores(target(), sources[::-1]) == first[::-1]

    def test_go_by_each_targets_own_rows_and_labels(self, source, target):
        names = (TARGET, "entail_kitchen", "similarity_market", "complaints_orders")
        found = [Esm().scores(target(name), [source()])[0] for name in names]
        assert len(set(found)) == 4
        assert np.isfinite(found).all()


def test_an_adapter_without_its_head_scores_as_it_does_with_it(changed, target, source):
    headless = changed(lambda tensor: tensor)
    (headless.trained.folder / HEAD).unlink()
    assert Esm().scores(target(), [headless]) == Esm().scores(target(), [source()])


class TestRefusals:
    def test_no_adapter(self, source, base):
        with pytest.raises(UserError, match=f"esm works from a trained adapter, and none of '{SOURCE}' is given"):
            Esm().embed(source().task, source().data, base)

    def test_an_adapter_with_nan_is_named_and_nothing_is_stored(self, changed, target):
        broken = changed(lambda tensor: tensor * torch.nan)
        with pytest.raises(UserError, match=f"the adapter of '{SOURCE}' gives NaN or infinite numbers"):
            Esm().scores(target(), [broken])
        assert not broken.candidate.folder.exists()

    def test_a_multiple_choice_target(self, source, target):
        with pytest.raises(UserError, match=f"esm needs one text per row, and target '{CHOICES}' is multiple choice"):
            Esm().scores(target(CHOICES), [source()])

    def test_a_map_made_otherwise(self, source, target):
        with pytest.raises(UserError, match=f"embeddings of '{SOURCE}' and '{TARGET}' differ in key"):
            Esm().similarity(source().embedding(Esm(ridge=2.0)), Esm().observe(target()))

    def test_labels_that_logme_cannot_use_are_said_with_both_names(self, source, target):
        seen = Esm().observe(target())
        one = TaskEmbedding({**seen.arrays, "labels": np.zeros(40, dtype=int)}, seen.provenance)
        with pytest.raises(UserError, match=f"esm of source '{SOURCE}' for '{TARGET}': all 40 labels are class 0"):
            Esm().similarity(source().embedding(Esm()), one)

    def test_settings_that_mean_nothing(self):
        with pytest.raises(UserError, match=r"ridge=0\.0 must be greater than 0"):
            Esm(ridge=0.0)
        with pytest.raises(UserError, match="no pool 'frist'; did you mean 'first'"):
            Esm(pool="frist")


def test_the_key_names_all_settings():
    selectors = [Esm(), Esm(pool="mean"), Esm(ridge=2.0), Esm(rows=9), Esm(max_length=9)]
    assert len({selector.key for selector in selectors}) == 5
    assert (Esm.name, Esm.needs) == ("esm", "adapter")
