"""Tests of scores by a source's features: each is its formula on what a direct run of the model gives, and the target is never trained."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from task_candidates import Untrained, candidate

from tasksel import get_task, load_data
from tasksel.adapters.checkpoint import AdapterCheckpoint
from tasksel.adapters.folder import HEAD, WEIGHTS
from tasksel.adapters.train import train_adapter
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.selection import source_features as features
from tasksel.selection.candidate import TaskOnBase
from tasksel.selection.source_features import (
    FeatureSelector,
    run_source,
    source_classes,
    training_rows,
)
from tasksel.selection.transferability import knn, leep, linear_probe, logme, nce
from tasksel.tasks.load import stratified
from tasksel.training.features import pooled
from tasksel.training.recipe import Recipe

MEASURES = ("logme", "leep", "nce", "knn", "probe")
RECIPE = Recipe(lr=1e-2, epochs=1, max_length=32)
CLASSES, NUMBER, LABELS, CHOICES = "sentiment_films", "similarity_market", "complaints_orders", "endings_daily"
REFUSED = {(NUMBER, "leep"), (NUMBER, "nce")}  # classes are compared, and a regression has none


@pytest.fixture(scope="module")
def base(tiny):
    return load_base(tiny)


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    """A trained adapter a kind of task."""
    folder = tmp_path_factory.mktemp("adapters")
    tasks = {name: get_task(name) for name in (CLASSES, NUMBER, LABELS, CHOICES)}
    return {
        name: train_adapter(task, load_data(task, rows=40), base, folder / name, recipe=RECIPE)
        for name, task in tasks.items()
    }


@pytest.fixture
def source(base, adapters):
    return lambda name=CLASSES: TaskOnBase(candidate(name, adapters[name]), base)


@pytest.fixture
def target(base):
    return lambda name="entail_travel", **of: Untrained(candidate(name, **of), base)


@pytest.fixture
def broken(adapters, tmp_path):
    """A copy of an adapter with one file's tensors changed."""

    def copy(file, change, name=CLASSES):
        (tmp_path / "adapter").mkdir()
        for path in adapters[name].folder.iterdir():
            (tmp_path / "adapter" / path.name).write_bytes(path.read_bytes())
        tensors = {key: change(tensor) for key, tensor in load_file(adapters[name].folder / file).items()}
        save_file(tensors, tmp_path / "adapter" / file, metadata={"format": "pt"})
        return AdapterCheckpoint(tmp_path / "adapter", name)

    return copy


@pytest.fixture
def handed(monkeypatch):
    """Stand-ins for the measures: what each was handed, call by call. A random tiny model's features explain nothing, so its scores hardly differ."""
    calls = {measure: [] for measure in MEASURES}

    def stand_in(measure):
        def score(handed_in, labels, **options):
            calls[measure].append((handed_in, labels, options))
            return len(calls[measure]) - 0.5

        return score

    for measure in MEASURES:
        monkeypatch.setattr(features, "linear_probe" if measure == "probe" else measure, stand_in(measure))
    return calls


def directly(trained, base, task, split, *, length=64):
    """Hidden states of the first token and logits, one row at a time, by the library's own calls."""
    model, hidden, logits = trained.model(base), [], []
    for texts in split.texts:
        tokens = base.tokenizer(*texts, truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            output = model(**tokens, output_hidden_states=True)
        hidden.append(output.hidden_states[-1][0, 0])
        logits.append(output.logits[0])
    return torch.stack(hidden).numpy(), torch.stack(logits).numpy()


def all_rows(data):
    return [*data.train.texts, *data.dev.texts], np.concatenate([data.train.labels, data.dev.labels])


def entropy(labels):
    share = np.bincount(labels.astype(int)) / len(labels)
    return float(-sum(p * np.log(p) for p in share if p))


class TestRun:
    def test_gives_what_the_model_gives_row_by_row(self, base, adapters, target):
        data = target().data
        split = training_rows(data)
        encoded = encode_split(split, target().task, base.tokenizer, max_length=64)
        found = pooled(adapters[CLASSES].model(base), encoded, pooling="first")
        wanted = directly(adapters[CLASSES], base, target().task, split)
        assert [array.dtype for array in found] == [np.float32, np.float32]
        assert [array.shape for array in found] == [(40, 32), (40, 2)]
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_of_the_base_alone_has_no_logits_and_leaves_no_hook(self, base, target, adapters):
        encoded = encode_split(target().data.train, target().task, base.tokenizer, max_length=64)
        model = base.model()
        hidden, logits = pooled(model, encoded, pooling="first")
        assert logits.shape == (len(encoded), 0)
        assert not model.base_model._forward_hooks
        assert np.abs(hidden - pooled(adapters[CLASSES].model(base), encoded, pooling="first")[0]).max() > 1e-3

    @pytest.mark.parametrize("batch", [1, 7, 64])
    def test_means_over_tokens_without_padding(self, base, target, batch):
        encoded = encode_split(target().data.train, target().task, base.tokenizer, max_length=64)
        model = base.model()
        found, _ = pooled(model, encoded, pooling="mean", batch=batch)
        for row in range(0, len(encoded), 5):
            tokens = {"input_ids": torch.tensor(encoded.ids[row]), "token_type_ids": torch.tensor(encoded.types[row])}
            with torch.no_grad():
                states = model.base_model(**tokens).last_hidden_state[0]
            np.testing.assert_allclose(found[row], states.mean(0).numpy(), atol=1e-5)

    def test_is_not_repeated_for_another_measure(self, source, target, monkeypatch):
        loads = []
        model = AdapterCheckpoint.model
        monkeypatch.setattr(
            AdapterCheckpoint,
            "model",
            lambda self, base, **options: loads.append(self.adapter) or model(self, base, **options),
        )
        features._forward.cache_clear()
        for measure in MEASURES:
            FeatureSelector(measure).scores(target(), [source(), source(LABELS)])
        assert loads == [CLASSES, LABELS]
        FeatureSelector("logme", max_length=8).scores(target(), [source()])
        FeatureSelector("logme", rows=20).scores(target(), [source()])
        FeatureSelector("logme").scores(target("entail_kitchen"), [source()])
        FeatureSelector("logme").scores(target(seed=1), [source()])
        assert loads[2:] == [CLASSES] * 4

    def test_remembered_for_one_target_is_not_given_to_another(self, source, target):
        both = [
            FeatureSelector("logme").scores(target(name), [source()])[0] for name in ("entail_travel", "entail_kitchen")
        ]
        features._forward.cache_clear()
        assert FeatureSelector("logme").scores(target("entail_kitchen"), [source()]) == both[1:]
        assert both[0] != both[1]

    def test_of_another_head_on_the_same_adapter_is_not_remembered_as_the_first(self, source, target, base, broken):
        plain = FeatureSelector("leep").scores(target(), [source()])
        other = TaskOnBase(candidate(CLASSES, broken(HEAD, lambda tensor: -3 * tensor)), base)
        assert other.trained.fingerprint == source().trained.fingerprint
        assert FeatureSelector("leep").scores(target(), [other]) != plain

    def test_of_a_source_whose_own_head_reads_the_mean(self, source, target, base, broken):
        first = source().trained
        mean = broken(WEIGHTS, lambda tensor: tensor)
        told = json.loads((mean.folder / "head_config.json").read_text())
        told["config"]["pooling"] = "mean"
        (mean.folder / "head_config.json").write_text(json.dumps(told))
        encoded = encode_split(training_rows(target().data), target().task, base.tokenizer, max_length=64)
        ours, other = (run_source(trained, base, encoded, pooling="mean") for trained in (first, mean))
        np.testing.assert_array_equal(ours.features, other.features)
        assert np.abs(ours.probabilities - other.probabilities).max() > 1e-4
        assert np.abs(ours.features - run_source(first, base, encoded).features).max() > 1e-3

    def test_of_many_rows_is_not_kept(self, source, target, base, monkeypatch):
        monkeypatch.setattr(features, "CACHED_ROWS", 39)
        features._forward.cache_clear()
        encoded = encode_split(training_rows(target().data), target().task, base.tokenizer, max_length=64)
        found = run_source(source().trained, base, encoded)
        assert found.features.shape == (40, 32)
        assert features._forward.cache_info().currsize == 0


class TestScores:
    @pytest.mark.parametrize(
        ("name", "measure"),
        [(name, by) for name in ("entail_travel", LABELS, NUMBER) for by in MEASURES if (name, by) not in REFUSED],
    )
    def test_are_the_measure_of_what_a_direct_run_gives(self, base, adapters, source, target, handed, measure, name):
        _, labels = all_rows(target(name).data)
        hidden, logits = directly(adapters[CLASSES], base, target(name).task, training_rows(target(name).data))
        theta = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        wanted = {"leep": theta, "nce": logits.argmax(1)}.get(measure, hidden)
        assert FeatureSelector(measure).scores(target(name), [source(), source()]) == [0.5, 1.5]
        (handed_in, answers, options), _ = handed[measure]
        np.testing.assert_allclose(handed_in, wanted, atol=1e-5)
        np.testing.assert_array_equal(answers, labels)
        assert (answers.dtype.kind, answers.ndim) == {LABELS: ("i", 2), NUMBER: ("f", 1)}.get(name, ("i", 1))
        assert options.get("regression", False) == (name == NUMBER)

    def test_are_those_of_the_real_measures(self, base, adapters, source, target):
        _, labels = all_rows(target().data)
        hidden, logits = directly(adapters[CLASSES], base, target().task, training_rows(target().data))
        theta = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        formulas = {"logme": logme, "leep": leep, "nce": nce, "knn": knn, "probe": linear_probe}
        for measure, formula in formulas.items():
            handed_in = {"leep": theta, "nce": logits.argmax(1)}.get(measure, hidden)
            found = FeatureSelector(measure).scores(target(), [source()])
            assert found == pytest.approx([formula(handed_in, labels)], abs=1e-4), measure

    @pytest.mark.parametrize("name", [NUMBER, CHOICES])
    def test_of_a_source_without_classes_are_what_knowing_nothing_gets(self, source, target, name):
        _, labels = all_rows(target().data)
        for measure in ("leep", "nce"):
            nothing, something = FeatureSelector(measure).scores(target(), [source(name), source()])
            assert nothing == pytest.approx(-entropy(labels))
            assert something >= nothing - 1e-12
        assert np.isfinite(FeatureSelector("logme").scores(target(), [source(name)])[0])

    def test_of_capped_rows_are_those_of_the_draw(self, base, adapters, source, target, handed):
        seeded = target(seed=1)
        texts, labels = all_rows(seeded.data)
        drawn = stratified(labels, 24, seed=1)
        split = training_rows(seeded.data, rows=24, seed=1)
        assert split.texts == [texts[i] for i in drawn]
        FeatureSelector("probe", rows=24).scores(seeded, [source()])
        ((handed_in, answers, options),) = handed["probe"]
        np.testing.assert_allclose(handed_in, directly(adapters[CLASSES], base, seeded.task, split)[0], atol=1e-5)
        assert answers.tolist() == labels[drawn].tolist()
        assert options["seed"] == 1
        assert training_rows(seeded.data, rows=400).texts == texts

    def test_keep_the_order_of_the_sources(self, source, target):
        one, other = source(), source(LABELS)
        forth, back = (FeatureSelector("logme").scores(target(), pair) for pair in ([one, other], [other, one]))
        assert forth == back[::-1]
        assert forth[0] != forth[1]
        assert FeatureSelector("logme").scores(target(), []) == []


class TestSourceClasses:
    def test_of_a_classifier_are_its_softmax(self):
        theta, z = source_classes(
            {"head_type": "classification", "num_labels": 2}, np.array([[0.0, np.log(3)], [1, 1]])
        )
        np.testing.assert_allclose(theta, [[0.25, 0.75], [0.5, 0.5]])
        assert z.tolist() == [1, 0]

    def test_of_several_labels_are_one_drawn_at_random_given_or_not(self):
        logits = np.array([[0.0, np.log(3)], [np.log(9), 0]])
        theta, z = source_classes({"head_type": "multilabel_classification", "num_labels": 2}, logits)
        np.testing.assert_allclose(theta, [[0.25, 0.375, 0.25, 0.125], [0.45, 0.25, 0.05, 0.25]])
        assert z.tolist() == [1, 0]

    @pytest.mark.parametrize(
        "head", [{"head_type": "classification", "num_labels": 1}, {"head_type": "multiple_choice"}]
    )
    def test_of_a_head_without_classes_are_one(self, head):
        theta, z = source_classes(head, np.zeros((3, 1)))
        assert theta.tolist() == [[1.0]] * 3
        assert z.tolist() == [0, 0, 0]


class TestWithoutAHead:
    @pytest.fixture
    def headless(self, base, broken):
        trained = broken(WEIGHTS, lambda tensor: tensor)
        (trained.folder / HEAD).unlink()
        return TaskOnBase(candidate(CLASSES, trained), base)

    @pytest.mark.parametrize("measure", ["logme", "knn", "probe"])
    def test_features_are_scored_as_with_it(self, target, source, headless, measure):
        selector = FeatureSelector(measure)
        assert selector.scores(target(), [headless]) == selector.scores(target(), [source()])

    @pytest.mark.parametrize("measure", ["leep", "nce"])
    def test_it_has_no_classes_of_its_own(self, target, headless, measure):
        counts = np.bincount(training_rows(target().data).labels)
        shares = counts / counts.sum()
        (score,) = FeatureSelector(measure).scores(target(), [headless])
        assert score == pytest.approx((shares * np.log(shares)).sum())


class TestRefusals:
    @pytest.mark.parametrize("measure", ["leep", "nce"])
    def test_a_regression_target_has_no_classes(self, target, source, measure):
        with pytest.raises(
            UserError, match=f"{measure} compares classes, and target '{NUMBER}' is a regression: choose logme"
        ):
            FeatureSelector(measure).scores(target(NUMBER), [source()])

    @pytest.mark.parametrize("measure", MEASURES)
    def test_a_multiple_choice_target_is_several_texts(self, target, source, measure):
        with pytest.raises(
            UserError, match=f"{measure} needs one text per row, and target '{CHOICES}' is multiple choice"
        ):
            FeatureSelector(measure).scores(target(CHOICES), [source()])

    @pytest.mark.parametrize("file", [WEIGHTS, HEAD])
    def test_a_broken_adapter_or_head_is_named(self, target, base, broken, file):
        nan = TaskOnBase(candidate(CLASSES, broken(file, lambda tensor: tensor * torch.nan)), base)
        with pytest.raises(UserError, match=f"source '{CLASSES}' on 'entail_travel' gives NaN or infinite numbers"):
            FeatureSelector("nce").scores(target(), [nan])

    def test_what_a_measure_cannot_use_is_said_with_both_names(self, target, source):
        with pytest.raises(UserError, match=f"knn of source '{CLASSES}' for 'entail_travel': k=5 neighbours of 4 rows"):
            FeatureSelector("knn", rows=4).scores(target(), [source()])

    def test_an_unknown_measure_is_answered_with_the_nearest(self):
        with pytest.raises(UserError, match="no measure 'logm'; did you mean 'logme'"):
            FeatureSelector("logm")


def test_the_key_names_measure_and_settings():
    selectors = [
        FeatureSelector("logme"),
        FeatureSelector("knn"),
        FeatureSelector("logme", rows=9),
        FeatureSelector("logme", max_length=9),
    ]
    assert len({selector.key for selector in selectors}) == 4
    assert [selector.name for selector in selectors] == ["logme", "knn", "logme", "logme"]
    assert {selector.needs for selector in selectors} == {"adapter"}
    assert len({FeatureSelector("logme", pooling=how).key for how in ("first", "mean", "base")}) == 3
    assert FeatureSelector("logme", pooling="first").key == FeatureSelector("logme").key == "logme-29540d3b"
