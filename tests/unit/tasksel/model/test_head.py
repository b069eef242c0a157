"""A head has the library's layers, parameters, dropout and first weights, for each kind and base."""

import pytest
import torch
from encoders import IDS, KINDS, MASK, library_twin, loud, tiny_config, tiny_encoder, tiny_model
from refusals import refused_line
from torch import nn

from tasksel.model.head import Head
from tasksel.model.heads import add_head
from tasksel.model.task_model import TaskModel
from tasksel.tasks.registry import get_task

CLASSES = {"head_type": "classification", "num_labels": 3, "layers": 2, "activation_function": "tanh"}
CHOICES = {"head_type": "multiple_choice", "num_choices": 3, "layers": 1, "activation_function": None}
CONFIGS = {
    "classes": CLASSES,
    "number": {**CLASSES, "num_labels": 1},
    "labels": {**CLASSES, "head_type": "multilabel_classification", "num_labels": 4},
    "choices": CHOICES,
    "one layer": {**CLASSES, "layers": 1},
    "three layers of gelu": {**CLASSES, "layers": 3, "activation_function": "gelu"},
    "leaky": {**CLASSES, "activation_function": "leakyrelu"},
    "no activation": {**CLASSES, "activation_function": None},
    "no bias": {**CLASSES, "bias": False},
    "own dropout": {**CLASSES, "dropout_prob": 0.35},
    "dropout of zero": {**CLASSES, "dropout_prob": 0.0},
}
CLASS = {
    "classification": "ClassificationHead",
    "multilabel_classification": "MultiLabelClassificationHead",
    "multiple_choice": "MultipleChoiceHead",
}


def library_head(model, config):
    """Adds the library's own head of a configuration to its model."""
    from adapters import heads

    options = {key: value for key, value in config.items() if key != "head_type"}
    model.add_prediction_head(getattr(heads, CLASS[config["head_type"]])(model, "rte", **options))
    return model.heads["rte"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_head_is_the_librarys(library, kind, tmp_path):
    encoder = tiny_encoder("bert")
    twin, model = library_twin(library, encoder, tmp_path), TaskModel(encoder)
    torch.manual_seed(3)
    wanted = library_head(twin, CONFIGS[kind])
    torch.manual_seed(3)
    model.add_head("rte", CONFIGS[kind])
    ours, theirs = model.heads["rte"].state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours), "first weights of a seed"
    rates = [[module.p for module in head if isinstance(module, nn.Dropout)] for head in (model.heads["rte"], wanted)]
    assert rates[0] == rates[1]
    loud(twin, ["heads."])
    model.heads["rte"].load_state_dict(wanted.state_dict())
    with torch.no_grad():
        expected = twin.eval()(input_ids=IDS, attention_mask=MASK).logits
        torch.testing.assert_close(model.eval()(IDS, MASK).logits, expected, atol=1e-5, rtol=0)


RATES = {
    "albert": {"classifier_dropout_prob": 0.21},
    "distilbert": {"seq_classif_dropout": 0.23},
    **{family: {"classifier_dropout": 0.25} for family in ("bert", "roberta", "xlm-roberta", "electra")},
}


@pytest.mark.parametrize("family", [family for family in KINDS if family != "mpnet"])
@pytest.mark.parametrize("own", [True, False])
def test_its_dropout_is_the_bases_for_classifiers_as_the_library_finds_it(library, family, own):
    config = tiny_config(family, **(RATES.get(family, {}) if own else {}))
    head = Head(CLASSES, config)
    twin = library.AutoAdapterModel.from_config(config)
    twin.add_classification_head("rte", num_labels=3)
    assert head[0].p == twin.heads["rte"][0].p
    assert head[0].p == (next(iter(RATES[family].values())) if own and family in RATES else head[0].p)


@pytest.mark.parametrize(("family", "setting"), [("albert", "classifier_dropout_prob"), ("distilbert", "seq_classif_dropout"), ("bert", "classifier_dropout"), ("mpnet", "hidden_dropout_prob")])  # fmt: skip
def test_a_base_names_its_dropout_as_it_will(family, setting):
    assert Head(CLASSES, tiny_config(family, **{setting: 0.27}))[0].p == 0.27
    assert Head({**CLASSES, "dropout_prob": 0.0}, tiny_config(family, **{setting: 0.27}))[0].p == 0.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head_type": "tagging"}, "a head of type 'tagging' cannot be used; known: classification"),
        ({"head_type": None}, "a head of type 'None' cannot be used"),
        ({"num_labels": None}, "needs a whole number as num_labels, not None"),
        ({"num_labels": "3"}, "needs a whole number as num_labels, not '3'"),
        ({"head_type": "multiple_choice"}, "needs a whole number as num_choices, not None"),
        ({"activation_function": "tahn"}, "did you mean 'tanh'"),
        (
            {"pooling": "max"},
            "a head that reads 'max' of the tokens (pooling) cannot be used; known: first, mean, last",
        ),
        ({"pooling": "mean", "use_pooler": True}, "the base's pooler (use_pooler=true) or the mean of the tokens"),
    ],
)
def test_a_head_that_cannot_be_built_is_refused(change, said):
    assert said in refused_line(Head, {**CLASSES, **change}, tiny_config("bert"))


@pytest.mark.parametrize(("task", "outputs"), [("sentiment_phones", 2), ("rating_hotels", 1), ("complaints_orders", None), ("endings_daily", 1)])  # fmt: skip
def test_each_kind_of_task_has_its_head(task, outputs):
    model, task = tiny_model(), get_task(task)
    add_head(model, task, name="rte")
    head = model.heads["rte"]
    assert list(head.state_dict()) == ["1.weight", "1.bias", "4.weight", "4.bias"]
    assert head[4].out_features == (outputs or task.outputs)
    rows = head.choices or 1
    assert head(torch.randn(2 * rows, 16)).shape == (2, task.outputs)
