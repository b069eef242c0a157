"""Tests of the training loop on generation: a mean over the answers' tokens, checkpoints by what is written or by the loss, what trains."""

import numpy as np
import pytest
import torch
from decoders import save_decoder

from tasksel import Task
from tasksel.model.base import Base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head, loss_sum
from tasksel.tasks.examples import Split
from tasksel.tasks.task import BuiltinSource
from tasksel.training.loop import fit
from tasksel.training.predict import dev_score, evaluate, logits_of, mean_loss
from tasksel.training.recipe import Recipe
from tasksel.training.state import trained_state

TASK = Task(name="odd", kind="generation", text=("q",), label="a", metric="exact_match", source=BuiltinSource(), max_new_tokens=16)  # fmt: skip
ANSWERS = ("yes", "certainly not")  # of unlike lengths: a mean of micro-batches' means would be another number


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Base(save_decoder(tmp_path_factory.mktemp("llama")))


def rows(base, count=12):
    answers = np.array([ANSWERS[i % 2] for i in range(count)], dtype=object)
    return encode_split(Split([(f"{i} is odd?",) for i in range(count)], None, answers), TASK, base.tokenizer, max_length=40)  # fmt: skip


def whole(base):
    model = base.model()
    add_head(model, TASK, name="odd")
    return model.requires_grad_(True)


@pytest.mark.parametrize("micro", [12, 5, 1])
def test_a_step_is_the_mean_gradient_over_the_answers_tokens_however_the_batch_is_cut(base, monkeypatch, micro):
    monkeypatch.setattr(torch.optim, "AdamW", lambda params, lr, weight_decay: torch.optim.SGD(params, lr=lr))
    train, model = rows(base), whole(base)
    start, batch = trained_state(model), train.batch(range(12))
    tokens = len(batch["labels"])
    (loss_sum(TASK.kind, logits_of(model, batch), batch["labels"]) / tokens).backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    recipe = Recipe(lr=0.5, batch=12, epochs=1, warmup=0.0, clip=1e9, micro_batch=micro)
    fit(model, TASK, train, None, recipe, seed=0)
    assert tokens == 6 * (len(" yes") + 1) + 6 * (len(" certainly not") + 1)
    assert "lm_head.weight" in wanted
    for name, parameter in model.named_parameters():
        torch.testing.assert_close((start[name] - parameter.detach()) / 0.5, wanted[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("select", ["metric", "loss", "metric-loss"])
def test_checkpoints_are_compared_by_what_is_written_by_the_loss_or_by_both(base, select):
    model, dev = whole(base), rows(base, 6)
    value, rank = dev_score(model, TASK, dev, select)
    assert value == evaluate(model, TASK, dev) == 0.0
    loss = mean_loss(model, TASK, dev)
    assert loss > 1
    assert rank == {"metric": (value,), "loss": (-loss,), "metric-loss": (value, -loss)}[select]


def test_it_learns_to_write_and_to_end_and_keeps_the_best_checkpoint(base):
    model, train = whole(base), rows(base)
    recipe = Recipe(lr=1e-2, batch=6, epochs=12, patience=None, select="metric-loss", start="solved")
    result = fit(model, TASK, train, train, recipe, seed=0)
    assert (result.history[0]["epoch"], result.history[0]["dev"]) == (0, 0.0)  # the base as it is
    assert result.score == evaluate(model, TASK, train) >= 0.5
    assert result.score == max(row["dev"] for row in result.history)


def test_a_prompt_teaches_nothing(base):
    """Other prompts change what is predicted, but no token of theirs is a target."""
    train = rows(base)
    batch = train.batch([0, 1])
    model = whole(base)
    logits = logits_of(model, batch)
    assert logits.shape == (len(batch["labels"]), 260)
    assert base.tokenizer.decode(batch["labels"]) == " yes<eos> certainly not<eos>"
