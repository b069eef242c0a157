"""Tests of layer conductance: it adds up to the change of the logit, is what captum finds, and explains the logit it says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tasksel import get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import save_adapter
from tasksel.adapters.train import add_new_adapter
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.conductance import Conductance, baseline_ids, gold, layer_conductance, predicted, token_mean
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.training.predict import logits_of

LAYERS, WIDTH = 2, 32  # of the tiny models
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2")
QUICK = Conductance(rows=6, steps=2, max_length=24)


def model_of(task, base):
    """A model with a new head and adapter, its weights stretched so that the logits of a random model move."""
    torch.manual_seed(1)
    model = base.model()
    add_head(model, task, name=task.name)
    add_new_adapter(model, task.name)
    model.requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "word_embeddings" not in name:
            parameter.mul_(30.0 if name.startswith("heads.") else 6.0)
    return model


@pytest.fixture(scope="module")
def adapter_of(tiny, tmp_path_factory):
    """Makes the stored adapter and (random) head of a built-in task on the tiny BERT."""

    def make(name):
        folder = tmp_path_factory.mktemp(name)
        save_adapter(model_of(get_task(name), load_base(tiny)), folder, name)
        return AdapterCheckpoint(folder, name)

    return make


@pytest.fixture(scope="module")
def films(tiny, adapter_of):
    """A task, its data, the base and its adapter."""
    task = get_task("sentiment_films")
    return task, load_data(task, rows=14), load_base(tiny), adapter_of(task.name)


def embed(form, example, **options):
    task, data, base, trained = example
    return form.embed(task, data, base, trained=trained, **options)


def rows_of(task, data, base, rows):
    return encode_split(data.train, task, base.tokenizer, max_length=24).batch(rows)


def from_words(model, words, batch):
    """Logits of a forward pass whose word embeddings are replaced: the test's own way in."""
    hook = model.get_input_embeddings().register_forward_hook(lambda *_: words)
    try:
        return logits_of(model, batch)
    finally:
        hook.remove()


def gold_change(model, batch, tokenizer):
    """The gold logit at the input less that at the baseline: [b]."""
    table = model.get_input_embeddings().weight
    ends = [
        from_words(model, table[ids], batch)
        for ids in (batch["input_ids"], baseline_ids(batch["input_ids"], tokenizer))
    ]
    return (ends[0] - ends[1])[torch.arange(len(batch["labels"])), batch["labels"]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layers_conductances_add_up_to_the_change_of_the_logit(make_base, films, architecture):
    task, data, *_ = films
    base = load_base(make_base(architecture))
    model, batch = model_of(task, base), rows_of(task, data, base, range(4))
    wanted = gold_change(model, batch, base.tokenizer)
    assert wanted.abs().max() > 0.02
    errors = []
    for steps in (4, 32):
        found = layer_conductance(model, batch, base.tokenizer, steps=steps)
        assert found.shape == (LAYERS, *batch["input_ids"].shape, WIDTH)
        errors.append((found.sum((2, 3)) - wanted).abs().max().item() / wanted.abs().max().item())
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 8 or errors[0] < 1e-4  # steps / 8: the error of a second-order rule falls by 64


def test_captum_converges_to_the_same(films):
    captum = pytest.importorskip("captum.attr")
    task, data, base, _ = films
    model, batch = model_of(task, base), rows_of(task, data, base, range(2))
    found = layer_conductance(model, batch, base.tokenizer, steps=48)
    table = model.get_input_embeddings().weight
    ends = [table[ids].clone() for ids in (batch["input_ids"], baseline_ids(batch["input_ids"], base.tokenizer))]

    def forward(words):
        times = len(words) // 2
        repeated = {name: tensor.repeat(times, *[1] * (tensor.dim() - 1)) for name, tensor in batch.items()}
        return from_words(model, words, repeated)[torch.arange(len(words)), repeated["labels"]]

    gap = {}
    for steps in (24, 96):
        for layer, module in enumerate(model.bert.encoder.layer):  # `output` gives the layer's output as one tensor
            explain = captum.LayerConductance(forward, module.output)
            theirs = explain.attribute(*ends, n_steps=steps, method="riemann_trapezoid")
            gap[steps, layer] = ((theirs - found[layer]).norm() / found[layer].norm()).item()
    for layer in range(LAYERS):
        assert gap[96, layer] < 0.05
        assert gap[96, layer] < gap[24, layer] / 2  # captum takes a step's first gradient: its error falls with steps


class Toy(nn.Module):
    """Word embeddings x [2], one layer h = x squared, logits (h . h, 5)."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=1, model_type="toy")
        self.words = nn.Embedding.from_pretrained(torch.tensor([[0.0, 1.0], [3.0, 1.0], [2.0, -1.0], [9.0, 9.0]]))
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Square()])})

    def get_input_embeddings(self):
        return self.words

    def forward(self, input_ids, attention_mask):
        (hidden,) = self.encoder["layer"][0](self.words(input_ids))
        explained = (hidden * attention_mask.unsqueeze(-1)).pow(2).sum((1, 2))
        return SimpleNamespace(logits=torch.stack([explained, torch.full_like(explained, 5.0)], 1))


class Square(nn.Module):
    def forward(self, x):
        return (x * x,)


IDS = SimpleNamespace(cls_token_id=3, sep_token_id=None, bos_token_id=None, pad_token_id=0)


class TestByHand:
    batch = {  # noqa: RUF012
        "input_ids": torch.tensor([[3, 1, 2], [3, 2, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([0, 0]),
    }

    @pytest.mark.parametrize("steps", [1, 7])
    def test_a_units_share_is_the_change_of_its_own_term(self, steps):
        """The logit is a sum of x^4 over units, and the mean of two ends' gradients is exact for h^2: x^4 - x'^4 each."""
        found = layer_conductance(Toy(), self.batch, IDS, steps=steps)
        wanted = [[[0, 0], [81, 0], [16, 0]], [[0, 0], [16, 0], [0, 0]]]  # the first token is kept; 1 and -1 stand on 1
        torch.testing.assert_close(found, torch.tensor([wanted]).float())

    def test_a_unit_that_goes_through_zero_keeps_both_ways(self):
        """From 1 to -1 by two steps: h goes 1, 0, 1 and its gradient 2, 0, 2: (0-1)(2+0)/2 + (1-0)(0+2)/2 = 0; from 1 to 3: 80."""
        toy = Toy()
        toy.words.weight.data[1, 1] = 3.0
        found = layer_conductance(toy, self.batch, IDS, steps=2)
        assert found[0, 0, 1, 1].item() == pytest.approx(80.0)
        assert found[0, 0, 2, 1].item() == pytest.approx(0.0)

    def test_a_constant_logit_explains_nothing(self):
        assert not layer_conductance(Toy(), {**self.batch, "labels": torch.tensor([1, 1])}, IDS, steps=3).any()

    def test_the_predicted_logit_is_chosen_at_the_input(self):
        """The constant 5 wins where the sum of x^4 is below it: never along the way, only at the end counts."""
        toy = Toy()
        toy.words.weight.data[:] = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        found = layer_conductance(
            toy, {**self.batch, "input_ids": torch.tensor([[3, 1, 2], [3, 2, 0]])}, IDS, steps=2, choose=predicted
        )
        assert not found.any()  # 1+1+1 and 1 are below 5, though the baseline's 32 and 16 were not

    def test_no_hook_stays_behind(self):
        toy = Toy()
        layer_conductance(toy, self.batch, IDS, steps=2)
        assert not any(module._forward_hooks for module in toy.modules())

    def test_a_model_whose_layers_are_not_known_is_refused(self):
        toy = Toy()
        toy.config.num_hidden_layers = 2
        with pytest.raises(UserError, match="conductance: the layers of a 'toy' are not known; known: BERT"):
            layer_conductance(toy, self.batch, IDS, steps=1)


def test_the_baseline_keeps_the_frame_and_pads_every_word():
    tokenizer = SimpleNamespace(cls_token_id=101, sep_token_id=102, bos_token_id=None, pad_token_id=9)
    ids = torch.tensor([[101, 7, 100, 102, 8, 102], [101, 7, 102, 9, 9, 9]])  # 100: an unknown word
    assert baseline_ids(ids, tokenizer).tolist() == [[101, 9, 9, 102, 9, 102], [101, 9, 102, 9, 9, 9]]


def test_the_logits_that_are_explained():
    logits = torch.tensor([[0.5, 2.0, -1.0], [0.1, 0.0, 0.3]])
    assert gold(logits, torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert gold(logits, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])).tolist() == [[1, 0, 1], [0, 0, 0]]
    assert gold(logits[:, :1], torch.tensor([3.7, -2.0])).tolist() == [[1], [1]]
    assert predicted(logits, torch.tensor([0, 0])).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_the_mean_is_over_an_examples_real_tokens_and_then_over_examples():
    conductances = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    wanted = np.zeros((2, 5))
    for layer in range(2):
        for unit in range(5):
            for row, length in enumerate((4, 2, 1)):
                wanted[layer, unit] += sum(conductances[layer, row, t, unit].item() for t in range(length)) / length
    np.testing.assert_allclose(token_mean(conductances, mask), wanted, rtol=1e-6)


class TestEmbedding:
    def test_is_the_mean_of_what_the_model_shows(self, films, monkeypatch):
        task, data, base, trained = films
        form = Conductance(rows=100, steps=2, max_length=24)
        model = trained.model(base)
        encoded = encode_split(data.train, task, base.tokenizer, max_length=24)
        embedding = embed(form, films)
        for signed in (True, False):
            total = np.zeros((LAYERS, WIDTH))
            for row in range(len(encoded)):  # alone, so without padding
                found = layer_conductance(model, encoded.batch([row]), base.tokenizer, steps=2)[:, 0]
                total += (found if signed else found.abs()).mean(1).numpy()
            array = embedding.arrays["signed" if signed else "absolute"]
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, total / len(encoded), rtol=1e-3, atol=1e-6)
        assert (array > 0).any()
        assert (array >= 0).all()

    def test_is_the_same_for_the_same_seed_and_for_any_batch(self, films, monkeypatch):
        first, again, other = (embed(QUICK, films, seed=seed).arrays["signed"] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()  # other rows are drawn
        monkeypatch.setattr("tasksel.embeddings.conductance.BATCH", 2)
        np.testing.assert_allclose(embed(QUICK, films).arrays["signed"], first, rtol=1e-3, atol=1e-6)

    def test_autocast_does_not_reach_it(self, films):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = embed(QUICK, films).arrays["signed"]
        np.testing.assert_array_equal(found, embed(QUICK, films).arrays["signed"])

    @pytest.mark.parametrize("name", ["rating_hotels", "complaints_orders", "entail_travel"])
    def test_every_kind_of_task_with_one_text_or_pair_a_row(self, tiny, adapter_of, name):
        task = get_task(name)
        found = embed(QUICK, (task, load_data(task, rows=20), load_base(tiny), adapter_of(name)))
        assert found.arrays["signed"].shape == (LAYERS, WIDTH)
        assert np.abs(found.arrays["signed"]).sum() > 0

    def test_says_what_made_it_and_comes_back_from_its_file(self, films, tmp_path):
        found = embed(QUICK, films, seed=3)
        provenance = found.provenance
        assert (provenance["task"], provenance["seed"], provenance["key"], provenance["method"]) == (
            "sentiment_films",
            3,
            QUICK.key,
            "conductance",
        )
        assert (provenance["adapter"], provenance["settings"]["steps"]) == (films[3].fingerprint, 2)
        found.save(tmp_path / "a.safetensors")
        assert QUICK.similarity(TaskEmbedding.load(tmp_path / "a.safetensors"), found) == pytest.approx(1.0)

    def test_multiple_choice_is_refused(self, films, tiny, adapter_of):
        task = get_task("endings_daily")
        endings = task, load_data(task, rows=20), load_base(tiny), adapter_of(task.name)
        with pytest.raises(UserError, match="conductance: 'endings_daily' or its adapter is multiple choice"):
            embed(QUICK, endings)
        with pytest.raises(UserError, match="conductance: 'sentiment_films' or its adapter is multiple choice"):
            embed(Conductance(inputs="target"), (*films[:3], endings[3]))

    def test_no_adapter_or_another_tasks_is_refused(self, films, adapter_of):
        with pytest.raises(UserError, match="conductance works from a trained adapter, and none of 'sentiment_films'"):
            embed(QUICK, (*films[:3], None))
        with pytest.raises(
            UserError, match="the adapter's head has 1 outputs, task 'sentiment_films' 2; give the adapter"
        ):
            embed(QUICK, (*films[:3], adapter_of("rating_hotels")))

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"inputs": "targets"}, "no inputs of 'conductance' 'targets'; did you mean 'target'"),
            ({"rows": 0}, "conductance: rows=0 must be greater"),
            ({"steps": 0}, "conductance: steps=0 must be greater"),
        ],
    )
    def test_a_setting_that_cannot_be_is_refused(self, options, complaint):
        with pytest.raises(UserError, match=complaint):
            Conductance(**options)


class TestOnTheTargetsRows:
    form = Conductance(rows=6, steps=2, max_length=24, inputs="target")

    def test_a_source_of_other_outputs_explains_its_own_choice(self, films, adapter_of):
        task, data, base, _ = films
        trained = adapter_of("question_type")
        found = embed(self.form, (task, data, base, trained))
        assert found.provenance["settings"]["inputs"] == "target"
        model = trained.model(base)
        train = data.train.take(range(6))
        encoded = encode_split(train, task, base.tokenizer, max_length=24)
        batch = encoded.batch(range(6))
        chosen = logits_of(model, batch).argmax(1)
        whole = Conductance(**{**vars(self.form), "rows": 100})
        shown = embed(whole, (task, SimpleNamespace(train=train, fingerprint="f"), base, trained)).arrays["signed"]
        wanted = layer_conductance(model, {**batch, "labels": chosen}, base.tokenizer, steps=2)
        np.testing.assert_allclose(shown * 6, token_mean(wanted, batch["attention_mask"]), rtol=1e-3, atol=1e-6)

    def test_both_must_have_seen_the_same_rows(self, films):
        own = embed(self.form, films)
        other = TaskEmbedding(own.arrays, {**own.provenance, "data": "other", "task": "rte"})
        assert self.form.similarity(own, own) == pytest.approx(1.0)
        with pytest.raises(
            UserError, match="of rows of 'rte', the other of rows of 'sentiment_films'; with inputs='target'"
        ):
            self.form.similarity(other, own)


class TestSimilarity:
    def embedding(self, layers, **provenance):
        known = {"task": "a", "base_fingerprint": "f", "key": "k", "data": "d"}
        arrays = {"signed": np.array(layers, np.float32), "absolute": np.abs(np.array(layers, np.float32))}
        return TaskEmbedding(arrays, {**known, **provenance})

    def test_is_the_cosine_of_all_layers_together(self):
        a, b = self.embedding([[3, 0], [0, 4]]), self.embedding([[4, 0], [3, 0]], data="e")
        assert Conductance().similarity(a, b) == pytest.approx(12 / 25)
        assert Conductance().similarity(a, self.embedding([[0, 0], [0, 0]])) == 0.0

    def test_absolute_is_of_the_absolute_values(self):
        a, b = self.embedding([[3, 4]]), self.embedding([[4, -3]])
        assert Conductance().similarity(a, b) == pytest.approx(0.0)
        assert Conductance(signed=False).similarity(a, b) == pytest.approx(24 / 25)

    def test_of_what_was_made_otherwise_is_refused(self):
        for other in ({"base_fingerprint": "g"}, {"key": "l"}):
            with pytest.raises(UserError, match=f"embeddings of 'a' and 'b' differ in {next(iter(other))}"):
                Conductance().similarity(self.embedding([[1]]), self.embedding([[1]], task="b", **other))

    def test_the_key_names_every_setting(self):
        assert Conductance(signed=False).key == Conductance().key, "one embedding holds both forms"
        changed = [{"rows": 65}, {"steps": 17}, {"max_length": 65}, {"inputs": "target"}]
        assert len({Conductance(**options).key for options in ({}, *changed)}) == 5
