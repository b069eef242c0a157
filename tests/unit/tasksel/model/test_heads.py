"""Tests of the losses: torch's own, summed over rows so that shards add up, and no probability where there is no choice."""

import pytest
import torch
import torch.nn.functional as F

from tasksel.model.heads import loss_sum, masked

torch.manual_seed(0)
ROWS = 7
CLASSES, NUMBERS, HOT = torch.randint(0, 3, (ROWS,)), torch.randn(ROWS), torch.randint(0, 2, (ROWS, 3)).float()
LOGITS = torch.randn(ROWS, 3)
CASES = {
    "single_sentence_classification": (LOGITS, CLASSES, F.cross_entropy(LOGITS, CLASSES)),
    "pair_classification": (LOGITS, CLASSES, F.cross_entropy(LOGITS, CLASSES)),
    "multiple_choice": (LOGITS, CLASSES, F.cross_entropy(LOGITS, CLASSES)),
    "regression": (LOGITS[:, :1], NUMBERS, F.mse_loss(LOGITS[:, 0], NUMBERS)),
    "multi_label": (LOGITS, HOT, F.binary_cross_entropy_with_logits(LOGITS, HOT)),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_sum_over_rows_is_rows_times_torchs_mean(kind):
    logits, labels, mean = CASES[kind]
    torch.testing.assert_close(loss_sum(kind, logits, labels), mean * ROWS)


@pytest.mark.parametrize("kind", CASES)
def test_shards_of_a_batch_add_up(kind):
    logits, labels, _ = CASES[kind]
    parts = loss_sum(kind, logits[:2], labels[:2]) + loss_sum(kind, logits[2:], labels[2:])
    torch.testing.assert_close(parts, loss_sum(kind, logits, labels))


def test_losses_by_hand():
    assert loss_sum("regression", torch.tensor([[1.0], [4.0]]), torch.tensor([3.0, 4.0])) == 4.0
    assert loss_sum("multi_label", torch.zeros(2, 5), torch.ones(2, 5)).item() == pytest.approx(2 * 0.693147, abs=1e-5)


def test_a_choice_that_is_not_there_gets_no_probability_and_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    mask = torch.tensor([[True, True, False]]).expand(ROWS, 3)
    shown = masked(logits, mask)
    assert shown.softmax(-1)[:, 2].eq(0).all()
    labels = torch.randint(0, 2, (ROWS,))
    loss = loss_sum("multiple_choice", shown, labels)
    torch.testing.assert_close(loss, F.cross_entropy(LOGITS[:, :2], labels, reduction="sum"))
    loss.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[:, 2].eq(0).all()


def test_without_missing_choices_logits_stay_as_they_are():
    assert masked(LOGITS, None) is LOGITS
