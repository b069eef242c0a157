"""A head that is set gives the closed form's logits, whatever its form, and training can go on from it."""

import numpy as np
import pytest
import torch
from transformers import BertConfig

from tasksel.model.head import Head
from tasksel.training.closed_form import solve
from tasksel.training.solved_head import has_bias, last_inputs, set_last, standardise

CONFIG = BertConfig(hidden_size=24, hidden_dropout_prob=0.3)


@pytest.fixture
def features():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 24)) * draw.uniform(0.01, 3, 24) + draw.normal(size=24)
    x[:, 3] = 0.7  # says nothing
    return x.astype(np.float32)


def head_of(layers, activation, kind="classification", **sizes):
    return Head({"head_type": kind, "layers": layers, "activation_function": activation, **sizes}, CONFIG)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "swish", "sigmoid", "leakyrelu", None])
def test_logits_are_the_closed_forms_for_every_form_of_head(features, layers, activation):
    head, y = head_of(layers, activation, num_labels=3), np.arange(60) % 3
    standardise(head, features)
    inputs = last_inputs(head, features)
    layer = solve(inputs, y, "single_sentence_classification", outputs=3, strength=0.1)
    set_last(head, layer)
    with torch.no_grad():
        found = head.eval()(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found, layer.logits(inputs), atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("labels", ["classes", "numbers"])
def test_a_last_layer_without_a_bias_is_solved_without_one(features, layers, activation, labels):
    head = head_of(layers, activation, num_labels=3 if labels == "classes" else 1, bias=False)
    kind, y = (
        ("single_sentence_classification", np.arange(60) % 3) if labels == "classes" else ("regression", features[:, 0])
    )
    standardise(head, features)
    inputs = last_inputs(head, features)
    layer = solve(inputs, y, kind, outputs=head[-1].out_features, strength=0.1, intercept=has_bias(head))
    set_last(head, layer)
    with torch.no_grad():
        logits = head.eval()(torch.from_numpy(features)).numpy()
    assert not has_bias(head)
    assert not layer.bias.any()
    np.testing.assert_allclose(logits, layer.logits(inputs), atol=1e-5)


def test_most_features_may_be_constant(features):
    features[:, 2:] = np.float32(0.1)  # whose standard deviation is not quite 0
    features[:, 20:] = 0
    head = head_of(2, "tanh", num_labels=2)
    standardise(head, features)
    inputs = last_inputs(head, features)
    np.testing.assert_allclose(inputs[:, :2].std(0), 1, atol=0.2)
    assert not inputs[:, 2:].any()


def test_choices_are_scored_one_by_one(features):
    head, x = head_of(2, "tanh", "multiple_choice", num_choices=2), features.reshape(30, 2, 24)
    standardise(head, x)
    inputs = last_inputs(head, x)
    layer = solve(inputs, np.arange(30) % 2, "multiple_choice", outputs=2, strength=0.1)
    set_last(head, layer)
    with torch.no_grad():
        found = head.eval()(torch.from_numpy(features)).numpy()
    assert inputs.shape == (30, 2, 24)
    np.testing.assert_allclose(found, layer.logits(inputs), atol=1e-5)


def test_inputs_are_the_standardised_features_but_for_outliers(features):
    head = head_of(2, "tanh", num_labels=2)
    features[5, 0] = features[:, 0].mean() + 50 * features[:, 0].std()
    standardise(head, features)
    inputs = last_inputs(head, features)
    z = (features - features.mean(0)) / np.where(features.std(0) > 1e-3, features.std(0), np.inf)
    near = abs(z) < 1
    np.testing.assert_allclose(inputs[near], z[near], atol=0.05)
    assert inputs[5, 0] < 1 / 0.3
    assert not inputs[:, 3].any()


def test_features_that_are_all_alike_give_nothing(features):
    head = head_of(2, "tanh", num_labels=2)
    standardise(head, np.ones((5, 24), dtype=np.float32))
    assert not last_inputs(head, features).any()


def test_a_head_keeps_its_mode(features):
    head = head_of(2, "tanh", num_labels=2).train()
    standardise(head, features)
    last_inputs(head, features)
    assert head.training
