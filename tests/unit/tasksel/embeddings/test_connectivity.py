"""Tests of connectivity patterns: the coefficients do what the equation says, leave no trace, and know kin from strangers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from tasksel import TaskEmbedding, get_task, load_data
from tasksel.embeddings.connectivity import Connectivity, _EarlyBird, coefficients, keep_above
from tasksel.errors import UserError
from tasksel.model.base import Base, load_base, weights_fingerprint

LAYERS, HEADS, WIDTH, NEURONS = 2, 4, 32, 64  # of the tiny models
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2")
QUICK = Connectivity(max_steps=3, batch=8, max_length=32)
TEXT = {"input_ids": torch.arange(1000, 1024).view(2, 12), "attention_mask": torch.ones(2, 12, dtype=torch.long)}


@pytest.fixture(scope="module")
def films():
    task = get_task("sentiment_films")
    return task, load_data(task, rows=40)


def drawn(count, layer):
    return torch.rand(count, generator=torch.Generator().manual_seed(layer)) + 0.5


def last_hidden(model):
    with torch.no_grad():
        return model.base_model(**TEXT).last_hidden_state


class TestCoefficients:
    def test_on_heads_scale_attention_probabilities(self, tiny):
        """Eager attention, written out here with its probabilities scaled, against hooks on the output projection."""
        model = load_base(tiny).model()
        plain = last_hidden(model)
        with coefficients(model) as (heads, _):
            for layer, c in enumerate(heads):
                c.data = drawn(HEADS, layer)
            found = last_hidden(model)

        handles = []
        for layer in range(LAYERS):
            attention = model.bert.encoder.layer[layer].attention.self

            def eager(module, inputs, output, layer=layer):
                """The layer's context, from scaled probabilities."""
                x = inputs[0]
                query, key, value = (
                    part(x).view(2, 12, HEADS, -1).transpose(1, 2) for part in (module.query, module.key, module.value)
                )
                probabilities = (query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1)
                scaled = probabilities * drawn(HEADS, layer).view(1, HEADS, 1, 1)
                return ((scaled @ value).transpose(1, 2).reshape(2, 12, WIDTH), *output[1:])

            handles.append(attention.register_forward_hook(eager))
        wanted = last_hidden(model)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        assert (found - plain).abs().max() > 1e-3

    def test_on_neurons_scale_the_activated_intermediate(self, tiny):
        model = load_base(tiny).model()
        plain = last_hidden(model)
        with coefficients(model) as (_, neurons):
            for layer, c in enumerate(neurons):
                c.data = drawn(NEURONS, layer)
            found = last_hidden(model)
        handles = [
            model.bert.encoder.layer[layer].intermediate.register_forward_hook(
                lambda module, inputs, output, layer=layer: output * drawn(NEURONS, layer)
            )
            for layer in range(LAYERS)
        ]
        wanted = last_hidden(model)
        for handle in handles:
            handle.remove()
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
        assert (found - plain).abs().max() > 1e-3

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_reach_every_layer_and_leave_no_trace(self, make_base, architecture):
        model = load_base(make_base(architecture)).model()
        names, plain = list(model.state_dict()), last_hidden(model)
        with coefficients(model) as (heads, neurons):
            assert [c.tolist() for c in heads] == [[1.0] * HEADS] * LAYERS
            assert [c.tolist() for c in neurons] == [[1.0] * NEURONS] * LAYERS
            assert torch.equal(last_hidden(model), plain)
            assert len(model.state_dict()) == len(names) + 2 * LAYERS
            model.base_model(**TEXT).last_hidden_state.square().sum().backward()
            for c in (*heads, *neurons):
                assert (c.grad != 0).sum() > 0.9 * c.numel()
            for c in (*heads, *neurons):
                c.data.zero_()
            assert not torch.allclose(last_hidden(model), plain)
        assert list(model.state_dict()) == names
        assert torch.equal(last_hidden(model), plain)
        assert not any(
            module._forward_pre_hooks
            for name, module in model.named_modules()
            if name.endswith(("dense", "lin", "lin2"))
        )

    def test_are_taken_away_after_a_failure_too(self, tiny):
        model = load_base(tiny).model()
        names = list(model.state_dict())
        with pytest.raises(ZeroDivisionError), coefficients(model):
            raise ZeroDivisionError
        assert list(model.state_dict()) == names

    def test_an_unknown_architecture_is_refused_by_name(self):
        model = nn.Sequential(nn.Linear(2, 2))
        model.config = type("Config", (), {"model_type": "strange"})
        with (
            pytest.raises(UserError, match="output projections of a 'strange' are not known; known: BERT"),
            coefficients(model),
        ):
            pass


class TestEmbed:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_every_architecture_gives_a_bit_a_head_and_a_neuron(self, make_base, films, architecture):
        found = QUICK.embed(*films, load_base(make_base(architecture)))
        assert found.provenance["bits"] == {"heads": LAYERS * HEADS, "neurons": LAYERS * NEURONS}
        assert {name: array.size for name, array in found.arrays.items()} == {"heads": 1, "neurons": 16}
        assert found.nbytes == 17
        heads, neurons = (np.unpackbits(found.arrays[name]) for name in ("heads", "neurons"))
        assert heads.reshape(LAYERS, HEADS).sum(1).tolist() == [3, 3]  # a third of four, rounded, goes in each layer
        assert neurons.sum() == LAYERS * NEURONS - round(0.4 * LAYERS * NEURONS)

    @pytest.mark.parametrize("co_train", [False, True])
    def test_the_same_seed_gives_the_same_bits(self, tiny, films, co_train):
        form = Connectivity(max_steps=6, batch=8, max_length=32, co_train=co_train)
        first, again, other = (form.embed(*films, load_base(tiny), seed=seed) for seed in (0, 0, 1))
        assert first.provenance["steps"] == again.provenance["steps"]
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(array, again.arrays[name])
        assert any((array != other.arrays[name]).any() for name, array in first.arrays.items())
        assert form.similarity(first, again) == 1.0 > form.similarity(first, other)

    @pytest.mark.parametrize("co_train", [False, True])
    def test_weights_move_only_where_they_are_co_trained(self, tiny, films, monkeypatch, co_train):
        models = []

        class Kept(Base):
            def model(self):
                models.append(super().model())
                return models[-1]

        base = Kept(tiny)
        whole = base.fingerprint
        Connectivity(max_steps=3, batch=8, max_length=32, co_train=co_train).embed(*films, base)
        trained = models[-1]
        assert list(trained.heads) == ["sentiment_films"]
        assert (weights_fingerprint(trained) != whole) == co_train
        assert not any("c_heads" in name or "c_neurons" in name for name in trained.state_dict())

    def test_says_what_made_it(self, tiny, films):
        found = QUICK.embed(*films, load_base(tiny), seed=3)
        provenance = found.provenance
        assert (provenance["task"], provenance["base"], provenance["seed"], provenance["steps"]) == (
            "sentiment_films",
            tiny,
            3,
            3,
        )
        assert provenance["data"] == films[1].fingerprint
        assert provenance["base_fingerprint"] == load_base(tiny).fingerprint
        assert provenance["key"] == QUICK.key
        assert provenance["settings"]["max_steps"] == 3

    def test_comes_back_from_its_file(self, tiny, films, tmp_path):
        found = QUICK.embed(*films, load_base(tiny))
        found.save(tmp_path / "a.safetensors")
        assert QUICK.similarity(TaskEmbedding.load(tmp_path / "a.safetensors"), found) == 1.0

    @pytest.mark.parametrize("name", ["rating_hotels", "complaints_orders", "entail_travel", "endings_daily"])
    def test_every_kind_of_task_is_embedded(self, tiny, name):
        task = get_task(name)
        found = QUICK.embed(task, load_data(task, rows=20), load_base(tiny))
        assert found.provenance["bits"] == {"heads": LAYERS * HEADS, "neurons": LAYERS * NEURONS}

    def test_the_l1_terms_press_coefficients_down(self, tiny, films, monkeypatch):
        kept = {}
        for strength in (0.0, 10.0):
            grabbed = []
            monkeypatch.setattr(_EarlyBird, "settled", lambda self, step, to=grabbed: to.append(self) and False)
            Connectivity(max_steps=3, batch=8, max_length=32, l1_heads=strength, l1_neurons=strength).embed(
                *films, load_base(tiny)
            )
            kept[strength] = [
                torch.cat([c.detach() for c in group]).mean().item() for group in (grabbed[0].heads, grabbed[0].neurons)
            ]
        assert all(pressed < free - 5e-3 for pressed, free in zip(kept[10.0], kept[0.0], strict=True))


class TestEarlyBird:
    def watch(self, flips, **options):
        """Steps of an early bird whose neuron mask differs by `flips[i]` of 10 bits from its first; when it settles, or None."""
        form = Connectivity(prune_heads=0.0, prune_neurons=0.5, **options)
        neurons = nn.Parameter(torch.ones(20))
        bird = _EarlyBird(form, [nn.Parameter(torch.ones(4))], [neurons], every=1)
        for step, flip in enumerate(flips, 1):
            values = torch.arange(20.0)
            swapped = values.clone()
            swapped[:flip], swapped[20 - flip :] = values[20 - flip :], values[:flip]  # 2 * flip bits of 20 change
            neurons.data = swapped
            if bird.settled(step):
                return step
        return None

    def test_never_settles_before_one_mask_more_than_patience(self):
        assert self.watch([0] * 12) == 6
        assert self.watch([0] * 12, patience=3) == 4
        assert self.watch([0] * 5) is None

    def test_settles_at_the_first_point_whose_followers_are_all_near(self):
        assert (
            self.watch([5, 4, 0, 1, 0, 1, 0, 1, 0, 0]) == 8
        )  # 0.1 away is near enough; counting starts with the third
        assert (
            self.watch([5, 4, 0, 1, 0, 2, 0, 1, 0, 0, 0]) == 9
        )  # the sixth is 0.2 from the third, 0.1 from the fourth
        assert (
            self.watch([5, 4, 0, 1, 0, 3, 0, 1, 0, 0, 0, 0]) == 12
        )  # the sixth is far from all: counting starts after it

    def test_near_is_to_the_first_and_not_to_the_one_before(self):
        assert self.watch([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) is None  # creeps by 0.1 a step

    def test_eps_is_a_share_of_the_bits(self):
        assert self.watch([0, 1] * 6, eps=0.09) is None
        assert self.watch([0, 1] * 6, eps=0.11) == 6

    def test_masks_are_taken_at_intervals_only(self):
        bird = _EarlyBird(Connectivity(), [nn.Parameter(torch.ones(4))], [nn.Parameter(torch.ones(8))], every=3)
        assert next(step for step in range(1, 40) if bird.settled(step)) == 18

    @pytest.mark.parametrize("group", ["heads", "neurons"])
    def test_both_groups_must_agree(self, group):
        heads, neurons = nn.Parameter(torch.arange(4.0)), nn.Parameter(torch.arange(100.0))
        bird = _EarlyBird(Connectivity(), [heads], [neurons], every=1)
        restless = {"heads": heads, "neurons": neurons}[group]
        for step in range(1, 30):
            restless.data = restless.data.flip(0)
            assert not bird.settled(step)

    def test_embedding_stops_there_and_max_steps_bounds_it(self, tiny, films):
        settled = Connectivity(max_steps=30, batch=8, max_length=32, eps=1.0).embed(*films, load_base(tiny))
        assert settled.provenance["steps"] == 6
        every = Connectivity(
            max_steps=30, batch=8, max_length=32, eps=1.0, interval=0.4
        )  # 36 rows, 5 steps an epoch: every 2
        assert every.embed(*films, load_base(tiny)).provenance["steps"] == 12
        never = Connectivity(max_steps=9, batch=8, max_length=32, eps=0.0)
        assert never.embed(*films, load_base(tiny)).provenance["steps"] == 9
        off = Connectivity(max_steps=9, batch=8, max_length=32, eps=1.0, early_stop=False)
        assert off.embed(*films, load_base(tiny)).provenance["steps"] == 9


class TestMask:
    def test_keeps_the_largest(self):
        assert keep_above(np.array([3.0, 1.0, 2.0, -5.0, 9.0]), 0.4).tolist() == [True, False, True, False, True]

    def test_of_equals_the_first_go_first(self):
        assert keep_above(np.ones(1000), 0.4).tolist() == [False] * 400 + [True] * 600
        values = np.arange(1000) % 2  # a sort that is not stable shows only where values are many and mixed
        assert np.flatnonzero(~keep_above(values, 0.6) & (values == 1)).tolist() == list(range(1, 200, 2))
        assert keep_above(np.array([2.0, 1.0, 1.0, 1.0]), 0.5).tolist() == [True, False, False, True]

    @settings(max_examples=60, deadline=None)
    @given(arrays(np.float32, st.integers(1, 40), elements=st.integers(0, 5)), st.floats(0, 1))
    def test_drops_its_share_and_nothing_above_what_it_keeps(self, values, share):
        mask = keep_above(values, share)
        assert (~mask).sum() == round(share * values.size)
        if mask.any() and not mask.all():
            assert values[mask].min() >= values[~mask].max()


class TestSimilarity:
    def embedding(self, **provenance):
        known = {"task": "a", "base_fingerprint": "f", "bits": {"heads": 8, "neurons": 16}, "key": "k"}
        return TaskEmbedding(
            {"heads": np.array([15], np.uint8), "neurons": np.array([15, 255], np.uint8)}, {**known, **provenance}
        )

    @pytest.mark.parametrize(
        "other", [{"base_fingerprint": "g"}, {"bits": {"heads": 8, "neurons": 15}}, {"key": "connectivity-other"}]
    )
    def test_of_what_was_made_otherwise_is_refused(self, other):
        with pytest.raises(UserError, match=f"embeddings of 'a' and 'b' differ in {next(iter(other))}"):
            Connectivity().similarity(self.embedding(), self.embedding(task="b", **other))

    @pytest.mark.parametrize(
        ("grouping", "wanted"), [("all", 1 - 4 / 24), ("heads", 0.5), ("neurons", 1.0), ("balanced", 0.75)]
    )
    def test_goes_by_the_grouping(self, grouping, wanted):
        other = self.embedding()
        other.arrays["heads"][:] = 0
        assert Connectivity(grouping=grouping).similarity(self.embedding(), other) == pytest.approx(wanted)

    def test_the_key_names_the_settings_and_not_the_grouping(self):
        assert Connectivity(grouping="heads").key == Connectivity().key
        changed = [
            {"co_train": True},
            {"lr": 1e-3},
            {"max_steps": 41},
            {"eps": 0.2},
            {"batch": 16},
            {"early_stop": False},
        ]
        assert len({Connectivity(**options).key for options in ({}, *changed)}) == 7


def test_kin_lie_nearer_than_strangers_on_a_real_encoder():
    """The defaults, with 8 rows a step instead of 32 and 60 rows to be quick."""
    base, form = load_base("minilm"), Connectivity(batch=8)
    strangers = ("grammar_garden", "question_type")
    names = ("entail_kitchen", "sentiment_phones", "entail_travel", "sentiment_films", *strangers)
    found = {name: form.embed(get_task(name), load_data(get_task(name), rows=60), base) for name in names}
    assert found["entail_kitchen"].provenance["bits"] == {"heads": 72, "neurons": 9216}
    for target, kin in (("entail_kitchen", "entail_travel"), ("sentiment_phones", "sentiment_films")):
        near = {name: form.similarity(found[target], found[name]) for name in names[2:]}
        assert max(near, key=near.get) == kin, near
