"""A model's head is set to the closed form on what it reads; of many rows some are drawn, which is said."""

import numpy as np
import pytest
import torch

from tasksel import UserError, get_task, load_data
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.training import solved_start
from tasksel.training.features import pooled
from tasksel.training.predict import predict
from tasksel.training.solved_head import last_inputs
from tasksel.training.solved_start import solve_head

TASK = "sentiment_films"


def model_of(base, **config):
    model = base.model()
    head = {"head_type": "classification", "num_labels": 2, "layers": 2, "activation_function": "tanh"}
    model.add_head(TASK, {**head, **config})
    return model.eval()


@pytest.fixture
def base(tiny):
    return load_base(tiny)


@pytest.fixture
def rows(base):
    task = get_task(TASK)
    return encode_split(load_data(task, rows=40).train, task, base.tokenizer, max_length=32)


HEADS = {
    "first token": {},
    "mean": {"pooling": "mean"},
    "pooler": {"use_pooler": True},
    "one layer on the pooler": {"use_pooler": True, "layers": 1},
    "no bias": {"bias": False, "pooling": "mean"},
    "relu": {"activation_function": "relu", "pooling": "mean"},
}


@pytest.mark.parametrize("form", HEADS)
def test_the_model_gives_the_closed_forms_logits_whatever_its_head_reads(base, rows, form):
    model = model_of(base, **HEADS[form])
    solution = solve_head(model, get_task(TASK), rows, seed=0)
    head = model.heads[TASK]
    features, logits = pooled(model, rows, pooling=head.reads)
    wanted = solution.layer.logits(last_inputs(head, features))
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    np.testing.assert_allclose(
        predict(model, rows), wanted, atol=2e-4
    )  # other batches, whose rounding standardising magnifies
    assert solution.layer.weight.any()


def test_of_many_rows_some_are_drawn_which_is_said(base, rows, monkeypatch, capsys):
    monkeypatch.setattr(solved_start, "MOST_ROWS", 10)
    seen = []
    monkeypatch.setattr(solved_start, "cross_validated", lambda x, y, *rest, **more: seen.append(len(y)) or real(x, y, *rest, **more))  # fmt: skip
    solve_head(model_of(base), get_task(TASK), rows, seed=0)
    assert seen == [10]
    line = f"{TASK}: the head is solved on 10 of {len(rows)} rows, drawn by the seed"
    assert capsys.readouterr().err.splitlines().count(line) == 1


real = solved_start.cross_validated


def test_a_broken_model_is_one_line(base, rows):
    model = model_of(base)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(UserError, match=f"'{TASK}': the model's features are NaN or infinite"):
        solve_head(model, get_task(TASK), rows, seed=0)


def test_choices_of_different_numbers_are_told_apart(base):
    from tasksel.tasks.examples import Split

    task = get_task("endings_daily")
    choices = [["one", "two", "three"], ["yes", "no"], ["a", "b", "c"], ["up", "down"]] * 3
    split = Split([(f"text {i}",) for i in range(12)], choices, np.arange(12) % 2)
    encoded = encode_split(split, task, base.tokenizer, max_length=32)
    model = base.model()
    model.add_head(task.name, {"head_type": "multiple_choice", "num_choices": 3, "layers": 2, "activation_function": "tanh", "pooling": "mean"})  # fmt: skip
    solution = solve_head(model, task, encoded, seed=0)
    assert np.isfinite(solution.layer.weight).all()
    assert np.isneginf(solution.logits[1::2, 2]).all()
    logits = predict(model, encoded)
    assert np.isfinite(logits[::2]).all()
    assert np.isneginf(logits[1::2, 2]).all()
