"""Tests of Fisher information: equal to a loop of single backward passes, the batch size changes what it says it changes, ranks fuse by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tasksel import TaskEmbedding, get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import save_adapter
from tasksel.adapters.train import add_new_adapter, train_adapter
from tasksel.embeddings.fisher import Fisher
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.training.recipe import Recipe

LAYERS, WIDTH, R = 2, 32, 2  # of the tiny models: 32 wide, reduction factor 16
EVERY = Fisher(rows=None, max_length=32)


@pytest.fixture(scope="module")
def make(make_base, tmp_path_factory):
    """A task with rows, a base, and an adapter and head of large random weights (so that no unit is dead), once each."""
    examples = {}

    def one(name="sentiment_films", architecture="bert"):
        if (name, architecture) not in examples:
            task, base, folder = get_task(name), load_base(make_base(architecture)), tmp_path_factory.mktemp("fisher")
            model = base.model()
            add_head(model, task, name=name)
            add_new_adapter(model, name)
            draw = torch.Generator().manual_seed(0)
            for path, parameter in model.named_parameters():
                if path.startswith("heads.") or ".adapters." in path:
                    parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)
                if path.endswith("adapter_down.0.bias"):
                    parameter.data.abs_()
            save_adapter(model, folder, name)
            examples[name, architecture] = task, load_data(task, rows=20), base, AdapterCheckpoint(folder, name)
        return examples[name, architecture]

    return one


def embedded(by, example, **options):
    task, data, base, trained = example
    return by.embed(task, data, base, trained=trained, **options)


def loss_of(task, logits, labels):
    """The mean loss, by torch's own functions."""
    if task.kind == "regression":
        return F.mse_loss(logits[:, 0], labels)
    if task.kind == "multi_label":
        return F.binary_cross_entropy_with_logits(logits, labels)
    return F.cross_entropy(logits, labels)


def looped(example, batches):
    """The authors' formula, one backward pass a batch: what is squared is the whole gradient of the batch's mean loss."""
    task, data, base, trained = example
    model = trained.model(base)
    adapter = {n: p for n, p in model.named_parameters() if f".adapters.{trained.adapter}." in n}
    for parameter in adapter.values():
        parameter.requires_grad_(True)
    encoded, sums = encode_split(data.train, task, base.tokenizer, max_length=32), {}
    for rows in batches:
        batch = encoded.batch(rows)
        labels, choices = batch.pop("labels"), batch.pop("choice_mask", None)
        model.zero_grad()
        out = model(**batch, output_hidden_states=True)
        logits, real = out.logits, batch["attention_mask"]
        if choices is not None:  # what a row does not have gets no probability, and its stand-in is no token
            logits, real = logits.masked_fill(~choices, float("-inf")), real * choices.view(-1, 1)
        hidden = out.hidden_states[1:]
        for h in hidden:
            h.retain_grad()
        loss_of(task, logits, labels).backward()
        tokens = int(real.sum())
        found = {n.replace(f".adapters.{trained.adapter}.", "."): p.grad**2 for n, p in adapter.items()}
        for layer, h in enumerate(hidden):
            total = sum(h.grad[i, t] for i in range(len(real)) for t in range(real.shape[1]) if real[i, t])
            found[f"layer.{layer}.output"] = total**2 / tokens
        found["cls"] = sum(g[0] for g in hidden[-1].grad) ** 2 / tokens
        for name, value in found.items():
            sums[name] = sums.get(name, 0) + value / len(encoded)
    return {name: value.numpy() for name, value in sums.items()}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert array.max() > 1e-12, name
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-5 * array.max(), err_msg=name)


class TestPerExample:
    @pytest.mark.parametrize("name", ["sentiment_films", "rating_hotels", "complaints_orders", "endings_daily"])
    def test_equals_a_loop_of_single_backward_passes(self, make, name):
        example = make(name)
        rows = range(len(example[1].train))
        assert_same(
            embedded(Fisher(rows=None, max_length=32, batch=7), example).arrays, looped(example, [[i] for i in rows])
        )

    def test_a_choice_that_a_row_lacks_counts_for_nothing(self, make):
        task, data, base, trained = make("endings_daily")
        train = data.train
        kept = [
            choices if label == len(choices) - 1 else choices[:-1]
            for choices, label in zip(train.choices, train.labels, strict=True)
        ]
        short = task, replace(data, train=replace(train, choices=kept)), base, trained
        assert any(len(choices) < task.outputs for choices in kept)
        assert_same(embedded(EVERY, short).arrays, looped(short, [[i] for i in range(len(kept))]))

    @pytest.mark.parametrize("architecture", ["roberta", "distilbert", "deberta-v2"])
    def test_holds_for_every_architecture(self, make, architecture):
        example = make(architecture=architecture)
        rows = range(len(example[1].train))
        assert_same(embedded(EVERY, example).arrays, looped(example, [[i] for i in rows]))

    def test_does_not_depend_on_the_batch_size(self, make):
        small, large = (embedded(Fisher(rows=None, max_length=32, batch=n), make()).arrays for n in (3, 18))
        assert_same(small, large)
        assert Fisher(batch=3).key == Fisher(batch=18).key

    def test_equals_batches_of_one_row(self, make):
        one = embedded(Fisher(per="batch", rows=None, max_length=32, batch=1), make()).arrays
        assert_same(embedded(EVERY, make()).arrays, one)


class TestPerBatch:
    def test_squares_the_gradient_of_the_mean_loss(self, make):
        example = make()
        every = list(range(len(example[1].train)))
        found = embedded(Fisher(per="batch", rows=None, max_length=32, batch=100), example).arrays
        assert_same(found, looped(example, [every]))

    def test_takes_the_rows_batch_by_batch(self, make, monkeypatch):
        example = make("endings_daily")
        monkeypatch.setattr("tasksel.embeddings.fisher.stratified", lambda labels, count, seed: list(range(count)))
        found = embedded(Fisher(per="batch", rows=None, max_length=32, batch=8), example).arrays
        rows = list(range(len(example[1].train)))
        assert len(rows) == 18
        assert_same(found, looped(example, [rows[:8], rows[8:16], rows[16:]]))

    def test_depends_on_the_batch_size(self, make):
        small, large = (
            embedded(Fisher(per="batch", rows=None, max_length=32, batch=n), make()).arrays for n in (2, 18)
        )
        name = "bert.encoder.layer.0.output.adapter_down.0.weight"
        assert small[name].sum() > 1.5 * large[name].sum()
        assert Fisher(per="batch", batch=2).key != Fisher(per="batch", batch=18).key


class TestEmbed:
    def test_has_a_component_a_parameter_a_layer_and_cls(self, make):
        found = embedded(EVERY, make())
        shapes = {"cls": (WIDTH,)}
        for n in range(LAYERS):
            place = f"bert.encoder.layer.{n}.output"
            shapes[f"{place}.adapter_down.0.weight"] = (R, WIDTH)
            shapes[f"{place}.adapter_down.0.bias"] = (R,)
            shapes[f"{place}.adapter_up.weight"] = (WIDTH, R)
            shapes[f"{place}.adapter_up.bias"] = (WIDTH,)
            shapes[f"layer.{n}.output"] = (WIDTH,)
        assert {name: array.shape for name, array in found.arrays.items()} == shapes
        assert {array.dtype for array in found.arrays.values()} == {np.dtype("float32")}
        assert found.nbytes == 4 * (WIDTH + LAYERS * (2 * R * WIDTH + R + 2 * WIDTH))

    def test_says_what_made_it(self, make):
        provenance = embedded(Fisher(rows=5), make(), seed=3).provenance
        trained = make()[3]
        assert (provenance["method"], provenance["key"], provenance["seed"], provenance["rows"]) == (
            "fisher",
            Fisher(rows=5).key,
            3,
            5,
        )
        assert provenance["adapter"] == trained.fingerprint

    def test_the_seed_draws_the_rows(self, make):
        by = Fisher(rows=6, max_length=32)
        first, again, other = (embedded(by, make(), seed=seed).arrays["cls"] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_leaves_the_random_state_and_dropout_alone(self, make):
        """Dropout is on in the tiny models: were it active, two runs would differ."""
        torch.manual_seed(1)
        first = embedded(EVERY, make()).arrays["cls"]
        torch.manual_seed(2)
        np.testing.assert_array_equal(first, embedded(EVERY, make()).arrays["cls"])

    def test_comes_back_from_its_file(self, make, tmp_path):
        found = embedded(EVERY, make())
        found.save(tmp_path / "a.safetensors")
        back = TaskEmbedding.load(tmp_path / "a.safetensors")
        assert back.arrays.keys() == found.arrays.keys()
        assert EVERY.similarity(back, found) == pytest.approx(1.0)

    def test_without_an_adapter_it_says_what_it_needs(self, make):
        assert Fisher.needs == "adapter"
        with pytest.raises(
            UserError, match="fisher works from a trained adapter, and none of 'sentiment_films' is given"
        ):
            Fisher().embed(*make()[:3])

    def test_an_adapter_without_linear_layers_is_refused(self, make, monkeypatch):
        task, data, base, trained = make()
        monkeypatch.setattr(AdapterCheckpoint, "model", lambda self, base: base.model())
        with pytest.raises(UserError, match="has no linear layers: fisher works with bottleneck adapters"):
            Fisher().embed(task, data, base, trained=trained)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"per": "row"}, "no Fisher per 'row'; 2 known: batch, example"),
            ({"rows": 0}, "fisher: rows=0 must be greater"),
            ({"batch": 0}, "fisher: batch=0 must be greater"),
        ],
    )
    def test_wrong_settings_are_refused_at_once(self, options, message):
        with pytest.raises(UserError, match=message):
            Fisher(**options)

    def test_the_key_names_what_decides_the_arrays(self):
        changed = [{}, {"per": "batch"}, {"rows": 64}, {"rows": None}, {"max_length": 64}]
        assert len({Fisher(**options).key for options in changed}) == len(changed)


def pair(x, y, *, task="a", base="f", key="k"):
    """An embedding of two components."""
    arrays = {"x": np.array(x, np.float32), "y": np.array(y, np.float32)}
    return TaskEmbedding(arrays, {"task": task, "base_fingerprint": base, "key": key})


class TestSimilarity:
    target = pair([1, 0], [1, 0], task="t")

    def test_is_the_mean_cosine_of_the_components(self):
        assert Fisher().similarity(pair([3, 4], [0, 2]), self.target) == pytest.approx((0.6 + 0.0) / 2)
        assert Fisher().similarity(pair([1e-12, 0], [5, 0]), self.target) == pytest.approx(1.0)  # scale does not count
        assert Fisher().similarity(pair([0, 0], [1, 0]), self.target) == pytest.approx(0.5)  # nothing there: 0

    def test_ranks_of_the_components_are_fused(self):
        sources = [pair([1, 0], [0, 1]), pair([1, 1], [1, 0]), pair([0, 1], [1, 1])]  # ranks 1 3, 2 1, 3 2
        found = Fisher().similarities(sources, self.target)
        assert found == pytest.approx([1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62])

    def test_equal_cosines_share_their_mean_rank(self):
        sources = [pair([1, 0], [1, 0]), pair([2, 0], [1, 0]), pair([1, 1], [1, 1])]
        first, second, third = Fisher().similarities(sources, self.target)
        assert first == second == pytest.approx(2 / 61.5)
        assert third == pytest.approx(2 / 63)
        assert Fisher().similarities([], self.target) == []

    def test_one_component_cannot_outvote_two_by_its_size(self):
        """The mean cosine of the second source is larger, its fused rank is not."""
        provenance = {"base_fingerprint": "f", "key": "k", "task": "a"}
        names = ("x", "y", "z")

        def of(*angles):
            return TaskEmbedding(
                {n: np.array([np.cos(a), np.sin(a)]) for n, a in zip(names, angles, strict=True)}, provenance
            )

        target, sources = of(0, 0, 0), [of(0.1, 0.1, 1.5), of(0.2, 0.2, 0.0)]
        by_mean = [Fisher().similarity(source, target) for source in sources]
        fused = Fisher().similarities(sources, target)
        assert by_mean[0] < by_mean[1]
        assert fused[0] > fused[1]

    def test_what_was_made_otherwise_is_refused(self):
        with pytest.raises(UserError, match="'a' and 't' differ in base_fingerprint"):
            Fisher().similarity(pair([1], [1], base="g"), self.target)
        with pytest.raises(UserError, match="'a' and 't' differ in key"):
            Fisher().similarities([pair([1, 0], [1, 0], key="l")], self.target)
        with pytest.raises(UserError, match=r"'a' and 't' differ in width \(y is \[3\] and \[2\]\): train both alike"):
            Fisher().similarity(pair([1, 0], [1, 0, 0]), self.target)


def test_kin_are_found_on_a_real_encoder(tmp_path):
    base, fisher = load_base("minilm"), Fisher(per="example", rows=24)
    recipe = Recipe(lr=1e-3, epochs=3, max_length=32, micro_batch=32)
    found = {}
    for name in ("sentiment_films", "sentiment_phones", "entail_travel"):
        task = get_task(name)
        data = load_data(task, rows=64)
        trained = train_adapter(task, data, base, tmp_path / name, recipe=recipe)
        found[name] = fisher.embed(task, data, base, trained=trained)
    for name, kin in (("sentiment_films", "sentiment_phones"), ("sentiment_phones", "sentiment_films")):
        near = fisher.similarities([found[kin], found["entail_travel"]], found[name])
        assert near[0] > near[1], name
        assert (
            fisher.similarity(found[kin], found[name]) > fisher.similarity(found["entail_travel"], found[name]) + 0.05
        )
